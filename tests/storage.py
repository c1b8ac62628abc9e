"""Where models lie, for tests: real file systems of every kind, among them a real S3 server."""

import contextlib
import io
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem as FsspecLocal
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.implementations.zip import ZipFileSystem
from pyarrow import fs

from ray_synapse.archive import PIECE_BYTES
from ray_synapse.artifact import Artifact

FILES = {"model.pt": b"weights", "sub/größe.json": b"{}", "empty": b""}
ON_THIS_MACHINE = ("local", "subtree", "fsspec", "fsspec-prefix")
ELSEWHERE = ("memory", "memory-prefix", "zip", "s3", "s3-subtree")
KEYS = {"access_key": "AKIATHEKEY", "secret_key": "the-secret", "session_token": "the-session"}


class S3(NamedTuple):
    """A running S3 server; any key opens it."""

    address: str
    bucket: str = "bucket"

    def filesystem(self) -> Any:
        return fs.S3FileSystem(
            **KEYS, region="eu-west-1", endpoint_override=self.address, scheme="http"
        )


# It ends when its standard input does: with whoever started it, however that ends.
SERVE = """
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print("%s:%s" % server.get_host_and_port(), flush=True)
input()
"""


@contextlib.contextmanager
def s3_server() -> Iterator[S3]:
    """moto's S3 server in a process of its own, with a bucket, over TCP."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a line for each request
        text=True,
    )
    with process:
        assert process.stdout is not None
        server = S3(process.stdout.readline().strip())
        makes_buckets = fs.S3FileSystem(
            **KEYS, endpoint_override=server.address, scheme="http", allow_bucket_creation=True
        )
        makes_buckets.create_dir(server.bucket)
        try:
            yield server
        finally:
            process.kill()


def folder(path: Path, files: dict[str, bytes] = FILES) -> Path:
    """Write the files below a folder of this machine."""
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def stored(
    kind: str, root: Path, s3: S3 | None = None, files: dict[str, bytes] = FILES
) -> Artifact:
    """The files as an artifact on a file system of that kind."""
    if kind in ON_THIS_MACHINE:
        path = folder(root / "ck", files)
        if kind == "local":
            return Artifact(str(path))
        if kind == "subtree":
            return Artifact("ck", fs.SubTreeFileSystem(str(root), fs.LocalFileSystem()))
        if kind == "fsspec":
            return Artifact(str(path), through_fsspec(FsspecLocal()))
        return Artifact("ck", through_fsspec(DirFileSystem(path=str(root), fs=FsspecLocal())))
    if kind == "zip":
        with zipfile.ZipFile(root / "outer.zip", "w") as outer:
            for name, content in files.items():
                outer.writestr(f"ck/{name}", content)
        return Artifact("ck", through_fsspec(ZipFileSystem(str(root / "outer.zip"))))
    top = uuid.uuid4().hex
    if kind.startswith("memory"):
        memory = MemoryFileSystem()
        memory.pipe({f"/{top}/ck/{name}": content for name, content in files.items()})
        if kind == "memory":
            return Artifact(f"/{top}/ck", through_fsspec(memory))
        return Artifact("ck", through_fsspec(DirFileSystem(path=f"/{top}", fs=memory)))
    assert s3 is not None
    filesystem, path_there = s3.filesystem(), f"{s3.bucket}/{top}"
    for name, content in files.items():
        filesystem.create_dir(f"{path_there}/ck/{name}".rpartition("/")[0])
        with filesystem.open_output_stream(f"{path_there}/ck/{name}") as stream:
            stream.write(content)
    if kind == "s3":
        return Artifact(f"{path_there}/ck", filesystem)
    return Artifact("ck", fs.SubTreeFileSystem(path_there, filesystem))


def through_fsspec(inner: Any) -> Any:
    """An fsspec file system as pyarrow, and so Ray, has it."""
    return fs.PyFileSystem(fs.FSSpecHandler(inner))


def contents(artifact: Artifact) -> dict[str, bytes]:
    """Each file of an artifact with its content."""
    found = {}
    for file in artifact.files():
        with artifact.open(file) as stream:
            found[file.name] = stream.read()
        assert len(found[file.name]) == file.size
    return found


class Source(io.RawIOBase):
    """A stream that cannot seek, and gives less than it was asked for, as a socket does."""

    def __init__(self, content: bytes, most: int) -> None:
        self._rest, self._most = content, most

    def read(self, size: int = -1) -> bytes:
        assert size > 0
        piece, self._rest = self._rest[: min(size, self._most)], self._rest[min(size, self._most) :]
        return piece


class Zeros(io.RawIOBase):
    """Any number of zeros, out of one piece."""

    def __init__(self, size: int) -> None:
        self._left, self._piece = size, bytes(PIECE_BYTES)

    def read(self, size: int = -1) -> bytes:
        count = min(size, self._left)
        self._left -= count
        return self._piece if count == len(self._piece) else bytes(count)
