"""The whole ``tune_config``: what becomes of it, and real sweeps of it."""

import json
import logging
import math
import re
import signal
import tempfile
import time
from pathlib import Path

import pytest
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler
from ray.tune.search import BasicVariantGenerator

import ray_synapse
from ray_synapse import (
    ConfigError,
    LibraryError,
    create_param_space,
    create_searcher,
    create_tune_config,
)
from tests.action.platform_jobs import GRID, HYPEROPT
from tests.sweeps import QUIET, fit, remember, run_script, wait_for

LR = {"name": "lr", "type": "loguniform", "min": 1e-4, "max": 1, "base": 10}
WIDTH = {"name": "net/width", "type": "qrandint", "min": 8, "max": 64, "q": 8}
SPACE = [LR, WIDTH]
GOAL = {"metric": "accuracy", "mode": "max"}
QUICK = {"reuse_actors": True}  # so that a sweep takes seconds, where it does not matter
POINTS = [{"lr": 0.0123, "net": {"width": 64}}, {"lr": 1, "net/width": 8}]


def test_every_field_reaches_tune():
    config = create_tune_config(
        {
            **GOAL,
            "num_samples": 12,
            "max_concurrent_trials": 3,
            "search_alg": "optuna",
            "scheduler": {"name": "asha", "options": {"max_t": 5}},
            "time_budget_s": 60.5,
            "reuse_actors": True,
            "seed": 1,
        },
        SPACE,
    )
    assert isinstance(config, tune.TuneConfig)
    assert (config.metric, config.mode, config.num_samples) == ("accuracy", "max", 12)
    assert (config.max_concurrent_trials, config.time_budget_s) == (3, 60.5)
    assert config.reuse_actors is True
    assert type(config.search_alg).__name__ == "OptunaSearch"
    assert isinstance(config.scheduler, AsyncHyperBandScheduler)


def test_what_is_not_given_is_as_in_tune():
    config = create_tune_config(GOAL, SPACE)
    plain = tune.TuneConfig()
    for name in ("num_samples", "max_concurrent_trials", "time_budget_s", "reuse_actors"):
        assert getattr(config, name) == getattr(plain, name)
    assert type(config.search_alg).__name__ == "BasicVariantGenerator"
    assert isinstance(config.scheduler, FIFOScheduler)


def test_the_faults_of_all_parts_come_in_one_error():
    with pytest.raises(ConfigError) as caught:
        create_tune_config({"mode": "maximum", "scheduler": "ashaa"}, [{**LR, "min": 0}])
    text = str(caught.value)
    assert len(caught.value.faults) == 4
    for part in ("`metric` is missing", '"maximum"', '"ashaa"', "hyperparameter 'lr': `min` is 0"):
        assert part in text
    config = {**GOAL, "scheduler": "hyperband", "search_alg": "hyperopt"}
    with pytest.raises(ConfigError) as caught:
        create_tune_config(config, [{"name": "g", "type": "grid_search", "options": [1, 2]}])
    assert len(caught.value.faults) == 2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_samples": 12}, "12 samples of a grid of 12 are 144 trials"),
        ({"num_samples": -1}, "the grid of 12 combinations is repeated until"),
        ({"num_samples": 1}, None),
    ],
)
def test_a_grid_that_multiplies_the_samples_is_told(fields, said, capsys):
    sizes = {"a": 3, "b": 2, "c": 2}
    grid = [
        {"name": name, "type": "grid_search", "options": list(range(size))}
        for name, size in sizes.items()
    ]
    create_tune_config({**GOAL, **fields}, [*grid, LR])
    assert (said or "") in capsys.readouterr().err
    if said is None:
        assert capsys.readouterr().err == ""


def test_more_points_than_samples_are_told(capsys):
    points = [{"lr": 0.1, "net/width": 8}] * 3
    search_alg = {"name": "hyperopt", "points_to_evaluate": points}
    create_tune_config({**GOAL, "num_samples": 2, "search_alg": search_alg}, SPACE)
    assert "there are 3 points_to_evaluate, and num_samples is 2" in capsys.readouterr().err


# Real sweeps


def learn(config):
    """Three epochs with checkpoints."""
    first = 1
    checkpoint = tune.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            first = int(Path(folder, "epoch").read_text()) + 1
    for epoch in range(first, 4):
        time.sleep(0.1)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "epoch").write_text(str(epoch))
            accuracy = epoch * (1 - (math.log10(config["lr"]) + 2) ** 2 / 10)
            tune.report({"accuracy": accuracy}, checkpoint=tune.Checkpoint.from_directory(folder))


