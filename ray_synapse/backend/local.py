"""The embedded backend: one SQLite database and a folder of model archives beside it."""

import json
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray_synapse.backend.database import BRIEF, DATABASE, JSON_FIELDS, as_id, now, parsed
from ray_synapse.backend.models import MODELS, Models
from ray_synapse.backend.protocol import SNAPSHOTS, Batch, Counts, JobId, Left, Record
from ray_synapse.backend.store import insert, insert_many, update
from ray_synapse.errors import SettingsError
from ray_synapse.values import Wire, dumps

JOB_FIELDS = ("status", "result", "metric", "mode", "search_space", "host", "pid", "experiment")


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


class LocalBackend(Models):
    """Jobs, logs and models in a folder of this machine. Implements ``protocol.Backend``.

    Any number of processes may write and read at the same time. When a method that writes returns,
    what it wrote survives the death of any process. Not to be used after a fork: open another.
    """

    # Jobs

    def create_job(self, name: str, fields: dict[str, Wire]) -> JobId:
        """Make a job, always a new one, and return its id."""
        time = now()
        row = {"status": "PENDING", **_columns(fields), "name": name}
        with self._write() as db:
            return insert(db, "jobs", {**row, "created": time, "updated": time})

    def job(self, job: JobId) -> dict[str, Any]:
        """The job's fields; the ones that hold JSON are parsed."""
        with self._read() as db:
            return self._job(db, job)

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs in brief, the newest first, with the size of their models (``model_bytes``)."""
        with self._read() as db:
            rows = db.execute(
                f"SELECT {BRIEF}, (SELECT COUNT(*) FROM models WHERE job = jobs.id) AS models, "
                "(SELECT COALESCE(SUM(size), 0) FROM models WHERE job = jobs.id) AS model_bytes "
                "FROM jobs ORDER BY id DESC"
            )
            return [parsed(row) for row in rows]

    def patch_job(self, job: JobId, fields: dict[str, Wire]) -> None:
        """Overwrite fields of the job."""
        changes = {**_columns(fields), "updated": now()}
        with self._write() as db:
            update(db, "jobs", self._number(db, job), changes)

    def beat(self, job: JobId) -> None:
        """Note that the process that drives the job is alive; ``updated`` stays."""
        with self._write() as db:
            found = db.execute("UPDATE jobs SET beat = ? WHERE id = ?", (now(), as_id(job)))
            if not found.rowcount:
                self._number(db, job)  # raises

    def job_of(self, experiment: str) -> JobId | None:
        """The newest job of that experiment of Tune, by its path; None if there is none."""
        query = "SELECT MAX(id) AS newest FROM jobs WHERE experiment = ?"
        with self._read() as db:
            newest: int | None = db.execute(query, (experiment,)).fetchone()["newest"]
        return newest

    def delete_job(self, job: JobId) -> int:
        """Remove a job with all that belongs to it. Returns how many bytes of models that freed."""
        with self._write() as db:
            number = self._number(db, job)
            freed = db.execute("SELECT SUM(size) FROM models WHERE job = ?", (number,))
            size = freed.fetchone()[0] or 0
            db.execute("DELETE FROM jobs WHERE id = ?", (number,))
        shutil.rmtree(self.home / MODELS / str(number), ignore_errors=True)
        with self._alone() as db:  # gives the pages back; execute() would stop after a few
            db.executescript("PRAGMA incremental_vacuum")
        return int(size)

    def set_best_trial(self, job: JobId, payload: dict[str, Wire]) -> None:
        """Register the trial that won: ``trial_id`` and its hyperparameters."""
        with self._write() as db:
            update(db, "jobs", self._number(db, job), {"best_trial": dumps(payload)})

    # What they log

    def write(self, job: JobId, batch: Batch) -> int:
        """Keep a batch; what is there already is passed over."""
        with self._write() as db:
            kept = self._kept(db, job, batch.process)
            fresh = batch.beyond(kept)
            for record in fresh:
                if record.event in SNAPSHOTS:
                    _put_snapshot(db, job, record)
            insert_many(
                db,
                "INSERT INTO logs (job, event, time, data, step, level, process, seq, file)",
                [
                    _row(job, batch.process, record)
                    for record in fresh
                    if record.event not in SNAPSHOTS
                ],
            )
            last = fresh[-1].seq if fresh else kept
            db.execute(
                "INSERT INTO processes VALUES (?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (job, process) DO UPDATE SET "
                "seq = excluded.seq, delivered = delivered + excluded.delivered, "
                "logged = MAX(logged, excluded.logged), dropped = MAX(dropped, excluded.dropped), "
                "replaced = MAX(replaced, excluded.replaced)",
                (job, batch.process, last, len(fresh), *batch[3:]),
            )
        return last

    def counts(self, job: JobId) -> dict[str, Counts]:
        """What each process of the job had logged when it was last heard of."""
        with self._read() as db:
            number = self._number(db, job)
            rows = db.execute("SELECT * FROM processes WHERE job = ?", (number,)).fetchall()
        found = {}
        for row in rows:
            known = {word: row[word] for word in ("delivered", "dropped", "replaced")}
            found[row["process"]] = Counts.of(row["logged"], **known)
        return found

    def left(self, job: JobId) -> Left:
        """Nothing: what is written is delivered."""
        number = len(self.models(job))
        return Left({"delivered": number} if number else {}, {}, None, None)

    def trials(self, job: JobId) -> dict[str, Any] | None:
        """The newest trials table, or None."""
        with self._read() as db:
            number = self._number(db, job)
            row = db.execute(
                "SELECT data FROM snapshots WHERE job = ? AND event = 'trials'", (number,)
            ).fetchone()
        return json.loads(row["data"]) if row else None

    def logs(self, job: JobId, event: str | None = None) -> list[dict[str, Any]]:
        """The single records of a job in the order they came, ``data`` parsed."""
        with self._read() as db:
            number = self._number(db, job)
            rows = db.execute(
                "SELECT event, time, data, step, level, file FROM logs "
                "WHERE job = ? AND (? IS NULL OR event = ?) ORDER BY id",
                (number, event, event),
            ).fetchall()
        return [{**dict(row), "data": json.loads(row["data"])} for row in rows]

    def _kept(self, db: sqlite3.Connection, job: JobId, process: str) -> int:
        """Every record of that process up to the returned one is kept."""
        query = "SELECT seq FROM processes WHERE job = ? AND process = ?"
        row = db.execute(query, (as_id(job), process)).fetchone()
        if row is None:
            self._number(db, job)  # a clear error instead of a failed foreign key
        return int(row["seq"]) if row else 0


def _put_snapshot(db: sqlite3.Connection, job: JobId, record: Record) -> None:
    if record.event == "progress":
        db.execute("UPDATE jobs SET progress_record = ? WHERE id = ?", (record.data, job))
    db.execute(
        "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?)",
        (job, record.event, record.time, record.data),
    )


def _row(job: JobId, process: str, record: Record) -> tuple[Any, ...]:
    return (
        *(job, record.event, record.time, record.data, record.step, record.level),
        *(process, record.seq, record.file),
    )


def _columns(fields: dict[str, Wire]) -> dict[str, Any]:
    unknown = sorted(set(fields) - set(JOB_FIELDS))
    if unknown:
        raise SettingsError(
            f"a job has no field {unknown[0]!r}; set one of {', '.join(JOB_FIELDS)}"
        )
    columns = {
        column: dumps(value) if column in JSON_FIELDS and value is not None else value
        for column, value in fields.items()
    }
    if columns.get("pid"):  # who says that it drives the job is alive
        columns["beat"] = now()
    return columns
