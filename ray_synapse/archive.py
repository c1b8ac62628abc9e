"""A zip archive as a stream: its length is known before the first byte, and nothing seeks.

The numbers are those of the specification of the format (APPNOTE.TXT): each file is a local header,
its bytes as they are and a data descriptor with its CRC, which is known only then; at the end comes
the central directory. What does not fit 32 bits takes the forms of zip64.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ray_synapse.artifact import ModelFile, is_safe_name, only_os_errors

PIECE_BYTES = 1 << 20  # read at a time: fast enough for a disk, little enough for any memory
ZIP64_BYTES = 0xFFFFFFFF  # a size or offset from here on needs 64 bits
ZIP64_FILES = 0xFFFF  # as many files or more need zip64, too

_FLAGS = 1 << 3 | 1 << 11  # the CRC comes after the file; the name is UTF-8
_STORED = 0  # the method: weights hardly shrink, and deflating takes longer than the network does
_DATE = 1 << 5 | 1  # 1980-01-01, the earliest, for every file: so equal models are equal archives
_VERSION, _VERSION_ZIP64 = 20, 45  # of the format that an unpacker must know: 2.0, 4.5
_MADE_ON_UNIX = 3 << 8
_FILE_MODE = 0o100644 << 16  # a plain file that its owner writes and all read
_ELSEWHERE_16, _ELSEWHERE_32 = 0xFFFF, 0xFFFFFFFF  # the value is in the zip64 form


class Archive:
    """A zip archive of a model's files, stored, read once and in order.

    Attributes:
        size: How many bytes the archive has, exactly.
    """

    def __init__(self, files: Sequence[ModelFile], open: Callable[[ModelFile], Any]) -> None:
        """Lay the archive out; nothing is read yet.

        Args:
            files: What is to be in it, in this order.
            open: Gives a file's content as a stream with ``read(size)`` that can be closed by
                ``with``. It need not seek.

        Raises:
            ValueError: A file's name cannot be in an archive.
        """
        for file in files:
            if not is_safe_name(file.name):
                raise ValueError(f"{file.name!r} cannot be the name of a file in an archive")
        self._files = files
        self._open = open
        self._offsets: list[int] = []  # of each local header
        end = 0
        for file in files:
            self._offsets.append(end)
            end += len(_local_header(file)) + file.size + len(_descriptor(file, 0))
        self._directory_offset = end
        self.size = end + sum(map(len, self._directory([0] * len(files))))

    def pieces(self, piece_bytes: int = PIECE_BYTES) -> Iterator[bytes]:
        """The archive from its beginning to its end; each call reads the files again.

        Args:
            piece_bytes: How much of a file is read at a time, at most.

        Raises:
            OSError: A file cannot be read, or does not have the size that it was listed with.
        """
        checksums = []
        for file in self._files:
            yield _local_header(file)
            checksum = 0
            for piece in self._content(file, piece_bytes):
                checksum = zlib.crc32(piece, checksum)
                yield piece
            checksums.append(checksum)
            yield _descriptor(file, checksum)
        yield from self._directory(checksums)

    def _content(self, file: ModelFile, piece_bytes: int) -> Iterator[bytes]:
        count = 0
        with only_os_errors(file.path), self._open(file) as stream:
            while count <= file.size and (piece := stream.read(piece_bytes)):
                count += len(piece)
                if count <= file.size:
                    yield piece
        if count != file.size:
            has = f"{count:,}" if count < file.size else "more"
            raise OSError(
                f"{file.path} changed while it was read: it was listed with {file.size:,} bytes "
                f"and has {has}. Upload it again when nothing writes to it."
            )

    def _directory(self, checksums: Sequence[int]) -> Iterator[bytes]:
        size = 0
        for file, offset, checksum in zip(self._files, self._offsets, checksums, strict=True):
            entry = _entry(file, offset, checksum)
            size += len(entry)
            yield entry
        yield _end(len(self._files), size, self._directory_offset)


def _local_header(file: ModelFile) -> bytes:
    name, large = file.name.encode("utf-8"), file.size >= ZIP64_BYTES
    # An unpacker that finds this field knows that the descriptor has sizes of 64 bits.
    extra = struct.pack("<2H2Q", 1, 16, 0, 0) if large else b""
    size = _ELSEWHERE_32 if large else 0
    return b"".join(
        (
            struct.pack("<4s5H", b"PK\3\4", _version(large), _FLAGS, _STORED, 0, _DATE),
            struct.pack("<3I2H", 0, size, size, len(name), len(extra)),
            name,
            extra,
        )
    )


def _descriptor(file: ModelFile, checksum: int) -> bytes:
    form = "<4sI2Q" if file.size >= ZIP64_BYTES else "<4s3I"
    return struct.pack(form, b"PK\7\x08", checksum, file.size, file.size)


def _entry(file: ModelFile, offset: int, checksum: int) -> bytes:
    name, large, far = file.name.encode("utf-8"), file.size >= ZIP64_BYTES, offset >= ZIP64_BYTES
    wide = [file.size] * (2 * large) + [offset] * far
    extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    version, size = _version(bool(wide)), _ELSEWHERE_32 if large else file.size
    return b"".join(
        (
            struct.pack("<4s2H", b"PK\1\2", _MADE_ON_UNIX | version, version),
            struct.pack("<4H", _FLAGS, _STORED, 0, _DATE),
            struct.pack("<3I5H", checksum, size, size, len(name), len(extra), 0, 0, 0),
            struct.pack("<2I", _FILE_MODE, _ELSEWHERE_32 if far else offset),
            name,
            extra,
        )
    )


def _end(count: int, size: int, offset: int) -> bytes:
    """What closes the archive: where its directory is, and how large."""
    many, large, far = count >= ZIP64_FILES, size >= ZIP64_BYTES, offset >= ZIP64_BYTES
    zip64 = b""
    if many or large or far:
        made = _MADE_ON_UNIX | _VERSION_ZIP64
        zip64 = struct.pack("<4sQ2H2I", b"PK\6\6", 44, made, _VERSION_ZIP64, 0, 0)
        zip64 += struct.pack("<4Q", count, count, size, offset)
        zip64 += struct.pack("<4sIQI", b"PK\6\7", 0, offset + size, 1)
    count = _ELSEWHERE_16 if many else count
    size = _ELSEWHERE_32 if large else size
    offset = _ELSEWHERE_32 if far else offset
    return zip64 + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, size, offset, 0)


def _version(zip64: bool) -> int:
    return _VERSION_ZIP64 if zip64 else _VERSION