def forget(config):
    for epoch in range(1, 4):
        tune.report({"accuracy": epoch * config["lr"]})


def sweep(trainable, tune_config, storage, *callbacks, space=SPACE, cpu=0.4):
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": cpu}),
        param_space=create_param_space(space) if isinstance(space, list) else space,
        tune_config=create_tune_config(tune_config, space),
        run_config=tune.RunConfig(storage_path=str(storage), callbacks=[*callbacks], **QUIET),
    ).fit()


class AtOnce(tune.Callback):
    """Counts trials at once, and lets them end when two run for so long that a third would come."""

    STEPS = 5  # of Tune's loop, which makes a trial in the first one in which it may

    def __init__(self, folder):
        self.go, self.most, self.steps = folder / "go", 0, 0

    def on_step_end(self, iteration, trials, **info):
        self.most = max(self.most, sum(not trial.is_finished() for trial in trials))
        self.steps += sum(trial.status == "RUNNING" for trial in trials) >= 2
        if self.steps == self.STEPS:
            self.go.touch()

    def trial(self, config):
        wait_for(self.go.exists, 60)
        tune.report({"accuracy": config["lr"]})


def in_order(grid):
    """The results in the order in which their trials were made."""
    return sorted(grid, key=lambda result: int(re.search(r"_(\d+)_(?:lr=|20)", result.path)[1]))


@pytest.mark.ray
@pytest.mark.parametrize("name", ["basicvariantgenerator", "hyperopt", "optuna", "bayesopt"])
def test_a_sweep_by_each_searcher_starts_with_the_points_and_keeps_its_limit(
    cluster, tmp_path, name
):
    search_alg = {"name": name, "points_to_evaluate": POINTS}
    if name == "bayesopt":
        search_alg["options"] = {"random_search_steps": 3}
    config = {**GOAL, "num_samples": 5, "max_concurrent_trials": 2, "search_alg": search_alg}
    at_once = AtOnce(tmp_path)
    grid = sweep(at_once.trial, {**config, **QUICK, "seed": 1}, tmp_path, at_once)
    assert (len(grid), grid.num_errors) == (5, 0)
    assert at_once.most == 2
    configs = [result.config for result in in_order(grid)]
    assert configs[:2] == [
        {"lr": 0.0123, "net": {"width": 64}},
        {"lr": 1, "net": {"width": 8}},
    ]
    for each in configs:
        assert 1e-4 <= each["lr"] <= 1
        assert type(each["net"]["width"]) is int
        assert each["net"]["width"] in range(8, 65, 8)


@pytest.mark.ray
def test_tune_does_not_say_that_a_limit_is_ignored_which_holds(cluster, tmp_path, caplog):
    logger = logging.getLogger("ray.tune.tune")
    caplog.set_level(logging.WARNING, "ray.tune.tune")
    logger.addHandler(caplog.handler)
    try:
        config = {**GOAL, "num_samples": 1, "max_concurrent_trials": 2, "seed": 1}
        sweep(forget, config, tmp_path)
        assert "will be ignored" not in caplog.text
        fit(  # Ray's own searcher, of which it is true
            forget,
            storage=tmp_path,
            space={"lr": 0.1},
            search_alg=BasicVariantGenerator(),
            max_concurrent_trials=2,
        )
        assert "will be ignored" in caplog.text
    finally:
        logger.removeHandler(caplog.handler)


@pytest.mark.ray
@pytest.mark.parametrize("name", ["random", "optuna"])
def test_a_searcher_alone_keeps_the_limit_of_its_tune_config(cluster, tmp_path, name):
    config, at_once = {**GOAL, "max_concurrent_trials": 2, "search_alg": name}, AtOnce(tmp_path)
    grid = fit(
        tune.with_resources(at_once.trial, {"cpu": 0.4}),
        at_once,
        storage=tmp_path,
        space=create_param_space(SPACE),
        search_alg=create_searcher(config, SPACE),
        num_samples=3,
        **GOAL,
        **QUICK,
    )
    assert (len(grid), grid.num_errors) == (3, 0)
    assert at_once.most == 2


@pytest.mark.ray
@pytest.mark.parametrize("name", ["hyperopt", "optuna", "bayesopt"])
def test_a_metric_that_is_no_number_does_not_end_the_sweep(cluster, tmp_path, name):
    def sometimes(config):
        tune.report({"accuracy": None})
        tune.report({"accuracy": float("nan") if config["lr"] > 0.01 else config["lr"]})

    config = {**GOAL, **QUICK, "num_samples": 4, "seed": 1, "search_alg": name}
    grid = sweep(sometimes, config, tmp_path, cpu=2)
    assert (len(grid), grid.num_errors) == (4, 0)


