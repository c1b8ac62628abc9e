"""Schedulers that pause trials."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial

from ray_synapse.tuning.schedulers.pausing import HyperBandForBOHB, HyperBandScheduler


def a_trial(status: str, is_saving: bool) -> Any:
    return SimpleNamespace(trial_id="t", status=status, is_saving=is_saving, checkpoint=object())


@pytest.mark.parametrize("kind", [HyperBandScheduler, HyperBandForBOHB])
@pytest.mark.parametrize(
    ("trial", "is_finished", "is_stopped"),
    [
        (a_trial(Trial.PAUSED, False), True, True),
        (a_trial(Trial.PAUSED, True), True, False),  # in the next turn, when it has saved
        (a_trial(Trial.PAUSED, False), False, False),
        (a_trial(Trial.TERMINATED, False), True, False),
    ],
)
def test_a_trial_that_still_saved_when_its_bracket_was_finished_is_stopped(
    kind: Any, trial: Any, is_finished: bool, is_stopped: bool
) -> None:
    """The race itself, in Ray's own scheduler, is too rare for a test."""
    scheduler, stopped = kind(metric="score", mode="max", max_t=4), []
    bracket = SimpleNamespace(
        finished=lambda: is_finished,
        current_trials=lambda: [trial],
        trials_to_unpause=(),
        cur_iter_done=lambda: False,
        is_being_processed=False,
        completion_percentage=lambda: 1.0,
    )
    scheduler._hyperbands = [[None, bracket]]
    controller = SimpleNamespace(
        get_live_trials=lambda: [trial], get_trials=lambda: [trial], stop_trial=stopped.append
    )
    scheduler.choose_trial_to_run(controller)
    assert stopped == [trial] * is_stopped
