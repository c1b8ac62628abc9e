"""The room that uploads take on the disk, and who gives it back."""

import contextlib
import sqlite3
from datetime import datetime, timedelta, timezone
from pathlib import Path

from ray_synapse.backend import sqlite
from ray_synapse.backend.api.chunks import Range
from ray_synapse.backend.api.once import Once
from ray_synapse.backend.models import check_space

UPLOADS = "uploads"
ABANDONED = timedelta(days=7)  # an upload that did not become a model in this time is removed
GOES_ON = timedelta(days=1)  # for so long its rest has its room kept
IS_ABANDONED = (
    "updated < ? AND id NOT IN (SELECT upload FROM models WHERE upload IS NOT NULL)"  # since when
)


class Room(Once):
    """The part of ``EmbeddedApi`` that keeps the folder of the uploads."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.uploads = home / UPLOADS

    def _make_room(self, span: Range) -> None:
        """Have a folder with room for a chunk, which is there twice for a moment.

        Raises:
            NoSpaceError: There is too little room.
        """
        with sqlite.translated(self.uploads):
            self.uploads.mkdir(parents=True, exist_ok=True)
            if span.first == 0:
                self._remove_abandoned()
        self._check_space("the chunk", 2 * span.length)

    def _check_rest(self, db: sqlite3.Connection) -> None:
        """Refuse an upload that has begun if there is no room for its rest, and that of others."""
        recently = datetime.now(timezone.utc) - GOES_ON
        query = "SELECT COALESCE(SUM(total - offset), 0) FROM uploads WHERE updated > ?"
        promised = db.execute(query, (recently.isoformat(),)).fetchone()[0]
        self._check_space("the rest of this file and of others that have begun", promised)

    def _check_space(self, what: str, size: int) -> None:
        advice = "; `ray-synapse rm --model ID` a model, both on the server's machine"
        check_space(self.home, what, size, advice)

    def _remove_abandoned(self) -> None:
        """Give the room back of uploads that never became a model, and of files of no upload."""
        old = datetime.now(timezone.utc) - ABANDONED
        query = f"SELECT id FROM uploads WHERE {IS_ABANDONED}"
        with self._read() as db:
            uploads = [row["id"] for row in db.execute(query, (old.isoformat(),))]
        for upload in uploads:
            with self._write() as db:
                statement = f"DELETE FROM uploads WHERE id = ? AND {IS_ABANDONED}"
                db.execute(statement, (upload, old.isoformat()))
        with self._read() as db:
            known = {row["id"] for row in db.execute("SELECT id FROM uploads")}
        for path in self.uploads.iterdir():
            if path.name not in known:
                with contextlib.suppress(FileNotFoundError):  # a chunk's request has just ended
                    if path.name in uploads or path.stat().st_mtime < old.timestamp():
                        path.unlink()
