"""One SQLite database in a folder of this machine, and the jobs that all else belongs to."""

import json
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ray_synapse import console
from ray_synapse.backend import sqlite
from ray_synapse.backend.protocol import JobId
from ray_synapse.backend.schema import MIGRATIONS
from ray_synapse.errors import NotFoundError

DATABASE = "ray_synapse.db"
JSON_FIELDS = ("progress_record", "result", "best_trial", "search_space")
MAX_ID = (1 << 63) - 1  # SQLite's integers


class Database:
    """A connection that is opened at the first use and shared by all threads under a lock."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        path = self.home / DATABASE
        with self._lock, sqlite.translated(path):
            if self._connection is None:
                self._connection, note = sqlite.connect(path, MIGRATIONS)
                self._connection.row_factory = sqlite3.Row
                # With this object; at the end of the process the last writes still need it.
                weakref.finalize(self, self._connection.close).atexit = False
                if note:
                    console.say_once(note)
            yield self._connection

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._read() as db, sqlite.transaction(db):
            yield db

    def _job(self, db: sqlite3.Connection, job: JobId) -> dict[str, Any]:
        """The job's row, or NotFoundError."""
        row = None
        if can_be_id(job):
            row = db.execute("SELECT * FROM jobs WHERE id = ?", (job,)).fetchone()
        if row is None:
            raise NotFoundError(
                f"job {job!r} does not exist in {self.home}. `ray-synapse ls` lists the ones "
                "that do; without job_id, init makes a new one."
            )
        return parsed(row)


def can_be_id(job: JobId) -> bool:
    """Whether SQLite can be asked for it: a larger integer is an error there."""
    return not isinstance(job, int) or abs(job) <= MAX_ID


def parsed(row: sqlite3.Row) -> dict[str, Any]:
    """A row as a dict, with the columns that hold JSON parsed."""
    return {
        key: json.loads(row[key]) if key in JSON_FIELDS and row[key] is not None else row[key]
        for key in row.keys()  # noqa: SIM118 - iterating a sqlite3.Row gives its values
    }


def now() -> str:
    """The time in ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
