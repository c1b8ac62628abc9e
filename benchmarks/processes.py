"""How many processes there are while something runs."""

import threading
from collections.abc import Callable
from typing import Any

import psutil

LOOK_S = 0.1


def most(run: Callable[[], Any]) -> int:
    """The most processes below this one that are there at a time while it runs."""
    done, counts = threading.Event(), [0]

    def look() -> None:
        me = psutil.Process()
        while not done.wait(LOOK_S):
            counts.append(len(me.children(recursive=True)))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        run()
    finally:
        done.set()
        watcher.join()
    return max(counts)
