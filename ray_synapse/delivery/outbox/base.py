"""An outbox's file, what is known about its run, and who may send from it."""

import fcntl
import hashlib
import json
import os
import re
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ray_synapse.backend import sqlite
from ray_synapse.backend.protocol import JobId
from ray_synapse.backend.store import Store
from ray_synapse.delivery.outbox.schema import MIGRATIONS
from ray_synapse.errors import StorageError
from ray_synapse.values import Wire, dumps

FOLDER = "outbox"  # below the home folder
MAX_NAME_CHARS = 64  # of a job's id in a file's name; a UUID has 36
WAITING = ("waiting", "sending")  # the states of what still has to go
UNDER_WAY = "SELECT COALESCE(MAX(last), 0) FROM letters"  # the entries up to it that wait


def outbox_path(home: str | Path, host: str | None, job: JobId) -> Path:
    """Where the outbox of a job lies. A job of the same id on another server has another one."""
    server = "any" if host is None else hashlib.sha256(host.encode()).hexdigest()[:8]
    plain = re.sub(r"[^A-Za-z0-9-]", "_", str(job))
    is_exact = plain == str(job) and len(plain) <= MAX_NAME_CHARS
    exact = "" if is_exact else f"-{hashlib.sha256(str(job).encode()).hexdigest()[:8]}"
    return Path(home) / FOLDER / f"{plain[:MAX_NAME_CHARS]}{exact}@{server}.db"


class OutboxStore(Store):
    """The database of an outbox.

    Any process of the machine may put something in, at any time; only the one that has the lock
    sends (``holding``).
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, MIGRATIONS)

    def about(self) -> dict[str, Any]:
        """What is known: ``host``, ``job`` (its fields), ``last_error``, …."""
        with self._read() as db:
            return {
                row["key"]: json.loads(row["value"]) for row in db.execute("SELECT * FROM about")
            }

    def note_about(self, **values: Wire) -> None:
        """Note something, each whole."""
        with self._write() as db:
            note_about_in(db, values)

    def know_job(self, **fields: Wire) -> None:
        """Note fields of the job, beside those that are known."""
        with self._write() as db:
            row = db.execute("SELECT value FROM about WHERE key = 'job'").fetchone()
            known = json.loads(row["value"]) if row else {}
            note_about_in(db, {"job": {**known, **fields}})

    def note(self, text: str) -> None:
        """Leave a line for the person that runs the script; the same one only once."""
        with self._write() as db:
            leave_note(db, text)

    def take_notes(self) -> list[str]:
        """The lines that nobody was told of yet."""
        with self._read() as db:
            if db.execute("SELECT 1 FROM notes WHERE NOT is_said").fetchone() is None:
                return []
        with self._write() as db:
            rows = db.execute("SELECT text FROM notes WHERE NOT is_said ORDER BY id").fetchall()
            db.execute("UPDATE notes SET is_said = 1")
        return [row["text"] for row in rows]

    def begin_sending(self) -> None:
        """Forget what stopped an earlier process, so that it can be found and said again."""
        with self._write() as db:
            note_about_in(db, {"stopped": None, "is_hurried": False})
            db.execute("DELETE FROM notes WHERE is_said")

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Tell the process that sends that somebody waits, for as long as the block runs."""
        self.note_about(is_hurried=True)
        try:
            yield
        finally:
            with suppress(StorageError):
                self.note_about(is_hurried=False)

    def is_hurried(self) -> bool:
        """Whether a script waits for its end."""
        with self._read() as db:
            query = "SELECT 1 FROM about WHERE key = 'is_hurried' AND value = 'true'"
            return db.execute(query).fetchone() is not None

    def is_stopped(self) -> bool:
        """Whether the server has refused the token of the process that sends."""
        with self._read() as db:
            query = "SELECT 1 FROM about WHERE key = 'stopped' AND value != 'null'"
            return db.execute(query).fetchone() is not None

    def unsaid(self, text: str) -> None:
        """Forget that a line was said, so that it can be said again."""
        with self._write() as db:
            db.execute("DELETE FROM notes WHERE text = ?", (text,))

    @contextmanager
    def holding(self) -> Iterator[bool]:
        """The right to send, for as long as the block runs. Gives False if another one has it.

        It is a lock of the operating system, so it ends with its process however that dies.
        """
        lock = self.path.with_suffix(".lock")
        with sqlite.translated(lock):
            lock.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
        _handles.add(handle)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
            fcntl.flock(handle, fcntl.LOCK_UN)  # also where a child was forked right now
        finally:
            _handles.discard(handle)
            os.close(handle)

    def identity(self) -> str:
        """A random name of this outbox, for idempotency keys."""
        with self._write() as db:
            row = db.execute("SELECT value FROM about WHERE key = 'identity'").fetchone()
            if row is not None:
                return str(json.loads(row["value"]))
            identity = uuid.uuid4().hex
            note_about_in(db, {"identity": identity})
            return identity


def note_about_in(db: sqlite3.Connection, values: dict[str, Wire]) -> None:
    """``note_about`` within a transaction."""
    rows = [(key, dumps(value)) for key, value in values.items()]
    db.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", rows)


@contextmanager
def at_one_moment(db: sqlite3.Connection) -> Iterator[None]:
    """Let several questions see the same state, whatever others write in between."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("ROLLBACK")


def leave_note(db: sqlite3.Connection, text: str) -> None:
    """``note`` within a transaction."""
    db.execute("INSERT OR IGNORE INTO notes (text, is_said) VALUES (?, 0)", (text,))


def count_gone(db: sqlite3.Connection, word: str, processes: Iterable[tuple[str, int]]) -> None:
    """Count records that have left, by process."""
    db.executemany(
        "INSERT INTO gone VALUES (?, ?, ?) "
        "ON CONFLICT (process, word) DO UPDATE SET number = number + excluded.number",
        [(process, word, number) for process, number in processes],
    )


def seconds() -> float:
    """The time in seconds since 1970."""
    return time.time()


_handles: set[int] = set()  # of locks that this process has, or asks for


def _after_fork() -> None:
    """A forked child must not keep a lock of its parent, which may die before it."""
    while _handles:
        os.close(_handles.pop())


os.register_at_fork(after_in_child=_after_fork)
