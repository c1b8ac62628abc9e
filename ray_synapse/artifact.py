"""A model's files, on any file system."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ray_synapse.places import beneath, is_local, open_place, uri_of
from ray_synapse.values import Wire

COPY_BYTES = 1 << 20  # at a time, when a model is copied
# From an object store at a time: each time is a request, which may take 0.1 s whatever its size.
REQUEST_BYTES = 8 << 20
MAX_NAME_BYTES = 0xFFFF  # of a file's name in UTF-8: a zip archive has 16 bits for its length


@dataclass(frozen=True)
class ModelFile:
    """One file of an artifact: its name within it, its path, size in bytes and time of change."""

    name: str
    path: str
    size: int
    mtime_ns: int = 0


class Listing(NamedTuple):
    """What an artifact holds.

    Attributes:
        files: Its files, by name.
        left_out: The names of the symbolic links in it that are not followed, since they lead out
            of the folder.
    """

    files: list[ModelFile]
    left_out: list[str]


@dataclass(frozen=True)
class Artifact:
    """Where a trial's model lies, or why it has none. False if it has none.

    Attributes:
        path: The folder or file, within ``filesystem``; None if there is none.
        filesystem: The pyarrow file system that it lies on; None for this machine's own.
        source: ``checkpoint_output``, ``checkpoint`` or ``best_checkpoints``; else empty.
        reason: Why there is none; else empty.
    """

    path: str | None
    filesystem: Any = None
    source: str = ""
    reason: str = ""

    def __bool__(self) -> bool:
        return self.path is not None

    def files(self) -> list[ModelFile]:
        """All files of it, by name, without what ``listing`` leaves out.

        Raises:
            OSError: As for ``listing``.
        """
        return self.listing().files

    def listing(self) -> Listing:
        """All files of it, and the links that are left out.

        On this machine's own file system a symbolic link is followed as long as it stays within
        the folder. The folder itself, or the one file that is the artifact, may be a link.

        Raises:
            OSError: The file system cannot be read, or no archive can hold a file of that name.
        """
        filesystem, path = beneath(self.filesystem, self.path or "")
        with only_os_errors(path):
            listing = _list_local(path) if filesystem is None else _list_remote(filesystem, path)
        for file in listing.files:
            if not is_safe_name(file.name):
                raise OSError(
                    f"{path} has a file called {file.name!r}, which no archive can hold: a name is "
                    f"UTF-8 of at most {MAX_NAME_BYTES:,} bytes without empty, '.' or '..' parts. "
                    "Rename it."
                )
        return listing

    @contextmanager
    def as_directory(self) -> Iterator[Path]:
        """A local folder with the files, for as long as the block runs.

        A folder of this machine is given as it is, anything else as a temporary copy.

        Raises:
            OSError: The file system cannot be read.
        """
        if self.path and is_local(self.filesystem) and Path(self.path).is_dir():
            yield Path(self.path)
            return
        folder = Path(tempfile.mkdtemp(prefix="ray_synapse-"))
        try:
            for file in self.files():
                target = folder / file.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with self.open(file) as source, open(target, "wb") as copy:
                    shutil.copyfileobj(source, copy, COPY_BYTES)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def open(self, file: ModelFile) -> Any:
        """A stream of one of the files, from its beginning; it may not be able to seek.

        Raises:
            OSError: The file cannot be opened.
        """
        filesystem, _ = beneath(self.filesystem, self.path or "")
        with only_os_errors(file.path):
            if filesystem is None:
                return open(file.path, "rb", buffering=0)
            return filesystem.open_input_stream(file.path, buffer_size=REQUEST_BYTES)

    def uri(self) -> str | None:
        """A text with which ``artifact_at`` finds the place again, in any process, on any day.

        There is no secret in it: who opens it has the credentials in the environment, or wherever
        else the library of the file system looks for them.

        Returns:
            The absolute path on this machine; an ``s3://``, ``gs://`` or ``fsspec+<protocol>://``
            URI elsewhere; None if there is no artifact, or no text can say where it is.
        """
        return None if self.path is None else uri_of(self.filesystem, self.path)


def artifact_at(uri: str) -> Artifact:
    """The artifact at a place that ``Artifact.uri`` said. Only its files show if it is still there.

    Raises:
        OSError: Its file system cannot be opened here.
    """
    filesystem, path = open_place(uri)
    return Artifact(path, filesystem)


def identity(artifact: Artifact, files: Sequence[ModelFile]) -> dict[str, Wire]:
    """What tells a model from others: ``path``, ``files``, ``bytes`` and ``fingerprint``.

    It is the same for an artifact that ``artifact_at`` found again. The fingerprint changes when a
    file is written again, also with content of the same size.

    Args:
        artifact: The model.
        files: Its files, as it lists them.
    """
    parts = [f"{file.name}\0{file.size}\0{file.mtime_ns}" for file in files]
    digest = hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()
    return {
        "path": beneath(artifact.filesystem, artifact.path or "")[1],
        "files": len(files),
        "bytes": sum(file.size for file in files),
        "fingerprint": digest[:16],
    }


def is_safe_name(name: str) -> bool:
    """Whether an archive can hold a file of that name, and unpacking it stays within a folder."""
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:  # bytes that are no UTF-8
        return False
    return size <= MAX_NAME_BYTES and "\0" not in name and not {"", ".", ".."} & {*name.split("/")}


@contextmanager
def only_os_errors(what: str) -> Iterator[None]:
    """Make an OSError of whatever else the library of a file system raises."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{what}: {str(error) or type(error).__name__}") from error


