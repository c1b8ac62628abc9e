"""What the user sees while a script runs: single lines, and one line of progress."""

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

REDRAW_S = 0.25  # four times a second reads as live; more only costs
MAX_ONCE = 1_000  # of the lines that are remembered to be said only once

_said: set[str] = set()
_lock = threading.Lock()


def say(text: str) -> None:
    """Print one line on stderr, marked as ours. Never raises: stderr may be closed."""
    with _lock, contextlib.suppress(OSError, ValueError):
        print(f"ray_synapse: {text}", file=sys.stderr, flush=True)


def say_once(text: str) -> None:
    """Like ``say``, but each line only once in this process."""
    with _lock:
        if text in _said or len(_said) >= MAX_ONCE:
            return
        _said.add(text)
    say(text)


class ProgressLine:
    """One line that is redrawn in place, on a terminal; nothing at all anywhere else.

    It starts no thread (none can be started while the interpreter exits): it is redrawn when it is
    moved, at most four times a second, always for the last step.
    """

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._drawn_at = 0.0
        self._lock = threading.Lock()

    def move(self, label: str, current: float, total: float | None, note: str = "") -> None:
        """Show ``label [bar] current/total note``; without a total there is no bar to fill."""
        with self._lock:
            if self._progress is None:
                if not sys.stderr.isatty():
                    return
                self._progress = _bar()
                self._task = self._progress.add_task(label, total=None, count="", note="")
                self._progress.start()
            assert self._task is not None
            count = f"{current:g}" if total is None else f"{current:g}/{total:g}"
            self._progress.update(
                self._task,
                description=label,
                completed=current,
                total=total,
                count=count,
                note=note,
            )
            if time.monotonic() - self._drawn_at >= REDRAW_S or current == total:
                self._progress.refresh()
                print(end="\r", file=sys.__stderr__, flush=True)  # what others print starts a line
                self._drawn_at = time.monotonic()

    def end(self) -> None:
        """Leave the line as it is; the next move starts a new one."""
        with self._lock:
            if self._progress is not None:
                self._progress.stop()
                self._progress = None


def _bar() -> "Progress":
    from rich.console import Console  # late: a trial's process never draws anything
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}", markup=False),
        TextColumn("{task.fields[note]}", markup=False, style="dim"),
        console=Console(stderr=True),
        auto_refresh=False,
    )
