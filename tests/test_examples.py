"""The examples for Ray's own callbacks of other libraries, run as a user runs them."""

import importlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
from ray import cloudpickle, tune
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.model_selection import train_test_split

import ray_synapse
from tests import sweeps
from tests.agreement import agree

pytestmark = pytest.mark.ray

EXAMPLES = Path(__file__).parents[1] / "examples"


class Case(NamedTuple):
    """An example, as far as a test must know it."""

    script: str
    function: str
    experiment: str
    metrics: list[str]
    trials: int


XGBOOST = Case("xgboost_sweep.py", "train_cancer", "cancer", ["logloss", "error"], 6)
LIGHTGBM = Case("lightgbm_sweep.py", "train_diabetes", "diabetes", ["rmse", "mae"], 4)


@pytest.fixture(params=[XGBOOST, LIGHTGBM], ids=["xgboost", "lightgbm"])
def case(request):
    pytest.importorskip(request.param.script.removesuffix("_sweep.py"))
    return request.param


def value_of(case, folder):
    """The optimized metric on the test data, from the model in the folder alone."""
    load = load_breast_cancer if case is XGBOOST else load_diabetes
    _, rows, _, targets = train_test_split(*load(return_X_y=True), test_size=0.25, random_state=0)
    if case is XGBOOST:
        import xgboost

        model = xgboost.Booster(model_file=folder / "model.ubj")
        return log_loss(targets, model.predict(xgboost.DMatrix(rows)))
    import lightgbm

    model = lightgbm.Booster(model_file=folder / "model.txt")
    return root_mean_squared_error(targets, model.predict(rows))


def check(case, grid, job, tmp_path):
    """The columns, each trial's curve, and each trial's model, against what Tune says."""
    backend = sweeps.backend()
    assert backend.trials(job)["metrics"] == case.metrics
    assert len(grid) == len(backend.models(job))
    logged = [record["data"] for record in backend.logs(job, "metric")]
    for result in grid:
        trial, told = result.metrics["trial_id"], result.metrics_dataframe
        points = [each for each in logged if each["trial_id"] == trial]
        assert [each["value"] for each in points] == list(told["training_iteration"])
        for metric in case.metrics:
            curve = [each["metrics"][metric] for each in points]
            assert curve == pytest.approx(list(told[metric]))

        name = f"{backend.job(job)['name']}_{trial}"
        model = backend.find_model(name)
        assert model is not None, name
        zipfile.ZipFile(model["file"]).extractall(tmp_path / trial)
        last = result.metrics[case.metrics[0]]
        assert value_of(case, tmp_path / trial) == pytest.approx(last, rel=1e-4)


def test_an_example_runs_as_it_is_and_each_trial_has_its_curve_and_a_model_that_predicts(
    case, tmp_path
):
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / case.script)],
        env={**os.environ, "HOME": str(tmp_path), "RAY_ADDRESS": "local"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert "best trial: {" in result.stdout
    assert f"models: {case.trials}, the best one is " in result.stdout

    (job,) = [each["id"] for each in sweeps.backend().jobs()]
    path = str(tmp_path / "ray_results" / case.experiment)
    goal = {"default_metric": case.metrics[0], "default_mode": "min"}
    grid = tune.ResultGrid(tune.ExperimentAnalysis(path, **goal))
    assert len(grid) == case.trials
    check(case, grid, job, tmp_path)
    agree(grid, job)


def test_the_function_of_an_example_may_be_wrapped(case, cluster, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    example = importlib.import_module(case.script.removesuffix(".py"))
    cloudpickle.register_pickle_by_value(example)  # the workers cannot import it
    goal = {"metric": case.metrics[0], "mode": "min"}
    run = ray_synapse.init("wrapped", **goal)
    grid = sweeps.fit(
        ray_synapse.wrap_trainable(getattr(example, case.function), run=run),
        ray_synapse.SynapseLoggerCallback(run),
        storage=tmp_path,
        num_samples=2,
        reuse_actors=True,
        **goal,
    )
    ray_synapse.finish(run, grid)
    assert len(grid) == 2
    check(case, grid, run.job_id, tmp_path)
