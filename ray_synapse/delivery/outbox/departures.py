"""What leaves an outbox: entries in letters, and snapshots, each kept until it is confirmed."""

import sqlite3
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from ray_synapse.delivery.outbox.base import (
    UNDER_WAY,
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
# What waits in between is the letter's own: nothing else ever gets the state again.
IN_RANGE = "state = 'waiting' AND id BETWEEN ? AND ?"
OF_PROCESS = "SELECT process, COUNT(*) AS number FROM {} GROUP BY process"


class Letter(NamedTuple):
    """Log entries that go in one request.

    Attributes:
        key: Its idempotency key: the same letter has the same one, also in another process.
        body: A JSON list of the entries.
        number: How many they are.
        time: When the first of them was logged, in seconds since 1970.
        first: The id of the first of them.
        last: The id of the last; what waits in between belongs to it.
    """

    key: str
    body: bytes
    number: int
    time: float
    first: int
    last: int


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
            rows = _ripe(db, most, most_bytes, max_age_s)
        if not rows:
            return None
        letter = _letter(uuid.uuid4().hex, rows)
        with self._write() as db:
            number = db.execute(f"SELECT COUNT(*) FROM entries WHERE {IN_RANGE}", letter[-2:])
            if number.fetchone()[0] != letter.number:  # some were just dropped for want of room
                return None
            db.execute("INSERT INTO letters VALUES (?, ?, ?)", (letter.key, *letter[-2:]))
        return letter

    def letters_under_way(self) -> list[Letter]:
        """What another holder had taken when it ended, and has not noted as confirmed."""
        with self._read() as db, at_one_moment(db):
            query = f"SELECT id, body, time FROM entries WHERE {IN_RANGE} ORDER BY id"
            letters = db.execute("SELECT key, first, last FROM letters ORDER BY first").fetchall()
            found = [(key, db.execute(query, ends).fetchall()) for key, *ends in letters]
        return [_letter(key, rows) for key, rows in found if rows]

    def letter_delivered(self, letter: Letter) -> None:
        """The server has confirmed it."""
        where = f"entries WHERE {IN_RANGE}"
        with self._write() as db:
            if _forget(db, letter):
                rows = db.execute(OF_PROCESS.format(where), letter[-2:]).fetchall()
                count_gone(db, "delivered", [tuple(row) for row in rows])
                db.execute(f"DELETE FROM {where}", letter[-2:])

    def letter_back(self, letter: Letter) -> None:
        """The server has not processed it: its entries wait again."""
        with self._write() as db:
            _forget(db, letter)

    def letter_set_aside(self, letter: Letter, state: str, reason: str) -> None:
        """It is not sent again, and kept: ``in_doubt`` or ``parked``."""
        with self._write() as db:
            if _forget(db, letter):
                query = f"UPDATE entries SET state = ?, reason = ? WHERE {IN_RANGE}"
                db.execute(query, (state, reason, *letter[-2:]))

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

    def _return(self, snapshots: Iterable[Snapshot], state: str, reason: str | None) -> None:
        with self._write() as db:
            for each in snapshots:
                if _has_newer(db, each):
                    query = "SELECT process FROM snapshots WHERE id = ?"
                    count_gone(db, "replaced", [(db.execute(query, (each.id,)).fetchone()[0], 1)])
                    db.execute("DELETE FROM snapshots WHERE id = ?", (each.id,))
                else:
                    _set_snapshots(db, [each], state, reason)


def _ripe(
    db: sqlite3.Connection, most: int, most_bytes: int, max_age_s: float
) -> list[sqlite3.Row]:
    """The entries that go into the next letter; none if it is not time for it."""
    query = (
        "SELECT id, event, size, time, body FROM entries WHERE state = 'waiting' AND id > "
        f"({UNDER_WAY}) ORDER BY id LIMIT ?"
    )
    rows, is_full = _fitting(db.execute(query, (most,)), most_bytes)
    is_young = bool(rows) and 0 <= seconds() - rows[0]["time"] < max_age_s
    return rows if is_full or len(rows) >= most or not is_young else []


def _fitting(entries: Iterable[sqlite3.Row], most_bytes: int) -> tuple[list[sqlite3.Row], bool]:
    """The first entries that go into one letter, and whether no more would fit.

    No more of them are read than that: each may have a large image.
    """
    rows: list[sqlite3.Row] = []
    size = 1  # a bracket more than there are commas
    for row in entries:
        size += row["size"] + 1
        alone = row["event"] == "visualization"
        if rows and (alone or size > most_bytes):
            return rows, True
        rows.append(row)
        if alone:
            return rows, True
    return rows, False


def _letter(key: str, rows: Sequence[sqlite3.Row]) -> Letter:
    body = f"[{','.join([row['body'] for row in rows])}]".encode()
    return Letter(key, body, len(rows), rows[0]["time"], rows[0]["id"], rows[-1]["id"])


def _forget(db: sqlite3.Connection, letter: Letter) -> bool:
    """Note that a letter is not on its way any more. Returns whether it was."""
    return db.execute("DELETE FROM letters WHERE key = ?", (letter.key,)).rowcount > 0


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
