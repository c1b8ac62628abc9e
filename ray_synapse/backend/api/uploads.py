"""``/chunked_upload/``: a large file, chunk by chunk, by any number of clients and servers."""

import fcntl
import hashlib
import os
import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ray_synapse.backend import sqlite
from ray_synapse.backend.api import checks
from ray_synapse.backend.api.chunks import ChunkFile, Range, wrong_range
from ray_synapse.backend.api.pages import link_name
from ray_synapse.backend.api.protocol import Json
from ray_synapse.backend.api.room import Room
from ray_synapse.backend.database import now, stamp
from ray_synapse.backend.store import insert, update
from ray_synapse.errors import NotFoundError, RefusedError, StorageError

COPY_BYTES = 1 << 20
TURN_S = 2.0  # for which a request waits while another one has the same upload


class Chunk(ChunkFile):
    """One chunk on its way to the disk: write it in any pieces, ``finish`` it, and ``close``.

    Nothing counts before ``finish``, which also says what does not fit the upload: by then the
    client has sent all, and reads the answer.
    """

    def __init__(self, calls: "UploadCalls", upload: str | None, span: Range) -> None:
        super().__init__(calls.uploads, span)
        self._calls, self._upload = calls, upload

    def finish(self, filename: str, key: str | None = None) -> Json:
        """Count the chunk in, and give the upload's state."""
        self.check_whole()
        sent = {"filename": filename, "range": self.span, "checksum": self.checksum}
        if self._upload is None:
            return self._calls._begin(self, filename or "file", key, sent)
        return self._calls._go_on(self._upload, self, key, sent)


class UploadCalls(Room):
    """The part of ``EmbeddedApi`` that takes files."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self._is_ending = threading.Event()

    def close(self) -> None:
        """Close the files, and do not wait for an upload that is being checked. This is final."""
        self._is_ending.set()
        super().close()

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
        self._make_room(span)
        return Chunk(self, upload, span)

    def finish_upload(self, upload: str, fields: Any, *, key: str | None = None) -> Json:
        """End an upload with the ``md5`` of the whole file. May be repeated."""
        rules = {"md5": checks.name, "filename": checks.text}
        md5 = checks.checked("the end of an upload", fields, rules, ["md5"])["md5"].lower()
        with self._turn(upload) as (file, row):
            if row["offset"] < row["total"]:
                raise RefusedError(
                    f"upload {upload} has {row['offset']} of {row['total']} bytes: send the rest "
                    "first."
                )
            found = row["checksum"] or self._hash(file)
            if md5 != found:
                raise RefusedError({"md5": [f"The file that came has {found}. Upload it again."]})

            def write(db: sqlite3.Connection) -> Json:
                done = {"checksum": found, "completed_at": row["completed_at"] or now()}
                update(db, "uploads", row["id"], {**done, "updated": now()})
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
        return self.uploads / str(row["id"])

    def _begin(self, chunk: Chunk, filename: str, key: str | None, sent: Json) -> Json:
        def write(db: sqlite3.Connection) -> Json:
            upload, time = str(uuid.uuid4()), now()
            row = {"id": upload, "filename": filename, "total": chunk.span.total, "offset": 0}
            insert(db, "uploads", {**row, "created": time, "updated": time})
            answer = _count_in(db, upload, chunk.span)
            self._check_rest(db)
            chunk.path.replace(self.uploads / upload)
            return answer

        return self._once(key, "PUT /chunked_upload/", sent, write)

    def _go_on(self, upload: str, chunk: Chunk, key: str | None, sent: Json) -> Json:
        with self._turn(upload) as (file, row):
            if not _misfit(row, chunk.span):
                with sqlite.translated(chunk.path), open(chunk.path, "rb") as source:
                    file.seek(chunk.span.first)
                    shutil.copyfileobj(source, file, COPY_BYTES)
                    file.flush()
                    os.fsync(file.fileno())
            return self._once(
                key,
                f"PUT /chunked_upload/{upload}/",
                sent,
                lambda db: _count_in(db, upload, chunk.span),
            )

    @contextmanager
    def _turn(self, upload: str) -> Iterator[tuple[BinaryIO, sqlite3.Row]]:
        """The file and the row of an upload, for this request alone, of all servers."""
        with self._read() as db:
            path = self.uploads / _row(db, upload)["id"]
        try:
            file = open(path, "r+b")  # noqa: SIM115 - closed below
        except FileNotFoundError:
            raise NotFoundError(f"upload {upload!r} has lost its file; begin it again.") from None
        with sqlite.translated(path), file:
            self._wait_for(file, upload)
            with self._read() as db:
                row = _row(db, upload)
            yield file, row

    def _wait_for(self, file: BinaryIO, upload: str) -> None:
        give_up = time.monotonic() + TURN_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > give_up or self._is_ending.is_set():
                    raise StorageError(
                        f"another request has upload {upload}: it checks or extends it. Ask for "
                        f"its state (GET /chunked_upload/{upload}/), then try again."
                    ) from None
                time.sleep(0.02)

    def _hash(self, file: BinaryIO) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        while piece := file.read(COPY_BYTES):
            digest.update(piece)
            if self._is_ending.is_set():
                raise StorageError("the server ends. Send the md5 again when it is back.")
        return digest.hexdigest()


def _count_in(db: sqlite3.Connection, upload: str, span: Range) -> Json:
    if fault := _misfit(_row(db, upload), span):
        raise wrong_range(fault)
    update(db, "uploads", upload, {"offset": span.last + 1, "updated": now()})
    return _wire(_row(db, upload))


def _misfit(row: sqlite3.Row, span: Range) -> str:
    """Why a chunk does not come next, or ""."""
    if row["completed_at"]:
        return "The upload has ended."
    if span.total != row["total"]:
        return f"The file has {row['total']} bytes in all, not {span.total}."
    if span.first != row["offset"]:
        return f"The upload's offset is {row['offset']}, not {span.first}."
    return ""


def _row(db: sqlite3.Connection, upload: str) -> sqlite3.Row:
    query = "SELECT * FROM uploads WHERE id = ?"
    row: sqlite3.Row | None = None
    if upload.isascii():  # SQLite fails on text that UTF-8 cannot hold
        row = db.execute(query, (upload,)).fetchone()
    if row is None:
        raise NotFoundError(f"upload {upload!r} does not exist; PUT /chunked_upload/ begins one.")
    return row


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
