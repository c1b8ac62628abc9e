"""Downloaded models, each unpacked in a folder that all trials of this machine share."""

import errno
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from ray_synapse.errors import BackendError, NoSpaceError, RefusedError, StorageError

MIN_FREE_BYTES = 1 << 30  # a model must leave this much: a full disk would stop the sweep itself
MAX_ENTRIES = 100_000  # files and folders of a model: a hundred times what sharded weights have
MAX_LIST_BYTES = 200 * MAX_ENTRIES  # of the archive's list of them, all of which is in memory
MAX_MODEL_BYTES = 1 << 40  # unpacked: more than one machine trains on
MAX_RATIO = 100  # unpacked to packed: weights hardly shrink, a bomb has 1000 times its archive
SMALL_MODEL_BYTES = 1 << 30  # up to it any ratio will do: the weights may all be zero
MAX_PATH_BYTES = 1_024  # of an entry: Linux ends a path at 4096, with the home in front
MAX_PART_BYTES = 255  # of a file's or folder's own name: where file systems end
MAX_SHOWN_CHARS = 24  # of a text of the key in the folder's name, which ends at 255 bytes
COPY_BYTES = 1 << 20  # read and written at a time: fast enough for a disk, little for any memory

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others take memory without a limit
ENCRYPTED = 0x2041  # flags: the content, the content strongly, the list of entries
HEADER_BYTES = 30  # before an entry's name and content
END_BYTES = 22  # at the end of an archive, before its comment; the number of entries is in it


def unpacked(home: Path, key: Sequence[str], fetch: Callable[[BinaryIO], None]) -> Path:
    """Give the folder with a model's files; download them if they are not there, or not whole.

    Who asks for the same model meanwhile, in any thread or process, waits for that one download.
    Only read what is in the folder: all trials that start from this model share it. If a file was
    removed or has another size since, the model is downloaded again.

    Args:
        home: This package's folder; the models are in ``cache/models`` below it.
        key: What identifies the content: server, id of the model, checksum. No secret may be in
            it, since the folder's name shows it.
        fetch: Writes the zip archive into the file it is given. It must not hang, since others
            wait for it. What it raises is passed on; the next one who asks tries again.

    Raises:
        RefusedError: What came is no whole zip archive, or one that is not safe to unpack: paths
            that leave the folder, links, encrypted or overlapping entries, too much content.
        NoSpaceError: The model would leave less than 1 GiB of the disk free.
        StorageError: The folder cannot be read or written.
    """
    folder = home / "cache" / "models" / _name(key)
    if not _is_whole(folder):
        with _locked(_beside(folder, "lock")):
            if not _is_whole(folder):  # somebody may have made it while this one waited
                _make(folder, fetch)
    return folder


def _name(key: Sequence[str]) -> str:
    shown = (re.sub(r"[^A-Za-z0-9.]+", "-", text)[:MAX_SHOWN_CHARS].strip("-.") for text in key)
    digest = hashlib.sha256(json.dumps([*key]).encode()).hexdigest()[:32]
    return "-".join((*list(filter(None, shown))[:3], digest))


def _beside(folder: Path, ending: str) -> Path:
    """The ``json`` lists a whole model's files; only who holds the ``lock`` touches ``part``."""
    return folder.with_name(f"{folder.name}.{ending}")


