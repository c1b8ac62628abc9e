"""Chunks of files, from a client to their place on the disk."""

import os
import re
import threading
from pathlib import Path
from typing import NamedTuple

from ray_synapse.backend import sqlite
from ray_synapse.backend.api.checks import shown
from ray_synapse.errors import RefusedError, TooLargeError

MAX_CHUNK_BYTES = 128 << 20  # the published client sends 50 MiB
MAX_FILE_BYTES = 256 << 30  # beyond any single model
RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", re.ASCII)


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
            raise wrong_range(f"It must be `bytes <first>-<last>/<total>`, not {shown(text)}.")
        found = cls(*map(int, match.groups()))
        if not found.first <= found.last < found.total:
            raise wrong_range(f"First <= last < total must hold, but it is {text!r}.")
        if found.length > MAX_CHUNK_BYTES:
            raise TooLargeError(f"a chunk has at most {MAX_CHUNK_BYTES} bytes, not {found.length}.")
        if found.total > MAX_FILE_BYTES:
            raise TooLargeError(f"a file has at most {MAX_FILE_BYTES} bytes, not {found.total}.")
        return found

    @property
    def length(self) -> int:
        """How many bytes the chunk has."""
        return self.last - self.first + 1


def wrong_range(text: str) -> RefusedError:
    """The error for a ``Content-Range``."""
    return RefusedError({"Content-Range": [text]})


class ChunkFiles:
    """The files of uploads in one folder, each written by one chunk at a time.

    The chunk that came last is the one that may write: a connection that hangs does not keep its
    client from sending the chunk again, nor does it spoil the file later.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._last: dict[str, ChunkWriter] = {}  # by upload

    def path(self, upload: str) -> Path:
        """Where a file is. The id must be one that was made here."""
        return self.folder / upload

    def open(self, upload: str, span: Range) -> "ChunkWriter":
        """Begin to write a chunk; one that is still being written is cut off."""
        path = self.path(upload)
        with sqlite.translated(path):
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        writer = ChunkWriter(self, upload, file, span.first)
        with self._lock:
            self._last[upload] = writer
        return writer

    def freeze(self, upload: str) -> None:
        """Cut off the chunk that is being written: the file stays as it is from now on."""
        with self._lock:
            self._last.pop(upload, None)


class ChunkWriter:
    """Writes the bytes of one chunk where they belong."""

    def __init__(self, files: ChunkFiles, upload: str, file: int, position: int) -> None:
        self._files, self._upload, self._file, self._position = files, upload, file, position

    def write(self, data: bytes) -> None:
        """Write the next bytes.

        Raises:
            RefusedError: This chunk was cut off.
        """
        with self._files._lock, sqlite.translated(self._files.path(self._upload)):
            self.check_turn()
            while data:
                written = os.pwrite(self._file, data, self._position)
                data, self._position = data[written:], self._position + written

    def check_turn(self) -> None:
        """Refuse to go on with a chunk that was cut off."""
        if self._files._last.get(self._upload) is not self:
            raise RefusedError("another request sends this chunk, too; that one counts.")

    def close(self) -> None:
        """Give the file free."""
        os.close(self._file)
        with self._files._lock:
            if self._files._last.get(self._upload) is self:
                del self._files._last[self._upload]
