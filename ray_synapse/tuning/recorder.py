"""The thread beside Tune's loop: takes what the hooks saw, keeps the table, hands it to the run."""

import atexit
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ray_synapse import console, signals
from ray_synapse.run import SWEEP_STOP_S
from ray_synapse.settings import Mode
from ray_synapse.table import ENDED
from ray_synapse.tuning import loop
from ray_synapse.tuning.bar import Bar
from ray_synapse.tuning.end import CUT_OFF, End
from ray_synapse.tuning.ledger import Event, Ledger
from ray_synapse.tuning.loop import Place
from ray_synapse.tuning.sink import Sink
from ray_synapse.tuning.story import number_of
from ray_synapse.tuning.waiting import Waiting

MAX_EVENTS = 10_000  # a minute of a very busy sweep; the table itself recovers from Tune's trials
GATHER_S = 0.1  # between two turns of the thread, each of which takes Tune's loop a little time
MAX_GATHER_S = 0.5  # likewise on a busy machine; what comes in it is lost if the process is killed
REST = 30  # times as long as a turn took, which is longer where there is no CPU to spare
GATHER_RESULTS = 100  # sent together: a call of the relay takes about so many
MIN_INTERVAL_S = 1.0  # between two tables: nobody reads faster
MAX_SHARE = 0.005  # of the time may go into tables: 1 % with the first one, which comes at once
MAX_BYTES_PER_S = 100_000  # of tables, on average


