"""A job that tunes: from its JSON to the summary of a sweep, on the shared Ray."""

import zipfile
from pathlib import Path

import pytest
import ray
from ray import tune

import ray_synapse
from ray_synapse.action.plan import plan
from ray_synapse.action.plugin import Plugin
from ray_synapse.errors import ConfigError, SettingsError, TrainableError
from tests import sweeps

pytestmark = pytest.mark.ray

PARAMS = {
    "name": "net:lr",
    "dataset": 1,
    "is_tune": True,
    "hyperparameters": [{"name": "lr", "type": "grid_search", "options": [0.1, 0.2]}],
    "tune_config": {"metric": "accuracy", "mode": "max", "reuse_actors": True},
}


def load(number, run):
    return [number] * 300_000


@pytest.fixture
def start(cluster, tmp_path, monkeypatch):
    """Start a job, and have its sweep compared with what Tune tells."""
    monkeypatch.chdir(tmp_path)

    def start(params=PARAMS, **options):
        run = ray_synapse.init("by the sdk")
        options = {"load_dataset": load, "run": run, **options}
        config = tune.RunConfig(storage_path=str(tmp_path / "results"), verbose=0)
        action = ray_synapse.TrainAction(params, run_config=config, **options)
        summary = action.start()
        (path,) = [each for each in (tmp_path / "results").iterdir() if each.is_dir()]
        goal = {"default_metric": run.metric or params["tune_config"]["metric"]}
        grid = tune.ResultGrid(tune.ExperimentAnalysis(str(path), default_mode="max", **goal))
        sweeps.remember(grid, run)
        return action, summary, run, grid

    return start


def messages(run):
    return [each["data"]["content"] for each in sweeps.backend().logs(run.job_id, "message")]


def test_a_plugin_with_only_train_is_tuned_by_what_it_logs(start):
    def train(run, dataset, hyperparameter, checkpoint, **kwargs):
        assert ray_synapse.get_run() is run
        assert (len(dataset), checkpoint, kwargs) == (300_000, None, {"image_size": 8})
        for epoch in range(3):
            run.log_metric("training", "loss", 1 - hyperparameter["lr"], epoch=epoch)
            run.log_metric("validation", "accuracy", hyperparameter["lr"] * epoch, epoch=epoch)
            run.log_metric("validation", "recall", epoch / 4, epoch=epoch)
            run.set_progress(epoch, 3, "train")
        run.log_metric("training", "loss", 0.0, epoch=3)
        Path("weights.txt").write_text(f"{hyperparameter['lr']}")
        return "weights.txt"

    action, summary, run, grid = start({**PARAMS, "image_size": 8}, train=train)
    assert action.status == "SUCCEEDED"
    assert len(grid) == len(summary["trial_models"]) == 2
    for result in grid:
        told = result.metrics_dataframe
        assert list(told["accuracy"]) == [result.config["lr"] * epoch for epoch in range(3)]
        assert list(told["training/loss"]) == [1 - result.config["lr"]] * 3
        assert list(told["validation/recall"]) == [0, 0.25, 0.5]  # logged after its accuracy
        assert result.metrics["checkpoint_output"].endswith("weights.txt")
    best = summary["best_trial"]
    assert best["config"] == {"lr": 0.2}
    model = next(each for each in sweeps.backend().models(run.job_id) if "0.2" in read(each))
    assert summary["model_id"] == model["id"]
    assert model["name"].startswith("net%3Alr_")
    job = sweeps.backend().job(run.job_id)
    assert job["status"] == "SUCCEEDED"
    assert job["progress_record"]["current_progress"]["overall"] == 100
    shares = {
        key: each["proportion"] for key, each in job["progress_record"]["record"]["steps"].items()
    }
    assert shares == {"dataset": 20, "train": 75, "trials": 90, "model_upload": 5}
    assert messages(run)[-1] == "The run is complete."


def read(model):
    return zipfile.ZipFile(model["file"]).read("weights.txt").decode()


def test_tune_gets_its_arguments_in_its_own_order_and_the_resources_that_are_asked_for(start):
    base = ray_synapse.TrainAction(
        {"name": "base", "dataset": 1, "hyperparameter": {}},
        train=lambda *arguments: sweeps.write_model("base", "base"),
        load_dataset=load,
    ).start()["model_id"]

    def tune(hyperparameter, run, dataset, checkpoint, **kwargs):
        from ray import tune

        text = Path(checkpoint["path"], "weights.txt").read_text()
        run.checkpoint_output = str(sweeps.write_model("weights", f"{text} {hyperparameter['lr']}"))
        run.log_metric("training", "accuracy", -1.0)  # no report: that is for `train`
        used = ray.get_runtime_context().get_assigned_resources()
        tune.report({"cpus": used["CPU"], "size": len(dataset)})  # the run has no metric of its own
        return hyperparameter["lr"]

    params = {**PARAMS, "name": "two", "checkpoint": base, "num_cpus": 0.5, "num_gpus": 0}
    _, summary, run, grid = start(params, tune=tune, train=lambda *arguments: 1 / 0)
    assert [result.metrics["cpus"] for result in grid] == [0.5, 0.5]
    assert [result.metrics["size"] for result in grid] == [300_000] * 2
    assert [result.metrics["training_iteration"] for result in grid] == [1, 1]
    models = sweeps.backend().models(run.job_id)
    assert {read(each) for each in models} == {"base 0.1", "base 0.2"}
    assert {each["checkpoint"] for each in models} == {base}
    assert summary["best_trial"]["metrics"]["accuracy"] == 0.2


