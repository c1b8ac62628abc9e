"""The models of the embedded backend: a row in the database and a zip archive beside it."""

import hashlib
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from ray_synapse.backend import sqlite
from ray_synapse.backend.database import Database, as_id, now
from ray_synapse.backend.protocol import JobId
from ray_synapse.backend.store import insert
from ray_synapse.errors import NoSpaceError, NotFoundError, StorageError
from ray_synapse.values import Wire, dumps

MODELS = "models"
MIN_FREE_BYTES = 1 << 30  # a model must leave this much: a full disk would stop the sweep itself
MAX_FILE_NAME_BYTES = 200  # file systems take 255; the ending of an unfinished file comes on top


class Models(Database):
    """The part of ``LocalBackend`` that keeps models."""

    def models(self, job: JobId) -> list[dict[str, Any]]:
        """The job's models in the order they came; ``file`` is an absolute path."""
        with self._read() as db:
            number = self._number(db, job)
            rows = db.execute("SELECT * FROM models WHERE job = ? ORDER BY id", (number,))
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
        parent: int | str | None = None,
    ) -> int:
        """Keep a model under a name that is not taken."""
        with self._read() as db:
            number = self._number(db, job)
        file = Path(MODELS) / str(number) / file_name(name)
        target = self.home / file
        part = target.with_name(f"{target.name}.{os.getpid()}.{threading.get_ident()}.part")
        with sqlite.translated(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        advice = '), or upload less (upload="best" or RAY_SYNAPSE_UPLOAD=best'
        check_space(self.home, f"model {name}", size, advice)
        try:
            with open(part, "wb") as archive:
                write(archive)
                archive.flush()
                os.fsync(archive.fileno())
            with self._write() as db:
                if db.execute("SELECT 1 FROM models WHERE name = ?", (name,)).fetchone():
                    raise StorageError(
                        f"a model called {name} exists already; names are unique, give another"
                    )
                row = {"job": number, "name": name, "created": now(), "file": str(file)}
                size = part.stat().st_size
                row.update(size=size, configuration=dumps(configuration))
                query = "SELECT id FROM models WHERE id = ?"
                known = db.execute(query, (as_id(parent or 0),)).fetchone()
                row["checkpoint"] = known["id"] if known else None
                model = insert(db, "models", row)
                part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return model

    def models_without_job(self) -> tuple[int, int]:
        """How many models belong to no job, since they came over HTTP, and their bytes."""
        query = "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM models WHERE job IS NULL"
        with self._read() as db:
            count, size = db.execute(query).fetchone()
        return count, size

    def delete_model(self, model: int) -> int:
        """Remove a model with its archive. Returns how many bytes that freed.

        Raises:
            NotFoundError: There is no such model.
        """
        with self._write() as db:
            row = db.execute("SELECT * FROM models WHERE id = ?", (as_id(model),)).fetchone()
            if row is None:
                raise NotFoundError(f"model {model} does not exist in {self.home}.")
            db.execute("DELETE FROM models WHERE id = ?", (row["id"],))
            db.execute("DELETE FROM uploads WHERE id = ?", (row["upload"],))
            if row["file"]:  # before another model of this name can be there
                (self.home / row["file"]).unlink(missing_ok=True)
        return int(row["size"])

    def _model(self, row: sqlite3.Row) -> dict[str, Any]:
        return {
            **dict(row),
            "file": str(self.home / row["file"]) if row["file"] else None,
            "configuration": json.loads(row["configuration"]),
        }


def check_space(home: Path, what: str, size: int, advice: str) -> None:
    """Refuse what would leave too little room on the disk.

    Args:
        home: A folder on it.
        what: What is to be stored, for the message.
        size: How many bytes that has.
        advice: What else the user can do, after "removes a run".

    Raises:
        NoSpaceError: There is no room for ``size`` bytes.
    """
    free = shutil.disk_usage(home).free
    if free - size < MIN_FREE_BYTES:
        raise NoSpaceError(
            f"{what} has {size / 1e9:.1f} GB, and {home} has {free / 1e9:.1f} GB free, of which "
            f"{MIN_FREE_BYTES / 1e9:.1f} GB must stay free. Free space (`ray-synapse rm JOB` "
            f"removes a run{advice})."
        )


def file_name(name: str) -> str:
    """The archive's file name; a model's name that is too long for one is cut, with a hash."""
    whole = name.replace("/", "%2F").encode("utf-8", "replace")
    if len(whole) <= MAX_FILE_NAME_BYTES:
        return f"{whole.decode('utf-8')}.zip"
    digest = hashlib.sha256(whole).hexdigest()[:12]
    return f"{whole[: MAX_FILE_NAME_BYTES - 13].decode('utf-8', 'ignore')}-{digest}.zip"
