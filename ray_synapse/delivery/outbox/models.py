"""The models that an outbox has to deliver: which files, where they are, how far they came."""

import contextlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray_synapse.delivery.outbox.arrivals import put_snapshot
from ray_synapse.delivery.outbox.base import OutboxStore, seconds
from ray_synapse.values import Wire, dumps


@dataclass(frozen=True)
class ModelRow:
    """A model that is to be registered, or is.

    Attributes:
        id: Its number here.
        name: The name that is wanted for it.
        identity: Which files these are.
        configuration: What is to be known of it.
        parent: The id of the model that it was trained from, or None.
        uri: Where its files are, for another process; None if only this one can read them.
        state: ``waiting``, ``parked`` or ``delivered``.
        reason: Why it is parked, or what its last try ended with.
        size: Bytes of the archive, about.
        sent: How many of these the server has, about.
        upload: The server's id of the upload that has begun, or None.
        uploaded: Whether that one has ended.
        model: The server's id of the model, or None.
    """

    id: int
    name: str
    identity: Any
    configuration: dict[str, Any]
    parent: int | str | None
    uri: str | None
    state: str
    reason: str | None
    size: int
    sent: int
    upload: str | None
    uploaded: bool
    model: int | str | None


class ModelRows(OutboxStore):
    """The part of an outbox that knows models."""

    def request_model(
        self,
        name: str,
        identity: Wire,
        configuration: Wire,
        *,
        parent: int | str | None,
        uri: str | None,
        size: int,
    ) -> int:
        """Have a model delivered, unless it was asked for before. One that was parked gets a try.

        Returns:
            Its number here.
        """
        row = (name, dumps(identity), dumps(configuration), dumps(parent), uri, size, seconds())
        with self._write() as db:
            db.execute(
                "INSERT INTO models "
                "(name, identity, configuration, parent, uri, size, time, state) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting') "
                "ON CONFLICT (name, identity) DO UPDATE SET "
                "state = CASE WHEN state = 'parked' THEN 'waiting' ELSE state END, "
                "uri = COALESCE(uri, excluded.uri)",
                row,
            )
            query = "SELECT id FROM models WHERE name = ? AND identity = ?"
            return int(db.execute(query, row[:2]).fetchone()["id"])

    def models(self) -> list[ModelRow]:
        """All models, in the order in which they were asked for."""
        with self._read() as db:
            return [_model_row(row) for row in db.execute("SELECT * FROM models ORDER BY id")]

    def waiting_models(self) -> list[int]:
        """The numbers of those that still have to go."""
        query = "SELECT id FROM models WHERE state = 'waiting' ORDER BY id"
        with self._read() as db:
            return [row["id"] for row in db.execute(query)]

    def model(self, number: int) -> ModelRow:
        """One of them."""
        with self._read() as db:
            return _model_row(db.execute("SELECT * FROM models WHERE id = ?", (number,)).fetchone())

    def shares(self) -> dict[int, float]:
        """How much of each model is done, from 0 to 1; one that is parked is done, too."""
        query = "SELECT id, state, sent, size FROM models"
        with self._read() as db:
            return {
                row["id"]: 1.0
                if row["state"] != "waiting"
                else min(row["sent"] / max(row["size"], 1), 0.99)
                for row in db.execute(query)
            }

    def set_model(self, number: int, **columns: Any) -> None:
        """Note how far a model came: ``upload``, ``uploaded``, ``sent``, ``reason``, ``state``."""
        assignments = ", ".join(f"{column} = ?" for column in columns)
        with self._write() as db:
            db.execute(f"UPDATE models SET {assignments} WHERE id = ?", (*columns.values(), number))

    def model_delivered(self, number: int, model: int | str) -> None:
        """It is registered. The job's result that lacks its id is completed later, for many."""
        self.set_model(number, state="delivered", reason=None, model=dumps(model))

    def complete_result(self) -> None:
        """Put the ids of models that were registered since into the job's result."""
        query = "SELECT id, places, model FROM models WHERE model IS NOT NULL AND places != '[]'"
        with self._read() as db:
            if db.execute(query).fetchone() is None:
                return
        with self._write() as db:
            rows = db.execute(query).fetchall()
            known = [(json.loads(row["places"]), json.loads(row["model"])) for row in rows]
            _complete_result(db, known)
            db.executemany(
                "UPDATE models SET places = '[]' WHERE id = ?", [(row["id"],) for row in rows]
            )

    def put_result(self, summary: Wire, places: Mapping[int, Wire]) -> None:
        """Keep the job's result, and where in it the id of each model goes that comes later.

        Args:
            summary: The result.
            places: The number of a model to the paths of its id in the result.
        """
        with self._write() as db:
            db.execute("UPDATE models SET places = '[]'")
            for number, paths in places.items():
                db.execute("UPDATE models SET places = ? WHERE id = ?", (dumps(paths), number))
            put_snapshot(db, "result", dumps(summary))
        self.complete_result()


def _complete_result(db: sqlite3.Connection, models: list[tuple[Any, int | str]]) -> None:
    query = "SELECT data FROM snapshots WHERE kind = 'result' ORDER BY id DESC LIMIT 1"
    row = db.execute(query).fetchone()
    if row is None:
        return
    result = json.loads(row["data"])
    before = dumps(result)
    for places, model in models:
        for *path, last in places:
            # The script may have made something else its result since.
            with contextlib.suppress(KeyError, IndexError, TypeError):
                target = result
                for step in path:
                    target = target[step]
                target[last] = model
    if dumps(result) != before:
        put_snapshot(db, "result", dumps(result))


def _model_row(row: sqlite3.Row) -> ModelRow:
    parsed = {key: json.loads(row[key]) for key in ("identity", "configuration", "parent")}
    model = None if row["model"] is None else json.loads(row["model"])
    plain = {
        key: row[key] for key in ("id", "name", "uri", "state", "reason", "size", "sent", "upload")
    }
    return ModelRow(**plain, **parsed, uploaded=bool(row["uploaded"]), model=model)
