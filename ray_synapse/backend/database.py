"""One SQLite database in a folder of this machine, and the jobs that all else belongs to."""

import json
import sqlite3
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ray_synapse.backend.protocol import JobId
from ray_synapse.backend.schema import MIGRATIONS
from ray_synapse.backend.store import Store
from ray_synapse.errors import NotFoundError

DATABASE = "ray_synapse.db"
JSON_FIELDS = (
    *("progress_record", "metrics_record", "console_logs", "result", "meta"),
    *("best_trial", "search_space"),
)
# The columns of a job for a list; what clients fill at will could be huge.
BRIEF = (
    "id, name, status, created, updated, metric, mode, host, pid, beat, experiment, "
    "progress_record, best_trial"
)
MAX_ID = (1 << 63) - 1  # SQLite's integers


class Database(Store):
    """The database of an embedded backend, in the folder ``home``."""

    def __init__(self, home: Path) -> None:
        super().__init__(home / DATABASE, MIGRATIONS)
        self.home = home

    def _number(self, db: sqlite3.Connection, job: JobId) -> int:
        """The job's id as the database has it, or NotFoundError."""
        return int(self._job_row(db, job, "id")["id"])

    def _job(self, db: sqlite3.Connection, job: JobId) -> dict[str, Any]:
        """All that is known of the job, or NotFoundError."""
        return parsed(self._job_row(db, job, "*"))

    def _job_row(self, db: sqlite3.Connection, job: JobId, columns: str) -> sqlite3.Row:
        query = f"SELECT {columns} FROM jobs WHERE id = ?"
        row: sqlite3.Row | None = db.execute(query, (as_id(job),)).fetchone()
        if row is None:
            raise NotFoundError(f"job {job!r} does not exist{self._advice_on_jobs()}")
        return row

    def _advice_on_jobs(self) -> str:
        return (
            f" in {self.home}. `ray-synapse ls` lists the ones that do; without job_id, init makes "
            "a new one."
        )


def as_id(value: int | str) -> int:
    """The number that an id stands for; 0, which is nobody's, if it cannot be one.

    SQLite itself would find row 1 by "01", "1.0" and " 1", and fails on larger integers.
    """
    text = str(value)
    is_plain = text.isascii() and text.isdigit() and text[0] != "0" and len(text) <= 19
    return number if is_plain and (number := int(text)) <= MAX_ID else 0


def parsed(row: sqlite3.Row) -> dict[str, Any]:
    """A row as a dict, with the columns that hold JSON parsed."""
    return {
        key: json.loads(row[key]) if key in JSON_FIELDS and row[key] is not None else row[key]
        for key in row.keys()  # noqa: SIM118 - iterating a sqlite3.Row gives its values
    }


def now() -> str:
    """The time in ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def stamp(time: str) -> str:
    """The digits of a time, to stand in the URL of a file.

    Clients keep what they downloaded by its URL, and the ids of an empty backend begin at 1 again.
    """
    return "".join(filter(str.isdigit, time))[:17]
