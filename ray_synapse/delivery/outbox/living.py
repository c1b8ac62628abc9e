"""Whether the process that drives a run is alive, and what its server is told if it is not."""

import json
import sqlite3
from collections.abc import Collection
from typing import Any

from ray_synapse import payloads, vitals
from ray_synapse.backend.database import now
from ray_synapse.backend.protocol import Record
from ray_synapse.delivery.outbox.arrivals import put_record, put_snapshot
from ray_synapse.delivery.outbox.base import OutboxStore, note_about_in
from ray_synapse.values import dumps

LOGGED_FIELDS = ("status", "result", "progress_record")  # of a job; others are only noted


class Living(OutboxStore):
    """The part of an outbox that knows the job and the process that drives it."""

    def job_fields(self) -> dict[str, Any]:
        """What is known of the job, its newest fields that were logged here included."""
        with self._read() as db:
            return _job(db, LOGGED_FIELDS)

    def beat(self) -> None:
        """Note that the process that drives the run is alive; say so again if it was said dead."""
        with self._write() as db:
            note_about_in(db, {"beat": now()})
            said = _about(db, "said_dead")
            if said is not None and said == _newest(db, "status")[0]:
                put_snapshot(db, "status", dumps("RUNNING"))

    def end_if_interrupted(self) -> bool:
        """Put in what the server must know of a run whose process is gone, once.

        Returns:
            Whether there was something to put in.
        """
        with self._write() as db:
            job = _job(db, ["status"])
            if not vitals.is_interrupted(job):
                return False
            entry, time = _newest(db, "trials")[1] or {}, now()
            table = entry.get("data")
            if table and (at_end := vitals.table_at_end(table)) != table:
                put_record(db, job["id"], Record(0, "trials", time, dumps(at_end)))
            text = payloads.message(vitals.obituary(job))
            put_record(db, job["id"], Record(0, "message", time, dumps(text), level="warning"))
            put_snapshot(db, "status", dumps(vitals.INTERRUPTED))
            # By its number a beat recognizes that nobody has said anything else since.
            note_about_in(db, {"said_dead": _newest(db, "status")[0]})
        return True


def _job(db: sqlite3.Connection, sent: Collection[str]) -> dict[str, Any]:
    known = dict(_about(db, "job") or {})
    if (beat := _about(db, "beat")) is not None:
        known["beat"] = beat
    for field in sent:
        newest = _newest(db, field)[1]
        if newest is not None:
            known[field] = newest
    return known


def _about(db: sqlite3.Connection, key: str) -> Any:
    row = db.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
    return json.loads(row["value"]) if row else None


def _newest(db: sqlite3.Connection, kind: str) -> tuple[int | None, Any]:
    """The number and the value of the newest snapshot of a kind; None for both without one."""
    query = "SELECT id, data FROM snapshots WHERE kind = ? ORDER BY id DESC LIMIT 1"
    row = db.execute(query, (kind,)).fetchone()
    return (row["id"], json.loads(row["data"])) if row else (None, None)
