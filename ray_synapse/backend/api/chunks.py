"""Chunks of files on their way from a client to the disk."""

import contextlib
import os
import re
import uuid
import zlib
from pathlib import Path
from typing import NamedTuple

from ray_synapse.backend import sqlite
from ray_synapse.backend.api.checks import shown
from ray_synapse.errors import RefusedError, TooLargeError

MAX_CHUNK_BYTES = 128 << 20  # the published client sends 50 MiB
MAX_FILE_BYTES = 256 << 30  # beyond any single model
RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", re.ASCII)
ENDING = ".part"  # of the file of a chunk


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


class ChunkFile:
    """The bytes of one chunk, in a file of their own until they count.

    So a connection that hangs keeps nobody from sending its chunk again, and spoils nothing later.
    """

    def __init__(self, folder: Path, span: Range) -> None:
        self.path = folder / f"{uuid.uuid4()}{ENDING}"
        self.checksum = 0  # CRC-32 of what was written so far
        self.span, self._length = span, 0
        with sqlite.translated(self.path):
            self._file = open(self.path, "xb")  # noqa: SIM115 - closed by `close`

    def write(self, data: bytes) -> None:
        """Write the next bytes.

        Raises:
            RefusedError: They are more than the range says.
        """
        self._length += len(data)
        if self._length > self.span.length:
            raise wrong_range(f"It has {self.span.length} bytes, the chunk has more.")
        self.checksum = zlib.crc32(data, self.checksum)
        with sqlite.translated(self.path):
            self._file.write(data)

    def check_whole(self) -> None:
        """Have all bytes on the disk.

        Raises:
            RefusedError: They are less than the range says.
        """
        if self._length != self.span.length:
            raise wrong_range(f"It has {self.span.length} bytes, the chunk {self._length}.")
        with sqlite.translated(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Remove the file, unless it was moved to where it counts."""
        try:
            with contextlib.suppress(OSError):  # what it holds back is given up anyway
                self._file.close()
        finally:
            self.path.unlink(missing_ok=True)
