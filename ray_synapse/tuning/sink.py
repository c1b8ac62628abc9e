"""Where a recorder logs to: our own run, or an object of whoever embeds the callback."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from ray_synapse import console
from ray_synapse.run import FLUSH_S, TrainRun
from ray_synapse.table import Table, estimate_bytes

TAKEN_NAMES = ("self", "category", "key", "value")  # parameters of log_metric itself


class Sink:
    """Calls a run so that nothing it does reaches the sweep.

    Args:
        run: A ``TrainRun``, or any object with ``log_trials``; ``log_metric`` and
            ``set_progress`` are used where they are there.
        name: How to call it in the line of progress.
        ends_with_sweep: Whether it was made for this sweep alone, so that its relay ends with it.
    """

    def __init__(self, run: Any, name: str, *, ends_with_sweep: bool = False) -> None:
        self.name = name
        self._ends_with_sweep = ends_with_sweep
        self.is_ours = isinstance(run, TrainRun)
        self._run = run

    def made(self, table: Table, best_trial: str) -> tuple[int, Callable[[], None]]:
        """Make what is to be sent of a table.

        Returns:
            About how many bytes it has as JSON, and what sends it.
        """
        if self.is_ours:
            text = table.to_json(best_trial)
            return len(text), partial(self._run._put_table, text)
        snapshot = table.snapshot(best_trial)
        return estimate_bytes(snapshot), partial(self._call, self._run.log_trials, **snapshot)

    def log_result(self, trial_id: str, iteration: Any, metrics: Mapping[str, Any]) -> None:
        """Log a result as a metric record of its trial."""
        if self.is_ours:
            self._run._put_metric("trial", "training_iteration", iteration, metrics, trial_id)
        elif log_metric := getattr(self._run, "log_metric", None):
            values = {name: metrics[name] for name in metrics if name not in TAKEN_NAMES}
            values["trial_id"] = trial_id
            self._call(log_metric, "trial", "training_iteration", iteration, **values)

    def log_message(self, content: str, level: str) -> None:
        """Log a line of text."""
        if log_message := getattr(self._run, "log_message", None):
            self._call(log_message, content, level)

    def completed(self, trial: Any) -> None:
        """A trial has completed, so its model will not change any more."""
        if self.is_ours:
            self._run._trial_completed(trial)

    def gathered(self) -> AbstractContextManager[None]:
        """A block whose results are sent together."""
        return self._run._channel.gathered() if self.is_ours else nullcontext()

    def set_progress(self, current: int, total: int | None) -> None:
        """Move the bar of the trials."""
        set_progress = getattr(self._run, "set_progress", None)
        if set_progress and (self.is_ours or total is not None):
            self._call(set_progress, current, total, "trials")

    def count_dropped(self, number: int) -> None:
        """Count results that were dropped since too many waited."""
        if self.is_ours:
            self._run._count_dropped(number)
        console.say_once("more results came than could be logged: some are dropped, and counted")

    def close(self, *, failed: bool) -> None:
        """The sweep is over; ``fit()`` raises if it ``failed``: the script may never finish it."""
        if failed and self.is_ours:
            self._run._patch_job(status="FAILED")
        if self._ends_with_sweep:
            self._run._channel.flush(FLUSH_S)
            self._run._channel.close_relay()

    def _call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        try:
            method(*args, **kwargs)
        except Exception as error:
            name = getattr(method, "__name__", "run")
            console.say_once(f"{name} failed, the sweep goes on: {type(error).__name__}: {error}")
