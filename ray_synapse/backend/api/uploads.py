"""``/chunked_upload/``: a large file, chunk by chunk, straight to its place on the disk."""

import hashlib
import os
import re
import sqlite3
import threading
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from ray_synapse.backend import sqlite
from ray_synapse.backend.api import checks
from ray_synapse.backend.api.answers import Answers
from ray_synapse.backend.api.protocol import Json
from ray_synapse.backend.database import now
from ray_synapse.backend.models import check_space
from ray_synapse.errors import NotFoundError, RefusedError, TooLargeError

UPLOADS = "uploads"
MAX_CHUNK_BYTES = 128 << 20  # the published client sends 50 MiB
MAX_UPLOAD_BYTES = 256 << 30  # beyond any single model
ABANDONED_S = 7 * 24 * 3600  # an upload that did not become a model in this time is removed
READ_BYTES = 1 << 20
RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")


class Range(NamedTuple):
    """The bytes ``first`` to ``last`` of ``total``, all counted from 0."""

    first: int
    last: int
    total: int

    @classmethod
    def of(cls, text: str) -> "Range":
        """Read a ``Content-Range``.

        Raises:
            RefusedError: It is none, or its numbers do not fit together.
            TooLargeError: The chunk or the file is larger than the limits.
        """
        match = RANGE.fullmatch(text)
        if match is None:
            raise _wrong(f"it must be `bytes <first>-<last>/<total>`, not {checks.shown(text)}")
        found = cls(*map(int, match.groups()))
        if not found.first <= found.last < found.total:
            raise _wrong(f"{text!r}: first <= last < total must hold")
        if found.length > MAX_CHUNK_BYTES:
            raise TooLargeError(f"a chunk has at most {MAX_CHUNK_BYTES} bytes, not {found.length}.")
        if found.total > MAX_UPLOAD_BYTES:
            raise TooLargeError(f"a file has at most {MAX_UPLOAD_BYTES} bytes, not {found.total}.")
        return found

    @property
    def length(self) -> int:
        """How many bytes the chunk has."""
        return self.last - self.first + 1