def _is_whole(folder: Path) -> bool:
    try:
        sizes = json.loads(_beside(folder, "json").read_text("utf-8"))
        return all((folder / name).lstat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


@contextmanager
def _locked(path: Path, kind: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold a lock that ends with the process at the latest."""
    with _translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab")  # noqa: SIM115 - closed below
    with file:
        with _translated(path):
            fcntl.flock(file, kind)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # closing may not do: a forked child has the file too


def _make(folder: Path, fetch: Callable[[BinaryIO], None]) -> None:
    part, manifest = _beside(folder, "part"), _beside(folder, "json")
    try:
        with _translated(folder):
            _remove_leftovers(part)
            part.mkdir()
        with io.BufferedWriter(_NewFile(part / "archive")) as archive:
            fetch(archive)
        with _translated(folder):
            sizes = _unpack(part / "archive", part / "files", folder.name)
            (part / "manifest").write_text(json.dumps(sizes), "utf-8")
            (part / "archive").unlink()
            # Wherever this is killed: there is no manifest unless its files are there.
            manifest.unlink(missing_ok=True)
            if os.path.lexists(folder):
                folder.rename(part / "damaged")
            (part / "files").rename(folder)
            (part / "manifest").rename(manifest)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _remove_leftovers(mine: Path) -> None:
    """What processes left that were killed while they made this model, or another."""
    shutil.rmtree(mine, ignore_errors=True)
    for part in mine.parent.glob("*.part"):
        with suppress(OSError), _locked(part.with_suffix(".lock"), fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(part)


def _unpack(archive: Path, target: Path, name: str) -> dict[str, int]:
    """Unpack into a new folder. Returns the size of each file."""
    try:
        with _Archive(io.FileIO(archive)) as file, zipfile.ZipFile(file) as bundle:
            entries = bundle.infolist()
            file.seek(-END_BYTES - len(bundle.comment), os.SEEK_END)
            count = int.from_bytes(file.read(END_BYTES)[10:12], "little")
            if count not in (len(entries), 0xFFFF):  # the latter if more bits are needed
                raise zipfile.BadZipFile(f"it lists {len(entries):,} of {count:,} entries")
            folders = _checked(entries, archive.stat().st_size)
            files = [entry for entry in entries if not entry.is_dir()]
            _check_space(target, sum(entry.file_size for entry in files))
            for folder in ("", *sorted(folders)):
                (target / folder).mkdir(0o755)
            for entry in files:
                _write(bundle, entry, target / entry.filename)
    except OSError:  # the disk's
        raise
    except Exception as error:  # whatever zipfile raises for bytes that are no archive
        raise RefusedError(
            f"model {name} is not unpacked: what was downloaded is no zip archive that is whole "
            f"and safe ({error}). Try again; if it stays so, upload the model anew."
        ) from error
    return {entry.filename: entry.file_size for entry in files}


def _write(bundle: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    name, size, written = entry.filename, entry.file_size, 0
    with bundle.open(entry) as source, io.BufferedWriter(_NewFile(path)) as target:
        while written <= size and (piece := source.read(COPY_BYTES)):
            written += target.write(piece)
    if written != size:
        raise zipfile.BadZipFile(f"{name!r} does not have the {size:,} bytes it is listed with")


def _checked(entries: list[zipfile.ZipInfo], archive_bytes: int) -> list[str]:
    """Returns the folders, also those that only a file's path names."""
    total, end = sum(entry.file_size for entry in entries), 0
    limit = min(MAX_MODEL_BYTES, max(SMALL_MODEL_BYTES, MAX_RATIO * archive_bytes))
    if total > limit:
        raise zipfile.BadZipFile(f"it has {total:,} bytes unpacked, allowed are {limit:,}")
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        _check_entry(entry)
        if entry.header_offset < end:
            raise zipfile.BadZipFile(f"{entry.filename!r} overlaps what is before it")
        end = entry.header_offset + HEADER_BYTES + entry.compress_size
    seen: dict[str, tuple[str, bool]] = {}  # by how a file system sees it that ignores case
    for entry in entries:
        path, is_folder = entry.filename.removesuffix("/"), entry.is_dir()
        while path and not (is_folder and seen.get(path.casefold()) == (path, True)):
            if path.casefold() in seen:
                raise zipfile.BadZipFile(f"{path!r} is there twice, for a disk that ignores case")
            if len(seen) == MAX_ENTRIES:
                raise zipfile.BadZipFile(f"it has more than {MAX_ENTRIES:,} files and folders")
            seen[path.casefold()] = path, is_folder
            path, is_folder = path.rpartition("/")[0], True
    if all(is_folder for _, is_folder in seen.values()):
        raise zipfile.BadZipFile("it holds no file")
    return [path for path, is_folder in seen.values() if is_folder]


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
    parts = [part.encode() for part in name.removesuffix("/").split("/")]
    is_foreign = "\\" in name or "\0" in entry.orig_filename or re.match("[A-Za-z]:", name)
    is_long = len(name.encode()) > MAX_PATH_BYTES or max(map(len, parts)) > MAX_PART_BYTES
    is_special = kind not in (0, stat.S_IFDIR if name.endswith("/") else stat.S_IFREG)
    for is_so, fault in (
        (not {b"", b".", b".."}.isdisjoint(parts), "has no plain path below the folder"),
        (is_foreign, "has a path with a backslash, a NUL or a drive"),
        (is_long, f"has a path of over {MAX_PATH_BYTES:,} bytes, or {MAX_PART_BYTES} in one name"),
        (is_special, "is a link or another special file"),
        (entry.flag_bits & ENCRYPTED, "is encrypted"),
        (entry.compress_type not in METHODS, "is packed in a way other than stored and deflated"),
    ):
        if is_so:
            raise zipfile.BadZipFile(f"{name[:100]!r} {fault}")


class _Archive(io.BufferedReader):
    def read(self, size: int | None = -1, /) -> bytes:
        if size and size > MAX_LIST_BYTES:  # zipfile asks for so much only if this is the list
            raise zipfile.BadZipFile(f"its list of entries has more than {MAX_LIST_BYTES:,} bytes")
        return super().read(size)


class _NewFile(io.FileIO):
    """A plain file that stops growing before the disk is full."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _translated(path):
            super().__init__(path, "x", opener=lambda path, flags: os.open(path, flags, 0o644))

    def write(self, data: Any, /) -> int:
        with _translated(self._path):
            _check_space(self._path, len(data))
            return super().write(data)


def _check_space(path: Path, size: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free - size < MIN_FREE_BYTES:
        raise NoSpaceError(
            f"{path} needs {size / 1e6:,.1f} MB, the disk has {free / 1e6:,.1f} MB free, of which "
            f"{MIN_FREE_BYTES / 1e6:,.0f} must stay. Free space (old models beside it), try again."
        )


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (BackendError, BlockingIOError):
        raise
    except OSError as error:
        kind = NoSpaceError if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
        raise kind(
            f"{path}: {error.strerror or error}. Make room there and the folder writable, or set "
            "RAY_SYNAPSE_HOME to one that is; then try again."
        ) from error
