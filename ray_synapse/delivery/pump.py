"""How records move out of one process: what is handed over, answered, taken back, tried again."""

import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from ray_synapse import console
from ray_synapse.backend.protocol import Backend, BackendSpec, Batch, JobId
from ray_synapse.delivery import relay
from ray_synapse.delivery.flusher import BUFFER_S, flusher
from ray_synapse.delivery.link import RelayLink
from ray_synapse.delivery.pending import MAX_BATCH_RECORDS, Pending
from ray_synapse.errors import NotFoundError, StorageError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ray_synapse.delivery.courier import Courier

RETRY_S = 1.0  # after a write that failed: a full or stalled disk needs a person, not haste
POLL_S = 0.05  # while waiting: Ray's shutdown gives no sign


class Pump:
    """The part of ``Channel`` that moves what is pending; its arguments are the channel's."""

    def __init__(
        self, spec: BackendSpec, job: JobId, address: relay.RelayAddress, *, owns_relay: bool
    ) -> None:
        self._spec, self._job = spec, job
        self._courier: Courier | None = None
        self._link = RelayLink(spec, job, address, owned=owns_relay, forked=False)
        self._start()

    def _start(self) -> None:
        self._backend: Backend = self._spec.open()
        self._lock = threading.RLock()
        self._pending = Pending()
        self._round = 0  # goes up when records are taken back; answers to older ones are void
        self._answers: deque[tuple[int, int | BaseException]] = deque()
        self._answered = threading.Event()
        self._gathering = False  # between the beginning and the end of `gathered`
        self._may_buffer = False  # between the beginning and the end of `buffered`
        self._is_buffering = False  # the flusher will move what is put
        self._pumped_at = 0.0
        self._careful = False  # a batch was refused: one record at a time, to find which
        self._retry_at = 0.0
        self._retrying = False
        self._ping: Future[int] | None = None  # the last question whether the relay lives

    # All under the lock.

    def _pump_or_buffer(self) -> None:
        """Move what can be moved: now, or with a relay a moment after the last time."""
        if self._is_buffering:
            return
        is_early = time.monotonic() - self._pumped_at < BUFFER_S
        may_wait = self._may_buffer and is_early and self._link.relay is not None
        if may_wait and flusher.soon(self.push):
            self._is_buffering = True
        else:
            self._pump()

    def _pump(self) -> None:
        """Move what can be moved now."""
        self._is_buffering = False
        self._pumped_at = time.monotonic()
        self._drain()
        self._refresh_link()
        if self._courier is not None:
            self._courier.follow(self._link.relay)
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

    def _look_after(self) -> None:
        """Find out whether the relay lives, and make another one if it does not."""
        with self._lock:
            self._pump()
            if self._link.relay is not None and (self._ping is None or self._ping.done()):
                self._ping = self._link.relay.ping.remote().future()
                self._ping.add_done_callback(partial(self._on_answer, self._round))

    def push(self) -> None:
        """Send what is buffered on its way."""
        with self._lock:
            if self._is_buffering:
                self._pump()

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
