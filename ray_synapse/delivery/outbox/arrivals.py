"""What comes into an outbox: batches of records, and what is known of the job."""

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ray_synapse.backend.protocol import SNAPSHOTS, Batch, JobId, Record
from ray_synapse.backend.store import insert_many
from ray_synapse.delivery.outbox.base import UNDER_WAY, OutboxStore, count_gone, leave_note, seconds
from ray_synapse.formats import size_of
from ray_synapse.values import Wire, dumps

DEFAULT_LIMIT_BYTES = 1 << 30
KEPT_SHARE = 0.9  # of the limit is left by a clean-up: so that not each record needs one
ROW_BYTES = 150  # that an entry takes in the database beside its body, about
DROPPABLE = ("visualization", "metric")  # in this order; nothing else is ever dropped
DROPPED = f"NOT (state = 'waiting' AND id <= ({UNDER_WAY}))"  # not what is on its way


class Arrivals(OutboxStore):
    """The part of an outbox that is filled.

    Args:
        path: Its database.
        job: The run's job, which each entry names.
        limit: The most bytes that it may take on the disk.
    """

    def __init__(self, path: Path, job: JobId, limit: int = DEFAULT_LIMIT_BYTES) -> None:
        super().__init__(path)
        self._job, self._limit = job, limit

    def commit(self, batch: Batch) -> int:
        """Keep a batch; what came here before is passed over.

        Returns:
            The number up to which all records of its process came here.
        """
        with self._write() as db:
            query = "SELECT seq FROM processes WHERE process = ?"
            row = db.execute(query, (batch.process,)).fetchone()
            kept = row["seq"] if row else 0
            fresh = batch.beyond(kept)
            _insert_records(db, self._job, batch.process, fresh)
            last = fresh[-1].seq if fresh else kept
            db.execute(
                "INSERT INTO processes VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (process) DO UPDATE SET seq = excluded.seq, "
                "logged = MAX(logged, excluded.logged), dropped = MAX(dropped, excluded.dropped), "
                "replaced = MAX(replaced, excluded.replaced)",
                (batch.process, last, batch.logged, batch.dropped, batch.replaced),
            )
            self._make_room(db)
        return last

    def put(self, kind: str, data: Wire) -> None:
        """Keep a snapshot that no process has numbered: a field of the job, the best trial."""
        with self._write() as db:
            put_snapshot(db, kind, dumps(data))

    def newest(self, kind: str) -> Any:
        """The newest snapshot of a kind, delivered or not; None without one."""
        query = "SELECT data FROM snapshots WHERE kind = ? ORDER BY id DESC LIMIT 1"
        with self._read() as db:
            row = db.execute(query, (kind,)).fetchone()
        return json.loads(row["data"]) if row else None

    def _make_room(self, db: sqlite3.Connection) -> None:
        """Past the limit drop the oldest images, then the oldest metrics."""
        used = _used(db)
        if used <= self._limit:
            return
        excess, freed = used - int(self._limit * KEPT_SHARE), 0
        for event in DROPPABLE:
            freed += _drop_oldest(db, event, excess - freed)
        if freed:
            leave_note(
                db,
                f"job {self._job}: more than {size_of(self._limit)} wait to be delivered: the "
                "oldest images and then the oldest metrics are dropped; `ray-synapse doctor` "
                "counts them. RAY_SYNAPSE_OUTBOX_BYTES sets the limit.",
            )


def put_snapshot(db: sqlite3.Connection, kind: str, data: str) -> None:
    """Add a snapshot that no process has numbered."""
    _count_unnumbered(db)
    insert_snapshot(db, kind, "", data)


def put_record(db: sqlite3.Connection, job: JobId, record: Record) -> None:
    """Add a record of the job that no process has numbered."""
    _count_unnumbered(db)
    _insert_records(db, job, "", [record])


def _count_unnumbered(db: sqlite3.Connection) -> None:
    db.execute(
        "INSERT INTO processes VALUES ('', 0, 1, 0, 0) "
        "ON CONFLICT (process) DO UPDATE SET logged = logged + 1"
    )


def _insert_records(
    db: sqlite3.Connection, job: JobId, process: str, records: Iterable[Record]
) -> None:
    rows, now = list[tuple[Any, ...]](), seconds()
    for record in records:
        if record.event == "progress":
            insert_snapshot(db, "progress_record", process, record.data)
            continue
        body = _entry(job, record)
        if record.event in SNAPSHOTS:
            insert_snapshot(db, record.event, process, body)
        else:
            rows.append((process, record.event, body, len(body.encode()), "waiting", now))
    insert_many(db, "INSERT INTO entries (process, event, body, size, state, time)", rows)


def insert_snapshot(db: sqlite3.Connection, kind: str, process: str, data: str) -> None:
    """Add a snapshot; the ones before that are not on their way are needless now."""
    query = "SELECT process FROM snapshots WHERE kind = ? AND state IN ('waiting', 'parked')"
    older = [(row["process"], 1) for row in db.execute(query, (kind,))]
    count_gone(db, "replaced", older)
    db.execute("DELETE FROM snapshots WHERE kind = ? AND state != 'sending'", (kind,))
    db.execute(
        "INSERT INTO snapshots (kind, process, data, state, time) VALUES (?, ?, ?, 'waiting', ?)",
        (kind, process, data, seconds()),
    )


def _entry(job: JobId, record: Record) -> str:
    """A log entry as it goes over the wire; ``data`` is JSON text already."""
    fields: dict[str, Wire] = {"event": record.event, "datetime": record.time, "job": job}
    for field in ("step", "level", "file"):
        value = getattr(record, field)
        if value is not None:
            fields[field] = value
    return f'{dumps(fields)[:-1]},"data":{record.data}}}'


def _used(db: sqlite3.Connection) -> int:
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _drop_oldest(db: sqlite3.Connection, event: str, excess: int) -> int:
    """Drop entries of an event until so many bytes are free, about. Returns how many are."""
    last, freed = 0, 0
    by_process: dict[str, int] = {}
    rows = db.execute(
        f"SELECT id, process, size FROM entries WHERE event = '{event}' AND {DROPPED} ORDER BY id"
    )
    for row in rows:
        if freed >= excess:
            break
        last, freed = row["id"], freed + row["size"] + ROW_BYTES
        by_process[row["process"]] = by_process.get(row["process"], 0) + 1
    rows.close()
    db.execute(f"DELETE FROM entries WHERE event = '{event}' AND {DROPPED} AND id <= ?", (last,))
    count_gone(db, "dropped", by_process.items())
    return freed
