"""A SQLite database for all threads of a process: one connection that writes, some that read."""

import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray_synapse import console
from ray_synapse.backend import sqlite
from ray_synapse.errors import StorageError

ROWS_AT_ONCE = 100  # of ten columns at most: old releases of SQLite take 999 values
MAX_IDLE_READERS = 4  # connections that are kept open; more are only open while they are needed


class Store:
    """One connection to write and some to read, opened at the first use, for all threads.

    A reader has a connection of its own, so that it never waits for a writer, nor a writer for it.

    Args:
        path: The database file; it is made at the first use.
        migrations: As for ``sqlite.connect``.
    """

    def __init__(self, path: Path, migrations: Sequence[str]) -> None:
        self.path = path
        self._migrations = migrations
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
        with sqlite.translated(self.path):
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
                f"{self.path}: others have been writing for {sqlite.BUSY_TIMEOUT_S:g} s; try again."
            )
        try:
            with sqlite.translated(self.path):
                if self._writer is None:
                    self._writer = self._connect()
                yield self._writer
        finally:
            self._writing.release()

    def _connect(self) -> sqlite3.Connection:
        connection, note = sqlite.connect(self.path, self._migrations)
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


def insert(db: sqlite3.Connection, table: str, row: dict[str, Any]) -> int:
    """Add a row, given by its columns. Returns its number."""
    marks = ", ".join("?" * len(row))
    statement = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"
    return int(db.execute(statement, (*row.values(),)).lastrowid or 0)


def insert_many(db: sqlite3.Connection, into: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Add rows, in order.

    Many go in one statement: Python gives its lock away in each, and while Tune's loop works on
    another thread both then wait for each other far longer than the statement takes.

    Args:
        db: The connection.
        into: The statement up to its values: ``INSERT INTO table (columns)``.
        rows: The values of each row.
    """
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[start : start + ROWS_AT_ONCE]
        marks = f"({', '.join('?' * len(some[0]))})"
        values = [value for row in some for value in row]
        db.execute(f"{into} VALUES {', '.join([marks] * len(some))}", values)


def update(db: sqlite3.Connection, table: str, row: int | str, changes: dict[str, Any]) -> None:
    """Overwrite columns of the row with that id."""
    columns = ", ".join(f"{column} = ?" for column in changes)
    db.execute(f"UPDATE {table} SET {columns} WHERE id = ?", (*changes.values(), row))


def _close_all(connections: list[sqlite3.Connection]) -> None:
    while connections:
        connections.pop().close()
