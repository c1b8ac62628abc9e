import math
from pathlib import Path

import numpy as np
import pytest
from ray import cloudpickle, tune
from ray.tune.trainable import wrap_function

import ray_synapse
from ray_synapse import SynapseLoggerCallback, wrap_trainable
from ray_synapse.errors import TrainableError
from ray_synapse.trial.classes import _Results
from tests.sweeps import backend, fit, write_model

pytestmark = pytest.mark.ray


class Logs(tune.Trainable):
    """Logs from everywhere, and is used for several trials."""

    def setup(self, config, run, dataset, extra="", checkpoint="none"):
        assert run is self.run is ray_synapse.get_run()
        assert (dataset, extra, checkpoint) == ([7], "more", "none")
        self.steps = 0
        self._log("setup")

    def reset_config(self, new_config):
        self.config = new_config
        self.steps = 0
        self._log("reset")
        return True

    def step(self):
        self.steps += 1
        assert self.run.is_tune
        self.run.set_progress(1, 2, "train")
        self._log("step")
        out = Path(self.config["out"], str(self.config["x"]))
        if self.steps == 1:
            assert self.run.checkpoint_output is None
            self.run.checkpoint_output = write_model(out, "early")
            return np.float32(self.config["x"])
        write_model(out, f"{self.config['x']}@2")
        return {"done": True, "deep": {"steps": self.steps}}

    def save_checkpoint(self, checkpoint_dir):
        if self.config["x"] == 0:
            return {"steps": self.steps}
        if self.config["x"] == 1:
            Path(checkpoint_dir, "weights.txt").write_text("the class's own")
            return checkpoint_dir
        return None

    def _log(self, where):
        self.run.log_metric("training", where, self.config["x"])


class Kinds(tune.Trainable):
    """Saves nothing itself; ends as the trial says."""

    def setup(self, config):
        self.out = Path(config["out"], config["kind"])

    def step(self):
        kind = self.config["kind"]
        if kind == "never":
            return {"loss": 1, "done": self.iteration == 1}
        if kind == "late" and self.iteration == 0:
            return None
        if kind in ("late", "torn"):
            self.run.checkpoint_output = write_model(
                self.out, "good" if not self.iteration else "b"
            )
        if kind == "torn" and self.iteration == 1:
            write_model(self.out, "TORN")
            raise RuntimeError("in the middle of writing")
        at = {"done": self.iteration == 1, "should_checkpoint": kind == "torn"}
        return {"score": self.iteration, **at}


class Resumes(tune.Trainable):
    run = "the class's own"

    def setup(self, config):
        self.steps = 0
        self.fails = Path(config["flag"])

    def step(self):
        assert self.run == "the class's own"
        self.steps += 1
        if self.steps == 2:
            return {"score": 5}
        if self.steps == 3 and self.fails.exists():
            raise RuntimeError("the machine is gone")
        if self.steps == 3:
            return {"goes_on": True}
        return {"score": 1, "done": self.steps == 4}

    def save_checkpoint(self, checkpoint_dir):
        return {"steps": self.steps}

    def load_checkpoint(self, checkpoint):
        self.steps = checkpoint["steps"]

    @classmethod
    def default_resource_request(cls, config):
        return tune.PlacementGroupFactory([{"CPU": 1}, {"CPU": 1}])


def model_of(result):
    with ray_synapse.resolve_checkpoint(result).as_directory() as folder:
        return (folder / "weights.txt").read_text()


def files_of(result):
    with result.checkpoint.as_directory() as folder:
        return {path.name for path in Path(folder).iterdir()} - {".is_checkpoint"}


@pytest.mark.parametrize("nesting", ["over", "under"])
def test_trials_that_share_an_object_each_have_their_own_records_and_model(
    cluster, tmp_path, nesting
):
    run = ray_synapse.init("classes", metric="score", mode="max")
    resources = tune.PlacementGroupFactory([{"CPU": 1}])
    if nesting == "over":
        inner = wrap_trainable(Logs, run=run, dataset=[7])
        wrapped = tune.with_resources(tune.with_parameters(inner, extra="more"), resources)
    else:
        outer = tune.with_resources(tune.with_parameters(Logs, extra="more"), resources)
        wrapped = wrap_trainable(outer, run=run, dataset=[7])
    assert issubclass(wrapped, Logs)
    grid = fit(
        wrapped,
        SynapseLoggerCallback(run, log_results=False),
        storage=tmp_path / "store",
        space={"x": tune.grid_search([0, 1, 2]), "out": str(tmp_path / "out")},
        reuse_actors=True,
        max_concurrent_trials=1,
        metric="score",
        mode="max",
    )
    assert [str(error) for error in grid.errors] == []
    results = {result.config["x"]: result for result in grid}
    assert len({result.metrics["pid"] for result in grid}) == 1

    ids = {x: result.metrics["trial_id"] for x, result in results.items()}
    logged = [record["data"] for record in backend().logs(run.job_id, "metric")]
    assert all(each["trial_id"] == ids[each["value"]] for each in logged)
    assert [each["key"] for each in logged] == [
        *("setup", "step", "step", "reset", "step", "step", "reset", "step", "step")
    ]

    for x, result in results.items():
        assert result.metrics["score"] == x  # of the step before: the last had none
        assert result.metrics["deep"] == {"steps": 2}
        assert result.metrics["checkpoint_output"] == str(tmp_path / "out" / str(x))
    assert files_of(results[0]) == {"_dict_checkpoint.pkl", "weights.txt"}
    assert Path(results[1].checkpoint.path, "weights.txt").read_text() == "the class's own"
    assert files_of(results[2]) == {"weights.txt"}
    # A model is what Tune saved: the class's own files, and what is at checkpoint_output.
    assert [model_of(results[x]) for x in range(3)] == ["0@2", "the class's own", "2@2"]
    artifacts = [ray_synapse.resolve_checkpoint(results[x]) for x in range(3)]
    assert {each.source for each in artifacts} == {"checkpoint"}
    assert {"_dict_checkpoint.pkl", "weights.txt"} <= {each.name for each in artifacts[0].files()}

    summary = ray_synapse.finish(run, grid)
    assert [bool(each["model_id"]) for each in summary["trial_models"]] == [True] * 3
    steps = backend().job(run.job_id)["progress_record"]["record"]["steps"]
    assert steps["train"] == {"proportion": 75, "percent": None}


