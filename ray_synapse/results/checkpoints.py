"""Which files are a trial's model: the resolver."""

import filecmp
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import fs

from ray_synapse.metrics import CHECKPOINT_OUTPUT, CHECKPOINT_SOURCE
from ray_synapse.results.outcome import Outcome, outcome_of

COPY_BYTES = 1 << 20  # at a time, when a model is read from a remote file system


@dataclass(frozen=True)
class ModelFile:
    """One file of an artifact: its name within it, its path, size in bytes and time of change."""

    name: str
    path: str
    size: int
    mtime_ns: int = 0


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
        """All files of it, by name.

        Raises:
            OSError: The file system cannot be read.
        """
        return _list(self.filesystem or fs.LocalFileSystem(), self.path or "")

    @contextmanager
    def as_directory(self) -> Iterator[Path]:
        """A local folder with the files, for as long as the block runs.

        A folder of this machine is given as it is, anything else as a temporary copy.

        Raises:
            OSError: The file system cannot be read.
        """
        if self.path and _is_local(self.filesystem) and Path(self.path).is_dir():
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
        """A stream of one of the files."""
        return (self.filesystem or fs.LocalFileSystem()).open_input_stream(file.path)


def resolve_checkpoint(result: Any, *, shared: Collection[str] = ()) -> Artifact:
    """Find the model of a trial. Never raises.

    In this order, the first that can be read here and has files:

    1. ``checkpoint_output`` in the metrics: the path that the trial said. Not if it is one of
       ``shared``, since then it holds what the last of several trials wrote; and where Tune holds a
       copy that was reported from that very folder, the copy, since it belongs to the result.
    2. Ray's checkpoint, on any pyarrow file system.
    3. The newest of ``best_checkpoints``.

    Tune's log folder of the trial is never taken.

    Args:
        result: A ``ray.tune.Result``, a ``Trial``, or any object with the same attributes.
        shared: Paths that several trials gave as theirs. ``finish`` knows them; a single result
            does not say.

    Returns:
        The artifact, or an empty one with the reason.
    """
    return resolve(outcome_of(result), shared)


def resolve(outcome: Outcome, shared: Collection[str] = ()) -> Artifact:
    """``resolve_checkpoint`` for what was read already."""
    reasons: list[str] = []
    output = outcome.metrics.get(CHECKPOINT_OUTPUT)
    if output:
        artifact = _from_output(str(output), outcome, shared)
        if artifact:
            return artifact
        reasons.append(artifact.reason)
    kept = [checkpoint for checkpoint, _ in reversed(outcome.kept)]
    for source, checkpoint in [("checkpoint", outcome.checkpoint)] + [
        ("best_checkpoints", each) for each in kept
    ]:
        if checkpoint is None:
            continue
        artifact = _from_checkpoint(checkpoint, source)
        if artifact and not _is_log_folder(_real(artifact.path or ""), outcome):
            return artifact
        reasons.append(artifact.reason or f"its {source} is Tune's log folder of the trial")
    return Artifact(None, reason="; ".join(dict.fromkeys(reasons)) or _nothing_reported(outcome))


def shared_outputs(outcomes: Iterable[Outcome]) -> set[str]:
    """The values of ``checkpoint_output`` that more than one trial gave."""
    given = (outcome.metrics.get(CHECKPOINT_OUTPUT) for outcome in outcomes)
    times = Counter(_real(str(path)) for path in given if path)
    return {path for path, number in times.items() if number > 1}


def _from_output(output: str, outcome: Outcome, shared: Collection[str]) -> Artifact:
    path = _real(output)
    if path in {_real(each) for each in shared}:
        return Artifact(None, reason=f"several trials wrote to {output}: it is the last one's")
    if _is_log_folder(path, outcome):
        return Artifact(None, reason=f"{output} holds Tune's log folder of the trial")
    copy = outcome.checkpoint
    if copy is not None and _is_copy(copy, output, outcome):
        artifact = _from_checkpoint(copy, "checkpoint")
        if artifact:
            return artifact
    return _readable(output, fs.LocalFileSystem(), "checkpoint_output")


