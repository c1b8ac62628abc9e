import functools
from pathlib import Path

import numpy as np
import pytest
from ray import tune

import ray_synapse
from ray_synapse import SynapseLoggerCallback, wrap_trainable
from tests.sweeps import backend, fit, write_model

pytestmark = pytest.mark.ray


def returns(config):
    """A number of any kind, chosen by the trial."""
    return {"zero": 0.0, "int": 3, "numpy": np.float32(0.5), "true": True}[config["kind"]]


def asks(config, run, dataset, checkpoint=None, extra="default"):
    run.log_metric("training", "loss", 0.5, epoch=1)
    assert ray_synapse.get_run() is run
    tune.report({"score": dataset["n"] + len(extra), "has_checkpoint": checkpoint is not None})


class Trainer:
    def train(self, config, run):
        assert run is not None
        return 7

    def __call__(self, config):
        tune.report({"other": 1})
        yield {"score": 1}
        yield 2


def test_a_returned_number_is_the_metric_whatever_its_type(cluster, tmp_path):
    kinds = {"kind": tune.grid_search(["zero", "int", "numpy", "true"])}
    wrapped = wrap_trainable(returns, metric="score")
    grid = fit(wrapped, storage=tmp_path, space=kinds, metric="score", mode="max")
    scores = {result.config["kind"]: result.metrics["score"] for result in grid}
    assert scores == {"zero": 0.0, "int": 3, "numpy": 0.5, "true": 1}
    assert wrapped.__name__ == "returns"


def test_without_a_metric_a_number_stays_tunes(cluster, tmp_path):
    grid = fit(wrap_trainable(lambda config: 0.0), storage=tmp_path)
    assert grid[0].metrics["_metric"] == 0.0


@pytest.mark.parametrize(
    "build",
    [
        lambda run: tune.with_resources(
            tune.with_parameters(
                wrap_trainable(asks, run=run, dataset={"n": 1}, checkpoint={"id": 1}), extra="four"
            ),
            {"cpu": 1},
        ),
        lambda run: wrap_trainable(
            tune.with_resources(tune.with_parameters(asks, extra="four"), {"cpu": 1}),
            run=run,
            dataset={"n": 1},
            checkpoint={"id": 1},
        ),
        lambda run: tune.with_parameters(
            tune.with_resources(
                wrap_trainable(
                    functools.partial(asks, extra="four"),
                    run=run,
                    dataset={"n": 1},
                    checkpoint={"id": 1},
                ),
                {"cpu": 1},
            )
        ),
    ],
    ids=["inside", "outside", "partial"],
)
def test_it_works_in_either_nesting_with_tunes_wrappers(cluster, tmp_path, build):
    run = ray_synapse.init("nested", metric="score", mode="max")
    grid = fit(build(run), storage=tmp_path, metric="score", mode="max")
    assert [str(error) for error in grid.errors] == []
    assert grid[0].metrics["score"] == 5
    assert grid[0].metrics["has_checkpoint"] is True
    (record,) = backend().logs(run.job_id, "metric")
    assert record["data"] == {
        "category": "training",
        "key": "loss",
        "value": 0.5,
        "metrics": {"epoch": 1},
        "trial_id": grid[0].metrics["trial_id"],
    }


@pytest.mark.parametrize(
    ("trainable", "name", "expected"),
    [
        (Trainer().train, "train", (7, 1)),
        (Trainer(), "Trainer", (2, 2)),
        (tune.with_resources(Trainer().train, {"cpu": 1}), "train", (7, 1)),
        (lambda config: {"score": 4}, "trainable", (4, 1)),
    ],
    ids=["bound method", "callable generator", "with_resources", "lambda"],
)
def test_every_kind_of_function_works_and_has_a_name(cluster, tmp_path, trainable, name, expected):
    run = ray_synapse.init("kinds", metric="score", mode="max")
    wrapped = wrap_trainable(trainable, run=run)
    grid = fit(wrapped, storage=tmp_path, metric="score", mode="max")
    assert [str(error) for error in grid.errors] == []
    metrics = grid[0].metrics
    assert (metrics["score"], metrics["training_iteration"]) == expected
    assert wrapped.__name__ == name


