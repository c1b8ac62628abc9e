"""The way out of one process: to the run's relay while Ray runs, else straight to the backend."""

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

from ray_synapse import console
from ray_synapse.backend.protocol import Backend, BackendSpec, Batch, Counts, JobId, Record
from ray_synapse.delivery import relay
from ray_synapse.delivery.link import RelayLink
from ray_synapse.delivery.pending import MAX_BATCH_RECORDS, Pending
from ray_synapse.errors import BackendError, NotFoundError, StorageError

if TYPE_CHECKING:
    from concurrent.futures import Future

RETRY_S = 1.0  # after a write that failed: a full or stalled disk needs a person, not haste
LARGE_RECORD_WAIT_S = 0.5  # until it has surely left a process that may be killed right after
POLL_S = 0.05  # while waiting: Ray's shutdown gives no sign


class Channel:
    """Hands the records of this process to the run's relay, or writes them itself without one.

    Records keep their order, and none is forgotten before it is known to be written. Past a limit
    new ones are dropped, and counted. No method waits for Ray; ``put`` waits for a disk only when
    there is no relay, and for up to half a second after a record of more than 64 KB.

    Args:
        spec: The backend.
        job: The run's job.
        address: Where the run's relay is to be found.
        owns_relay: Whether this process makes the relay when there is none.
    """

    def __init__(
        self, spec: BackendSpec, job: JobId, address: relay.RelayAddress, *, owns_relay: bool
    ) -> None:
        self._spec, self._job = spec, job
        self._link = RelayLink(spec, job, address, owned=owns_relay, forked=False)
        self._start()
        this = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _after_fork(this))

    def _start(self) -> None:
        self._backend: Backend = self._spec.open()
        self._lock = threading.RLock()
        self._pending = Pending()
        self._round = 0  # goes up when records are taken back; answers to older ones are void
        self._answers: deque[tuple[int, int | BaseException]] = deque()
        self._answered = threading.Event()
        self._gathering = False  # between the beginning and the end of `gathered`
        self._careful = False  # a batch was refused: one record at a time, to find which
        self._retry_at = 0.0
        self._retrying = False

    def put(
        self,
        event: str,
        data: str,
        *,
        file: str | None = None,
        step: str | None = None,
        level: str | None = None,
    ) -> None:
        """Send a record on its way. Never raises; the arguments are those of ``Record``."""
        now = datetime.now(timezone.utc).isoformat(timespec="microseconds")
        record = Record(0, event, now, data, file, step, level)
        with self._lock:
            if not self._pending.add(record):
                console.say_once(
                    f"job {self._job}: too many records wait to be written, new ones are dropped "
                    f"and counted. Is {self._spec.describe()} writable and its disk not full?"
                )
            if not self._gathering:
                self._pump()
            seq, by_relay = self._pending.last, self._link.relay is not None
        if by_relay and record.size() > relay.PIECE_BYTES:
            self._wait_for(seq, LARGE_RECORD_WAIT_S)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Send what is put in this block together at its end: a call each costs far more."""
        with self._lock:
            self._gathering = True
            try:
                yield
            finally:
                self._gathering = False
                self._pump()

    @property
    def backend(self) -> Backend:
        """The backend as this process has opened it."""
        return self._backend

    def open_relay(self, *, own: bool = False) -> None:
        """Make sure of the relay where this process makes it: from now on, if ``own``."""
        with self._lock:
            if own:
                self._link.own()
            if self._link.owned:
                self._refresh_link()

    def close_relay(self) -> None:
        """Let the relay end: it does once it has written what it was handed."""
        with self._lock:
            self._take_back()
            self._link.close()

    def flush(self, timeout: float) -> bool:
        """Wait until everything put so far is written.

        A relay that does not answer in time (it hangs, or could not start yet) is given up: this
        process then writes by itself.

        Args:
            timeout: The longest wait, in seconds; as long again after giving up a relay.

        Returns:
            Whether nothing of it is left waiting.
        """
        with self._lock:
            self._retry_at = 0.0
            seq = self._pending.last
        if self._wait_for(seq, timeout):
            return True
        with self._lock:
            if self._link.relay is None:
                return False
            self._lose_relay()
        return self._wait_for(seq, timeout)

    def count_dropped(self, number: int) -> None:
        """Count records that were dropped before they came here."""
        with self._lock:
            self._pending.count_dropped(number)

    def counts(self) -> dict[str, Counts]:
        """What became of the records of each process of the run, as far as it is known here."""
        try:
            found = self._backend.counts(self._job)
        except BackendError:
            found = {}
        with self._lock:
            self._drain()
            return {**found, self._pending.process: self._pending.counts()}

    # Below, all under the lock.

    def _pump(self) -> None:
        """Move what can be moved now."""
        self._drain()
        self._refresh_link()
        if time.monotonic() < self._retry_at:
            return
        while batch := self._pending.next_batch(1 if self._careful else MAX_BATCH_RECORDS):
            if not (self._write(batch) if self._link.relay is None else self._hand_over(batch)):
                return
        self._careful = False

    def _hand_over(self, batch: Batch) -> bool:
        try:
            future = relay.hand_over(self._link.relay, batch)
        except Exception:  # its cluster is gone, or being shut down by another thread right now
            self._lose_relay()
            return True  # goes on by writing here
        self._pending.sent(batch)
        future.add_done_callback(partial(self._on_answer, self._round))
        return not self._careful  # then its answer decides about the next one

    def _write(self, batch: Batch) -> bool:
        try:
            if not self._spec.reachable():  # a trial on another node, which has no relay any more
                raise StorageError(f"{self._spec.describe()} is not on this machine")
            kept = self._backend.write(self._job, batch)
        except Exception as error:
            return self._fail(error)
        self._pending.sent(batch)
        self._pending.written(kept)
        return True

    def _drain(self) -> None:
        """Take in the answers that have come."""
        while self._answers:
            round_, answer = self._answers.popleft()
            if isinstance(answer, int):
                self._pending.written(answer)
            elif round_ == self._round:
                self._fail(answer)

    def _fail(self, error: BaseException) -> bool:
        """Take back what is in flight, to be sent again. Returns whether that may be at once."""
        self._take_back()
        if isinstance(error, NotFoundError):  # the job was removed while it ran
            console.say_once(f"{error} What is still logged to it is dropped.")
            self._pending.drop_all()
        elif self._link.relay is not None and relay.is_loss(error):
            self._lose_relay()
        elif isinstance(error, StorageError):
            self._pending.refused()
            console.say_once(f"job {self._job}: cannot write now, trying again: {error}")
            self._retry_at = time.monotonic() + RETRY_S
            self._retry_soon(RETRY_S)
            return False
        elif self._careful:
            console.say_once(f"job {self._job}: a record cannot be kept and is dropped: {error}")
            self._pending.drop_first()
        else:
            self._careful = True
        return True

    def _lose_relay(self) -> None:
        self._take_back()
        self._link.lose()

    def _refresh_link(self) -> None:
        if self._link.refresh():
            self._take_back()

    def _take_back(self) -> None:
        self._round += 1
        self._pending.take_back()

    # Without the lock.

    def _on_answer(self, round_: int, future: "Future[int]") -> None:
        """Note an answer of the relay. Runs on Ray's own thread, so it takes no lock."""
        error = future.exception()
        self._answers.append((round_, error if error is not None else future.result()))
        self._answered.set()
        if error is not None or self._careful:
            self._retry_soon(0.0)

    def _retry_soon(self, delay: float) -> None:
        if self._retrying:
            return
        self._retrying = True
        timer = threading.Timer(delay, self._retry)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # the interpreter is exiting: what follows flushes
            self._retrying = False

    def _retry(self) -> None:
        self._retrying = False
        with self._lock:
            self._pump()

    def _wait_for(self, seq: int, timeout: float) -> bool:
        give_up = time.monotonic() + timeout
        while True:
            self._answered.clear()
            with self._lock:
                self._pump()
                first = self._pending.first
            if first is None or first > seq:
                return True
            left = give_up - time.monotonic()
            if left <= 0:
                return False
            self._answered.wait(min(left, POLL_S))


def _after_fork(reference: "weakref.ref[Channel]") -> None:
    """A forked child is a process of its own: it must use neither the numbers nor the database."""
    channel = reference()
    if channel is not None:
        _left_behind.append(channel.__dict__.copy())  # closing them here would harm the parent
        channel._start()
        link = channel._link
        channel._link = RelayLink(link.spec, link.job, link.address, owned=False, forked=True)


_left_behind: list[dict[str, Any]] = []
