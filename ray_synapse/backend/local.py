"""The embedded backend: one SQLite database and a folder of model archives beside it."""

import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO

from ray_synapse import console
from ray_synapse.backend import sqlite
from ray_synapse.backend.protocol import SNAPSHOTS, Batch, Counts, JobId, Record
from ray_synapse.backend.schema import MIGRATIONS
from ray_synapse.errors import NoSpaceError, NotFoundError, SettingsError, StorageError
from ray_synapse.values import Wire, dumps

DATABASE = "ray_synapse.db"
MODELS = "models"
MIN_FREE_BYTES = 1 << 30  # a model must leave this much: a full disk would stop the sweep itself
JSON_FIELDS = ("progress_record", "result", "best_trial", "search_space")
JOB_FIELDS = ("status", "result", "metric", "mode", "search_space", "host", "pid")


@dataclass(frozen=True)
class LocalSpec:
    """Where an embedded backend is: small enough for any pickle."""

    home: str

    def open(self) -> "LocalBackend":
        """Open it; the database is made at the first write."""
        return LocalBackend(Path(self.home))

    def reachable(self) -> bool:
        """Whether its database is on this machine."""
        return (Path(self.home) / DATABASE).is_file()

    def describe(self) -> str:
        """Its folder."""
        return self.home


