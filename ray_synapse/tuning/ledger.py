"""From what the hooks saw, and Tune's own trials, to the table and to what there is to tell."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ray_synapse.last_lines import first_line
from ray_synapse.metrics import is_of, measured
from ray_synapse.settings import secrets
from ray_synapse.table import ENDED, Columns, Table
from ray_synapse.tuning.story import CutOff, Story

ITERATION = "training_iteration"  # ray.tune.result.TRAINING_ITERATION


class Event(NamedTuple):
    """What a hook saw.

    Attributes:
        kind: ``start``, ``result``, ``complete``, ``recover`` (it failed and starts again) or
            ``error`` of a trial.
        trial: The trial.
        result: Of a ``result``: a copy of it.
        about: Of a ``start`` its ``Beginning``; of a ``recover`` and an ``error`` how often it has
            failed, and the exception; of the others the name of the scheduler that stopped the
            trial early, or None.
    """

    kind: str
    trial: Any
    result: dict[str, Any] | None = None
    about: Any = None


class Beginning(NamedTuple):
    """What a trial starts with.

    Attributes:
        config: Its config, as Tune has it.
        donor: The trial that made the checkpoint that it starts from, or None.
        iteration: The iteration of that checkpoint, or None.
    """

    config: Mapping[str, Any]
    donor: str | None = None
    iteration: int | None = None


def beginning(trial: Any) -> Beginning:
    """What a trial starts with that is about to start."""
    with suppress(Exception):  # a Ray that keeps it elsewhere
        metrics = trial.latest_checkpoint_result.metrics
        return Beginning(trial.config, metrics.get("trial_id"), metrics.get(ITERATION))
    return Beginning(trial.config)


class Ledger:
    """Keeps the table of a sweep and its story. Knows no thread and no run.

    Args:
        metric: The metric that is optimized, if it is known.
        columns: The columns of an earlier process of the same sweep.
        others: What else is optimized.
    """

    def __init__(
        self, metric: str | None, columns: Columns | None, others: Sequence[str] = ()
    ) -> None:
        self.table, self.story = Table(metric, columns, others), Story()
        self._metric = metric
        self._beginnings: dict[str, Beginning] = {}  # of trials that were started by this process
        self._settled: set[str] = set()  # trials that have ended, and were looked at since

    def resume(self, trials: Sequence[Any]) -> None:
        """Take in trials that had ended before this process, as after a restore."""
        for trial in trials:
            self.table.set_ended(trial.trial_id, trial.status)
            if trial.status == "ERROR":
                self.story.told_failed.add(trial.trial_id)

    def take(self, event: Event) -> dict[str, int | float] | None:
        """Take in an event. Returns the metrics of a result."""
        trial_id = event.trial.trial_id
        if event.kind == "result" and event.result is not None:
            return self._take_result(event, event.result)
        if event.kind == "start":
            self._start(trial_id, event.about)
        elif event.kind == "recover":
            failures, error = event.about
            self.story.retried(trial_id, failures, event.trial.max_failures, _text(error))
        elif event.kind == "error":
            failures, error = event.about
            self.table.set_ended(trial_id, "ERROR")
            self.story.failed(trial_id, failures, _text(error))
        elif event.kind == "complete":
            self.table.set_ended(trial_id, "TERMINATED")
            if event.about is not None:
                self.story.stopped(trial_id, event.about, _iteration(event.trial))
        return None

    def look(self, trials: Sequence[Any]) -> None:
        """Catch what no hook tells: trials that wait, are paused, cut off, or were restored."""
        for trial in list(trials):
            trial_id, status = trial.trial_id, trial.status
            is_told = status not in ENDED and self.table.shows(trial_id, status)
            if not (is_told or trial_id in self._settled):
                self._look_at(trial)

    def fail(self, trial_id: str, error: str) -> None:
        """A trial has failed, of which Tune makes no more than that ``fit()`` raises."""
        self.table.set_ended(trial_id, "ERROR")
        self.story.failed(trial_id, 1, error)

    def close(self, why: str, trials: Sequence[Any], *, tune_ended: bool) -> int:
        """The sweep is over: tell of the trials that had not ended, and of failures without a hook.

        Args:
            why: What ended the sweep, as a sentence.
            trials: Tune's trials.
            tune_ended: Whether Tune itself came to the end.

        Returns:
            How many trials had not ended.
        """
        cut_off = []
        for trial in trials:
            trial_id, iteration = trial.trial_id, _iteration(trial)
            if trial.status == "ERROR" and trial_id not in self.story.told_failed:
                self.table.set_ended(trial_id, "ERROR")
                self.story.failed(trial_id, trial.num_failures, _error_in_file(trial))
            elif not (self.table.is_told_ended(trial_id) or _is_done(trial)):
                was_started = trial_id in self._beginnings or iteration is not None
                cut_off.append(CutOff(trial_id, was_started, iteration))
        self.story.cut_off(why, cut_off)
        if not tune_ended:
            self.table.end_unfinished()
        return len(cut_off)

    def _take_result(self, event: Event, result: dict[str, Any]) -> dict[str, int | float]:
        trial_id, found = event.trial.trial_id, measured(result, self._metric)
        self.table.set_config(trial_id, result.get("config") or event.trial.config)
        self.table.set_metrics(trial_id, found)
        if event.about is not None:
            self.story.stopped(trial_id, event.about, result.get(ITERATION))
        return {name: value for name, value in found.items() if value is not None}

    def _start(self, trial_id: str, now: Beginning | None) -> None:
        self.table.set_ended(trial_id, None)
        self._settled.discard(trial_id)
        self.story.told_failed.discard(trial_id)
        if now is None:
            return
        before = self._beginnings.get(trial_id)
        donor = None if now.donor == trial_id or (before and before[1:] == now[1:]) else now.donor
        if before is not None:  # a first one after a restore tells nothing new
            self.story.changed(trial_id, before.config, now.config, donor, now.iteration)
        self._beginnings[trial_id] = now
        self.table.set_config(trial_id, now.config)

    def _look_at(self, trial: Any) -> None:
        trial_id, status = trial.trial_id, trial.status
        if not self.table.knows(trial_id):
            # Tune's own config may be the next one, which PBT chose and the trial never ran.
            result = own_result(trial)
            self.table.set_config(trial_id, result.get("config") or trial.config)
            self.table.set_metrics(trial_id, measured(result, self._metric))
        if status in ENDED:
            self.table.set_metrics(trial_id, measured(own_result(trial), self._metric))
            if self.table.is_told_ended(trial_id):  # else it may only be on its way to PAUSED
                self._settled.add(trial_id)
        self.table.set_status(trial_id, status)


def own_result(trial: Any) -> Mapping[str, Any]:
    """The last result of a trial, as far as it is its own; read without asking its process."""
    result = getattr(trial, "run_metadata", trial).last_result or {}
    return result if is_of(result, trial.trial_id) else {}


def _is_done(trial: Any) -> bool:
    """Whether it came to its end, though the event that told of it was dropped."""
    return bool(own_result(trial).get("done"))


def _iteration(trial: Any) -> int | None:
    found = own_result(trial).get(ITERATION)
    return found if isinstance(found, int) else None


def _text(error: Any) -> str:
    return "it failed" if error is None else first_line(error, secrets())


def _error_in_file(trial: Any) -> str:
    """The end of Tune's error file of the trial."""
    with suppress(Exception):
        text = first_line(Path(trial.error_file).read_text("utf-8", "replace"), secrets())
        return text or "it failed"
    return "it failed"
