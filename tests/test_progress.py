"""The progress record of a job."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_synapse.progress import Progress
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


def overall(record: dict[str, Any]) -> float:
    whole: float = record["current_progress"]["overall"]
    return whole


def test_a_record_has_the_documented_form() -> None:
    progress = Progress()
    move(progress, 0, 8, "trials", now=10.0)
    record = move(progress, 2, 8, "trials", now=14.1)
    assert record == {
        "record": {
            "steps": {
                "dataset": {"proportion": 20, "percent": None},
                "train": {"proportion": 75, "percent": None},
                "trials": {"proportion": 90, "percent": 25.0, "time_remaining": 12.3},
                "model_upload": {"proportion": 5, "percent": None},
            }
        },
        "current_progress": {
            "overall": 23.68,  # 90 * 25 % of 95
            "step": "trials",
            "percent": 25.0,
            "time_remaining": 12.3,
        },
    }


def test_each_mode_shows_its_steps_with_the_platforms_proportions() -> None:
    shown = {
        tuning: {
            name: step["proportion"]
            for name, step in move(Progress(), 0, 1, "dataset", tuning=tuning)["record"][
                "steps"
            ].items()
        }
        for tuning in (False, True)
    }
    assert shown == {
        False: {"dataset": 20, "train": 75, "model_upload": 5},
        True: {"dataset": 20, "train": 75, "trials": 90, "model_upload": 5},
    }


def test_a_training_is_weighed_by_the_shares_of_its_steps() -> None:
    progress = Progress()
    moves = [("dataset", 0), ("dataset", 1), ("train", 0), ("train", 1), ("model_upload", 1)]
    came = [overall(move(progress, at, 2, step, tuning=False)) for step, at in moves]
    assert came == [0, 10, 20, 57.5, 97.5]


def test_a_tuning_is_weighed_by_its_dataset_its_trials_and_its_models() -> None:
    progress = Progress()
    moves = [("dataset", 0), ("dataset", 2), ("trials", 0), ("trials", 1), ("model_upload", 2)]
    came = [overall(move(progress, at, 2, step)) for step, at in moves]
    assert came == [0, 17.39, 17.39, 56.52, 100]  # of 115


def test_a_step_that_was_left_out_does_not_count() -> None:
    progress = Progress()
    assert overall(move(progress, 0, 2, "trials")) == 0
    assert overall(move(progress, 1, 2, "trials")) == 47.37  # 45 of 95
    assert overall(move(progress, 0, 1, "model_upload")) == 94.74
    assert overall(move(Progress(), 0, 1, "model_upload")) == 0


def test_a_step_is_done_once_a_later_one_has_begun() -> None:
    progress = Progress()
    assert overall(move(progress, 1, None, "dataset", tuning=False)) == 0
    assert overall(move(progress, 0, 1, "train", tuning=False)) == 20
    assert overall(move(progress, 0, 1, "model_upload", tuning=False)) == 95


@pytest.mark.parametrize("first", [["dataset"], []], ids=["begun before", "left out before"])
def test_a_step_that_is_told_after_a_later_one_is_shown_and_moves_the_whole_not_at_all(
    first: list[str],
) -> None:
    progress = Progress()
    for step in [*first, "trials"]:
        before = overall(move(progress, 1, 2, step))
    late = move(progress, 1, 10, "dataset")
    assert late["record"]["steps"]["dataset"]["percent"] == 10.0
    assert overall(late) == before
    assert overall(move(progress, 2, 2, "trials")) == (95.65 if first else 94.74)
    assert overall(move(progress, 1, 1, "model_upload")) == 100


def test_train_is_shown_when_tuning_and_moves_the_whole_not_at_all() -> None:
    progress = Progress()
    before = overall(move(progress, 1, 2, "dataset"))
    record = move(progress, 1, 2, "train")
    assert record["record"]["steps"]["train"]["percent"] == 50.0
    assert overall(record) == before
    assert overall(move(progress, 2, 2, "dataset")) > before  # it has not ended either


@pytest.mark.parametrize("done", [9_999, 99_999, 999_999_999])
def test_only_what_is_complete_is_at_100(done: int) -> None:
    progress = Progress()
    for step in ("dataset", "trials", "model_upload"):
        record = move(progress, done, done + 1, step)
        assert record["current_progress"]["percent"] < 100
        assert overall(record) < 100
    assert overall(move(progress, done + 1, done + 1, "model_upload")) == 100


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


@pytest.mark.parametrize("total", [None, 0, -1, math.inf, math.nan, 10**400])
def test_an_open_total_gives_no_percent(total: float | None) -> None:
    current = move(Progress(), 5, total, "trials")["current_progress"]
    assert (current["percent"], current["time_remaining"]) == (None, None)
    assert current["overall"] == 0


@pytest.mark.parametrize("current", [math.nan, math.inf, 10**400])
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
    progress = Progress(62.5)
    assert overall(move(progress, 0, 10, "trials")) == 62.5
    assert overall(move(progress, 7, 10, "trials")) == 66.32


MOVES = st.lists(
    st.tuples(
        st.floats() | st.integers(-5, 500),
        st.none() | st.floats() | st.integers(-5, 500),
        st.sampled_from(["dataset", "train", "trials", "model_upload", "other"]),
        st.booleans(),
    ),
    max_size=12,
)


@given(MOVES, st.integers(0, 10_000))
def test_the_whole_never_goes_back_and_stays_between_0_and_100(
    moves: list[tuple[float, float | None, str, bool]], before: int
) -> None:
    last = before / 100
    progress = Progress(last)
    for now, (current, total, step, tuning) in enumerate(moves):
        whole = overall(move(progress, current, total, step, now=now, tuning=tuning))
        assert last <= whole <= 100
        last = whole


@given(st.booleans(), st.data())
def test_a_whole_job_starts_at_0_and_is_at_100_with_its_last_step_and_not_before(
    tuning: bool, data: st.DataObject
) -> None:
    steps = ["dataset", "trials" if tuning else "train", "model_upload"]
    steps = data.draw(st.sampled_from([steps, steps[1:]]))
    totals = data.draw(st.lists(st.integers(1, 10**9), min_size=len(steps), max_size=len(steps)))
    progress, came = Progress(), []
    for step, total in zip(steps, totals, strict=True):
        on_the_way = data.draw(st.lists(st.integers(0, total), max_size=4).map(sorted))
        came += [
            (
                overall(move(progress, at, total, step, tuning=tuning)),
                step == steps[-1] and at == total,
            )
            for at in [0, *on_the_way, total]
        ]
    assert came[0][0] == 0
    assert [whole == 100 for whole, _ in came] == [is_over for _, is_over in came]