class Chunk:
    """One chunk on its way to the disk: write it in any pieces, ``finish`` it, and ``close``.

    Nothing counts before ``finish``. A later chunk for the same upload takes over, so that a
    connection that hangs does not keep its client from trying again.
    """

    def __init__(self, calls: "UploadCalls", upload: str | None, content_range: str) -> None:
        """Raises what is wrong with the range; what does not fit the upload shows in ``finish``."""
        self._span = Range.of(content_range)
        self._calls, self._is_new = calls, upload is None
        self._upload = upload or str(uuid.uuid4())
        self._written = 0
        self._file: int | None = None
        if self._is_new:
            calls._make_room(self._span.total)
        if self._is_new or calls._fits(self._upload, self._span):
            path = calls.upload_file(self._upload)
            with sqlite.translated(path):
                self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
            calls._last_chunks[self._upload] = self

    def write(self, data: bytes | memoryview) -> None:
        """Write the next bytes.

        Raises:
            RefusedError: They are more than the range says, or another chunk took over.
        """
        start = self._span.first + self._written
        self._written += len(data)
        if self._written > self._span.length:
            raise _wrong(f"the range has {self._span.length} bytes, the chunk has more")
        if self._file is not None:
            with self._calls._writing_chunks, sqlite.translated(self._calls.home):
                self._check_turn()
                while data:
                    written = os.pwrite(self._file, data, start)
                    data, start = data[written:], start + written

    def finish(self, filename: str, key: str | None = None) -> Json:
        """Count the chunk in, and give the upload's state."""
        if self._written != self._span.length:
            raise _wrong(f"the range has {self._span.length} bytes, the chunk {self._written}")
        if self._file is not None:
            self._check_turn()
        calls, upload, span = self._calls, self._upload, self._span

        def write(db: sqlite3.Connection) -> Json:
            if self._is_new:
                row = (upload, filename, span.total, now(), now())
                db.execute(
                    "INSERT INTO uploads (id, filename, total, offset, created, updated) "
                    "VALUES (?, ?, ?, 0, ?, ?)",
                    row,
                )
            _check_fit(_row(db, upload), span)
            db.execute(
                "UPDATE uploads SET offset = ?, updated = ? WHERE id = ?",
                (span.last + 1, now(), upload),
            )
            return _wire(_row(db, upload))

        call = f"PUT /chunked_upload/{'' if self._is_new else upload + '/'}"
        return calls._once(key, call, {"filename": filename, "range": span}, write)

    def _check_turn(self) -> None:
        if self._calls._last_chunks.get(self._upload) is not self:
            raise RefusedError("another request sends this chunk, too; that one counts.")

    def close(self) -> None:
        """Give the file free. A new one that was not counted in is removed."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._calls._last_chunks.get(self._upload) is self:
            del self._calls._last_chunks[self._upload]
        if self._is_new and not self._calls._is_known(self._upload):
            self._calls.upload_file(self._upload).unlink(missing_ok=True)


class UploadCalls(Answers):
    """The part of ``EmbeddedApi`` that takes files."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self._last_chunks: dict[str, Chunk] = {}  # by upload: the one that may write
        self._writing_chunks = threading.Lock()

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
        return Chunk(self, upload, content_range)

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
        with self._writing_chunks:  # what is hashed now must stay as it is
            self._last_chunks.pop(upload, None)
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

    def upload_file(self, upload: str) -> Path:
        """Where an upload lies on this machine. Its id must be one that was made here."""
        return self.home / UPLOADS / upload

    def finished_upload(self, upload: str) -> Path:
        """Where the file of a finished upload lies on this machine."""
        with self._read() as db:
            row = _row(db, upload)
        if not row["completed_at"]:
            raise NotFoundError(f"upload {upload!r} has not ended, so it is no file yet.")
        return self.upload_file(row["id"])

    def _hash(self, upload: str) -> str:
        """The MD5 of a whole file, which is then on the disk for good."""
        path, digest = self.upload_file(upload), hashlib.md5(usedforsecurity=False)
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
        folder = self.home / UPLOADS
        with sqlite.translated(folder):
            folder.mkdir(parents=True, exist_ok=True)
            old = time.time() - ABANDONED_S
            abandoned = [each.name for each in os.scandir(folder) if each.stat().st_mtime < old]
        for upload in abandoned:
            with self._write() as db:
                query = "SELECT 1 FROM models WHERE upload = ?"
                if db.execute(query, (upload,)).fetchone() is None:
                    db.execute("DELETE FROM uploads WHERE id = ?", (upload,))
                    self.upload_file(upload).unlink(missing_ok=True)
        check_space(self.home, "the file", size)


def _row(db: sqlite3.Connection, upload: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute("SELECT * FROM uploads WHERE id = ?", (upload,)).fetchone()
    if row is None:
        raise NotFoundError(f"upload {upload!r} does not exist; PUT /chunked_upload/ begins one.")
    return row


def _check_fit(row: sqlite3.Row, span: Range) -> None:
    if row["completed_at"]:
        raise _wrong("the upload has ended")
    if span.total != row["total"]:
        raise _wrong(f"the file has {row['total']} bytes since its first chunk, not {span.total}")
    if span.first != row["offset"]:
        raise _wrong(f"the next byte is {row['offset']} (the upload's offset), not {span.first}")


def _wrong(text: str) -> RefusedError:
    return RefusedError({"Content-Range": [f"{text[0].upper()}{text[1:]}."]})


def _wire(row: sqlite3.Row) -> Json:
    upload, done = row["id"], row["completed_at"]
    return {
        "id": upload,
        "url": f"/chunked_upload/{upload}/",
        "filename": row["filename"],
        "offset": row["offset"],
        "size": row["total"],
        "checksum": row["checksum"],
        "completed_at": done,
        "file": f"/media/uploads/{upload}/{quote(row['filename'], safe='')}" if done else None,
    }
