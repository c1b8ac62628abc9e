"""Whether this process was told to end: Python forgets it before a script's last functions run."""

import signal
import threading
from typing import Any

_was_told = False
_noting: Any = None  # the handler that was put before another one


def watch() -> None:
    """Note a SIGTERM, and leave what it does as it is.

    Only a handler that somebody else has set (Ray does) lets the script come to its end; without
    one SIGTERM kills at once, which shows in the run's heartbeat. May be called again and again:
    Ray sets its own when it starts.
    """
    global _noting
    handler = signal.getsignal(signal.SIGTERM)
    if not callable(handler) or handler is _noting:
        return
    if threading.current_thread() is not threading.main_thread():
        return

    def note(number: int, frame: Any) -> Any:
        global _was_told
        _was_told = True
        return handler(number, frame)

    _noting = note
    signal.signal(signal.SIGTERM, note)


def was_told_to_end() -> bool:
    """Whether a SIGTERM came."""
    return _was_told
