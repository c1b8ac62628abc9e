"""The examples for Ray's own callbacks of other libraries, and the plugin, run as a user does."""

import importlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest
from ray import cloudpickle, tune
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
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


# The plugin and its three jobs.

# Tune asks a searcher for the next trial when the one before has begun. These are so short that
# hyperband would now and then have none to compare; so all that may be there are asked for at once.
AT_ONCE = {"TUNE_MAX_PENDING_TRIALS_PG": "4"}


@pytest.fixture
def desk(tmp_path):
    """A copy of the examples, to run them in."""
    return shutil.copytree(
        EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__")
    )


def run_job(desk, file, *options):
    """Gives the result, which is all that is printed, and the job as the backend has it."""
    installed = Path(sys.executable).parent / "ray-synapse"
    command = [installed] if installed.exists() else [sys.executable, "-m", "ray_synapse"]
    done = subprocess.run(
        [*command, "run", file, "--plugin", "digits_plugin", *options],
        cwd=desk,
        env={**os.environ, **AT_ONCE, "HOME": str(desk.parent), "RAY_ADDRESS": "local"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    result = json.loads(done.stdout)
    job = sweeps.backend().job(sweeps.backend().jobs()[0]["id"])
    assert job["status"] == "SUCCEEDED"
    assert job["progress_record"]["current_progress"]["overall"] == 100
    assert job["result"] == result
    return result, job


def accuracies(job):
    """What run.log_metric logged: by trial (None: of a training) the accuracy after each epoch."""
    curves = defaultdict(list)
    for record in sweeps.backend().logs(job["id"], "metric"):
        data = record["data"]
        if (data["category"], data["key"]) == ("validation", "accuracy"):
            curve = curves[data.get("trial_id")]
            curve.append(data["value"])
            assert data["metrics"] == {"epoch": len(curve)}  # none is missing, or there twice
    return curves


def unpacked_accuracy(model, folder):
    """The accuracy on the data that was held back, from the model's archive alone; its epochs."""
    zipfile.ZipFile(model["file"]).extractall(folder)
    learned, epochs = pickle.loads((folder / "model.pkl").read_bytes())
    digits = load_digits()
    _, images, _, labels = train_test_split(
        digits.data / 16, digits.target, test_size=0.25, random_state=0
    )
    return learned.score(images, labels), epochs


def test_the_training_makes_a_model_from_which_a_second_one_goes_on(desk, tmp_path):
    first, job = run_job(desk, "training.json")
    (begun,) = accuracies(job).values()
    (model,) = sweeps.backend().models(job["id"])
    assert first == {"model_id": model["id"]}
    assert (job["name"], model["name"]) == ("digits%3A training",) * 2
    assert unpacked_accuracy(model, tmp_path / "first") == (pytest.approx(begun[-1]), 10)
    assert len(sweeps.backend().logs(job["id"], "visualization")) == 10

    goes_on = (f"checkpoint={first['model_id']}", "name=digits: more", "hyperparameter.epochs=2")
    second, job = run_job(desk, "training.json", *(f"--set={each}" for each in goes_on))
    (gone_on,) = accuracies(job).values()
    (model,) = sweeps.backend().models(job["id"])
    assert second == {"model_id": model["id"]}
    assert model["checkpoint"] == first["model_id"]
    assert unpacked_accuracy(model, tmp_path / "second") == (pytest.approx(gone_on[-1]), 2)
    assert gone_on[0] > begun[0] + 0.02


@pytest.mark.parametrize(
    ("file", "trials", "epochs"),
    [("grid_search.json", 4, 5), ("hyperopt_hyperband.json", 6, 6)],
    ids=["grid_search", "hyperopt_hyperband"],
)
def test_a_sweep_has_a_model_of_each_trial_that_does_as_well_as_was_logged(
    desk, tmp_path, file, trials, epochs
):
    result, job = run_job(desk, file)
    curves, found = accuracies(job), {}
    for each in result["trial_models"]:
        model = next(m for m in sweeps.backend().models(job["id"]) if m["id"] == each["model_id"])
        trial = model["name"].removeprefix(f"{job['name']}_")
        told = each["metrics"]["accuracy"]
        assert told == curves[trial][-1]
        reached = unpacked_accuracy(model, tmp_path / trial)
        assert reached == (pytest.approx(told), len(curves[trial]))
        found[trial] = told
    assert len(found) == len(curves) == trials
    best = job["best_trial"]["trial_id"]
    assert found[best] == max(found.values())
    assert result["best_trial"]["metrics"]["accuracy"] == found[best]

    lengths = {len(curve) for curve in curves.values()}
    assert max(lengths) == epochs
    assert (min(lengths) < epochs) == ("hyperband" in file)  # it stopped some of them early

    (experiment,) = (tmp_path / "ray_results").glob("tune_*")
    goal = {"default_metric": "accuracy", "default_mode": "max"}
    agree(tune.ResultGrid(tune.ExperimentAnalysis(str(experiment), **goal)), job["id"])
