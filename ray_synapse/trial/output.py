"""The folder or file that a trial writes its model to, as a checkpoint for Tune."""

import os
import shutil
import tempfile
from pathlib import Path

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
    try:
        os.link(path, folder / path.name)
    except OSError:  # another file system
        shutil.copy2(path, folder / path.name)
    return folder, folder


def holds_working_folder(path: str) -> bool:
    """Whether Tune's working folder of this trial is, or lies in, ``path``: no model's folder."""
    return Path.cwd().resolve().is_relative_to(Path(path).resolve())