class LocalBackend:
    """Jobs, logs and models in a folder of this machine. Implements ``protocol.Backend``.

    Any number of processes may write and read at the same time. When a method that writes returns,
    what it wrote survives the death of any process. Not to be used after a fork: open another.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    # Jobs

    def create_job(self, name: str, fields: dict[str, Wire]) -> JobId:
        """Make a job, always a new one, and return its id."""
        now = _now()
        row = {"status": "PENDING", **_columns(fields), "name": name, "created": now}
        columns = ", ".join((*row, "updated"))
        marks = ", ".join("?" * (len(row) + 1))
        with self._write() as db:
            cursor = db.execute(
                f"INSERT INTO jobs ({columns}) VALUES ({marks})", (*row.values(), now)
            )
        return int(cursor.lastrowid or 0)

    def job(self, job: JobId) -> dict[str, Any]:
        """The job's fields; the ones that hold JSON are parsed."""
        with self._read() as db:
            return self._job(db, job)

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs, the newest first, each with the size of its models (``model_bytes``)."""
        with self._read() as db:
            rows = db.execute(
                "SELECT jobs.*, COUNT(models.id) AS models, COALESCE(SUM(size), 0) AS model_bytes "
                "FROM jobs LEFT JOIN models ON models.job = jobs.id GROUP BY jobs.id "
                "ORDER BY jobs.id DESC"
            )
            return [_parsed(row) for row in rows]

    def patch_job(self, job: JobId, fields: dict[str, Wire]) -> None:
        """Overwrite fields of the job."""
        row = _columns(fields)
        changes = ", ".join(f"{column} = ?" for column in row)
        with self._write() as db:
            number = self._job(db, job)["id"]
            db.execute(
                f"UPDATE jobs SET {changes}, updated = ? WHERE id = ?",
                (*row.values(), _now(), number),
            )

    def delete_job(self, job: JobId) -> int:
        """Remove a job with all that belongs to it. Returns how many bytes of models that freed."""
        with self._write() as db:
            number = self._job(db, job)["id"]
            freed = db.execute("SELECT SUM(size) FROM models WHERE job = ?", (number,))
            size = freed.fetchone()[0] or 0
            db.execute("DELETE FROM jobs WHERE id = ?", (number,))
        shutil.rmtree(self.home / MODELS / str(number), ignore_errors=True)
        with self._connected() as db:  # gives the pages back to the file system
            db.execute("PRAGMA incremental_vacuum").fetchall()
        return int(size)

    # What they log

    def write(self, job: JobId, batch: Batch) -> int:
        """Keep a batch; what is there already is passed over."""
        with self._write() as db:
            kept = self._kept(db, job, batch.process)
            if batch.after > kept:
                raise StorageError(
                    f"record {batch.after} of process {batch.process} is still missing: it must "
                    "come before the ones after it"
                )
            fresh = [record for record in batch.records if record.seq > kept]
            for record in fresh:
                _insert(db, job, batch.process, record)
            last = fresh[-1].seq if fresh else kept
            db.execute(
                "INSERT INTO processes VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "seq = excluded.seq, delivered = delivered + excluded.delivered, "
                "logged = MAX(logged, excluded.logged), dropped = MAX(dropped, excluded.dropped), "
                "replaced = MAX(replaced, excluded.replaced)",
                (job, batch.process, last, len(fresh), *batch[3:]),
            )
        return last

    def counts(self, job: JobId) -> dict[str, Counts]:
        """What each process of the job had logged when it was last heard of."""
        with self._read() as db:
            rows = db.execute("SELECT * FROM processes WHERE job = ?", (job,)).fetchall()
        found = {}
        for row in rows:
            logged, delivered = row["logged"], row["delivered"]
            dropped, replaced = row["dropped"], row["replaced"]
            waiting = logged - delivered - dropped - replaced
            found[row["process"]] = Counts(
                logged, delivered, waiting=waiting, dropped=dropped, replaced=replaced
            )
        return found

    def trials(self, job: JobId) -> dict[str, Any] | None:
        """The newest trials table, or None."""
        with self._read() as db:
            row = db.execute(
                "SELECT data FROM snapshots WHERE job = ? AND event = 'trials'", (job,)
            ).fetchone()
        return json.loads(row["data"]) if row else None

    def logs(self, job: JobId, event: str | None = None) -> list[dict[str, Any]]:
        """The single records of a job in the order they came, ``data`` parsed."""
        with self._read() as db:
            rows = db.execute(
                "SELECT event, time, data, step, level, file FROM logs "
                "WHERE job = ? AND (? IS NULL OR event = ?) ORDER BY id",
                (job, event, event),
            ).fetchall()
        return [{**dict(row), "data": json.loads(row["data"])} for row in rows]

    # Models

    def models(self, job: JobId) -> list[dict[str, Any]]:
        """The job's models in the order they came; ``file`` is an absolute path."""
        with self._read() as db:
            rows = db.execute("SELECT * FROM models WHERE job = ? ORDER BY id", (job,)).fetchall()
        return [self._model(row) for row in rows]

    def find_model(self, name: str) -> dict[str, Any] | None:
        """The model of that name, or None."""
        with self._read() as db:
            row = db.execute("SELECT * FROM models WHERE name = ?", (name,)).fetchone()
        return self._model(row) if row else None

    def add_model(
        self,
        job: JobId,
        name: str,
        configuration: dict[str, Wire],
        size: int,
        write: Callable[[BinaryIO], None],
    ) -> int:
        """Keep a model under a name that is not taken."""
        file = Path(MODELS) / str(job) / f"{name.replace('/', '%2F')}.zip"
        target = self.home / file
        part = target.with_suffix(f".{os.getpid()}.{threading.get_ident()}.part")
        with sqlite.translated(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        self._check_space(name, size)
        try:
            with open(part, "wb") as archive:
                write(archive)
                archive.flush()
                os.fsync(archive.fileno())
            with self._write() as db:
                if db.execute("SELECT 1 FROM models WHERE name = ?", (name,)).fetchone():
                    raise StorageError(
                        f"a model called {name} exists already; model names are unique"
                    )
                cursor = db.execute(
                    "INSERT INTO models (job, name, created, file, size, configuration) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (job, name, _now(), str(file), part.stat().st_size, dumps(configuration)),
                )
                part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return int(cursor.lastrowid or 0)

    def set_best_trial(self, job: JobId, payload: dict[str, Wire]) -> None:
        """Register the trial that won: ``trial_id`` and its hyperparameters."""
        with self._write() as db:
            number = self._job(db, job)["id"]
            db.execute("UPDATE jobs SET best_trial = ? WHERE id = ?", (dumps(payload), number))

    # The database

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        path = self.home / DATABASE
        with self._lock, sqlite.translated(path):
            if self._connection is None:
                self._connection, note = sqlite.connect(path, MIGRATIONS)
                self._connection.row_factory = sqlite3.Row
                if note:
                    console.say_once(note)
            yield self._connection

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._connected() as db, sqlite.transaction(db):
            yield db

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with self._connected() as db:
            yield db

    def _job(self, db: sqlite3.Connection, job: JobId) -> dict[str, Any]:
        row = db.execute("SELECT * FROM jobs WHERE id = ?", (job,)).fetchone()
        if row is None:
            raise NotFoundError(
                f"job {job!r} does not exist in {self.home}. `ray-synapse ls` lists the ones "
                "that do; without job_id, init makes a new one."
            )
        return _parsed(row)

    def _kept(self, db: sqlite3.Connection, job: JobId, process: str) -> int:
        """Every record of that process up to the returned one is kept."""
        row = db.execute(
            "SELECT seq FROM processes WHERE job = ? AND process = ?", (job, process)
        ).fetchone()
        if row is None:
            self._job(db, job)  # a clear error instead of a failed foreign key
        return int(row["seq"]) if row else 0

    def _model(self, row: sqlite3.Row) -> dict[str, Any]:
        return {
            **dict(row),
            "file": str(self.home / row["file"]),
            "configuration": json.loads(row["configuration"]),
        }

    def _check_space(self, name: str, size: int) -> None:
        free = shutil.disk_usage(self.home).free
        if free - size < MIN_FREE_BYTES:
            raise NoSpaceError(
                f"model {name} has {size / 1e9:.1f} GB, and {self.home} has {free / 1e9:.1f} GB "
                f"free, of which {MIN_FREE_BYTES / 1e9:.1f} GB must stay free. Free space "
                "(`ray-synapse rm JOB` removes a run), or upload less (upload="
                '"best" or RAY_SYNAPSE_UPLOAD=best).'
            )


def _insert(db: sqlite3.Connection, job: JobId, process: str, record: Record) -> None:
    if record.event == "progress":
        db.execute("UPDATE jobs SET progress_record = ? WHERE id = ?", (record.data, job))
    if record.event in SNAPSHOTS:
        db.execute(
            "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?)",
            (job, record.event, record.time, record.data),
        )
        return
    db.execute(
        "INSERT INTO logs (job, event, time, data, step, level, process, seq, file) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(job, record.event, record.time, record.data, record.step, record.level),
            *(process, record.seq, record.file),
        ),
    )


def _columns(fields: dict[str, Wire]) -> dict[str, Any]:
    unknown = sorted(set(fields) - set(JOB_FIELDS))
    if unknown:
        raise SettingsError(f"a job has no field {unknown[0]!r}; it has {', '.join(JOB_FIELDS)}")
    return {
        column: dumps(value) if column in JSON_FIELDS and value is not None else value
        for column, value in fields.items()
    }


def _parsed(row: sqlite3.Row) -> dict[str, Any]:
    return {
        key: json.loads(row[key]) if key in JSON_FIELDS and row[key] is not None else row[key]
        for key in row.keys()  # noqa: SIM118 - iterating a sqlite3.Row gives its values
    }


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
