"""The answers to writes that came with an idempotency key, kept with what they wrote."""

import hashlib
import json
import marshal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray_synapse.backend.api.protocol import Json
from ray_synapse.backend.database import Database
from ray_synapse.backend.store import insert
from ray_synapse.errors import RefusedError
from ray_synapse.values import dumps

MAX_KEY_CHARS = 255
KEPT_S = 7 * 24 * 3600  # a client that was cut off for a week may still repeat its last write
LARGE_BYTES = 64 << 10  # an answer may be a whole job, with all that a client put into it
KEPT_BYTES = 256 << 20  # of large answers
MARSHAL_VERSION = 2  # of its formats: the last one that is the same for equal values
FORGET_EVERY_S = 3600
FORGET_EVERY_BYTES = KEPT_BYTES >> 3


class Once(Database):
    """The part of ``EmbeddedApi`` that does a write once for each key."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self._forget_at = 0.0
        self._kept_bytes = 0  # since it was last looked for answers to forget

    def _connect(self) -> sqlite3.Connection:
        """What is answered is forgotten by the client, so it must survive a power cut, too."""
        connection = super()._connect()
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _once(
        self,
        key: str | None,
        call: str,
        sent: Any,
        write: Callable[[sqlite3.Connection], Json],
    ) -> Json:
        """Do a write in one transaction with the memory of its answer.

        Args:
            key: The idempotency key, or None for a write that is done each time.
            call: Which call it is, with the ids in its path.
            sent: The JSON that came with it, checked.
            write: Does it, and gives the answer. What it refuses is not remembered: nothing was
                written then, and a repetition is harmless.

        Raises:
            RefusedError: The key came with another request before.
        """
        if key is None:
            with self._write() as db:
                return write(db)
        if not 0 < len(key) <= MAX_KEY_CHARS:
            raise RefusedError(
                {"Idempotency-Key": [f"It has {len(key)} characters, allowed are 1 to 255."]}
            )
        request = hashlib.sha256(_bytes_of(call, sent)).hexdigest()
        with self._write() as db:
            row = db.execute("SELECT * FROM answers WHERE key = ?", (key,)).fetchone()
            if row is None:
                answer = write(db)
                text = dumps(answer)
                kept = {"key": key, "request": request, "answer": text, "created": int(time.time())}
                insert(db, "answers", kept)
                self._forget(db, len(text))
                return answer
        if row["request"] != request:
            raise RefusedError(
                {"Idempotency-Key": ["It came with another request before. Make a new key."]}
            )
        return dict(json.loads(row["answer"]))

    def _forget(self, db: sqlite3.Connection, size: int) -> None:
        """Remove answers that are too old, and the oldest of too many large ones."""
        self._kept_bytes += size
        if time.monotonic() < self._forget_at and self._kept_bytes < FORGET_EVERY_BYTES:
            return
        self._forget_at, self._kept_bytes = time.monotonic() + FORGET_EVERY_S, 0
        db.execute("DELETE FROM answers WHERE created < ?", (int(time.time()) - KEPT_S,))
        db.execute(
            "DELETE FROM answers WHERE LENGTH(answer) > :large AND id <= (SELECT MAX(id) FROM "
            "(SELECT id, SUM(LENGTH(answer)) OVER (ORDER BY id DESC) AS total FROM answers "
            "WHERE LENGTH(answer) > :large) WHERE total > :kept)",
            {"large": LARGE_BYTES, "kept": KEPT_BYTES},
        )

    def _advice_on_jobs(self) -> str:
        return "; GET /jobs/ lists the ones that do."


def _bytes_of(call: str, sent: Any) -> bytes:
    """What tells one request from another; of large ones four times as fast as their JSON."""
    try:
        return marshal.dumps((call, sent), MARSHAL_VERSION)
    except ValueError:  # a named tuple, or what else is no plain value
        return f"{call}\n{dumps(sent)}".encode()
