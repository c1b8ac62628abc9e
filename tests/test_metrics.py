"""Which keys of a result are the user's own."""

import math
from decimal import Decimal

import numpy as np
import pytest

from ray_synapse.metrics import (
    AUTO_KEYS,
    CHECKPOINT_OUTPUT,
    CHECKPOINT_SOURCE,
    lookup,
    measured,
    own_metrics,
)


def test_everything_that_this_ray_fills_in_is_known() -> None:
    result = pytest.importorskip("ray.tune.result")
    automatic = {*result.AUTO_RESULT_KEYS, *result.DEBUG_METRICS}
    control = {result.DONE, result.SHOULD_CHECKPOINT, result.RESULT_DUPLICATE, result.TRIAL_INFO}
    assert automatic | control | {result.EXPERIMENT_TAG, result.TRIAL_ID} <= AUTO_KEYS


@pytest.mark.parametrize("name", ["accuracy", "loss", "mean_accuracy", "epoch", "lr", "_metric"])
def test_what_a_user_would_call_a_metric_is_not_taken_for_tunes(name: str) -> None:
    assert name not in AUTO_KEYS


def test_a_result_is_left_with_what_the_user_reported() -> None:
    result = {"loss": 0.5, "training_iteration": 3, "config": {"lr": 1}, "note": "x", "pid": 1}
    assert own_metrics(result) == {"loss": 0.5, "note": "x"}


def test_the_optimized_metric_stays_even_if_tune_fills_it_in() -> None:
    result = {"time_total_s": 3.0, "training_iteration": 2}
    assert own_metrics(result, "time_total_s") == {"time_total_s": 3.0}
    assert measured(result, "time_total_s") == {"time_total_s": 3.0}


def test_the_config_is_no_metric_in_the_flat_rows_of_tunes_history_either() -> None:
    assert own_metrics({"loss": 0.5, "config/lr": 0.1, "config/net/width": 3}) == {"loss": 0.5}


def test_where_the_model_was_written_is_the_users_own_and_its_copy_is_not() -> None:
    result = {CHECKPOINT_OUTPUT: "/a", CHECKPOINT_SOURCE: "/a"}
    assert own_metrics(result) == {CHECKPOINT_OUTPUT: "/a"}


def test_numbers_are_flattened_in_the_order_of_the_result() -> None:
    result = {"b": 1, "val": {"loss": np.float32(0.5), "top": {"k": Decimal("2")}}, "a": 2}
    found = measured(result)
    assert found == {"b": 1, "val/loss": 0.5, "val/top/k": 2.0, "a": 2}
    assert list(found) == ["b", "val/loss", "val/top/k", "a"]
    assert type(found["b"]) is int


def test_what_is_no_number_is_no_metric() -> None:
    result = {"note": "x", "ok": True, "none": None, "list": [1], "array": np.ones(3), "n": 0}
    found = measured(result)
    assert {name for name, value in found.items() if value is not None} == {"n"}
    assert found["n"] == 0


def test_numbers_that_are_not_finite_are_kept_until_they_leave_the_process() -> None:
    found = measured({"a": math.inf, "b": math.nan})
    assert found["a"] == math.inf
    assert math.isnan(found["b"])


def test_a_bool_counts_when_it_is_what_is_optimized() -> None:
    assert measured({"solved": True, "other": True}, "solved") == {"solved": 1, "other": None}


def test_a_metric_is_found_by_its_name_or_its_flattened_name() -> None:
    result = {"a/b": 1, "val": {"loss": 0.5, "x": {"y": 2}}, "zero": 0.0}
    assert lookup(result, "a/b") == 1
    assert lookup(result, "val/loss") == 0.5
    assert lookup(result, "val/x/y") == 2
    assert lookup(result, "zero") == 0.0
    assert lookup(result, "missing") is None
    assert lookup(result, "val/missing") is None
