"""How the server stands to us at the moment: for all the threads that send to it."""

import contextlib
import threading
import time

from ray_synapse.backend.protocol import JobId
from ray_synapse.delivery.outbox.outbox import Outbox
from ray_synapse.delivery.retry import Backoff, Verdict, concerns_all, verdict
from ray_synapse.errors import BackendError, StorageError

AWAY_AFTER = 4  # failures in a row, some seconds: a hiccup is nobody's business


class Standing:
    """Whether asking the server makes sense now. Every method may be called from any thread.

    Args:
        outbox: Where what a person should know is noted.
        job: The run's job, for these lines.
        host: The server's address, likewise.
    """

    def __init__(self, outbox: Outbox, job: JobId, host: str) -> None:
        self._outbox, self._job, self._host = outbox, job, host
        self._lock = threading.Lock()
        self._backoff = Backoff()  # of the whole server
        self._last_error = ""
        self.stopped = False  # it refuses our token: only a new one changes that

    def wait(self) -> float:
        """How long to wait before the next request, in seconds."""
        return self.left(self._backoff)

    def left(self, backoff: Backoff) -> float:
        """How long to wait for something that has failed, in seconds; less if somebody waits."""
        with self._lock:
            left = backoff.left(time.monotonic(), is_hurried=False)
            if left:
                with contextlib.suppress(StorageError):
                    hurried = self._outbox.is_hurried()
                    left = backoff.left(time.monotonic(), is_hurried=hurried)
        return left

    def answered(self) -> None:
        """A request was done."""
        with self._lock:
            was_away = self._backoff.attempt >= AWAY_AFTER
            self._backoff.worked()
        if was_away:
            with contextlib.suppress(StorageError):
                self._outbox.unsaid(self._away())

    def failed(self, error: BackendError, *, was_greeting: bool = False) -> None:
        """A request failed.

        Args:
            error: How.
            was_greeting: Whether it was one that can only fail for all others, too.
        """
        text = str(error)
        with self._lock:
            is_new, self._last_error = text != self._last_error, text
            if was_greeting or concerns_all(error):
                self._backoff.failed(error, time.monotonic())
            is_away = self._backoff.attempt == AWAY_AFTER
            is_over = verdict(error, repeatable=True) is Verdict.STOP and not self.stopped
            self.stopped = self.stopped or is_over
        with contextlib.suppress(StorageError):  # of a full disk others tell
            if is_new:
                self._outbox.note_about(last_error=text)
            if is_over:
                self._outbox.note_about(stopped=text)
                self._outbox.note(self._over(text))
            elif is_away:
                self._outbox.note(self._away())

    def _over(self, text: str) -> str:
        return (
            f"JOB {self._job} IS NOT BEING DELIVERED ANY MORE: {text} Everything is kept on this "
            f"disk. With a right token `ray-synapse sync {self._job}` sends it."
        )

    def _away(self) -> str:
        return (
            f"job {self._job}: {self._host} takes nothing now; what is logged is kept on this disk "
            "and delivered when it does"
        )