class Recorder:
    """Follows one sweep. ``add`` and ``seen`` are for the hooks and cost next to nothing.

    Args:
        open_sink: Gives the run to log to; called on the thread, at the first event, with a trial.
            None if there is none: then nothing is logged.
        ledger: The table and the story of the sweep, still empty.
        metric: The metric that is optimized, if it is known.
        mode: ``"min"`` or ``"max"``, likewise.
        total: How many trials there will be; None if that is open.
        place: Where the sweep runs.
        is_restored: Whether it goes on with what an earlier one has left.
        log_results: Whether each result is logged as a metric of its trial.
        show_progress: Whether a terminal gets a line of progress.
    """

    def __init__(
        self,
        open_sink: Callable[[Any], Sink | None],
        ledger: Ledger,
        *,
        metric: str | None,
        mode: Mode | None,
        total: int | None,
        place: Place | None,
        is_restored: bool,
        log_results: bool,
        show_progress: bool,
    ) -> None:
        self.metric, self.mode = metric, mode
        self.ledger, self.place = ledger, place
        self.trials: Sequence[Any] = ()  # Tune's own list, which grows
        self._ended_before: Sequence[Any] = ()
        self.building_s = 0.0  # spent on tables so far
        self.is_restored = is_restored
        self.is_concluded = False  # `finish` has done its part
        self._open_sink = open_sink
        self._sink: Sink | None = None
        self.total = total
        self._log_results = log_results
        self._bar = Bar(total, metric, is_shown=show_progress)
        self._opened = False
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._results: deque[tuple[str, Any, dict[str, int | float]]] = deque(maxlen=MAX_EVENTS)
        self._overflow = 0
        self._wake = threading.Event()
        self._stopping = False
        self._stop_told = threading.Event()  # it is stopping: the thread sleeps no more
        self._end: End | None = None
        self._waiting = Waiting()
        self._interval = MIN_INTERVAL_S
        self._next_table = 0.0
        self._thread = threading.Thread(target=self._run, name="ray_synapse-recorder", daemon=True)
        self._thread.start()
        _live.add(self)

    # For the hooks, on Tune's loop.

    def add(self, event: Event) -> None:
        """Keep an event for the thread; when too many wait, the oldest is dropped and counted."""
        if len(self._events) == MAX_EVENTS:
            self._overflow += 1
        self._events.append(event)
        self._wake.set()

    def seen(self, trials: Sequence[Any]) -> None:
        """Note Tune's list of trials; at first, which of them have ended before, by a restore."""
        if self.trials is not trials:
            self._ended_before = [trial for trial in trials if trial.status in ENDED]
            self.trials = trials

    def end(self, trials: Sequence[Any], how: End) -> None:
        """Tune is done: the thread sends the last table and ends. Waits for nothing."""
        self.seen(trials)
        self._end = how
        self._tell_to_stop()

    # For the end of the run, on the script's thread.

    @property
    def told_failed(self) -> set[str]:
        """The trials of which a message says that they failed, and why."""
        return self.ledger.story.told_failed

    @property
    def is_cut_off(self) -> bool:
        """Whether it did not come to its own end: a signal, or the script ended."""
        return self._end is None or self._end.interrupted

    @property
    def error(self) -> str:
        """What came out of ``fit()``; empty if nothing did."""
        return self._end.error if self._end else ""

    def goes_on(self) -> bool:
        """Whether Tune is still at it, on another thread."""
        return self._end is None and loop.goes_on(self.place)

    def stop(self, timeout: float) -> None:
        """Send the last table, within the timeout in seconds."""
        self._tell_to_stop()
        self._thread.join(timeout)
        if self._thread.is_alive():
            console.say_once(f"the last table could not be handed over within {timeout:g} s")

    def _tell_to_stop(self) -> None:
        self._stopping = True
        self._stop_told.set()
        self._wake.set()

    # The thread.

    def _run(self) -> None:
        while True:
            self._wake.wait(MIN_INTERVAL_S)
            self._wake.clear()
            stopping, began = self._stopping, time.perf_counter()
            with self._harmless():
                self._turn(stopping)
            if stopping:
                self._bar.leave()
                return
            took = time.perf_counter() - began
            self._stop_told.wait(min(max(GATHER_S, REST * took), MAX_GATHER_S))

    @staticmethod
    @contextmanager
    def _harmless() -> Iterator[None]:
        """A fault of ours must not end the logging of the sweep."""
        try:
            yield
        except Exception as error:
            console.say_once(f"the trials table has a gap: {type(error).__name__}: {error}")

    def _turn(self, stopping: bool) -> None:
        """Take in what came; the table goes first, for a run that is slow to take the results."""
        if not self._opened and (self._events or self.trials or self.error):
            first = self._events[0].trial if self._events else next(iter(self.trials), None)
            self._sink = self._open_sink(first)
            self._opened = True
        before, self._ended_before = self._ended_before, ()
        self.ledger.resume(before)
        while self._events:
            with self._harmless():
                self._take(self._events.popleft())
        if self._sink is None:
            self._results.clear()
            return
        if self._overflow:
            lost, self._overflow = self._overflow, 0
            self._sink.count_dropped(lost)
        if stopping or time.monotonic() >= self._next_table:
            self._send_table(stopping)
        together = GATHER_RESULTS if self._sink.is_ours else 1  # a foreign run may block in each
        while self._results and (stopping or not self._table_is_due()):
            with self._sink.gathered():
                for _ in range(min(len(self._results), together)):
                    self._sink.log_result(*self._results.popleft())
        if stopping:
            self._sink.close(failed=bool(self.error))

    def _table_is_due(self) -> bool:
        return self._stopping or (bool(self._events) and time.monotonic() >= self._next_table)

    def _take(self, event: Event) -> None:
        found = self.ledger.take(event)
        if found is not None and event.result is not None and self._log_results:
            self._overflow += len(self._results) == MAX_EVENTS
            iteration = event.result.get("training_iteration")
            self._results.append((event.trial.trial_id, iteration, found))
        if event.kind == "complete" and self._sink is not None:
            self._sink.completed(event.trial)

    def _send_table(self, last: bool) -> None:
        """Bring the table up to date from Tune's trials, and send it if it changed."""
        assert self._sink is not None
        started, table = time.perf_counter(), self.ledger.table
        self.ledger.look(self.trials)
        if last:
            self._close_ledger()
        best = table.best(self.mode)
        winner = best[0] if best and self._end else ""
        size, send = self._sink.made(table, winner) if table.changed or winner else (0, None)
        built = time.perf_counter() - started
        if send is not None:
            send()  # not counted: somebody else's run may block
        self.building_s += built
        self._interval = max(MIN_INTERVAL_S, built / MAX_SHARE, size / MAX_BYTES_PER_S)
        self._next_table = time.monotonic() + self._interval
        self._tell()
        end = self._end or (CUT_OFF if self._stopping else None)
        self._bar.move(self._sink, table, None if best is None else best[1], end)

    def _close_ledger(self) -> None:
        by_signal = signals.was_told_to_end()
        end = self._end or (
            CUT_OFF._replace(why="SIGTERM cut the sweep off") if by_signal else CUT_OFF
        )
        if end.failed is not None:
            self.ledger.fail(end.failed, end.error)
        cut_off = self.ledger.close(end.why, self.trials, tune_ended=self._end is not None)
        if cut_off:
            console.say(f"{end.why}: {number_of(cut_off)} not done")
        elif end.error:
            self.ledger.story.say(end.why, "error")
        elif self._end is not None:  # a signal that came when all was done
            self._end = self._end._replace(interrupted=False)

    def _tell(self) -> None:
        """Log what there is to tell."""
        assert self._sink is not None
        if not self._stopping and (self.place is None or self.goes_on()):
            # A loop that is gone leaves its trials waiting for ever.
            for text in self._waiting.look(self.trials, time.monotonic()):
                self.ledger.story.say(text, "warning")
                console.say(text)
        for message in self.ledger.story.take():
            self._sink.log_message(*message)


_live: "weakref.WeakSet[Recorder]" = weakref.WeakSet()


def _stop_all() -> None:
    """At the end of the script: the last table goes out, also to a run of somebody else."""
    for recorder in list(_live):
        recorder.stop(SWEEP_STOP_S)


atexit.register(_stop_all)
