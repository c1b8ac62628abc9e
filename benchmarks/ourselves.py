"""What we work ourselves in a sweep: that varies less than the time of the whole sweep."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray_synapse

LOOK_S = 0.1
CLOCK = "/proc/self/task/{}/schedstat"  # the time on a CPU comes first, in nanoseconds
HOOKS = ("on_step_end", "on_trial_start", "on_trial_result", "on_trial_complete")


class Ourselves:
    """Seconds that our threads have worked, and that Tune's loop was in our hooks."""

    def __init__(self) -> None:
        self.hooks_s = 0.0
        self._threads: dict[int, float] = {}  # by the id of each thread

    @property
    def threads_s(self) -> float:
        """What the threads have worked; 0 if the system does not tell."""
        return sum(self._threads.values())

    def callback(self, run: ray_synapse.TrainRun) -> Any:
        """Our callback, whose hooks are timed."""
        callback = ray_synapse.SynapseLoggerCallback(run)
        for name in HOOKS:
            setattr(callback, name, self._timed(getattr(callback, name)))
        return callback

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look at the threads as long as the block runs."""
        done = threading.Event()

        def look() -> None:
            while not done.wait(LOOK_S):
                self._look()

        self._look()
        before = self.threads_s
        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()
        self._threads[0] = -before

    def _look(self) -> None:
        for thread in threading.enumerate():
            clock = Path(CLOCK.format(thread.native_id))
            if thread.name.startswith("ray_synapse") and thread.native_id and clock.exists():
                self._threads[thread.native_id] = int(clock.read_text().split()[0]) / 1e9

    def _timed(self, hook: Any) -> Any:
        def timed(*arguments: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            try:
                return hook(*arguments, **options)
            finally:
                self.hooks_s += time.perf_counter() - begin

        return timed