def _is_log_folder(path: str, outcome: Outcome) -> bool:
    """Whether the trial's log folder is there or below; Tune has one more while a trial runs."""
    if not outcome.log_folder:
        return False
    log_folder = _real(outcome.log_folder)
    if (log_folder + os.sep).startswith(path.rstrip(os.sep) + os.sep):
        return True
    parts = Path(path).parts
    return "driver_artifacts" in parts and os.path.basename(log_folder) in parts


def _is_copy(checkpoint: Any, output: str, outcome: Outcome) -> bool:
    """Whether Tune's checkpoint was reported from that folder.

    Our wrapper says so in the result; without it the same files with the same content say so.
    """
    if outcome.metrics.get(CHECKPOINT_SOURCE) == output:
        return True
    try:
        mine = _list(fs.LocalFileSystem(), output)
        its = _list(checkpoint.filesystem or fs.LocalFileSystem(), checkpoint.path)
    except Exception:  # a URI, a file system that is down: then they cannot be compared
        return False
    if not mine or not _is_local(checkpoint.filesystem):
        return False
    if [(each.name, each.size) for each in mine] != [(each.name, each.size) for each in its]:
        return False
    pairs = zip(mine, its, strict=True)
    return all(filecmp.cmp(one.path, other.path, shallow=False) for one, other in pairs)


def _from_checkpoint(checkpoint: Any, source: str) -> Artifact:
    path = getattr(checkpoint, "path", None)
    if path is None:
        return Artifact(None, reason=f"its {source} is a {type(checkpoint).__name__} without path")
    filesystem = getattr(checkpoint, "filesystem", None) or fs.LocalFileSystem()
    return _readable(str(path), filesystem, source)


def _readable(path: str, filesystem: Any, source: str) -> Artifact:
    where = "" if _is_local(filesystem) else f" on {getattr(filesystem, 'type_name', filesystem)}"
    try:
        files = _list(filesystem, path)
        if files:
            filesystem.open_input_stream(files[0].path).close()
    except FileNotFoundError:
        hint = " (it may be on another node)" if not where else ""
        return Artifact(None, reason=f"{source} {path}{where} does not exist here{hint}")
    except Exception as error:  # whatever a remote file system raises
        return Artifact(None, reason=f"{source} {path}{where} cannot be read: {error}")
    if not files:
        return Artifact(None, reason=f"{source} {path}{where} is empty")
    return Artifact(path, None if _is_local(filesystem) else filesystem, source)


def _list(filesystem: Any, path: str) -> list[ModelFile]:
    info = filesystem.get_file_info(path)
    if info.type == fs.FileType.NotFound:
        raise FileNotFoundError(path)
    if info.type == fs.FileType.File:
        return [_model_file(os.path.basename(path), info)]
    root = info.path.rstrip("/") + "/"
    found = filesystem.get_file_info(fs.FileSelector(path, recursive=True))
    files = [
        _model_file(each.path.removeprefix(root).lstrip("/"), each)
        for each in found
        if each.type == fs.FileType.File
    ]
    if _is_local(filesystem):
        files = [file for file in files if not _is_loop(os.path.dirname(file.path), root)]
    return sorted(files, key=lambda file: file.name)


def _is_loop(folder: str, root: str) -> bool:
    """Whether the way from root to the folder goes through a link that leads back above it."""
    while len(folder) >= len(root):
        parent = os.path.dirname(folder)
        if (_real(parent) + os.sep).startswith(_real(folder) + os.sep):
            return True
        folder = parent
    return False


def _model_file(name: str, info: Any) -> ModelFile:
    return ModelFile(name, info.path, info.size, info.mtime_ns or 0)


def _nothing_reported(outcome: Outcome) -> str:
    if not outcome.metrics.get("training_iteration"):
        return "it reported nothing"
    return "it reported no checkpoint"


def _is_local(filesystem: Any) -> bool:
    return filesystem is None or isinstance(filesystem, fs.LocalFileSystem)


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except ValueError:  # a NUL in it
        return path
