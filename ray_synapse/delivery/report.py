"""What is not delivered, in words."""

from collections.abc import Iterable

from ray_synapse.backend.protocol import Counts, JobId, Left
from ray_synapse.formats import printable

MAX_ERROR_CHARS = 300  # of the last error, in one line of a terminal


def undelivered(job: JobId, counts: Iterable[Counts], left: Left) -> str:
    """One line that says what the server has not got, and the command that helps; else empty."""
    total = Counts.total(counts)
    waiting = _together(
        counted(total.waiting, "record"), counted(left.models.get("waiting", 0), "model")
    )
    parts = []
    if waiting:
        why = f" ({shortened(left.last_error)})" if left.last_error else ""
        parts.append(f"{waiting} not delivered yet{why}; `ray-synapse sync {job}` sends what waits")
    lost = _together(
        counted(total.in_doubt, "record", "in doubt"),
        counted(total.parked, "record", "refused by the server"),
        counted(left.models.get("parked", 0), "model", "not uploaded"),
        counted(total.dropped, "record", "dropped"),
    )
    if lost:
        parts.append(f"{lost}; `ray-synapse doctor` says why")
    return f"job {job}: {'. '.join(parts)}" if parts else ""


def shortened(error: str) -> str:
    """An error in one line of a terminal."""
    text = printable(" ".join(error.split()))
    return text if len(text) <= MAX_ERROR_CHARS else f"{text[:MAX_ERROR_CHARS]}…"


def counted(number: int, what: str, how: str = "") -> str:
    """A number of things, and what is with them; empty for none."""
    plural = what if number == 1 else f"{what}s"
    return f"{number:,} {plural} {how}".strip() if number else ""


def _together(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