@pytest.mark.ray
def test_a_sweep_is_limited_by_resources_alone_without_max_concurrent_trials(cluster, tmp_path):
    running = tmp_path / "running"
    running.mkdir()

    def meet(config):
        (running / str(config["lr"])).touch()
        wait_for(lambda: len([*running.iterdir()]) == 3, 60)
        tune.report({"accuracy": config["lr"]})

    assert sweep(meet, {**GOAL, "num_samples": 3}, tmp_path).num_errors == 0


SCHEDULERS = {
    "fifo": {},
    "hyperband": {"max_t": 3},
    "asha": {"max_t": 3},
    "median": {"time_attr": "training_iteration", "grace_period": 1, "min_samples_required": 1},
    "resource_changing": {"base_scheduler": {"name": "asha", "options": {"max_t": 3}}},
}


@pytest.mark.ray
@pytest.mark.parametrize(
    ("name", "search_alg"),
    [
        *(("fifo", None), ("hyperband", None), ("resource_changing", None)),
        *(("hyperband", "optuna"), ("asha", "hyperopt"), ("median", "optuna")),
    ],
)
def test_a_sweep_by_each_scheduler_runs_to_its_end(cluster, tmp_path, name, search_alg, capfd):
    scheduler = {"name": name, "options": SCHEDULERS[name]}
    trials = 2 if name == "resource_changing" else 4  # it starts each anew with more
    config = {**GOAL, "num_samples": trials, "search_alg": search_alg, "scheduler": scheduler}
    config["reuse_actors"] = name != "resource_changing"  # only to save seconds
    grid = sweep(learn, config, tmp_path, cpu=1)
    assert (len(grid), grid.num_errors, grid.num_terminated) == (trials, 0, trials)
    assert max(result.metrics["training_iteration"] for result in grid) == 3
    assert "starts over" not in capfd.readouterr().err


@pytest.mark.ray
@pytest.mark.parametrize(
    ("name", "field", "type_"),
    [
        ("pbt", "hyperparam_mutations", "loguniform"),
        ("pb2", "hyperparam_bounds", "uniform"),
    ],
)
def test_a_sweep_by_population_based_training_changes_configs(
    cluster, tmp_path, name, field, type_
):
    changed = {"name": "lr", "type": type_, "min": 1e-4, "max": 1}
    options = {"time_attr": "training_iteration", "perturbation_interval": 1, field: [changed]}
    if name == "pbt":
        changed["base"] = 10
        options[field] += [WIDTH, {"name": "kind", "type": "choice", "options": ["a", "b", "c"]}]
        options |= {"quantile_fraction": 0.5, "resample_probability": 0}
    config = {**GOAL, "num_samples": 4, "scheduler": {"name": name, "options": options}}
    config |= QUICK
    try:
        grid = sweep(learn, config, tmp_path, cpu=1)
    except LibraryError as error:
        pytest.skip(str(error))  # pb2 of older Rays needs GPy
    assert (len(grid), grid.num_errors) == (4, 0)
    for result in grid:
        assert result.metrics["training_iteration"] == 3
        assert result.config["net"]["width"] in range(8, 65, 8)
        assert 1e-4 <= result.config["lr"] <= 1
        assert result.config.get("kind") in ("a", "b", "c", None)


@pytest.mark.ray
def test_a_sweep_replays_what_population_based_training_did(cluster, tmp_path):
    policy = tmp_path / "pbt_policy_1.txt"
    old, new = {"lr": 0.1, "net": {"width": 8}}, {"lr": 0.5, "net": {"width": 16}}
    policy.write_text(json.dumps(["1_lr=0.1", "2_lr=0.5", 2, 2, old, new]) + "\n")
    scheduler = {"name": "pbt_replay", "options": {"policy_file": str(policy)}}
    grid = sweep(learn, {**GOAL, "scheduler": scheduler}, tmp_path)
    assert (len(grid), grid.num_errors) == (1, 0)
    assert grid[0].config == new


@pytest.mark.ray
def test_a_paused_trial_that_starts_over_is_told_once(cluster, tmp_path, capfd):
    scheduler = {"name": "hyperband", "options": {"max_t": 3}}
    config = {**GOAL, **QUICK, "num_samples": 4, "scheduler": scheduler}
    grid = sweep(forget, config, tmp_path, cpu=1)
    assert grid.num_errors == 0
    said = capfd.readouterr().err
    assert said.count("which had saved no checkpoint") == 1
    assert "HyperBandScheduler paused trial" in said


