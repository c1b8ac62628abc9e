"""The room that uploads take on the disk, and who gives it back."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

from ray_synapse.backend import sqlite
from ray_synapse.backend.api.chunks import ENDING, Range
from ray_synapse.backend.api.once import Once
from ray_synapse.backend.models import check_space

UPLOADS = "uploads"
ABANDONED = timedelta(days=7)  # an upload that did not become a model in this time is removed
IS_ABANDONED = (
    "updated < ? AND id NOT IN (SELECT upload FROM models WHERE upload IS NOT NULL)"  # since when
)


class Room(Once):
    """The part of ``EmbeddedApi`` that keeps the folder of the uploads."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.uploads = home / UPLOADS

    def _make_room(self, span: Range, is_new: bool) -> None:
        """Have a folder with room for a chunk, and for the whole file if the chunk is its first.

        Raises:
            NoSpaceError: There is too little room, also for the rest of all that have begun.
        """
        with sqlite.translated(self.uploads):
            self.uploads.mkdir(parents=True, exist_ok=True)
        if is_new:
            self._remove_abandoned()
            wanted = span.total + self._promised()
            self._check_space("the file (with others that have begun)", wanted)
        self._check_space("the chunk", span.length)

    def _check_space(self, what: str, size: int) -> None:
        advice = "; `ray-synapse rm --model ID` a model, both on the server's machine"
        check_space(self.home, what, size, advice)

    def _promised(self) -> int:
        """How many bytes are still to come of all uploads that have begun."""
        query = "SELECT COALESCE(SUM(total - offset), 0) FROM uploads"
        with self._read() as db:
            return int(db.execute(query).fetchone()[0])

    def _remove_abandoned(self) -> None:
        """Give the room back of uploads that never became a model, and of chunks cut off."""
        old = datetime.now(timezone.utc) - ABANDONED
        query = f"SELECT id FROM uploads WHERE {IS_ABANDONED}"
        with self._read() as db:
            uploads = [row["id"] for row in db.execute(query, (old.isoformat(),))]
        for upload in uploads:
            statement = f"DELETE FROM uploads WHERE id = ? AND {IS_ABANDONED}"
            with self._write() as db:
                removed = db.execute(statement, (upload, old.isoformat())).rowcount
            if removed:
                (self.uploads / upload).unlink(missing_ok=True)
        for path in self.uploads.glob(f"*{ENDING}"):
            try:
                if path.stat().st_mtime < old.timestamp():
                    path.unlink()
            except FileNotFoundError:  # its request has just ended
                pass
