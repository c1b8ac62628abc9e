"""The table of all trials."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_synapse.table import (
    MAX_HYPERPARAMETERS,
    MAX_METRICS,
    Columns,
    Table,
    estimate_bytes,
)
from ray_synapse.values import dumps


def row(table: Table, trial_id: str) -> Any:
    return table.snapshot()["trials"][trial_id]  # type: ignore[call-overload, index]


def test_a_snapshot_has_the_documented_form() -> None:
    table = Table("accuracy")
    table.set_config("t1", {"lr": 0.1, "net": {"width": 32}})
    table.set_status("t1", "RUNNING")
    table.set_metrics("t1", {"accuracy": 0.85})
    assert table.snapshot() == {
        "base": ["trial_id", "status"],
        "hyperparameters": ["lr", "net/width"],
        "metrics": ["accuracy"],
        "trials": {
            "t1": {"base": ["t1", "RUNNING"], "hyperparameters": [0.1, 32], "metrics": [0.85]}
        },
        "best_trial": "",
    }


def test_an_empty_table_is_a_snapshot_too() -> None:
    snapshot = Table().snapshot()
    assert snapshot["trials"] == {}
    assert len(Table()) == 0
    assert estimate_bytes(snapshot) == 0


def test_rows_stay_in_the_order_in_which_the_trials_came() -> None:
    table = Table()
    for trial in ("b", "a", "c"):
        table.set_status(trial, "PENDING")
    table.set_status("a", "RUNNING")
    assert list(table.snapshot()["trials"]) == ["b", "a", "c"]  # type: ignore[arg-type]


def test_the_optimized_metric_is_first_even_if_it_comes_last() -> None:
    table = Table("accuracy")
    table.set_metrics("t1", {"loss": 1, "time": 2})
    table.set_metrics("t1", {"loss": 1, "accuracy": 3})
    assert table.snapshot()["metrics"] == ["accuracy", "loss", "time"]
    assert row(table, "t1")["metrics"] == [3, 1, 2]


def test_at_most_four_metrics_are_columns_the_optimized_one_among_them() -> None:
    table = Table("accuracy")
    table.set_metrics("t1", {f"m{index}": index for index in range(10)} | {"accuracy": 1})
    assert table.snapshot()["metrics"] == ["accuracy", "m0", "m1", "m2"]
    table = Table()
    table.set_metrics("t1", {f"m{index}": index for index in range(10)})
    assert table.snapshot()["metrics"] == ["m0", "m1", "m2", "m3"]


def test_a_table_that_goes_on_keeps_the_order_of_its_columns() -> None:
    columns = Columns(["width", "lr"], ["accuracy", "loss"])
    table = Table("accuracy", columns)
    table.set_config("t1", {"lr": 1, "depth": 3, "width": 2})
    table.set_metrics("t1", {"loss": 5, "f1": 6, "accuracy": 4})
    snapshot = table.snapshot()
    assert snapshot["hyperparameters"] == ["width", "lr", "depth"]
    assert snapshot["metrics"] == ["accuracy", "loss", "f1"]


def test_a_table_that_goes_on_with_another_metric_still_has_four_at_most() -> None:
    table = Table("accuracy", Columns([], ["a", "b", "c", "d"]))
    metrics = table.snapshot()["metrics"]
    assert isinstance(metrics, list)
    assert metrics[0] == "accuracy"
    assert len(metrics) <= MAX_METRICS


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["t1", "t2", "t3"]),
            st.dictionaries(st.sampled_from("abcdefg"), st.integers(), max_size=4),
        ),
        max_size=20,
    )
)
def test_columns_only_ever_come_at_the_end(steps: list[tuple[str, dict[str, int]]]) -> None:
    table = Table("a")
    before: dict[str, Any] = table.snapshot()
    for trial, values in steps:
        table.set_config(trial, values)
        table.set_metrics(trial, values)
        after: dict[str, Any] = table.snapshot()
        for part in ("hyperparameters", "metrics"):
            assert after[part][: len(before[part])] == before[part]
            for each in after["trials"].values():
                assert len(each[part]) == len(after[part])
        assert after["metrics"][0] == "a"
        assert len(after["metrics"]) <= MAX_METRICS
        before = after


def test_a_trial_without_a_value_has_null_in_its_place() -> None:
    table = Table()
    table.set_config("t1", {"lr": 1})
    table.set_config("t2", {"width": 2})
    table.set_metrics("t2", {"loss": 3})
    assert row(table, "t1") == {
        "base": ["t1", "PENDING"],
        "hyperparameters": [1, None],
        "metrics": [None],
    }
    assert row(table, "t2")["hyperparameters"] == [None, 2]


def test_a_metric_that_is_missing_in_a_result_keeps_its_value() -> None:
    table = Table()
    table.set_metrics("t1", {"loss": 3, "accuracy": 1})
    table.set_metrics("t1", {"loss": 2})
    assert row(table, "t1")["metrics"] == [2, 1]


def test_numbers_that_are_not_finite_are_null_in_a_snapshot() -> None:
    table = Table("loss")
    table.set_metrics("t1", {"loss": math.nan, "x": math.inf})
    table.set_config("t1", {"lr": math.inf})
    snapshot = table.snapshot()
    assert json.loads(dumps(snapshot))["trials"]["t1"]["metrics"] == [None, None]
    assert row(table, "t1")["hyperparameters"] == [None]


def test_any_value_of_a_config_can_be_shown() -> None:
    table = Table()
    table.set_config("t1", {"f": len, "bytes": b"1", "long": "x" * 10_000_000, "deep": {1: {}}})
    assert len(dumps(table.snapshot())) < 5_000


def test_a_config_of_a_thousand_entries_has_a_limited_number_of_columns() -> None:
    table = Table()
    table.set_config("t1", {f"h{index}": index for index in range(1_000)})
    table.set_config("t2", {"another": 1})
    names = table.snapshot()["hyperparameters"]
    assert names == [f"h{index}" for index in range(MAX_HYPERPARAMETERS)]


def test_a_config_that_a_scheduler_replaced_is_the_new_one() -> None:
    table = Table()
    table.set_config("t1", {"lr": 1, "width": 5})
    table.set_config("t1", {"lr": 2})
    assert row(table, "t1")["hyperparameters"] == [2, None]


def test_a_snapshot_does_not_change_with_the_table() -> None:
    table = Table()
    table.set_metrics("t1", {"loss": 1})
    snapshot = table.snapshot()
    kept = dumps(snapshot)
    table.set_metrics("t1", {"loss": 2, "more": 3})
    table.set_status("t2", "RUNNING")
    assert dumps(snapshot) == kept


def test_only_a_change_is_a_change() -> None:
    table, config = Table(), {"lr": 1}
    table.set_config("t1", config)
    table.set_status("t1", "RUNNING")
    assert table.changed
    table.snapshot()
    assert not table.changed
    table.set_config("t1", config)
    table.set_config("t1", None)
    table.set_status("t1", "RUNNING")
    table.set_metrics("t1", {})
    assert not table.changed
    table.set_status("t1", "PAUSED")
    assert table.changed


def test_a_trial_is_known_once_its_hyperparameters_are() -> None:
    table = Table()
    assert not table.knows("t1")
    table.set_status("t1", "RUNNING")
    assert not table.knows("t1")
    table.set_config("t1", {})
    assert table.knows("t1")


def test_the_end_that_a_hook_told_of_wins_over_a_status_that_is_behind() -> None:
    table = Table()
    table.set_status("t1", "RUNNING")
    table.set_ended("t1", "TERMINATED")
    table.set_status("t1", "RUNNING")
    assert row(table, "t1")["base"] == ["t1", "TERMINATED"]
    table.set_status("t1", "ERROR")
    assert row(table, "t1")["base"] == ["t1", "ERROR"]


def test_a_trial_that_was_started_again_runs() -> None:
    table = Table()
    table.set_ended("t1", "ERROR")
    assert table.ended == 1
    table.set_ended("t1", None)
    table.set_status("t1", "RUNNING")
    assert row(table, "t1")["base"] == ["t1", "RUNNING"]
    assert table.ended == 0


def test_ended_counts_the_trials_that_finished_or_failed() -> None:
    table = Table()
    for trial, status in enumerate(("PENDING", "RUNNING", "PAUSED", "TERMINATED", "ERROR")):
        table.set_status(str(trial), status)
    assert table.ended == 2
    assert len(table) == 5


def test_the_best_value_is_of_a_trial_that_did_not_fail_and_is_finite() -> None:
    table = Table("loss")
    values = {"a": 3.0, "b": math.nan, "c": -math.inf, "d": 1.0, "failed": 0.0}
    for trial, value in values.items():
        table.set_metrics(trial, {"loss": value})
    table.set_ended("failed", "ERROR")
    assert table.best("min") == ("d", 1.0)
    assert table.best("max") == ("a", 3.0)


def test_without_metric_mode_or_value_there_is_no_best() -> None:
    table = Table()
    table.set_metrics("a", {"loss": 1})
    assert table.best("min") is None
    assert Table("loss").best("min") is None
    table = Table("loss")
    table.set_metrics("a", {"loss": 1})
    assert table.best(None) is None


@pytest.mark.parametrize("trials", [1, 40, 2_000])
def test_the_size_of_a_snapshot_is_known_to_about_a_tenth(trials: int) -> None:
    table = Table("loss")
    for trial in range(trials):
        table.set_config(f"trial_{trial:05}", {"lr": 0.12345, "optimizer": "adam"})
        table.set_metrics(f"trial_{trial:05}", {"loss": 0.25})
    snapshot = table.snapshot()
    rows = sum(len(dumps(each)) for each in snapshot["trials"].values())  # type: ignore[union-attr]
    assert abs(estimate_bytes(snapshot) - rows) <= rows / 10


TEXTS = st.text(max_size=8) | st.sampled_from(["a\ud800", "é", '"', "a/b", ""])
CELLS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.lists(st.integers())
NUMBERS = st.none() | st.integers() | st.floats() | st.just(2**300)
CHANGES = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.dictionaries(st.sampled_from(["lr", "net", "é", "x y"]), CELLS, max_size=3),
        st.dictionaries(st.sampled_from(["loss", "m1", "m2", "m3", "m4"]), NUMBERS, max_size=3),
        st.sampled_from(["RUNNING", "PAUSED", "TERMINATED", "ERROR"]),
    ),
    max_size=12,
)


@given(CHANGES, st.booleans())
def test_the_text_of_a_table_is_the_json_of_its_snapshot_after_each_change(
    changes: list[Any], is_each: bool
) -> None:
    table = Table("loss")
    for trial, config, metrics, status in changes:
        table.set_config(trial, config)
        table.set_metrics(trial, metrics)
        table.set_status(trial, status)
        if is_each:
            assert json.loads(table.to_json("a")) == json.loads(dumps(table.snapshot("a")))
    assert json.loads(table.to_json()) == json.loads(dumps(table.snapshot()))


def test_the_text_has_as_many_columns_as_the_table() -> None:
    table = Table("loss")
    for trial in range(30):
        table.set_config(f"t{trial}", {f"h{trial}_{index}": index for index in range(9)})
        table.to_json()
    assert json.loads(table.to_json()) == json.loads(dumps(table.snapshot()))
    row = json.loads(table.to_json())["trials"]["t0"]["hyperparameters"]
    assert len(row) == MAX_HYPERPARAMETERS
