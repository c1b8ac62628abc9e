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
from ray_synapse.errors import NotFoundError, StorageError

DATABASE = "ray_synapse.db"
JSON_FIELDS = (
    *("progress_record", "metrics_record", "console_logs", "result", "meta"),
    *("best_trial", "search_space"),
)
# The columns of a job for a list; what clients fill at will could be huge.
BRIEF = "id, name, status, created, updated, metric, mode, host, pid, progress_record, best_trial"
MAX_ID = (1 << 63) - 1  # SQLite's integers
MAX_IDLE_READERS = 4  # connections that are kept open; more are only open while they are needed


class Database:
    """One connection to write and some to read, opened at the first use, for all threads.

    A reader has a connection of its own, so that it never waits for a writer, nor a writer for it.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._writing = threading.RLock()
        self._writer: sqlite3.Connection | None = None
        self._pooling = threading.Lock()  # holds the next three together
        self._idle: list[sqlite3.Connection] = []  # readers that nobody uses now
        self._open: list[sqlite3.Connection] = []
        self._times_closed = 0
        # With this object; at the end of the process the last writes still need them.
        weakref.finalize(self, _close_all, self._open).atexit = False

    def close(self) -> None:
        """Close the files, when the calls that go on have ended. The next call opens them again."""
        with self._writing:
            with self._pooling:
                unused = [*self._idle, *([self._writer] if self._writer else [])]
                self._writer, self._idle = None, []
                self._times_closed += 1
            for connection in unused:
                self._discard(connection)

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with sqlite.translated(self.home / DATABASE):
            with self._pooling:
                reader = self._idle.pop() if self._idle else None
                times_closed = self._times_closed
            if reader is None:
                reader = self._connect()
            try:
                yield reader
            finally:
                with self._pooling:
                    is_kept = (
                        times_closed == self._times_closed and len(self._idle) < MAX_IDLE_READERS
                    )
                    if is_kept:
                        self._idle.append(reader)
                if not is_kept:
                    self._discard(reader)

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._alone() as db, sqlite.transaction(db):
            yield db

    @contextmanager
    def _alone(self) -> Iterator[sqlite3.Connection]:
        """The connection that writes, without a transaction."""
        if not self._writing.acquire(timeout=sqlite.BUSY_TIMEOUT_S):
            raise StorageError(
                f"{self.home / DATABASE}: others have been writing for "
                f"{sqlite.BUSY_TIMEOUT_S:g} s; try again."
            )
        try:
            with sqlite.translated(self.home / DATABASE):
                if self._writer is None:
                    self._writer = self._connect()
                yield self._writer
        finally:
            self._writing.release()

    def _connect(self) -> sqlite3.Connection:
        connection, note = sqlite.connect(self.home / DATABASE, MIGRATIONS)
        connection.row_factory = sqlite3.Row
        with self._pooling:
            self._open.append(connection)
        if note:
            console.say_once(note)
        return connection

    def _discard(self, connection: sqlite3.Connection) -> None:
        with self._pooling:
            self._open.remove(connection)
        connection.close()

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


def insert(db: sqlite3.Connection, table: str, row: dict[str, Any]) -> int:
    """Add a row, given by its columns. Returns its number."""
    marks = ", ".join("?" * len(row))
    statement = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"
    return int(db.execute(statement, (*row.values(),)).lastrowid or 0)


def update(db: sqlite3.Connection, table: str, row: int | str, changes: dict[str, Any]) -> None:
    """Overwrite columns of the row with that id."""
    columns = ", ".join(f"{column} = ?" for column in changes)
    db.execute(f"UPDATE {table} SET {columns} WHERE id = ?", (*changes.values(), row))


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


def _close_all(connections: list[sqlite3.Connection]) -> None:
    while connections:
        connections.pop().close()
