"""One thread of the process, which moves a moment later what was put in many small pieces."""

import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress

BUFFER_S = 0.02  # a call of the relay takes longer than a hundred records take to be put


class Flusher:
    """Calls functions soon, each once however often that was asked for.

    The thread starts at the first use, and again in a forked child. It keeps no object alive.
    """

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._due: set[weakref.WeakMethod[Callable[[], None]]] = set()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def soon(self, method: Callable[[], None]) -> bool:
        """Call a bound method within ``BUFFER_S``. Returns False where no thread can be had."""
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="ray_synapse-flush", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is exiting
                    return False
                self._thread = thread
            self._due.add(weakref.WeakMethod(method))
        self._wake.set()
        return True

    def _run(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(BUFFER_S)
            self._wake.clear()
            with self._lock:
                due, self._due = self._due, set()
            for reference in due:
                method = reference()
                if method is not None:
                    with suppress(Exception):  # one that fails must not keep the others waiting
                        method()
                del method


flusher = Flusher()
