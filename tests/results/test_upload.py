"""Models as zip archives in the backend."""

import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_synapse.archive import PIECE_BYTES
from ray_synapse.artifact import Artifact
from ray_synapse.backend.local import LocalBackend
from ray_synapse.backend.protocol import JobId
from ray_synapse.errors import NoSpaceError
from ray_synapse.results.upload import upload_model
from tests import storage
from tests.storage import ELSEWHERE, FILES, ON_THIS_MACHINE, S3, s3_server, stored


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


def folder(path: Path, files: dict[str, bytes] = FILES) -> Artifact:
    return Artifact(str(storage.folder(path, files)))


def archived(backend: LocalBackend, name: str) -> dict[str, bytes]:
    model = backend.find_model(name)
    assert model is not None
    with zipfile.ZipFile(model["file"]) as bundle:
        assert bundle.testzip() is None
        return {entry: bundle.read(entry) for entry in bundle.namelist()}


def test_a_model_is_a_zip_archive_of_its_files(
    backend: LocalBackend, job: JobId, tmp_path: Path
) -> None:
    number = upload_model(backend, job, "digits_t1", folder(tmp_path / "x"), {"config": {"lr": 1}})
    assert archived(backend, "digits_t1") == FILES
    model = backend.find_model("digits_t1")
    assert model is not None
    assert model["id"] == number
    assert model["job"] == job
    artifact = model["configuration"].pop("artifact")
    assert model["configuration"] == {"config": {"lr": 1}}
    assert (artifact["path"], artifact["files"], artifact["bytes"]) == (str(tmp_path / "x"), 3, 9)


def test_a_single_file_is_an_archive_of_one(
    backend: LocalBackend, job: JobId, tmp_path: Path
) -> None:
    folder(tmp_path / "x")
    upload_model(backend, job, "m", Artifact(str(tmp_path / "x" / "model.pt")), {})
    assert archived(backend, "m") == {"model.pt": b"weights"}


@pytest.mark.parametrize("kind", [*ON_THIS_MACHINE, *ELSEWHERE])
def test_a_model_on_any_file_system_is_uploaded_without_a_copy_on_this_disk(
    kind: str,
    backend: LocalBackend,
    job: JobId,
    tmp_path: Path,
    s3: S3,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = {**FILES, "large": os.urandom(3 * PIECE_BYTES + 1)}
    artifact = stored(kind, tmp_path, s3, files)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    os.utime(tmp_path / "tmp", (0, 0))  # changes with each file that comes or goes
    upload_model(backend, job, "m", artifact, {})
    assert (tmp_path / "tmp").stat().st_mtime == 0
    assert archived(backend, "m") == files


def test_a_second_upload_of_the_same_model_keeps_the_first(
    backend: LocalBackend, job: JobId, tmp_path: Path
) -> None:
    artifact = folder(tmp_path / "x")
    first = upload_model(backend, job, "m", artifact, {})
    assert upload_model(backend, job, "m", artifact, {"other": 1}) == first
    assert len(backend.models(job)) == 1


def test_a_trial_that_went_on_has_its_new_model_beside_the_old_one(
    backend: LocalBackend, job: JobId, tmp_path: Path
) -> None:
    numbers = [
        upload_model(backend, job, "m", folder(tmp_path / str(step), {"a": b"x" * step}), {})
        for step in (1, 2, 3)
    ]
    assert [model["name"] for model in backend.models(job)] == ["m", "m_2", "m_3"]
    assert archived(backend, "m_2") == {"a": b"xx"}
    again = [
        upload_model(backend, job, "m", Artifact(str(tmp_path / str(step))), {})
        for step in (1, 2, 3)
    ]
    assert again == numbers


def test_the_same_name_in_another_job_is_another_model(
    backend: LocalBackend, job: JobId, tmp_path: Path
) -> None:
    artifact = folder(tmp_path / "x")
    upload_model(backend, job, "m", artifact, {})
    other = backend.create_job("other", {})
    upload_model(backend, other, "m", artifact, {})
    assert [model["name"] for model in backend.models(other)] == ["m_2"]


def test_equal_models_are_equal_archives(backend: LocalBackend, job: JobId, tmp_path: Path) -> None:
    for name in ("a", "b"):
        upload_model(backend, job, name, folder(tmp_path / name), {})
    first, second = (Path(model["file"]).read_bytes() for model in backend.models(job))
    assert first == second


def test_the_size_that_is_kept_of_a_model_is_that_of_its_archive(
    backend: LocalBackend, job: JobId, tmp_path: Path
) -> None:
    upload_model(backend, job, "m", folder(tmp_path / "x"), {})
    model = backend.models(job)[0]
    assert model["size"] == Path(model["file"]).stat().st_size


def test_a_model_that_changes_while_it_is_read_is_an_os_error_and_leaves_nothing(
    backend: LocalBackend, job: JobId, tmp_path: Path
) -> None:
    class Written(Artifact):
        """One whose trial goes on: as soon as a file is opened there is more in it."""

        def open(self, file: object) -> object:
            with open(tmp_path / "x" / "model.pt", "ab") as stream:
                stream.write(b"more")
            return super().open(file)  # type: ignore[arg-type]

    folder(tmp_path / "x")
    with pytest.raises(OSError, match=r"model\.pt changed while it was read"):
        upload_model(backend, job, "m", Written(str(tmp_path / "x")), {})
    assert backend.models(job) == []


def test_a_model_whose_files_are_gone_is_an_os_error_and_leaves_nothing(
    backend: LocalBackend, job: JobId, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="gone"):
        upload_model(backend, job, "m", Artifact(str(tmp_path / "gone")), {})
    assert backend.models(job) == []


def test_a_model_that_the_disk_has_no_room_for_is_refused_before_it_is_read(
    backend: LocalBackend, job: JobId, tmp_path: Path
) -> None:
    artifact = folder(tmp_path / "x", {"huge": b""})
    with open(tmp_path / "x" / "huge", "wb") as stream:
        stream.truncate(1 << 42)  # sparse: it takes no space
    with pytest.raises(NoSpaceError, match="model m has 4398"):
        upload_model(backend, job, "m", artifact, {})
    assert backend.models(job) == []
