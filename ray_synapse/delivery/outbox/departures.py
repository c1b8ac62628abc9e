"""What leaves an outbox: entries in letters, and snapshots, each kept until it is confirmed."""

import sqlite3
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from ray_synapse.delivery.outbox.base import (
    WAITING,
    OutboxStore,
    at_one_moment,
    count_gone,
    seconds,
)

TABLES = ("entries", "snapshots", "models")
MAX_ID = (1 << 63) - 1  # SQLite's integers
# Models that are delivered, but whose ids the job's result still lacks.
UNPLACED = "SELECT 1 FROM models WHERE model IS NOT NULL AND places != '[]'"
OF_PROCESS = "SELECT process, COUNT(*) AS number FROM {} GROUP BY process"


class Letter(NamedTuple):
    """Log entries that go in one request.

    Attributes:
        key: Its idempotency key: the same letter has the same one, also in another process.
        body: A JSON list of the entries.
        number: How many they are.
        time: When the first of them was logged, in seconds since 1970.
    """

    key: str
    body: bytes
    number: int
    time: float


class Snapshot(NamedTuple):
    """The newest state of something."""

    id: int
    kind: str
    data: str


class Departures(OutboxStore):
    """The part of an outbox that is emptied, by the one process that holds it."""

    def take_letter(self, most: int, most_bytes: int, max_age_s: float) -> Letter | None:
        """The oldest waiting entries as a letter, which is on its way from now on.

        Args:
            most: The most entries.
            most_bytes: The most bytes; an entry that has more, and one with an image, goes alone.
            max_age_s: How long entries wait for more to come, unless the letter is full.

        Returns:
            The letter; None if nothing waits, or not long enough.
        """
        with self._read() as db:
            ids = _ripe(db, most, most_bytes, max_age_s)
        if not ids:
            return None
        key = uuid.uuid4().hex
        with self._write() as db:
            db.execute(
                "UPDATE entries SET state = 'sending', letter = ? "
                "WHERE state = 'waiting' AND id <= ?",
                (key, ids[-1]),
            )
            letter = _letter(db, key)
        return letter if letter.number else None  # they may have been dropped for want of room

    def letters_under_way(self) -> list[Letter]:
        """What another holder had sent when it ended, and was never confirmed."""
        query = (
            "SELECT letter FROM entries WHERE state = 'sending' GROUP BY letter ORDER BY MIN(id)"
        )
        with self._read() as db:
            return [_letter(db, row["letter"]) for row in db.execute(query).fetchall()]

    def letter_delivered(self, letter: Letter) -> None:
        """The server has confirmed it."""
        where = "entries WHERE letter = ?"
        with self._write() as db:
            rows = db.execute(OF_PROCESS.format(where), (letter.key,)).fetchall()
            count_gone(db, "delivered", [tuple(row) for row in rows])
            db.execute(f"DELETE FROM {where}", (letter.key,))

    def letter_back(self, letter: Letter) -> None:
        """The server has not processed it: its entries wait again."""
        self._set_letter(letter, "waiting", None)

    def letter_set_aside(self, letter: Letter, state: str, reason: str) -> None:
        """It is not sent again, and kept: ``in_doubt`` or ``parked``."""
        self._set_letter(letter, state, reason)

    def take_snapshots(self, kinds: Collection[str], most: int = 1) -> list[Snapshot]:
        """The oldest waiting snapshots of these kinds; they are on their way from now on."""
        query = (
            "SELECT * FROM snapshots WHERE state = 'waiting' AND kind IN "
            f"({', '.join('?' * len(kinds))}) ORDER BY id LIMIT ?"
        )
        with self._read() as db:
            if db.execute(query, (*kinds, most)).fetchone() is None:
                return []
        with self._write() as db:
            taken = [_snapshot(row) for row in db.execute(query, (*kinds, most))]
            _set_snapshots(db, taken, "sending", None)
        return taken

    def snapshots_delivered(self, snapshots: Sequence[Snapshot]) -> None:
        """The server has confirmed them; the newest of each kind stays, to be asked for."""
        with self._write() as db:
            for each in snapshots:
                query = "SELECT process FROM snapshots WHERE id = ?"
                count_gone(db, "delivered", [(db.execute(query, (each.id,)).fetchone()[0], 1)])
                if _has_newer(db, each):
                    db.execute("DELETE FROM snapshots WHERE id = ?", (each.id,))
                else:
                    _set_snapshots(db, [each], "delivered", None)

    def snapshots_back(self, snapshots: Iterable[Snapshot]) -> None:
        """They were not confirmed: they wait again, unless a newer one came."""
        self._return(snapshots, "waiting", None)

    def snapshots_parked(self, snapshots: Iterable[Snapshot], reason: str) -> None:
        """The server refuses them: they are kept until a newer one comes."""
        self._return(snapshots, "parked", reason)

    def snapshots_under_way(self) -> list[Snapshot]:
        """What another holder had sent when it ended, and was never confirmed."""
        query = "SELECT * FROM snapshots WHERE state = 'sending' ORDER BY id"
        with self._read() as db:
            return [_snapshot(row) for row in db.execute(query)]

    def shrink(self) -> None:
        """Give the disk back what was emptied."""
        with self._alone() as db:
            db.executescript("PRAGMA incremental_vacuum")

    def has_waiting_entries(self) -> bool:
        """Whether entries of the log still have to go."""
        with self._read() as db:
            return _exists(db, "entries", MAX_ID)

    def newest_ids(self) -> dict[str, int]:
        """How far each table is filled now, for ``is_empty``."""
        with self._read() as db, at_one_moment(db):
            return {
                table: db.execute(f"SELECT MAX(id) FROM {table}").fetchone()[0] or 0
                for table in TABLES
            }

    def is_empty(self, up_to: Mapping[str, int] | None = None) -> bool:
        """Whether nothing is left that could still be sent.

        Args:
            up_to: Look only at what was here when ``newest_ids`` gave this.
        """
        with self._read() as db, at_one_moment(db):
            ends = up_to or dict.fromkeys(TABLES, MAX_ID)
            return not any(_exists(db, table, ends[table]) for table in TABLES)

    def _set_letter(self, letter: Letter, state: str, reason: str | None) -> None:
        with self._write() as db:
            db.execute(
                "UPDATE entries SET state = ?, reason = ?, letter = CASE WHEN ? = 'waiting' "
                "THEN NULL ELSE letter END WHERE letter = ?",
                (state, reason, state, letter.key),
            )

    def _return(self, snapshots: Iterable[Snapshot], state: str, reason: str | None) -> None:
        with self._write() as db:
            for each in snapshots:
                if _has_newer(db, each):
                    query = "SELECT process FROM snapshots WHERE id = ?"
                    count_gone(db, "replaced", [(db.execute(query, (each.id,)).fetchone()[0], 1)])
                    db.execute("DELETE FROM snapshots WHERE id = ?", (each.id,))
                else:
                    _set_snapshots(db, [each], state, reason)