def test_a_sweep_of_which_every_trial_failed_has_failed_and_says_why(start):
    def train(run, dataset, hyperparameter, checkpoint):
        raise ValueError("no such layer")

    action, summary, run, _ = start(train=train)
    assert action.status == sweeps.backend().job(run.job_id)["status"] == "FAILED"
    assert summary["best_trial"] is None
    assert any("no such layer" in each for each in messages(run))
    assert messages(run)[-1] == "The run has ended: FAILED."


def faults(params, **options):
    with pytest.raises(ConfigError) as caught:
        ray_synapse.TrainAction(params, **{"load_dataset": load, "train": print, **options}).start()
    return caught.value.faults


def test_all_faults_of_a_sweep_come_at_once_before_anything_starts(cluster):
    hyperparameters = [{"name": "lr", "type": "uniform", "min": 1, "max": 0}]
    scheduler = {"name": "hyprband", "options": {"max_t": 3}}
    tune_config = {"metric": "accuracy", "mode": "maximum", "scheduler": scheduler}
    found = faults(
        {**PARAMS, "hyperparameters": hyperparameters, "tune_config": tune_config, "num_gpus": 99}
    )
    for word in ("hyperparameter 'lr'", "`mode`", "hyprband", "99 GPU"):
        assert sum(word in each for each in found) == 1, (word, found)
    missing = faults({"name": "a", "dataset": 1, "is_tune": True})
    assert missing[0].startswith("hyperparameters is required when is_tune=True")
    assert missing[1].startswith("tune_config is required when is_tune=True")
    assert sweeps.backend().jobs() == []


def test_the_name_of_a_job_that_runs_is_taken_for_a_sweep_too(cluster):
    ray_synapse.init("net:lr")
    (fault,) = faults(PARAMS)
    assert fault.startswith('name: "net:lr" is taken: job 1 of this name still runs')


def test_the_address_is_that_of_the_cluster(cluster):
    with pytest.raises(SettingsError, match=r"address is '127.0.0.1:1', but this process is"):
        ray_synapse.TrainAction(
            PARAMS, train=print, load_dataset=load, address="127.0.0.1:1"
        ).check()


def test_a_dataset_that_cannot_go_to_the_trials_is_named(cluster):
    run = ray_synapse.init("by the sdk")
    action = ray_synapse.TrainAction(
        PARAMS, train=print, run=run, load_dataset=lambda number, run: (each for each in [1])
    )
    with pytest.raises(TrainableError, match=r"the dataset, a generator, cannot go to the trials"):
        action.start()
    assert sweeps.backend().job(run.job_id)["status"] == "FAILED"


def test_a_metric_that_is_another_one_than_the_runs_is_a_fault(cluster):
    run = ray_synapse.init("by the sdk", metric="loss", mode="min")
    found = faults(PARAMS, run=run)
    assert [each.split(":")[0] for each in found] == ["tune_config", "tune_config"]


def test_the_plan_says_what_would_run_and_runs_nothing(cluster):
    params = {
        **PARAMS,
        "num_cpus": 2,
        "hyperparameters": [
            *PARAMS["hyperparameters"],
            {"name": "width", "type": "qrandint", "min": 16, "max": 64, "q": 16},
        ],
        "tune_config": {
            **PARAMS["tune_config"],
            "num_samples": 4,
            "max_concurrent_trials": 2,
            "scheduler": {"name": "asha", "options": {"max_t": 3}},
        },
    }
    plugin = Plugin(train=print, load_dataset=load)
    text = plan(ray_synapse.TrainAction(params, **vars(plugin)).check(), plugin)
    for words in (
        "net:lr",
        "8 (4 x a grid of 2), at most 2 at once",
        "max accuracy",
        "lr: grid_search, options=[0.1,0.2]",
        "width: qrandint, min=16, max=64, q=16",
        "basicvariantgenerator",
        "asha, max_t=3",
        "2 CPU for each trial",
        "train()",
    ):
        assert words in text, text
    assert sweeps.backend().jobs() == []
