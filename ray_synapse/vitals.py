"""Whether the process that drives a job still lives, and what is said of a job whose does not.

A job is a mapping with what is known of it: ``status``, ``host``, ``pid``, ``beat`` (ISO 8601, UTC:
the last sign of life), ``experiment``. What is missing is not known.
"""

import os
import socket
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

# After so long without a sign of life a process counts as gone. It gives one every 10 s, but a
# script may hold the interpreter for long, a disk may stall, and the clocks of machines differ.
STALE_S = 60.0
INTERRUPTED = "STOPPED"  # the status of a job whose process ended without a word
UNENDED = frozenset(("PENDING", "RUNNING", "PAUSED"))  # trials that go on, as Tune says


def is_interrupted(job: Mapping[str, Any], now: datetime | None = None) -> bool:
    """Whether the job is said to run, but the process that drives it is gone.

    On the host of that process it is seen at once; elsewhere, and where its number was given to
    another process, a minute after its last sign of life. One that was only suspended is back with
    its next one. A job that a client of the served backend drives has neither: it is never judged.

    Args:
        job: The job.
        now: The time; the present by default.
    """
    if job.get("status") != "RUNNING":  # one that is PENDING has no process yet
        return False
    return _is_dead(job) or _is_stale(job, now or datetime.now(timezone.utc))


def as_it_is(job: Mapping[str, Any]) -> dict[str, Any]:
    """The job with the status that it has in truth, and ``interrupted``."""
    if is_interrupted(job):
        return {**job, "status": INTERRUPTED, "interrupted": True}
    return {**job, "interrupted": False}


def obituary(job: Mapping[str, Any], written: Callable[[str], str] = str) -> str:
    """What to say of an interrupted job, and how to go on.

    Args:
        job: The job.
        written: Writes a time (ISO 8601, UTC) as it is to be read.
    """
    text = "The run was interrupted: the process that drove it ended without a word"
    heard = job.get("beat") or job.get("updated")
    if heard:
        text += f"; it was last heard of at {written(str(heard))}"
    if not job.get("experiment"):
        return f"{text}."
    return f'{text}. To go on: tune.Tuner.restore("{job["experiment"]}", trainable).fit()'


def table_at_end(table: Mapping[str, Any]) -> dict[str, Any]:
    """A trials table in which whatever had not ended was cut off with its process."""
    rows, columns = table.get("trials"), table.get("base")
    if not isinstance(rows, Mapping):
        return dict(table)
    names = columns if isinstance(columns, list) else []
    return {**table, "trials": {trial: _row_at_end(row, names) for trial, row in rows.items()}}


def _row_at_end(row: Any, columns: list[Any]) -> Any:
    if not isinstance(row, Mapping):
        return row
    values = row.get("base")
    if not isinstance(values, list):  # logged by hand, as a flat object
        return {**row, "status": "TERMINATED"} if _is_unended(row.get("status")) else row
    place = columns.index("status") + len(values) - len(columns) if "status" in columns else -1
    if not (0 <= place < len(values) and _is_unended(values[place])):
        return row
    return {**row, "base": [*values[:place], "TERMINATED", *values[place + 1 :]]}


def _is_unended(status: Any) -> bool:
    return isinstance(status, str) and status in UNENDED


def _is_dead(job: Mapping[str, Any]) -> bool:
    """Whether its process is known to be dead. Only its own host can tell."""
    pid = job.get("pid")
    if not pid or job.get("host") != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it belongs to somebody else
        pass
    return False


def _is_stale(job: Mapping[str, Any], now: datetime) -> bool:
    beat = job.get("beat")  # a release before beats noted none
    return bool(beat) and (now - datetime.fromisoformat(str(beat))).total_seconds() > STALE_S
