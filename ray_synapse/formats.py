"""Values as a person reads them in a terminal."""

from datetime import datetime
from typing import Any


def error_line(error: object) -> str:
    """The first line of an error: its type and what it says.

    Of a ``RayTaskError`` it is what was raised in the trial; of a text with a traceback the line
    after its last frame.
    """
    if hasattr(error, "as_instanceof_cause"):  # a RayTaskError
        cause = getattr(error, "cause", None)
        if cause is None or type(cause).__name__ == "RayError":  # what no pickle could carry
            return _after_frames(str(error).splitlines())
        error = cause
    lines = str(error).splitlines()
    if not isinstance(error, BaseException) or (lines and lines[0].startswith("Traceback")):
        return _after_frames(lines)  # so does Tune tell of what a hook has raised
    text = _first(lines)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _after_frames(lines: list[str]) -> str:
    frames = [index for index, line in enumerate(lines) if line.startswith('  File "')]
    if not frames:
        return _first(lines[::-1])
    rest = lines[frames[-1] + 1 :]
    return _first([line for line in rest if not line.startswith("    ")])


def _first(lines: list[str]) -> str:
    return next((line.strip() for line in lines if line.strip()), "")


def cell(value: Any) -> str:
    """A value in a table: one line."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return printable(str(value).replace("\n", " "))


def printable(text: str) -> str:
    """Text that cannot steer the terminal: a client of the served backend may have sent it."""
    return "".join(each if each.isprintable() or each in "\n\t" else "�" for each in text)


def percent(record: dict[str, Any] | None) -> str:
    """How much is done. Clients of the served backend may record progress in forms of their own."""
    current = (record or {}).get("current_progress")
    overall = current.get("overall") if isinstance(current, dict) else None
    is_percentage = isinstance(overall, (int, float)) and 0 <= overall <= 100
    return f"{overall:.0f} %" if is_percentage else "-"


def size_of(size: float) -> str:
    """A number of bytes."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def age(seconds: float) -> str:
    """A stretch of time."""
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}s"
    return f"{seconds:.0f} s"


def local_time(text: str) -> str:
    """A time of ISO 8601 as it is here."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, OSError, ValueError):  # the last or the first day of all, elsewhere
        return text
