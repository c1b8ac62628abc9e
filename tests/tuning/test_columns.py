"""The columns of the table, over a whole sweep whose trials report whatever they like."""

from itertools import pairwise

import pytest
from ray import tune

from ray_synapse import SynapseLoggerCallback
from ray_synapse.table import MAX_METRICS
from tests.sweeps import fit, wait_for

pytestmark = pytest.mark.ray

STEPS = 4
STEP_S = 0.3  # a table is sent about every second: a sweep of several seconds has several
OPTIMIZED = "val/score"  # nested: Tune's name of {"val": {"score": ...}}


class Foreign:
    """Keeps every table that it is given."""

    def __init__(self):
        self.tables = []

    def log_trials(self, *, trials, base, hyperparameters, metrics, best_trial):
        self.tables.append((trials, base, hyperparameters, metrics, best_trial))


def train(config):
    import time

    kind = config["kind"]
    if kind == "none":
        return
    for step in range(1, STEPS + 1):
        score = {"val": {"score": float(step)}}
        reports = {
            "hundred": {f"m{number:02}": number * step for number in range(99)} | score,
            "nested": {"train": {"loss": {"total": 1 / step, "l2": 0.1}}, **score},
            "changing": {f"only_in_{step}": step, **score},
            "late": score if step == STEPS else {"nan": float("nan"), "text": "x", "flag": True},
        }
        tune.report(reports[kind])
        time.sleep(STEP_S)


def is_beginning(before, after):
    return after[: len(before)] == before


def test_columns_stay_where_they_are_and_rows_have_what_their_trials_reported(cluster, tmp_path):
    foreign = Foreign()
    grid = fit(
        train,
        SynapseLoggerCallback(foreign, metric=OPTIMIZED, mode="max"),
        storage=tmp_path,
        space={
            "kind": tune.grid_search(["none", "changing", "nested", "hundred", "late"]),
            "optimizer": tune.sample_from(
                lambda config: {
                    "none": {"sgd": {"momentum": 0.9}},
                    "changing": {"adam": {"betas": [0.9, 0.99]}},
                    "nested": {"adam": {"eps": 1e-8}, "clip": None},
                    "hundred": {},
                }.get(config["kind"], "lion")
            ),
            "data": tune.choice([{"crop": 32}, {"flip": {"p": 0.5}}]),
        },
        reuse_actors=True,
        max_concurrent_trials=1,
    )
    assert grid.num_errors == 0
    wait_for(lambda: foreign.tables and foreign.tables[-1][4])
    assert_columns_only_ever_come_at_the_end(foreign.tables)
    assert_rows_have_what_their_trials_reported(grid, *foreign.tables[-1])


def assert_columns_only_ever_come_at_the_end(tables):
    assert len(tables) > 3
    for before, after in pairwise(tables):
        for kind in (1, 2, 3):  # base, hyperparameters, metrics
            assert is_beginning(before[kind], after[kind])
    for trials, base, hyperparameters, metrics, _ in tables:
        assert metrics[0] == OPTIMIZED
        assert len(metrics) <= MAX_METRICS
        assert len(set(hyperparameters)) == len(hyperparameters)
        assert len(set(metrics)) == len(metrics)
        for row in trials.values():
            assert len(row["base"]) == len(base)
            assert len(row["hyperparameters"]) == len(hyperparameters)
            assert len(row["metrics"]) == len(metrics)
    assert tables[0][3] == [OPTIMIZED]
    assert tables[-1][3][1:] == ["only_in_1", "only_in_2", "only_in_3"]


def assert_rows_have_what_their_trials_reported(
    grid, trials, base, hyperparameters, metrics, best_trial
):
    assert set(hyperparameters) == {
        *("kind", "optimizer", "optimizer/sgd/momentum", "optimizer/adam/betas"),
        *("optimizer/adam/eps", "optimizer/clip"),
        *{"data/crop" if "crop" in each.config["data"] else "data/flip/p" for each in grid},
    }
    for result in grid:
        config = result.config
        row = next(row for row in trials.values() if config["kind"] in row["hyperparameters"])
        cells = dict(zip(hyperparameters, row["hyperparameters"], strict=True))
        assert cells["data/crop" if "crop" in config["data"] else "data/flip/p"] in (32, 0.5)
        values = dict(zip(metrics, row["metrics"], strict=True))
        if config["kind"] == "none":
            assert set(values.values()) == {None}
        else:
            assert values.pop(OPTIMIZED) == STEPS
            expected = {"only_in_1": 1, "only_in_2": 2, "only_in_3": 3}
            assert values == (expected if config["kind"] == "changing" else dict.fromkeys(expected))
        assert row["base"][1] == "TERMINATED"
    assert best_trial in trials
