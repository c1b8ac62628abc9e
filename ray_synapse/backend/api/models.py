"""``/models/``: models and their archives."""

import json
import sqlite3
from pathlib import Path
from typing import Any

from ray_synapse.backend.api import checks
from ray_synapse.backend.api.once import Once
from ray_synapse.backend.api.pages import link_name, page
from ray_synapse.backend.api.protocol import Json, Query
from ray_synapse.backend.api.room import UPLOADS
from ray_synapse.backend.database import as_id, now, stamp
from ray_synapse.backend.store import insert
from ray_synapse.errors import NotFoundError, RefusedError

MAX_NAME_CHARS = 255
RULES = {
    "name": checks.name_up_to(MAX_NAME_CHARS),
    **dict.fromkeys(("plugin", "version", "description"), checks.nullable(checks.text)),
    **dict.fromkeys(("checkpoint", "chunked_upload"), checks.nullable(checks.identifier)),
    "configuration": checks.nullable(checks.mapping),
}


class ModelCalls(Once):
    """The part of ``EmbeddedApi`` that knows the models."""

    def create_model(self, fields: Any, *, key: str | None = None) -> Json:
        """Register a model under a name that is not taken. Answers the model.

        Args:
            fields: ``name``, and if you like ``plugin`` (its code), ``version``, ``description``,
                ``configuration``, ``checkpoint`` (the id of the model that it was trained from)
                and ``chunked_upload`` (the id of a finished upload: its archive).
            key: The idempotency key.
        """
        sent = checks.checked("a model", fields, RULES, ["name"])
        row = {name: sent.get(name) for name in ("name", "plugin", "version", "description")}
        configuration = sent.get("configuration") or {}
        row["configuration"] = checks.stored("configuration", configuration)

        def write(db: sqlite3.Connection) -> Json:
            if db.execute("SELECT 1 FROM models WHERE name = ?", (sent["name"],)).fetchone():
                raise RefusedError(
                    {"name": ["A model with this name exists already. Names are unique."]}
                )
            row["checkpoint"] = _parent(db, sent.get("checkpoint"))
            row.update(_archive(db, sent.get("chunked_upload")))
            row["created"] = now()
            return _wire(_row(db, insert(db, "models", row)))

        return self._once(key, "POST /models/", fields, write)

    def get_model(self, model: int | str) -> Json:
        """One model; ``file`` leads to its archive, or is None."""
        with self._read() as db:
            return _wire(_row(db, model))

    def list_models(self, query: Query = ()) -> Json:
        """Models, the newest first.

        Args:
            query: ``name`` (the whole one), ``page`` and ``page_size``.
        """
        names = [value for key, value in query if key == "name"]
        where = "name = ?" if names else "1"
        with self._read() as db:
            answer, rows = page(db, "/models/", query, "models", where, names[-1:])
        return {**answer, "results": [_wire(row) for row in rows]}

    def model_archive(self, model: str) -> Path:
        """Where the archive of a model lies on this machine."""
        with self._read() as db:
            row = _row(db, model)
        if row["file"] is None:
            raise NotFoundError(f"model {model!r} has no file: it came without chunked_upload.")
        return self.home / str(row["file"])


def _parent(db: sqlite3.Connection, model: int | str | None) -> int | None:
    if model is None:
        return None
    try:
        return int(_row(db, model)["id"])
    except NotFoundError as error:
        raise RefusedError({"checkpoint": [str(error)]}) from None


def _archive(db: sqlite3.Connection, upload: int | str | None) -> Json:
    """The columns that say where a model's archive is."""
    if upload is None:
        return {"upload": None, "file": None, "size": 0}
    query = "SELECT * FROM uploads WHERE id = ?"
    row = db.execute(query, (str(upload),)).fetchone()
    fault = ""
    if row is None:
        fault = f"Upload {upload!r} does not exist."
    elif not row["completed_at"]:
        fault = f"Upload {upload!r} has not ended: POST its md5 first."
    elif db.execute("SELECT 1 FROM models WHERE upload = ?", (row["id"],)).fetchone():
        fault = f"Upload {upload!r} is the file of another model already. Upload it again."
    if fault:
        raise RefusedError({"chunked_upload": [fault]})
    return {"upload": row["id"], "file": f"{UPLOADS}/{row['id']}", "size": row["total"]}


def _row(db: sqlite3.Connection, model: int | str) -> sqlite3.Row:
    query = "SELECT * FROM models WHERE id = ?"
    row: sqlite3.Row | None = db.execute(query, (as_id(model),)).fetchone()
    if row is None:
        raise NotFoundError(f"model {model!r} does not exist; GET /models/ lists the ones that do.")
    return row


def _wire(row: sqlite3.Row) -> Json:
    link = f"/media/models/{row['id']}/{stamp(row['created'])}/{link_name(row['name'])}.zip"
    fields = ("id", "name", "job", "created", "size", "plugin", "version", "checkpoint")
    return {
        **{field: row[field] for field in fields},
        "description": row["description"],
        "configuration": json.loads(row["configuration"]),
        "category": "base" if row["checkpoint"] is None else "fine_tuned",
        "file": None if row["file"] is None else link,
    }