def _ripe(db: sqlite3.Connection, most: int, most_bytes: int, max_age_s: float) -> list[int]:
    """The ids of the entries that go into the next letter; none if it is not time for it."""
    query = "SELECT id, event, size, time FROM entries WHERE state = 'waiting' ORDER BY id LIMIT ?"
    rows = db.execute(query, (most,)).fetchall()
    ids, is_full = _fitting(rows, most, most_bytes)
    is_young = bool(rows) and 0 <= seconds() - rows[0]["time"] < max_age_s
    return ids if is_full or not is_young else []


def _fitting(rows: Sequence[sqlite3.Row], most: int, most_bytes: int) -> tuple[list[int], bool]:
    """The ids of the first entries that go into one letter, and whether no more would fit."""
    ids: list[int] = []
    size = 1  # a bracket more than there are commas
    for row in rows:
        size += row["size"] + 1
        alone = row["event"] == "visualization"
        if ids and (alone or size > most_bytes):
            return ids, True
        ids.append(row["id"])
        if alone:
            return ids, True
    return ids, len(ids) >= most


def _letter(db: sqlite3.Connection, key: str) -> Letter:
    query = "SELECT body, time FROM entries WHERE letter = ? AND state = 'sending' ORDER BY id"
    rows = db.execute(query, (key,)).fetchall()
    body = f"[{','.join(row['body'] for row in rows)}]".encode()
    return Letter(key, body, len(rows), rows[0]["time"] if rows else 0.0)


def _snapshot(row: sqlite3.Row) -> Snapshot:
    return Snapshot(row["id"], row["kind"], row["data"])


def _has_newer(db: sqlite3.Connection, snapshot: Snapshot) -> bool:
    query = "SELECT 1 FROM snapshots WHERE kind = ? AND id > ?"
    return db.execute(query, (snapshot.kind, snapshot.id)).fetchone() is not None


def _set_snapshots(
    db: sqlite3.Connection, snapshots: Iterable[Snapshot], state: str, reason: str | None
) -> None:
    db.executemany(
        "UPDATE snapshots SET state = ?, reason = ? WHERE id = ?",
        [(state, reason, each.id) for each in snapshots],
    )


def _exists(db: sqlite3.Connection, table: str, up_to: int) -> bool:
    query = f"SELECT 1 FROM {table} WHERE state IN (?, ?) AND id <= ?"
    if db.execute(query, (*WAITING, up_to)).fetchone() is not None:
        return True
    return table == "models" and db.execute(UNPLACED).fetchone() is not None
