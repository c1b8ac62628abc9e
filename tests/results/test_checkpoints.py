"""Which files are a trial's model, on real pyarrow file systems."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fsspec import AbstractFileSystem
from pyarrow import fs

from ray_synapse.metrics import CHECKPOINT_OUTPUT, CHECKPOINT_SOURCE
from ray_synapse.results.checkpoints import resolve_checkpoint, shared_outputs
from ray_synapse.results.outcome import outcome_of
from tests.storage import FILES, contents, folder, stored


def checkpoint(path: object, filesystem: Any = None) -> SimpleNamespace:
    return SimpleNamespace(path=str(path), filesystem=filesystem or fs.LocalFileSystem())


def result(output: object = None, **attributes: Any) -> SimpleNamespace:
    metrics = {"training_iteration": 1, **attributes.pop("metrics", {})}
    if output is not None:
        metrics[CHECKPOINT_OUTPUT] = str(output)
    return SimpleNamespace(metrics=metrics, **attributes)


class Unreachable(AbstractFileSystem):  # type: ignore[misc]
    """A remote file system whose library raises what it likes."""

    protocol = "unreachable"

    def info(self, path: str, **options: Any) -> Any:
        raise RuntimeError("no credentials")

    def find(self, *arguments: Any, **options: Any) -> Any:
        raise RuntimeError("no credentials")


REMOTE = pytest.mark.parametrize("kind", ["subtree", "fsspec-prefix", "memory", "zip"])


class TestPriority:
    def test_what_the_trial_said_comes_first(self, tmp_path: Path) -> None:
        output = folder(tmp_path / "out", {"mine.pt": b"1"})
        ray = folder(tmp_path / "ray")
        found = resolve_checkpoint(result(output, checkpoint=checkpoint(ray)))
        assert (found.path, found.source, found.filesystem) == (
            str(output),
            "checkpoint_output",
            None,
        )

    def test_a_file_may_be_the_model(self, tmp_path: Path) -> None:
        file = folder(tmp_path / "out") / "model.pt"
        found = resolve_checkpoint(result(file))
        assert found.path == str(file)
        assert contents(found) == {"model.pt": b"weights"}

    def test_where_tune_holds_a_copy_of_that_very_folder_the_copy_is_taken(
        self, tmp_path: Path
    ) -> None:
        output, copy = folder(tmp_path / "out"), folder(tmp_path / "copy")
        found = resolve_checkpoint(result(output, checkpoint=checkpoint(copy)))
        assert (found.path, found.source) == (str(copy), "checkpoint")

    def test_a_copy_that_our_wrapper_made_is_taken_even_if_the_folder_went_on(
        self, tmp_path: Path
    ) -> None:
        output = folder(tmp_path / "out", {"model.pt": b"longer weights"})
        copy = folder(tmp_path / "copy")
        metrics = {CHECKPOINT_SOURCE: str(output)}
        found = resolve_checkpoint(result(output, checkpoint=checkpoint(copy), metrics=metrics))
        assert found.path == str(copy)

    def test_a_copy_that_is_gone_gives_way_to_the_folder(self, tmp_path: Path) -> None:
        output = folder(tmp_path / "out")
        metrics = {CHECKPOINT_SOURCE: str(output)}
        gone = checkpoint(tmp_path / "gone")
        found = resolve_checkpoint(result(output, checkpoint=gone, metrics=metrics))
        assert found.path == str(output)

    @pytest.mark.parametrize("files", [None, {}], ids=["missing", "empty"])
    def test_what_cannot_be_read_here_gives_way_to_rays_checkpoint(
        self, tmp_path: Path, files: dict[str, bytes] | None
    ) -> None:
        if files is not None:
            folder(tmp_path / "out", files)
        ray = folder(tmp_path / "ray")
        found = resolve_checkpoint(result(tmp_path / "out", checkpoint=checkpoint(ray)))
        assert (found.path, found.source) == (str(ray), "checkpoint")

    def test_a_path_that_several_trials_gave_is_never_taken(self, tmp_path: Path) -> None:
        output, ray = folder(tmp_path / "out"), folder(tmp_path / "ray", {"a": b"1"})
        results = [result(output, checkpoint=checkpoint(ray)), result(f"{output}/")]
        shared = shared_outputs(map(outcome_of, results))
        assert resolve_checkpoint(results[0], shared=shared).path == str(ray)
        alone = resolve_checkpoint(results[1], shared=shared)
        assert not alone
        assert "several trials wrote to" in alone.reason

    def test_a_path_is_shared_also_under_another_name(self, tmp_path: Path) -> None:
        output = folder(tmp_path / "out")
        (tmp_path / "link").symlink_to(output)
        results = [result(output), result(tmp_path / "link"), result(tmp_path / "own")]
        assert shared_outputs(map(outcome_of, results)) == {str(output.resolve())}

    def test_tunes_log_folder_is_never_taken(self, tmp_path: Path) -> None:
        log = folder(tmp_path / "log", {"result.json": b"{}"})
        assert not resolve_checkpoint(result(path=str(log)))
        found = resolve_checkpoint(result(log, path=str(log)))
        assert not found
        assert "log folder" in found.reason

    def test_the_newest_kept_checkpoint_is_the_last_resort(self, tmp_path: Path) -> None:
        old, new = folder(tmp_path / "old"), folder(tmp_path / "new")
        kept = [(checkpoint(old), {}), (checkpoint(new), {}), (checkpoint(tmp_path / "gone"), {})]
        found = resolve_checkpoint(result(best_checkpoints=kept))
        assert (found.path, found.source) == (str(new), "best_checkpoints")

    def test_a_real_result_of_ray_is_resolved(self, tmp_path: Path) -> None:
        tune = pytest.importorskip("ray.tune")
        ray = tune.Checkpoint.from_directory(folder(tmp_path / "ray"))
        real = tune.Result(metrics={"loss": 1}, checkpoint=ray, error=None, path=str(tmp_path))
        found = resolve_checkpoint(real)
        assert (found.path, found.source) == (str(tmp_path / "ray"), "checkpoint")
        assert contents(found) == FILES


class TestNone:
    def test_a_trial_without_a_model_has_an_empty_artifact_with_the_reason(self) -> None:
        found = resolve_checkpoint(result())
        assert not found
        assert (found.path, found.source) == (None, "")
        assert found.reason == "it reported no checkpoint"

    def test_a_trial_that_reported_nothing_says_so(self) -> None:
        reason = resolve_checkpoint(SimpleNamespace(metrics={})).reason
        assert reason == "it reported nothing"
        assert resolve_checkpoint(object()).reason == "it reported nothing"

    def test_every_reason_is_named_once(self, tmp_path: Path) -> None:
        gone = checkpoint(tmp_path / "ray")
        kept = [(gone, {}), (gone, {})]
        reason = resolve_checkpoint(
            result(tmp_path / "out", checkpoint=gone, best_checkpoints=kept)
        ).reason
        assert f"checkpoint_output {tmp_path}/out does not exist here" in reason
        assert f"checkpoint {tmp_path}/ray does not exist here" in reason
        assert reason.count("best_checkpoints") == 1

    @pytest.mark.parametrize(
        "output", ["nowhere://bucket/model", "file:///x", "a\x00b", "relative", "~", 7, True, ["a"]]
    )
    @pytest.mark.parametrize("with_checkpoint", [False, True])
    def test_a_path_that_is_none_does_not_raise(
        self, tmp_path: Path, output: object, with_checkpoint: bool
    ) -> None:
        given = result(metrics={CHECKPOINT_OUTPUT: output}, checkpoint=None)
        if with_checkpoint:
            given.checkpoint = checkpoint(folder(tmp_path / "ray"))
        found = resolve_checkpoint(given)
        assert found.path == (str(tmp_path / "ray") if with_checkpoint else None)
        shared_outputs([outcome_of(given), outcome_of(given)])

    @pytest.mark.parametrize("with_output", [False, True])
    def test_a_file_system_that_raises_does_not_raise_here(
        self, tmp_path: Path, with_output: bool
    ) -> None:
        output = folder(tmp_path / "out") if with_output else None
        filesystem = fs.PyFileSystem(fs.FSSpecHandler(Unreachable()))
        found = resolve_checkpoint(result(output, checkpoint=checkpoint("bucket/x", filesystem)))
        assert bool(found) is with_output
        if not with_output:
            assert "no credentials" in found.reason

    @pytest.mark.parametrize("other", ["text", 3, object()], ids=lambda each: type(each).__name__)
    def test_a_checkpoint_of_another_kind_is_a_reason(self, other: object) -> None:
        found = resolve_checkpoint(result(checkpoint=other))
        assert not found
        assert "without path" in found.reason


class TestFiles:
    @REMOTE
    def test_a_remote_checkpoint_is_read_through_its_file_system(
        self, tmp_path: Path, kind: str
    ) -> None:
        there = stored(kind, tmp_path)
        found = resolve_checkpoint(result(checkpoint=checkpoint(there.path, there.filesystem)))
        assert found.filesystem is there.filesystem
        assert contents(found) == FILES

    @REMOTE
    def test_a_remote_checkpoint_that_is_gone_says_where_it_was_looked_for(
        self, tmp_path: Path, kind: str
    ) -> None:
        there = stored(kind, tmp_path)
        found = resolve_checkpoint(result(checkpoint=checkpoint("gone", there.filesystem)))
        assert not found
        assert f"checkpoint gone on {there.filesystem.type_name} does not exist" in found.reason

    def test_a_folder_of_nothing_but_links_that_lead_out_is_no_model_and_says_so(
        self, tmp_path: Path
    ) -> None:
        (folder(tmp_path / "ck", {}) / "model.pt").symlink_to(folder(tmp_path / "x") / "model.pt")
        found = resolve_checkpoint(result(checkpoint=checkpoint(tmp_path / "ck")))
        assert not found
        assert found.reason.endswith("ck holds only links that lead out of it")


def test_a_folder_that_holds_the_log_folder_is_no_model(tmp_path: Path) -> None:
    log = tmp_path / "exp" / "train_1"
    log.mkdir(parents=True)
    (log / "result.json").write_text("{}")
    for output in (log, log.parent):
        result = SimpleNamespace(
            metrics={"checkpoint_output": str(output)}, config={}, checkpoint=None, path=str(log)
        )
        artifact = resolve_checkpoint(result)
        assert not artifact
        assert "log folder" in artifact.reason


def test_files_of_the_same_size_are_a_copy_only_with_the_same_content(tmp_path: Path) -> None:
    for name, content in (("out", "FINAL"), ("copy", "OLD..")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "w").write_text(content)
    checkpoint = SimpleNamespace(path=str(tmp_path / "copy"), filesystem=None)
    metrics = {"checkpoint_output": str(tmp_path / "out")}
    result = SimpleNamespace(metrics=metrics, config={}, checkpoint=checkpoint, path="")
    assert resolve_checkpoint(result).path == str(tmp_path / "out")
    (tmp_path / "out" / "w").write_text("OLD..")
    assert resolve_checkpoint(result).path == str(tmp_path / "copy")


def test_an_output_may_be_a_uri(tmp_path: Path) -> None:
    folder = tmp_path / "the model"
    folder.mkdir()
    (folder / "weights.txt").write_text("w")
    artifact = resolve_checkpoint(result(folder.as_uri()))
    assert artifact.path == str(folder)
    assert artifact.source == "checkpoint_output"
    gone = resolve_checkpoint(result((tmp_path / "gone").as_uri()))
    assert not gone
    assert "does not exist" in gone.reason
    assert "nowhere://" in resolve_checkpoint(result("nowhere://bucket/model")).reason
