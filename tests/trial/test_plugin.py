"""The platform's functions as functions for Tune."""

import pytest
from ray import tune

import ray_synapse
from ray_synapse.trial.plugin import train_entry
from tests import sweeps


class Held:
    """What of a run the function of a trial needs, for a single report."""

    _heard = None
    checkpoint_output = None

    def log_metric(self, category, key, value):
        self._heard(category, key, value)

    def get_model(self, model):
        return {"id": model, "path": "fetched"}


def returned(function, metric, checkpoint=None):
    return train_entry(function, metric, {})({}, Held(), None, checkpoint)


@pytest.mark.parametrize("metric", ["accuracy", "validation/accuracy"])
def test_a_metric_is_known_by_its_key_or_with_its_category(metric):
    def train(run, dataset, hyperparameter, checkpoint):
        run.log_metric("training", "loss", 0.5)
        run.log_metric("validation", "accuracy", 0.9)
        return {"weights_path": "/weights", "size": 3}

    assert returned(train, metric) == {
        "training/loss": 0.5,
        metric: 0.9,
        "size": 3,
        "checkpoint_output": "/weights",
    }


def test_a_number_that_is_returned_is_the_metric():
    assert returned(lambda run, dataset, hyperparameter, checkpoint: 0.7, "loss") == {"loss": 0.7}


def test_a_checkpoint_that_is_on_another_node_is_fetched(tmp_path):
    got = []

    def train(run, dataset, hyperparameter, checkpoint):
        got.append(checkpoint["path"])

    returned(train, "loss", {"id": 7, "path": str(tmp_path)})
    returned(train, "loss", {"id": 7, "path": str(tmp_path / "elsewhere")})
    assert got == [str(tmp_path), "fetched"]


@pytest.mark.ray
def test_a_trial_that_is_stopped_leaves_nothing_to_the_next_one_in_its_process(cluster, tmp_path):
    def train(run, dataset, hyperparameter, checkpoint):
        for epoch in range(4):
            run.log_metric("validation", "score", hyperparameter["x"] * 10 + epoch, epoch=epoch)

    run = ray_synapse.init("stopped", metric="score", mode="max")
    grid = sweeps.fit(
        ray_synapse.wrap_trainable(train_entry(train, "score", {}), run=run),
        ray_synapse.SynapseLoggerCallback(run),
        storage=tmp_path,
        space={"x": tune.grid_search([4, 3, 2, 1])},
        metric="score",
        mode="max",
        reuse_actors=True,
        max_concurrent_trials=1,
        scheduler=tune.schedulers.ASHAScheduler(max_t=4, grace_period=1, reduction_factor=2),
    )
    lengths = {}
    for result in grid:
        told = list(result.metrics_dataframe["score"])
        x = result.config["x"]
        assert told == [x * 10 + epoch for epoch in range(len(told))]
        lengths[x] = len(told)
    assert lengths == {4: 4, 3: 1, 2: 1, 1: 1}


@pytest.mark.ray
def test_a_trial_that_fails_has_told_how_far_it_came_and_no_secret(cluster, tmp_path, capfd):
    def train(run, dataset, hyperparameter, checkpoint):
        run.log_metric("training", "loss", 0.5, epoch=0)
        run.log_metric("validation", "score", 1, epoch=0)
        raise ValueError("no such layer, password=hunter2222 \x1b[31mred")

    run = ray_synapse.init("failed", metric="score", mode="max")
    grid = sweeps.fit(
        ray_synapse.wrap_trainable(train_entry(train, "score", {}), run=run),
        ray_synapse.SynapseLoggerCallback(run),
        storage=tmp_path,
        metric="score",
        mode="max",
    )
    (result,) = grid
    assert result.error is not None
    assert result.metrics["score"] == 1
    assert result.metrics["training/loss"] == 0.5
    ray_synapse.finish(run, grid)
    told = str(sweeps.backend().logs(run.job_id, "message"))
    assert "ValueError: no such layer, password=*** red" in told
    said = capfd.readouterr().err
    assert [
        line for line in said.splitlines() if "hunter2222" in line and "ray_synapse:" in line
    ] == []