def test_a_trial_that_never_gives_the_metric_fails_alone(cluster, tmp_path):
    def train(config):
        tune.report({"loss": 1, "epoch": 1})
        if config["good"]:
            return 0.9
        return None

    space = {"good": tune.grid_search([True, False])}
    wrapped = wrap_trainable(train, metric="score")
    grid = fit(wrapped, storage=tmp_path, space=space, metric="score", mode="max")
    good, bad = sorted(grid, key=lambda result: result.config["good"], reverse=True)
    assert good.metrics["score"] == 0.9
    assert good.metrics["loss"] == 1
    assert good.error is None
    assert "'score' is optimized" in str(bad.error)
    assert "loss, epoch" in str(bad.error)


def test_a_report_without_the_metric_waits_with_its_checkpoint_for_the_next(cluster, tmp_path):
    import tempfile

    def train(config):
        with tempfile.TemporaryDirectory() as folder:
            write_model(folder, "early")
            tune.report({"loss": 1}, checkpoint=tune.Checkpoint.from_directory(folder))
        tune.report({"score": 2})
        tune.report({"loss": 3})

    wrapped = wrap_trainable(train, metric="score")
    grid = fit(wrapped, storage=tmp_path, metric="score", mode="max")
    metrics = grid[0].metrics
    assert (metrics["score"], metrics["loss"], metrics["training_iteration"]) == (2, 3, 2)
    with grid[0].checkpoint.as_directory() as folder:
        assert Path(folder, "weights.txt").read_text() == "early"


def test_checkpoint_output_reaches_tunes_storage_also_when_the_scheduler_stops(cluster, tmp_path):
    run = ray_synapse.init("outputs", metric="score", mode="max")

    def train(config, run):
        for step in range(1, 100):
            folder = tmp_path / "out" / f"{config['x']}"
            run.checkpoint_output = folder
            write_model(folder, f"{config['x']}@{step}")
            tune.report({"score": config["x"], "step": step})

    grid = fit(
        wrap_trainable(train, run=run),
        SynapseLoggerCallback(run),
        storage=tmp_path,
        space={"x": tune.grid_search([1, 2])},
        metric="score",
        mode="max",
        run_config={"stop": {"training_iteration": 3}},
    )
    for result in grid:
        x = result.config["x"]
        assert result.metrics["checkpoint_output"] == str(tmp_path / "out" / str(x))
        artifact = ray_synapse.resolve_checkpoint(result)
        assert artifact.source == "checkpoint"
        with artifact.as_directory() as folder:
            assert (folder / "weights.txt").read_text() == f"{x}@3"
    summary = ray_synapse.finish(run, grid)
    assert len(summary["trial_models"]) == 2


def test_an_unchanged_output_is_attached_once_and_at_the_end(cluster, tmp_path):
    run = ray_synapse.init("once", metric="score", mode="max")

    def train(config, run):
        run.checkpoint_output = tmp_path / "model.bin"
        (tmp_path / "model.bin").write_text("1")
        tune.report({"score": 1})
        tune.report({"score": 2})
        (tmp_path / "model.bin").write_text("22")

    (result,) = fit(
        wrap_trainable(train, run=run), storage=tmp_path / "store", metric="score", mode="max"
    )
    assert [str(result.error)] == ["None"]
    names = sorted(path.name for path in (tmp_path / "store").rglob("checkpoint_*"))
    assert names == ["checkpoint_000000", "checkpoint_000001"]
    with ray_synapse.resolve_checkpoint(result).as_directory() as folder:
        assert (folder / "model.bin").read_text() == "22"
    assert result.metrics["score"] == 2


def test_a_folder_that_was_being_written_when_the_trial_ended_is_not_its_model(cluster, tmp_path):
    """The files have the same names and sizes; Tune's copy belongs to the last result."""
    run = ray_synapse.init("torn", metric="score", mode="max")

    def train(config, run):
        run.checkpoint_output = write_model(tmp_path / "out", "good")
        tune.report({"score": 1})
        tune.report({"score": 2})
        write_model(tmp_path / "out", "TORN")
        raise RuntimeError("in the middle of writing")

    grid = fit(
        wrap_trainable(train, run=run), storage=tmp_path / "store", metric="score", mode="max"
    )
    with ray_synapse.resolve_checkpoint(grid[0]).as_directory() as folder:
        assert (folder / "weights.txt").read_text() == "good"


