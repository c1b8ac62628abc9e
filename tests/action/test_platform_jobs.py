"""Each job that the platform's documents show runs as it is written, but smaller."""

import importlib
import json
import os
import signal
import sqlite3
import sys

import pytest
from ray import cloudpickle

from ray_synapse import cli
from ray_synapse.action.plugin import load_plugin
from ray_synapse.artifact import Artifact
from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.backend.database import DATABASE
from ray_synapse.results.upload import upload_model
from tests import sweeps
from tests.action import platform_jobs as jobs

pytestmark = pytest.mark.ray

PLUGIN = """
from pathlib import Path

from ray import tune as ray_tune


def learned(config, epoch):
    return epoch * config["learning_rate"] * config["batch_size"]


def train(run, dataset, hyperparameter, checkpoint, **kwargs):
    assert [each["data"] for each in dataset["train"]] == [{"digit": 7}]
    before = 0.0 if checkpoint is None else float(Path(checkpoint["path"], "model.pth").read_text())
    for epoch in range(hyperparameter["epochs"]):
        score = before + learned(hyperparameter, epoch)
        run.log_metric("training", "loss", 1 - score, epoch=epoch)
        run.log_metric("training", "accuracy", score, epoch=epoch)
    Path("model.pth").write_text(str(score))
    return "model.pth"


def tune(hyperparameter, run, dataset, checkpoint, **kwargs):
    assert [each["data"] for each in dataset["train"]] == [{"digit": 7}]
    output_path = Path("weights").absolute()
    run.checkpoint_output = str(output_path)
    for epoch in range(2):
        score = learned(hyperparameter, epoch)
        run.log_metric("training", "loss", 1 - score, epoch=epoch)
        output_path.mkdir(exist_ok=True)
        Path(output_path, "model.pth").write_text(str(score))
        ray_tune.report(
            {"accuracy": score, "validation_accuracy": score},
            checkpoint=ray_tune.Checkpoint.from_directory(run.checkpoint_output),
        )
"""
FEWER_EPOCHS = ["hyperparameter.epochs=3"]
SMALL = ["tune_config.reuse_actors=true"]  # only so that the test takes seconds, not minutes


@pytest.fixture
def platform(cluster, tmp_path, monkeypatch, capfd):
    """Run a job by the command, on a backend that has the datasets and the model of the jobs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # the command takes it, and this one's file
    handler = signal.getsignal(signal.SIGTERM)
    (tmp_path / "small_plugin.py").write_text(PLUGIN)
    load_plugin("small_plugin")
    module = importlib.import_module("small_plugin")
    cloudpickle.register_pickle_by_value(module)  # this Ray was there before the folder
    (tmp_path / "digits" / "train").mkdir(parents=True)
    (tmp_path / "digits" / "train" / "1.json").write_text('{"digit": 7}')
    api = EmbeddedApi(sweeps.home())
    sweeps.backend().create_job("first", {"status": "SUCCEEDED"})
    for table, before, add in (
        ("datasets", 122, lambda: api.add_dataset(tmp_path / "digits")),
        ("datasets", 455, lambda: api.add_dataset(tmp_path / "digits")),
        ("models", 788, lambda: add_model(tmp_path)),
    ):
        with sqlite3.connect(sweeps.home() / DATABASE) as db:
            db.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
            db.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, before))
        add()

    def run(job, changes, *more):
        (tmp_path / "job.json").write_text(json.dumps(job))
        sets = [part for each in changes for part in ("--set", each)]
        storage = ["--storage-path", str(tmp_path / "results")]
        output = os.dup(1)
        code = cli.main(["run", "job.json", "--plugin", "small_plugin", *sets, *storage, *more])
        os.dup2(output, 1)
        os.close(output)
        said = capfd.readouterr()
        assert code == 0, said.err
        if more:
            return said.out, said.err, None
        newest = sweeps.backend().jobs()[0]
        assert newest["name"] == job["params"]["name"]
        assert newest["status"] == "SUCCEEDED"
        return json.loads(said.out), said.err, newest["id"]

    yield run
    signal.signal(signal.SIGTERM, handler)
    del sys.modules["small_plugin"]


def add_model(folder):
    job = sweeps.backend().create_job("second", {"status": "SUCCEEDED"})
    (folder / "base").mkdir()
    (folder / "base" / "model.pth").write_text("0.5")
    upload_model(sweeps.backend(), job, "base", Artifact(str(folder / "base")), {})


def test_the_trainings_run_and_one_goes_on_from_a_checkpoint(platform):
    for number, job in enumerate((jobs.MODEL, jobs.SIMPLE, jobs.RESUMED), 790):
        result, _, run = platform(job, FEWER_EPOCHS)
        assert result == {"model_id": number}
        (model,) = sweeps.backend().models(run)
        assert model["checkpoint"] == job["params"].get("checkpoint")
    values = [each["data"]["value"] for each in sweeps.backend().logs(run, "metric")]
    assert values[1] == 0.5  # where the model ended that it goes on from


@pytest.mark.parametrize(
    ("job", "changes", "trials"),
    [
        (jobs.TUNING, ["tune_config.num_samples=3"], 3),
        (jobs.GRID, ["tune_config.num_samples=1"], 12),
        (jobs.HYPEROPT, ["tune_config.num_samples=4", "num_gpus=null", "num_cpus=1"], 4),
    ],
    ids=["tuning", "grid", "hyperopt with hyperband"],
)
def test_the_sweeps_run(platform, job, changes, trials):
    summary, _, run = platform(job, [*changes, *SMALL])
    assert len(summary["trial_models"]) == len(sweeps.backend().models(run)) == trials
    names = [each["name"] for each in job["params"]["hyperparameters"]]
    assert all(sorted(each["config"]) == sorted(names) for each in summary["trial_models"])
    metric = job["params"]["tune_config"]["metric"]
    values = {each["model_id"]: each["metrics"][metric] for each in summary["trial_models"]}
    assert values[summary["model_id"]] == max(values.values())
    assert summary["best_trial"]["metrics"][metric] == max(values.values())
    points = len({tuple(each["config"].items()) for each in summary["trial_models"]})
    assert points == trials


def test_144_trials_are_announced_for_the_grid_as_it_is_written(platform):
    planned, said, _ = platform(jobs.GRID, [], "--dry-run")
    assert "144 (12 x a grid of 12), at most 4 at once" in planned
    assert "12 samples of a grid of 12 are 144 trials" in said