def _list_local(path: str) -> Listing:
    if os.path.isfile(path):
        info = os.stat(path)
        return Listing(
            [ModelFile(os.path.basename(path), path, info.st_size, info.st_mtime_ns)], []
        )
    root = os.path.realpath(path)
    files: list[ModelFile] = []
    left_out: list[str] = []
    # A folder, what its files' names begin with, and the real folders on the way to it.
    pending: list[tuple[str, str, tuple[str, ...]]] = [(path, "", (root,))]
    while pending:
        folder, prefix, way = pending.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                name, real = prefix + entry.name, os.path.join(way[-1], entry.name)
                if entry.is_symlink():
                    real = os.path.realpath(real)
                    if not f"{real}/".startswith(f"{root.rstrip('/')}/"):
                        left_out.append(name)
                        continue
                    if not os.path.exists(real):  # it leads nowhere
                        continue
                if entry.is_dir():
                    if real not in way:  # else a link leads back
                        pending.append((entry.path, f"{name}/", (*way, real)))
                elif entry.is_file():
                    info = entry.stat()
                    files.append(ModelFile(name, entry.path, info.st_size, info.st_mtime_ns))
    return Listing(sorted(files, key=lambda file: file.name), sorted(left_out))


def _list_remote(filesystem: Any, path: str) -> Listing:
    from pyarrow import fs  # late: it takes long, and most models need none

    top = filesystem.get_file_info(path)
    if top.type == fs.FileType.NotFound:
        raise FileNotFoundError(path)
    if top.type == fs.FileType.File:
        return Listing([_model_file(os.path.basename(path), top)], [])
    root = top.path.rstrip("/") + "/"
    files = [
        _model_file(each.path.removeprefix(root).lstrip("/"), each)
        for each in filesystem.get_file_info(fs.FileSelector(path, recursive=True))
        # An object store may have an empty object for a folder.
        if each.type == fs.FileType.File and not f"{each.path}/".endswith("//")
    ]
    return Listing(sorted(files, key=lambda file: file.name), [])


def _model_file(name: str, info: Any) -> ModelFile:
    if info.size is None:
        raise OSError(f"{info.path}: its file system does not say its size")
    return ModelFile(name, info.path, info.size, info.mtime_ns or 0)
