"""The table of all trials of a sweep. Knows no Ray, no thread and no run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, repeat
from math import isfinite
from typing import Any

from ray_synapse.values import MAX_PLAIN, Wire, dumps, flatten, number_texts, to_json, to_wire

BASE_COLUMNS = ("trial_id", "status")
MAX_METRICS = 4  # what the platform's page shows beside the hyperparameters
MAX_HYPERPARAMETERS = 200  # a config can hold anything; nobody reads more columns
ENDED = frozenset(("TERMINATED", "ERROR"))
ROWS_AT_ONCE = 1_000  # are turned into JSON in 2 ms
SAMPLE_ROWS = 50  # of a snapshot are enough to tell its size


@dataclass
class Columns:
    """The names of the columns, each at the place where it first appeared."""

    hyperparameters: list[str] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)


@dataclass
class _Row:
    name: str  # the trial's id as JSON
    status: str = "PENDING"
    ended: str | None = None  # by a hook, which comes before the trial's own status changes
    config: Mapping[str, Any] | None = None
    hyperparameters: dict[str, Wire] = field(default_factory=dict)
    metrics: dict[str, int | float | None] = field(default_factory=dict)
    cells: str = ""  # JSON of its hyperparameters, for the first `width` columns
    width: int = 0
    text: str = ""  # JSON of all of it; empty when it has changed since


class Table:
    """Rows by trial id. Columns only ever come at the end; the optimized metric is the first.

    Args:
        metric: The metric that is optimized, if it is known.
        columns: The columns of an earlier process of the same sweep.
        others: What else is optimized: these come next.
    """

    def __init__(
        self,
        metric: str | None = None,
        columns: Columns | None = None,
        others: Sequence[str] = (),
    ) -> None:
        self.columns = columns or Columns()
        self.changed = False
        self._metric = metric
        known = self.columns.metrics
        first = [] if metric is None else [metric, *(name for name in others if name != metric)]
        self._max_metrics = max(MAX_METRICS, len(first))
        if any(name not in known for name in first):
            known[:] = [*first, *(name for name in known if name not in first)]
        del known[self._max_metrics :]
        self._rows: dict[str, _Row] = {}
        self._written = (0, 0)  # how many columns the rows' texts have

    def __len__(self) -> int:
        return len(self._rows)

    def knows(self, trial_id: str) -> bool:
        """Whether the trial has a row with its hyperparameters."""
        row = self._rows.get(trial_id)
        return row is not None and row.config is not None

    def shows(self, trial_id: str, status: str) -> bool:
        """Whether the trial has a row with its hyperparameters and this status."""
        row = self._rows.get(trial_id)
        return row is not None and row.status == status and row.config is not None

    @property
    def ended(self) -> int:
        """How many trials have ended."""
        return sum(row.status in ENDED for row in self._rows.values())

    @property
    def told_ended(self) -> int:
        """How many trials a hook said have ended: not the ones that were cut off."""
        return sum(row.ended is not None for row in self._rows.values())

    def is_told_ended(self, trial_id: str) -> bool:
        """Whether it is one of these."""
        row = self._rows.get(trial_id)
        return row is not None and row.ended is not None

    def set_status(self, trial_id: str, status: str) -> None:
        """Note a trial's status as Tune shows it; a later one than a hook told of wins."""
        row = self._row(trial_id)
        if status not in ENDED and row.ended is not None:
            status = row.ended
        if row.status != status:
            row.status, row.text, self.changed = status, "", True

    def set_ended(self, trial_id: str, status: str | None) -> None:
        """Note that a trial has ended, or (None) that it was started again."""
        row = self._row(trial_id)
        row.ended = status
        if status is not None:
            self.set_status(trial_id, status)

    def set_config(self, trial_id: str, config: Mapping[str, Any] | None) -> None:
        """Note a trial's hyperparameters. Equal ones again cost next to nothing."""
        row = self._row(trial_id)
        if config is None or _same(config, row.config):
            return
        row.config = config
        hyperparameters = {key: to_wire(value) for key, value in flatten(config).items()}
        if hyperparameters == row.hyperparameters:
            return
        row.hyperparameters, row.text, self.changed = hyperparameters, "", True
        known = self.columns.hyperparameters
        new = [key for key in row.hyperparameters if key not in known]
        known.extend(new[: MAX_HYPERPARAMETERS - len(known)])
        row.cells = ",".join([to_json(hyperparameters.get(column)) for column in known])
        row.width = len(known)

    def set_metrics(self, trial_id: str, metrics: Mapping[str, int | float | None]) -> None:
        """Note a trial's newest metrics, by flattened name.

        What is missing keeps its value; None has no value, and is no reason for a column.
        """
        row, columns = self._row(trial_id), self.columns.metrics
        for name, value in metrics.items():
            if len(columns) >= self._max_metrics:
                break
            if value is not None and name not in columns:
                columns.append(name)
        for name in columns:
            if name not in metrics:
                continue
            value = metrics[name]
            if type(value) is int and not -MAX_PLAIN < value < MAX_PLAIN:
                value = None  # no float can hold it
            if _differ(row.metrics.get(name), value):
                row.metrics[name], row.text, self.changed = value, "", True

    def best(self, mode: str | None) -> tuple[str, float] | None:
        """The trial with the best last value of the metric, and that value; None if none has one.

        A trial that failed, or whose value is not finite, cannot be it.
        """
        if self._metric is None or mode is None:
            return None
        values = {
            trial_id: value
            for trial_id, row in self._rows.items()
            if row.status != "ERROR"
            and (value := row.metrics.get(self._metric)) is not None
            and isfinite(value)
        }
        if not values:
            return None
        best = (max if mode == "max" else min)(values, key=lambda trial_id: values[trial_id])
        return best, values[best]

    def end_unfinished(self) -> None:
        """Whatever had not ended was cut off with its process."""
        for row in self._rows.values():
            if row.status not in ENDED:
                row.status, row.text, self.changed = "TERMINATED", "", True

    def snapshot(self, best_trial: str = "") -> dict[str, Wire]:
        """The whole table as the ``data`` of a ``trials`` event, independent of this object."""
        self.changed = False
        hyperparameters, metrics = self.columns.hyperparameters, self.columns.metrics
        trials: dict[str, Wire] = {}
        for trial_id, row in self._rows.items():
            trials[trial_id] = {
                "base": [trial_id, row.status],
                "hyperparameters": [row.hyperparameters.get(name) for name in hyperparameters],
                "metrics": [to_wire(row.metrics.get(name)) for name in metrics],
            }
        return {
            "base": list(BASE_COLUMNS),
            "hyperparameters": list(hyperparameters),
            "metrics": list(metrics),
            "trials": trials,
            "best_trial": best_trial,
        }

    def to_json(self, best_trial: str = "") -> str:
        """The same as JSON text. Only rows that have changed since the last time are made anew."""
        self.changed = False
        hyperparameters, metrics = self.columns.hyperparameters, self.columns.metrics
        if self._written != (written := (len(hyperparameters), len(metrics))):
            self._written = written
            for row in self._rows.values():
                row.text = ""
        stale = [row for row in self._rows.values() if not row.text]
        for start in range(0, len(stale), ROWS_AT_ONCE):  # Python's lock is kept within each
            self._write(stale[start : start + ROWS_AT_ONCE])
        return (
            f'{{"base":{dumps([*BASE_COLUMNS])},"hyperparameters":{dumps([*hyperparameters])},'
            f'"metrics":{dumps([*metrics])},'
            f'"trials":{{{",".join([row.text for row in self._rows.values()])}}},'
            f'"best_trial":{dumps(best_trial)}}}'
        )

    def _write(self, rows: Sequence[_Row]) -> None:
        """Make the texts of these rows.

        No object is made for a row that Python's garbage collector would count: of thousands it
        looks through the whole process, which takes longer than all of this.
        """
        columns, width = self.columns.metrics, len(self.columns.hyperparameters)
        numbers = number_texts([row.metrics.get(name) for row in rows for name in columns])
        of_rows = zip(*[iter(numbers)] * len(columns), strict=True)  # so many at a time
        each = map(",".join, of_rows) if columns else repeat("")
        for row, metrics in zip(rows, each, strict=False):
            if row.width < width:  # what came later is another trial's
                missing = ["null"] * (width - row.width)
                row.cells = ",".join([row.cells, *missing] if row.width else missing)
                row.width = width
            row.text = (
                f'{row.name}:{{"base":[{row.name},"{row.status}"],"hyperparameters":[{row.cells}],'
                f'"metrics":[{metrics}]}}'
            )

    def _row(self, trial_id: str) -> _Row:
        row = self._rows.get(trial_id)
        if row is None:
            row = self._rows[trial_id] = _Row(dumps(trial_id))
            self.changed = True
        return row


def _same(new: Mapping[str, Any], old: Mapping[str, Any] | None) -> bool:
    try:
        return new is old or bool(new == old)
    except Exception:  # numpy arrays in it do not compare to one bool
        return False


def _differ(old: float | None, new: float | None) -> bool:
    both_nan = old is not None and old != old and new != new
    return old != new and not both_nan


def estimate_bytes(snapshot: Mapping[str, Any]) -> int:
    """About how many bytes a snapshot has as JSON, judged by some of its rows."""
    rows = snapshot["trials"]
    sample = list(islice(rows.values(), SAMPLE_ROWS))
    return sum(len(dumps(row)) for row in sample) * len(rows) // max(len(sample), 1)
