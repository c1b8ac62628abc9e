"""How far a sweep has come: on its run, and in the terminal."""

from ray_synapse import console
from ray_synapse.names import display_name
from ray_synapse.table import Table
from ray_synapse.tuning.end import End
from ray_synapse.tuning.sink import Sink


class Bar:
    """The progress of the trials, moved when it has changed.

    Args:
        total: How many trials there will be; None if that is open.
        metric: The metric that is optimized, if it is known.
        is_shown: Whether a terminal gets a line of progress.
    """

    def __init__(self, total: int | None, metric: str | None, *, is_shown: bool) -> None:
        self._total, self._metric = total, metric
        self._line = console.ProgressLine() if is_shown else None
        self._at: tuple[int, int | None] | None = None

    def move(self, sink: Sink, table: Table, best: float | None, end: End | None) -> None:
        """Move it. A sweep that came to its end is complete, however many trials it had.

        Args:
            sink: The run.
            table: The trials.
            best: The best value of the metric so far, or None.
            end: How the sweep ended; None while it goes on.
        """
        total = self._total
        finished = table.told_ended if end is not None and end.is_early else table.ended
        if end is not None and not end.is_early:
            total = finished
        elif total is not None:
            total = max(total, len(table))
        if (finished, total) == self._at:
            return
        self._at = finished, total
        sink.set_progress(finished, total)
        if self._line is not None:
            note = "trials" if best is None else f"trials · best {self._metric} {best:.4g}"
            self._line.move(display_name(sink.name), finished, total, note)

    def leave(self) -> None:
        """Leave the line in the terminal as it is."""
        if self._line is not None:
            self._line.end()
