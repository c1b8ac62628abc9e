"""The platform's ``tune`` and ``train`` functions as functions for Tune."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune

from ray_synapse.metrics import CHECKPOINT_OUTPUT
from ray_synapse.run import TrainRun
from ray_synapse.trained import read_trained
from ray_synapse.values import as_number

Entry = Callable[..., Any]


def tune_entry(function: Callable[..., Any], extras: Mapping[str, Any]) -> Entry:
    """A function for ``wrap_trainable`` that calls ``tune(hyperparameter, run, dataset, ...)``.

    Args:
        function: The plugin's.
        extras: Further keyword arguments for it.
    """

    def entry(config: Any, run: TrainRun, dataset: Any = None, checkpoint: Any = None) -> Any:
        return function(config, run, dataset, _here(checkpoint, run), **extras)

    return _named(entry, function)


def train_entry(function: Callable[..., Any], metric: str, extras: Mapping[str, Any]) -> Entry:
    """Likewise, for a plugin that has only ``train(run, dataset, hyperparameter, checkpoint)``.

    Each ``run.log_metric`` whose key, or category/key, is the metric counts as a report to Tune;
    what else is logged beside it goes along, as ``category/key``. A report goes out with the next
    one, or when the function returns: so the last one has the path that is returned, which is the
    trial's ``checkpoint_output``. A number that is returned is the metric.

    Args:
        function: The plugin's.
        metric: The metric that is optimized.
        extras: Further keyword arguments for it.
    """

    def entry(config: Any, run: TrainRun, dataset: Any = None, checkpoint: Any = None) -> Any:
        rounds = _Rounds(metric)
        run._heard = rounds.hear
        try:
            value = function(run, dataset, config, _here(checkpoint, run), **extras)
        except Exception:  # not the SystemExit by which Tune ends a trial in the middle of a report
            rounds.send()  # it tells how far the trial came
            raise
        finally:
            run._heard = None
        if as_number(value) is not None:
            rounds.send()
            return {metric: value}
        path, metrics = read_trained(value, run.checkpoint_output)
        run.checkpoint_output = path
        said = {CHECKPOINT_OUTPUT: run.checkpoint_output} if path else {}
        return {**rounds.last, **metrics, **said}

    return _named(entry, function)


class _Rounds:
    """Makes one report to Tune of all that is logged in a round, such as an epoch.

    A round has the metric once. What comes a second time after it is of the next round: so it does
    not matter whether other metrics are logged before or after it.

    Args:
        metric: The metric that is optimized.
    """

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._lock = threading.Lock()
        self._next: dict[str, Any] = {}
        self.last: dict[str, Any] = {}  # what is not reported yet

    def hear(self, category: str, key: str, value: Any) -> None:
        """Take what is logged; reports the round before when the metric comes again."""
        name = f"{category}/{key}"
        with self._lock:
            is_complete = self._metric in self.last
            if self._metric in (key, name):
                before = self.last
                if is_complete:
                    self.last, self._next = self._next, {}
                self.last[self._metric] = value
                if is_complete:
                    tune.report(before)
            elif is_complete and (self._next or name in self.last):
                self._next[name] = value
            else:
                self.last[name] = value

    def send(self) -> None:
        """Report the last round, if it has the metric."""
        with self._lock:
            if self._metric in self.last:
                tune.report(self.last)
                self.last = {}


def _here(checkpoint: Any, run: TrainRun) -> Any:
    """The model to start from as this node has it: the script has unpacked it on its own."""
    if checkpoint is None or Path(checkpoint["path"]).is_dir():
        return checkpoint
    return run.get_model(checkpoint["id"])


def _named(entry: Entry, function: Callable[..., Any]) -> Entry:
    """With the name of the plugin's function: Tune calls the experiment after it."""
    entry.__name__ = getattr(function, "__name__", type(function).__name__)
    return entry
