"""The progress record of a job."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_synapse.progress import TRAINING_STEPS, TUNING_STEPS, Progress
from ray_synapse.values import dumps


def move(
    progress: Progress,
    current: Any,
    total: Any,
    step: str,
    *,
    now: float = 0.0,
    tuning: bool = True,
) -> dict[str, Any]:
    """The record as the other side reads it."""
    record: dict[str, Any] = json.loads(
        dumps(progress.move(current, total, step, now=now, tuning=tuning))
    )
    return record


def test_the_shares_of_the_steps_are_the_whole() -> None:
    assert sum(TRAINING_STEPS.values()) == 100
    assert sum(TUNING_STEPS.values()) == 100


def test_a_record_has_the_documented_form() -> None:
    progress = Progress()
    move(progress, 0, 8, "trials", now=10.0)
    record = move(progress, 2, 8, "trials", now=14.1)
    assert record == {
        "record": {
            "steps": {
                "dataset": {"proportion": 20, "percent": None},
                "trials": {"proportion": 75, "percent": 25.0, "time_remaining": 12.3},
                "model_upload": {"proportion": 5, "percent": None},
            }
        },
        "current_progress": {
            "overall": 38.75,
            "step": "trials",
            "percent": 25.0,
            "time_remaining": 12.3,
        },
    }


def test_a_training_has_the_step_train_where_a_tuning_has_trials() -> None:
    tuning = move(Progress(), 1, 2, "trials")["record"]["steps"]
    training = move(Progress(), 1, 2, "train", tuning=False)["record"]["steps"]
    assert list(tuning) == ["dataset", "trials", "model_upload"]
    assert list(training) == ["dataset", "train", "model_upload"]


def test_steps_before_the_current_one_count_as_done() -> None:
    assert move(Progress(), 0, 1, "model_upload")["current_progress"]["overall"] == 95
    assert move(Progress(), 1, 1, "model_upload")["current_progress"]["overall"] == 100


def test_a_word_of_the_users_own_is_shown_and_moves_the_whole_not_at_all() -> None:
    record = move(Progress(), 1, 2, "cleaning")
    assert record["record"]["steps"]["cleaning"]["percent"] == 50.0
    assert record["record"]["steps"]["cleaning"]["proportion"] is None
    assert record["current_progress"]["overall"] == 0
    assert record["current_progress"]["step"] == "cleaning"


def test_each_step_keeps_its_own_percent() -> None:
    progress = Progress()
    move(progress, 1, 1, "dataset")
    steps = move(progress, 1, 4, "trials")["record"]["steps"]
    assert (steps["dataset"]["percent"], steps["trials"]["percent"]) == (100.0, 25.0)


@pytest.mark.parametrize("total", [None, 0, -1, math.inf, math.nan])
def test_an_open_total_gives_no_percent(total: float | None) -> None:
    current = move(Progress(), 5, total, "trials")["current_progress"]
    assert (current["percent"], current["time_remaining"]) == (None, None)
    assert current["overall"] == 20


@pytest.mark.parametrize("current", [math.nan, math.inf])
def test_a_place_that_is_not_finite_gives_no_percent(current: float) -> None:
    assert move(Progress(), current, 10, "trials")["current_progress"]["percent"] is None


@pytest.mark.parametrize(("current", "percent"), [(-5, 0.0), (15, 100.0)])
def test_a_percent_stays_between_0_and_100(current: float, percent: float) -> None:
    assert move(Progress(), current, 10, "trials")["current_progress"]["percent"] == percent


@pytest.mark.parametrize(
    ("current", "total"),
    [
        (np.int64(1), np.int64(4)),
        (np.float32(1), 4),
        (1, np.float32(4)),
        (np.float16(1), np.uint8(4)),
    ],
    ids=repr,
)
def test_a_place_counted_by_numpy_is_a_place(current: Any, total: Any) -> None:
    assert move(Progress(), current, total, "trials")["current_progress"]["percent"] == 25.0


def test_a_place_counted_by_torch_is_a_place() -> None:
    torch = pytest.importorskip("torch")
    record = move(Progress(), torch.tensor(1), torch.tensor(4.0), "trials")
    assert record["current_progress"]["percent"] == 25.0


def test_the_remaining_time_is_of_the_pace_since_the_step_began() -> None:
    progress = Progress()
    assert move(progress, 5, 10, "trials", now=100)["current_progress"]["time_remaining"] is None
    assert move(progress, 6, 10, "trials", now=110)["current_progress"]["time_remaining"] == 40.0
    assert move(progress, 10, 10, "trials", now=120)["current_progress"]["time_remaining"] == 0.0


def test_the_whole_goes_on_where_an_earlier_process_had_come_to() -> None:
    assert move(Progress(62.5), 0, 10, "trials")["current_progress"]["overall"] == 62.5


MOVES = st.lists(
    st.tuples(
        st.floats() | st.integers(-5, 500),
        st.none() | st.floats() | st.integers(-5, 500),
        st.sampled_from(["dataset", "train", "trials", "model_upload", "other"]),
        st.booleans(),
    ),
    max_size=12,
)


@given(MOVES, st.floats(0, 100))
def test_the_whole_never_goes_back_and_stays_between_0_and_100(
    moves: list[tuple[float, float | None, str, bool]], before: float
) -> None:
    progress, last = Progress(before), round(before, 2)
    for now, (current, total, step, tuning) in enumerate(moves):
        record = move(progress, current, total, step, now=now, tuning=tuning)
        overall = record["current_progress"]["overall"]
        assert last <= overall <= 100
        last = overall
