"""How long the end of a run waits for the server: one deadline, which progress stops."""

import time
from collections.abc import Callable, Hashable

LOOK_S = 0.1  # between two looks


class Patience:
    """Waits, as long as something moves, and for so many seconds in all in which nothing does.

    Args:
        limit: Seconds without progress, over all the waits of a run.
    """

    def __init__(self, limit: float) -> None:
        self.left = limit

    def wait(self, is_done: Callable[[], bool], progress: Callable[[], Hashable]) -> bool:
        """Wait until it is done, or patience ends. Ctrl-C ends it, too, for all waits that follow.

        Args:
            is_done: Whether there is nothing to wait for any more.
            progress: Anything that changes when something moved.

        Returns:
            Whether it is done.
        """
        try:
            return self._wait(is_done, progress)
        except KeyboardInterrupt:
            self.left = 0.0
            return is_done()

    def _wait(self, is_done: Callable[[], bool], progress: Callable[[], Hashable]) -> bool:
        before, at = progress(), time.monotonic()
        while not is_done():
            if self.left <= 0:
                return False
            time.sleep(min(LOOK_S, self.left))
            now, after = time.monotonic(), progress()
            if after == before:
                self.left -= now - at
            before, at = after, now
        return True
