"""What Tune's loop is doing at this moment, read from its frames: no hook is told any of it.

Nothing here raises: a Ray that changes its loop must only cost what is read from it.
"""

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import FrameType
from typing import Any, NamedTuple

MAX_FRAMES = 30  # between a hook and tune.run there are ten at most


class Place(NamedTuple):
    """Where a sweep runs, to be found again: its thread, and its frame of ``tune.run`` there."""

    thread: int
    frame: int


def frames() -> Iterator[FrameType]:
    """The frames of the callers, the nearest first."""
    return _frames(sys._getframe(1))


def is_tune_run(frame: FrameType) -> bool:
    """Whether it is the one of ``tune.run``, in which a whole sweep happens."""
    return frame.f_code.co_name == "run" and frame.f_globals.get("__name__") == "ray.tune.tune"


def place() -> Place | None:
    """Where the sweep runs whose hook calls this, or None."""
    for frame in frames():
        if is_tune_run(frame):
            return Place(threading.get_ident(), id(frame))
    return None


def goes_on(where: Place | None) -> bool:
    """Whether that sweep still runs. On this thread another one has taken its place."""
    if where is None or where.thread == threading.get_ident():
        return False
    top = sys._current_frames().get(where.thread)
    return any(id(frame) == where.frame and is_tune_run(frame) for frame in _frames(top, 10_000))


def is_interrupted() -> bool:
    """Whether the sweep whose hook calls this was interrupted by a signal (SIGINT or SIGUSR1)."""
    with suppress(Exception):
        return bool(_variable("run", "experiment_interrupted_event").is_set())
    return False


def fails_fast() -> bool:
    """Whether the sweep whose hook calls this ends since a trial has failed."""
    with suppress(Exception):
        return bool(_variable("run", "fail_fast") and _variable("run", "runner")._has_errored)
    return False


def raised() -> tuple[BaseException | None, str | None]:
    """What ends the sweep whose ``on_experiment_end`` calls this: it comes out of ``fit()``.

    Not an exception that the script was handling when it called ``fit()``.

    Returns:
        It, or None; and the id of the trial that has raised it, if it was one.
    """
    error = sys.exc_info()[1]
    here = next(filter(is_tune_run, frames()), None)
    passed: list[FrameType] = []
    traceback = None if error is None else error.__traceback__
    while traceback is not None:
        passed.append(traceback.tb_frame)
        traceback = traceback.tb_next
    if here is None or here not in passed:
        return None, None
    for frame in passed:
        if frame.f_code.co_name == "_trial_task_failure":  # with fail_fast="raise"
            return error, getattr(frame.f_locals.get("trial"), "trial_id", None)
    return error, None


def failure() -> BaseException | None:
    """Why the trial failed whose ``on_trial_error`` or ``on_trial_recover`` calls this."""
    with suppress(Exception):
        error = _variable("_process_trial_failure", "exception")
        return error if isinstance(error, BaseException) else None
    return None


def stopped_by(trial: Any) -> str | None:
    """The scheduler that stops the trial before its end, by name, if it does.

    To be called in ``on_trial_result`` for a result that is the last one, and in
    ``on_trial_complete`` for a trial that was paused. A trial that has come to the scheduler's own
    ``max_t`` is not stopped early.
    """
    with suppress(Exception):
        if trial.status in ("PAUSED", "PENDING"):
            scheduler = _deciding(_variable("stop_trial", "self")._scheduler_alg)
            is_its_end = _is_at_its_end(scheduler, trial.run_metadata.last_result or {})
            return None if is_its_end else type(scheduler).__name__
        for frame in frames():
            if frame.f_code.co_name == "_process_trial_result":
                return _stopped_by(trial, frame.f_locals)
    return None


def _stopped_by(trial: Any, variables: dict[str, Any]) -> str | None:
    # Taken before Tune set `done` in the result: so here it is what the trial itself said.
    result, controller = variables["flat_result"], variables["self"]
    scheduler, stopper = _deciding(controller._scheduler_alg), controller._stopper
    name = type(scheduler).__name__
    if variables["decision"] != "STOP" or trial.should_stop(result):
        return None
    if _is_at_its_end(scheduler, result):
        return None
    if stoppers := [type(each).__name__ for each in _those_that_stop_trials(stopper)]:
        return f"{name} or {' or '.join(stoppers)}"
    return name


def _deciding(scheduler: Any) -> Any:
    """The scheduler that decides: a ResourceChangingScheduler has another one inside."""
    return getattr(scheduler, "_base_scheduler", scheduler)


def _is_at_its_end(scheduler: Any, result: Mapping[str, Any]) -> bool:
    """Whether the scheduler does not stop trials, or this one has come to its ``max_t``."""
    if type(scheduler).__name__ == "FIFOScheduler":
        return True
    limits = (getattr(scheduler, each, None) for each in ("_max_t", "_max_t_attr"))
    limit = next((each for each in limits if each is not None), float("inf"))
    return bool(result.get(getattr(scheduler, "_time_attr", ""), 0) >= limit)


def _those_that_stop_trials(stopper: Any) -> list[Any]:
    """The user's own stoppers: asking one again would change what it does."""
    inside = getattr(stopper, "_stoppers", None) or [stopper]
    ours_not = ("NoopStopper", "TimeoutStopper")
    return [each for each in inside if type(each).__name__ not in ours_not]


def _variable(function: str, name: str) -> Any:
    """A variable of the nearest caller that is that function of Tune's."""
    for frame in frames():
        module = frame.f_globals.get("__name__", "")
        if frame.f_code.co_name == function and module.startswith("ray.tune."):
            return frame.f_locals[name]
    raise LookupError(function)


def _frames(frame: FrameType | None, limit: int = MAX_FRAMES) -> Iterator[FrameType]:
    for _ in range(limit):
        if frame is None:
            return
        yield frame
        frame = frame.f_back
