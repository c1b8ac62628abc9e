"""The folder or file that a trial writes its model to, as a checkpoint for Tune."""

import os
import shutil
import tempfile
from pathlib import Path

from ray_synapse import console

Fingerprint = tuple[tuple[str, int, int, int], ...]


class Output:
    """Follows ``run.checkpoint_output`` of one trial: did it change since it was last attached?"""

    def __init__(self) -> None:
        self._attached: tuple[str, Fingerprint] | None = None

    def changed(self, path: str) -> bool:
        """Whether there is something at ``path`` that was not attached yet."""
        now = fingerprint(Path(path))
        return bool(now) and (path, now) != self._attached

    def attached(self, path: str) -> None:
        """What is at ``path`` now has been attached."""
        self._attached = (path, fingerprint(Path(path)))


def fingerprint(path: Path) -> Fingerprint:
    """Names, sizes, times of change and inodes of all files at ``path``; empty if there is none."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    found = []
    for file in files:
        try:
            stat = file.stat()
        except OSError:  # it is being replaced: the next look sees the new one
            continue
        found.append((str(file.relative_to(path)), stat.st_size, stat.st_mtime_ns, stat.st_ino))
    return tuple(found)


def as_folder(path: Path) -> tuple[Path, Path | None]:
    """A folder with what is at ``path``, and the temporary folder to remove afterwards, if any."""
    if path.is_dir():
        return path, None
    folder = Path(tempfile.mkdtemp(prefix="ray_synapse-"))
    add_to(folder, path)
    return folder, folder


def add_to(folder: Path, path: Path) -> None:
    """Put the files at ``path`` into the folder too; what is there already stays."""
    whole = path.is_dir()
    for file in sorted(path.rglob("*")) if whole else [path]:
        if not file.is_file():
            continue
        target = folder / (file.relative_to(path) if whole else path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(target):
            _link_or_copy(file, target)


def holds_working_folder(path: str) -> bool:
    """Whether Tune's working folder of this trial is, or lies in, ``path``; says so then."""
    if not Path.cwd().resolve().is_relative_to(Path(path).resolve()):
        return False
    console.say_once(
        f"run.checkpoint_output is {path}, which holds the trial's working folder: it is "
        "not attached as a checkpoint. Set it to a folder of the model alone."
    )
    return True


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system
        shutil.copy2(source, target)