def test_a_class_that_saves_nothing_itself_ends_as_tune_says_and_its_output_is_saved(
    cluster, tmp_path
):
    run = ray_synapse.init("kinds", metric="score", mode="max")
    kinds = ["late", "torn", "never", "no model"]
    grid = fit(
        wrap_trainable(Kinds, run=run),
        storage=tmp_path / "store",
        space={"kind": tune.grid_search(kinds), "out": str(tmp_path / "out")},
        metric="score",
        mode="max",
    )
    results = {result.config["kind"]: result for result in grid}
    assert results.keys() == set(kinds)

    assert results["late"].error is None
    assert results["late"].metrics["score"] == 1
    assert model_of(results["late"]) == "b"
    assert "in the middle of writing" in str(results["torn"].error)
    assert model_of(results["torn"]) == "good"
    assert "'score' is optimized" in str(results["never"].error)
    assert "its last step returned: loss, done." in str(results["never"].error)
    assert isinstance(results["no model"].error, NotImplementedError)  # without us too


def test_a_class_that_cannot_be_reset_fails_as_it_does_without_us(cluster, tmp_path):
    grid = fit(
        wrap_trainable(Kinds, run=ray_synapse.init("once", metric="score", mode="max")),
        storage=tmp_path / "store",
        space={"kind": tune.grid_search(["late"] * 3), "out": str(tmp_path / "out")},
        reuse_actors=True,  # by Tune: two at once, then one of them again
        metric="score",
        mode="max",
    )
    (error,) = grid.errors
    assert "requires reset_config() to be implemented" in str(error)


def test_a_restored_sweep_finds_the_class_by_its_name_and_goes_on(cluster, tmp_path):
    wrapped = wrap_trainable(Resumes, run=ray_synapse.init("resumed"), metric="score")
    flag = tmp_path / "fails"
    flag.touch()
    frequency = tune.CheckpointConfig(checkpoint_frequency=1)
    grid = fit(
        wrapped,
        storage=tmp_path / "store",
        space={"flag": str(flag)},
        metric="score",
        mode="max",
        run_config={"checkpoint_config": frequency},
    )
    assert "the machine is gone" in str(grid[0].error)
    flag.unlink()
    path = str(tmp_path / "store" / "sweep")
    (result,) = tune.Tuner.restore(path, wrapped, resume_errored=True).fit()
    assert result.error is None
    assert result.metrics["training_iteration"] == 4
    # The first step after the restore returned no score: it has the one of the checkpoint.
    assert list(result.metrics_dataframe["score"]) == [1, 5, 5, 1]


def test_the_class_keeps_all_that_it_is_known_by(cluster):
    run = ray_synapse.init("names", metric="score")
    wrapped = wrap_trainable(Resumes, run=run)
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        assert getattr(wrapped, name) == getattr(Resumes, name)
    assert issubclass(wrapped, Resumes)
    bundles = wrapped.default_resource_request({}).bundles
    assert bundles == Resumes.default_resource_request({}).bundles
    again = cloudpickle.loads(cloudpickle.dumps(wrapped))
    assert again.__mro__[1:] == wrapped.__mro__[1:]


def test_what_a_step_returns_becomes_a_result_that_has_the_metric():
    results = _Results("val/score", None)
    assert math.isnan(results.complete(None)["val/score"])
    assert results.complete({"val": {"score": 0, "n": 1}}) == {"val": {"score": 0, "n": 1}}
    assert results.complete({"val": {"n": 2}}) == {"val": {"score": 0, "n": 2}}
    assert results.complete([1]) == {"result": [1], "val": {"score": 0}}
    assert _Results("score", None).complete(0) == {"score": 0}
    assert _Results("training_iteration", None).complete(None) == {}
    assert _Results(None, None).complete({"loss": 1}) == {"loss": 1}


def test_a_class_that_cannot_be_wrapped_is_refused_with_the_way_out():
    class NotTunes: ...

    class NeedsRun(tune.Trainable):
        def setup(self, config, run): ...

    with pytest.raises(TrainableError, match=r"NotTunes is a class.*tune\.Trainable"):
        wrap_trainable(NotTunes)
    with pytest.raises(TrainableError, match="asks for `run`"):
        wrap_trainable(NeedsRun)
    with pytest.raises(TrainableError, match="wrapped already"):
        wrap_trainable(tune.with_resources(wrap_trainable(Kinds), {"cpu": 1}))
    with pytest.raises(TrainableError, match="give the function"):
        wrap_trainable(wrap_function(lambda config: None))
