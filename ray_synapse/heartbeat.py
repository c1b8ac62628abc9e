"""The sign of life that the process that drives a job gives as long as it lives."""

import contextlib
import threading
from collections.abc import Callable

BEAT_S = 10.0  # one small write: ``vitals.STALE_S`` allows for several that come late or fail
LAST_BEAT_S = 1.0  # for one that is under way when it stops: a disk that stalls is not waited for


class Heartbeat:
    """Calls ``beat`` at once and then every 10 s, in a thread of its own, until ``stop``.

    Whatever ``beat`` raises is passed over: the next one may work, and a script must not fail for
    it. The thread does not keep the process alive.

    Args:
        beat: Gives the sign of life, such as ``partial(backend.beat, job)``.
    """

    def __init__(self, beat: Callable[[], None]) -> None:
        self._beat = beat
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._go, name="ray_synapse-heartbeat", daemon=True)
        with contextlib.suppress(RuntimeError):  # no thread begins while the interpreter exits
            self._thread.start()

    def stop(self) -> None:
        """Give no more signs of life; waits up to a second for one under way. May be repeated."""
        self._stopped.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(LAST_BEAT_S)

    def _go(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(Exception):
                self._beat()
            self._stopped.wait(BEAT_S)