def test_a_metric_that_tune_fills_in_itself_can_be_optimized(cluster, tmp_path):
    def train(config):
        tune.report({"loss": 1})
        tune.report({"loss": 2})

    wrapped = wrap_trainable(train, metric="training_iteration")
    grid = fit(wrapped, storage=tmp_path, metric="training_iteration", mode="max")
    assert grid[0].error is None
    assert grid[0].metrics["training_iteration"] == 2


def test_the_run_may_come_by_tunes_own_wrapper(cluster, tmp_path):
    run = ray_synapse.init("own", metric="score", mode="max")

    def train(config, run=None, **rest):
        assert ray_synapse.get_run() is run
        run.checkpoint_output = write_model(tmp_path / "out", "w")
        return len(rest)

    for number, wrapped in enumerate(
        (
            wrap_trainable(tune.with_parameters(train, run=run, more=1)),
            tune.with_parameters(wrap_trainable(train), run=run, more=1),
        )
    ):
        grid = fit(wrapped, storage=tmp_path, name=f"s{number}", metric="score", mode="max")
        assert [str(error) for error in grid.errors] == []
        assert grid[0].metrics["score"] == 1
        assert grid[0].checkpoint is not None


def test_trials_that_share_a_process_keep_their_ids_also_in_threads(cluster, tmp_path):
    import threading

    run = ray_synapse.init("reused", metric="score", mode="max")

    def train(config, run):
        assert run.checkpoint_output is None
        run.checkpoint_output = tmp_path / "out" / str(config["x"])
        thread = threading.Thread(
            target=lambda: run.log_metric("training", "loss", config["x"], kind="thread")
        )
        thread.start()
        thread.join()
        run.log_metric("training", "loss", config["x"])
        run.set_progress(1, 2, "train")
        assert run.is_tune
        return config["x"]

    grid = fit(
        wrap_trainable(train, run=run),
        SynapseLoggerCallback(run, log_results=False),
        storage=tmp_path,
        space={"x": tune.grid_search(list(range(6)))},
        reuse_actors=True,
        metric="score",
        mode="max",
    )
    assert [str(error) for error in grid.errors] == []
    ray_synapse.finish(run, grid)
    ids = {result.config["x"]: result.metrics["trial_id"] for result in grid}
    logged = [record["data"] for record in backend().logs(run.job_id, "metric")]
    assert len(logged) == 12
    assert all(each["trial_id"] == ids[each["value"]] for each in logged)
    steps = backend().job(run.job_id)["progress_record"]["record"]["steps"]
    assert steps["train"] == {"proportion": 75, "percent": None}


def test_what_cannot_be_wrapped_is_refused_with_the_way_out():
    async def coroutine(config): ...

    with pytest.raises(ray_synapse.TrainableError, match=r"asyncio\.run"):
        wrap_trainable(coroutine)
    with pytest.raises(ray_synapse.TrainableError, match="give the function itself"):
        wrap_trainable("train")
    with pytest.raises(ray_synapse.TrainableError, match="asks for `run`"):
        wrap_trainable(asks)
    with pytest.raises(ray_synapse.TrainableError, match="wrapped already"):
        wrap_trainable(wrap_trainable(returns))


def test_a_metric_that_differs_from_the_runs_is_refused():
    run = ray_synapse.init("conflict", metric="score")
    with pytest.raises(ray_synapse.SettingsError, match=r"'loss'.*'score'"):
        wrap_trainable(returns, run=run, metric="loss")


@pytest.mark.parametrize(
    ("trainable", "name"),
    [
        (lambda config: 1, "trainable"),
        (functools.partial(lambda config: 1), "trainable"),
        (functools.partial(returns, 1), "returns"),
        (Trainer(), "Trainer"),
        (tune.with_parameters(functools.partial(returns)), "returns"),
    ],
)
def test_names_are_the_same_in_every_process(trainable, name):
    assert wrap_trainable(trainable).__name__ == name


def test_a_leading_underscore_is_not_part_of_the_name():
    def _train(config):
        return 1

    assert wrap_trainable(_train).__name__ == "train"
    assert wrap_trainable(_train)({}) == {"_metric": 1}
