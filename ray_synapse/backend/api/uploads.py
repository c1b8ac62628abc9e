"""``/chunked_upload/``: a large file, chunk by chunk, straight to its place on the disk."""

import hashlib
import os
import sqlite3
import time
import uuid
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

from ray_synapse.backend import sqlite
from ray_synapse.backend.api import checks
from ray_synapse.backend.api.answers import Answers
from ray_synapse.backend.api.chunks import ChunkFiles, Range, wrong_range
from ray_synapse.backend.api.pages import link_name
from ray_synapse.backend.api.protocol import Json
from ray_synapse.backend.database import now, stamp
from ray_synapse.backend.models import check_space
from ray_synapse.errors import NotFoundError, RefusedError

UPLOADS = "uploads"
ABANDONED_S = 7 * 24 * 3600  # an upload that did not become a model in this time is removed
READ_BYTES = 1 << 20


class Chunk:
    """One chunk on its way to the disk: write it in any pieces, ``finish`` it, and ``close``.

    Nothing counts before ``finish``, which also says what does not fit the upload: by then the
    client has sent all, and reads the answer.
    """

    def __init__(self, calls: "UploadCalls", upload: str | None, span: Range) -> None:
        self._calls, self._span, self._is_new = calls, span, upload is None
        self._upload = upload or str(uuid.uuid4())
        self._length = self._checksum = 0
        fits = self._is_new or calls._fits(self._upload, span)
        self._writer = calls.files.open(self._upload, span) if fits else None

    def write(self, data: bytes) -> None:
        """Write the next bytes.

        Raises:
            RefusedError: They are more than the range says, or the chunk came again meanwhile.
        """
        self._length += len(data)
        self._checksum = zlib.crc32(data, self._checksum)
        if self._length > self._span.length:
            raise wrong_range(f"It has {self._span.length} bytes, the chunk has more.")
        if self._writer is not None:
            self._writer.write(data)

    def finish(self, filename: str, key: str | None = None) -> Json:
        """Count the chunk in, and give the upload's state."""
        if self._length != self._span.length:
            raise wrong_range(f"It has {self._span.length} bytes, the chunk {self._length}.")
        if self._writer is not None:
            self._writer.check_turn()
        calls, upload, span = self._calls, self._upload, self._span

        def write(db: sqlite3.Connection) -> Json:
            if self._is_new:
                db.execute(
                    "INSERT INTO uploads (id, filename, total, offset, created, updated) "
                    "VALUES (?, ?, ?, 0, ?, ?)",
                    (upload, filename or "file", span.total, now(), now()),
                )
            _check_fit(_row(db, upload), span)
            db.execute(
                "UPDATE uploads SET offset = ?, updated = ? WHERE id = ?",
                (span.last + 1, now(), upload),
            )
            return _wire(_row(db, upload))

        call = f"PUT /chunked_upload/{'' if self._is_new else upload + '/'}"
        sent = {"filename": filename, "range": span, "checksum": self._checksum}
        return calls._once(key, call, sent, write)

    def close(self) -> None:
        """Give the file free. A new one that was not counted in is removed."""
        if self._writer is not None:
            self._writer.close()
        if self._is_new and not self._calls._is_known(self._upload):
            self._calls.files.path(self._upload).unlink(missing_ok=True)