KILLED = """
import os, signal
import ray
from ray import tune
from ray_synapse import create_tune_config
from tests.tuning.test_tune_config import RESTORED, SPACE, forget
from ray_synapse import create_param_space

class Kill(tune.Callback):
    def on_trial_start(self, iteration, trials, trial, **info):
        # Tune restores callbacks too: not a second time.
        if len(trials) == 4 and not os.path.exists(f"{STORAGE}/killed"):
            open(f"{STORAGE}/killed", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)

ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
tune.Tuner(
    forget,
    param_space=create_param_space(SPACE),
    tune_config=create_tune_config(RESTORED, SPACE),
    run_config=tune.RunConfig(name="sweep", storage_path=STORAGE, callbacks=[Kill()], verbose=0),
).fit()
"""
RESTORED = {
    **GOAL,
    **QUICK,
    "num_samples": 6,
    "max_concurrent_trials": 1,
    "search_alg": {"name": "bayesopt", "points_to_evaluate": POINTS, "options": {"seed": 1}},
}


@pytest.mark.ray
def test_a_sweep_whose_script_was_killed_goes_on_with_what_its_searcher_knew(cluster, tmp_path):
    killed = run_script(
        f"STORAGE = {str(tmp_path)!r}\n{KILLED}",
        check=False,
        env={
            "TUNE_GLOBAL_CHECKPOINT_S": "0",
            "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC": "0",
        },
        cwd=Path(__file__).parents[2],
    )
    assert killed.returncode == -signal.SIGKILL
    param_space = create_param_space(SPACE)
    restored = tune.Tuner.restore(str(tmp_path / "sweep"), forget, param_space=param_space)
    grid = restored.fit()
    assert (len(grid), grid.num_errors) == (6, 0)
    rates = [result.config["lr"] for result in in_order(grid)]
    assert rates[:2] == [0.0123, 1]  # and never again
    assert len(set(rates)) == 6


# The platform's own examples, as they are written


def small(config):
    rate = config["learning_rate"]
    for _ in range(2):
        tune.report({"validation_accuracy": rate * config["batch_size"]})


def example(job):
    """Its search space and tune_config; with reuse_actors the test takes seconds, not minutes."""
    params = job["params"]
    return params["hyperparameters"], {**params["tune_config"], **QUICK}


@pytest.fixture
def no_files_of_tune(monkeypatch):
    """Tune's own loggers take longer than these trials, and nothing here reads their files."""
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")


@pytest.mark.ray
def test_the_platforms_example_of_a_grid_search_runs(cluster, tmp_path, capfd, no_files_of_tune):
    hyperparameters, tune_config = example(GRID)
    grid = sweep(small, tune_config, tmp_path, space=hyperparameters)
    assert (len(grid), grid.num_errors) == (144, 0)
    counts = {}
    for result in grid:
        key = tuple(result.config[name] for name in ("batch_size", "learning_rate", "optimizer"))
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 12
    assert set(counts.values()) == {12}
    assert grid.get_best_result().config["batch_size"] == 64
    assert "12 samples of a grid of 12 are 144 trials" in capfd.readouterr().err


@pytest.mark.ray
def test_the_platforms_example_of_hyperopt_with_hyperband_runs(cluster, tmp_path, no_files_of_tune):
    hyperparameters, tune_config = example(HYPEROPT)
    grid = sweep(small, tune_config, tmp_path, space=hyperparameters)
    assert (len(grid), grid.num_errors) == (50, 0)
    for result in grid:
        assert result.config["batch_size"] in (16, 32, 64, 128)
        assert 0.00001 <= result.config["learning_rate"] <= 0.01
    best = grid.get_best_result()
    values = [result.metrics["validation_accuracy"] for result in grid]
    assert best.metrics["validation_accuracy"] == max(values)


@pytest.mark.ray
def test_a_sweep_from_json_is_tracked_like_any_other(cluster, tmp_path):
    run = ray_synapse.init("from json", metric="accuracy", mode="max")
    tuner = tune.Tuner(
        learn,
        param_space=create_param_space(SPACE),
        tune_config=create_tune_config({**GOAL, "num_samples": 2, "search_alg": "optuna"}, SPACE),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path),
            callbacks=[ray_synapse.SynapseLoggerCallback(run)],
            **QUIET,
        ),
    )
    grid = tuner.fit()
    remember(grid, run)
    summary = ray_synapse.finish(run, grid)
    assert set(summary["best_trial"]["config"]) == {"lr", "net"}
    assert len(summary["trial_models"]) == 2
