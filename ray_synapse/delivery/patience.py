"""How long the end of a run waits for the server: one deadline, which progress stops."""

import signal
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

LOOK_S = 0.1  # between two looks
PACE_S = 2.0  # what moves at least so often does not stand still: a slow server takes a second


class Patience:
    """Waits, as long as something moves, and for so many seconds in all in which nothing does.

    Args:
        limit: Seconds without progress, over all the waits of a run.

    Attributes:
        is_interrupted: Whether Ctrl-C has ended it.
    """

    def __init__(self, limit: float) -> None:
        self._limit = self._left = limit
        self._until = float("inf")
        self.is_interrupted = False

    def again(self) -> "Patience":
        """The same for another sweep, as if nothing had been waited for."""
        return Patience(self._limit)

    @property
    def left(self) -> float:
        """What is left of them."""
        return max(min(self._left, self._until - time.monotonic()), 0.0)

    @property
    def is_over(self) -> bool:
        """Whether it was in a hurry, and is too late."""
        return time.monotonic() > self._until

    def hurry(self) -> None:
        """From now on the clock runs, whatever moves: after a signal a process has to end."""
        if self._until == float("inf"):
            self._until = time.monotonic() + self._left

    def wait(self, is_done: Callable[[], bool], progress: Callable[[], Hashable]) -> bool:
        """Wait until it is done, or patience ends. Ctrl-C ends it, too, for all waits that follow.

        Args:
            is_done: Whether there is nothing to wait for any more.
            progress: Anything that changes when something moved.

        Returns:
            Whether it is done.
        """
        try:
            with _ctrl_c_ends_it():
                return self._wait(is_done, progress)
        except KeyboardInterrupt:
            self._left, self.is_interrupted = 0.0, True
            return is_done()

    def _wait(self, is_done: Callable[[], bool], progress: Callable[[], Hashable]) -> bool:
        before, moved_at = progress(), time.monotonic()
        charged = 0.0  # of the time since then
        while not is_done():
            if self.left <= 0:
                return False
            time.sleep(min(LOOK_S, self.left))
            after = progress()
            if after != before:
                before, moved_at, charged = after, time.monotonic(), 0.0
                continue
            still = time.monotonic() - moved_at
            if still >= min(PACE_S, self._left + charged):
                self._left -= still - charged
                charged = still
        return True


@contextmanager
def _ctrl_c_ends_it() -> Iterator[None]:
    """Give Ctrl-C back its meaning: Tune's handler stays after ``fit()``, and swallows the first.

    A handler of the user's own is left as it is.
    """
    handler = signal.getsignal(signal.SIGINT)
    is_tunes = getattr(handler, "__module__", "") == "ray.tune.tune"
    if not is_tunes or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