class UploadCalls(Answers):
    """The part of ``EmbeddedApi`` that takes files."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.files = ChunkFiles(home / UPLOADS)

    def put_chunk(
        self,
        upload: str | None,
        filename: str,
        content_range: str,
        chunk: bytes,
        *,
        key: str | None = None,
    ) -> Json:
        """Take the next bytes of a file; without an ``upload`` they are the first of a new one."""
        with closing(self.open_chunk(upload, content_range)) as writer:
            writer.write(chunk)
            return writer.finish(filename, key)

    def open_chunk(self, upload: str | None, content_range: str) -> Chunk:
        """``put_chunk`` in pieces, for a chunk that shall not be in memory at once."""
        span = Range.of(content_range)
        if upload is None:
            self._make_room(span.total)
        return Chunk(self, upload, span)

    def finish_upload(self, upload: str, fields: Any, *, key: str | None = None) -> Json:
        """End an upload with the ``md5`` of the whole file. May be repeated."""
        rules = {"md5": checks.name, "filename": checks.text}
        md5 = checks.checked("the end of an upload", fields, rules, ["md5"])["md5"].lower()
        with self._read() as db:
            row = _row(db, upload)
        if row["offset"] < row["total"]:
            raise RefusedError(
                f"upload {upload} has {row['offset']} of {row['total']} bytes: send the rest first."
            )
        self.files.freeze(upload)  # what is hashed now stays as it is
        found = row["checksum"] or self._hash(row["id"])
        if md5 != found:
            raise RefusedError({"md5": [f"The file that arrived has {found}. Upload it again."]})

        def write(db: sqlite3.Connection) -> Json:
            db.execute(
                "UPDATE uploads SET checksum = ?, updated = ?, "
                "completed_at = COALESCE(completed_at, ?) WHERE id = ?",
                (found, now(), now(), upload),
            )
            return _wire(_row(db, upload))

        return self._once(key, f"POST /chunked_upload/{upload}/", fields, write)

    def get_upload(self, upload: str) -> Json:
        """An upload's state: ``offset``, and ``completed_at`` once it has ended."""
        with self._read() as db:
            return _wire(_row(db, upload))

    def finished_upload(self, upload: str) -> Path:
        """Where the file of a finished upload lies on this machine."""
        with self._read() as db:
            row = _row(db, upload)
        if not row["completed_at"]:
            raise NotFoundError(f"upload {upload!r} has not ended, so it is no file yet.")
        return self.files.path(row["id"])

    def _hash(self, upload: str) -> str:
        """The MD5 of a whole file, which is then on the disk for good."""
        path, digest = self.files.path(upload), hashlib.md5(usedforsecurity=False)
        with sqlite.translated(path), open(path, "rb") as file:
            while piece := file.read(READ_BYTES):
                digest.update(piece)
            os.fsync(file.fileno())
        return digest.hexdigest()

    def _fits(self, upload: str, span: Range) -> bool:
        try:
            with self._read() as db:
                _check_fit(_row(db, upload), span)
        except (NotFoundError, RefusedError):
            return False
        return True

    def _is_known(self, upload: str) -> bool:
        with self._read() as db:
            query = "SELECT 1 FROM uploads WHERE id = ?"
            return db.execute(query, (upload,)).fetchone() is not None

    def _make_room(self, size: int) -> None:
        """Remove what was abandoned, and look whether there is room for a new upload."""
        folder = self.files.folder
        with sqlite.translated(folder):
            folder.mkdir(parents=True, exist_ok=True)
            old = time.time() - ABANDONED_S
            abandoned = [each for each in os.listdir(folder) if self._is_older(each, old)]
        for upload in abandoned:
            with self._write() as db:
                query = "SELECT 1 FROM models WHERE upload = ?"
                if db.execute(query, (upload,)).fetchone() is None:
                    db.execute("DELETE FROM uploads WHERE id = ?", (upload,))
                    self.files.path(upload).unlink(missing_ok=True)
        check_space(self.home, "the file", size)

    def _is_older(self, upload: str, time: float) -> bool:
        try:
            return self.files.path(upload).stat().st_mtime < time
        except FileNotFoundError:  # a chunk that was refused has just been removed
            return False


def _row(db: sqlite3.Connection, upload: str) -> sqlite3.Row:
    query = "SELECT * FROM uploads WHERE id = ?"
    row: sqlite3.Row | None = None
    if upload.isascii():  # SQLite fails on text that UTF-8 cannot hold
        row = db.execute(query, (upload,)).fetchone()
    if row is None:
        raise NotFoundError(f"upload {upload!r} does not exist; PUT /chunked_upload/ begins one.")
    return row


def _check_fit(row: sqlite3.Row, span: Range) -> None:
    if row["completed_at"]:
        raise wrong_range("The upload has ended.")
    if span.total != row["total"]:
        raise wrong_range(
            f"The file has {row['total']} bytes since its first chunk, not {span.total}."
        )
    if span.first != row["offset"]:
        raise wrong_range(
            f"The next byte is {row['offset']} (the upload's offset), not {span.first}."
        )


def _wire(row: sqlite3.Row) -> Json:
    upload, done = row["id"], row["completed_at"]
    link = f"/media/uploads/{upload}/{stamp(row['created'])}/{link_name(row['filename'])}"
    return {
        "id": upload,
        "url": f"/chunked_upload/{upload}/",
        "filename": row["filename"],
        "offset": row["offset"],
        "size": row["total"],
        "checksum": row["checksum"],
        "completed_at": done,
        "file": link if done else None,
    }
