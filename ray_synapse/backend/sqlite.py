"""Open a SQLite database so that several processes can use it, and bring it up to date."""

import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ray_synapse.errors import BackendError, StorageError

BUSY_TIMEOUT_S = 10.0  # transactions here take milliseconds; this is for a disk that stalls

# File systems on which SQLite's WAL does not work: its shared memory needs one host
# (https://www.sqlite.org/wal.html, "WAL does not work over a network filesystem").
NETWORK_FILESYSTEMS = (
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "lustre", "gpfs", "beegfs", "ceph"),
    *("glusterfs", "pvfs2", "orangefs", "ocfs2", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph"),
    *("fuse.juicefs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "virtiofs", "wekafs"),
)
# What SQLite raises for a value or statement that it will never take, however often it is tried.
REFUSALS = (
    *(sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError, sqlite3.IntegrityError),
    *(UnicodeEncodeError, OverflowError),
)
MOUNTS = Path("/proc/self/mounts")


def connect(
    path: Path, migrations: Sequence[str], *, mounts: Path = MOUNTS
) -> tuple[sqlite3.Connection, str]:
    """Open the database, make it if it is missing, and apply the migrations it lacks.

    Args:
        path: The database file. Its folder is made.
        migrations: SQL scripts; the n-th brings the schema from version n-1 to n. Each is applied
            in one transaction with its number (``PRAGMA user_version``).
        mounts: The table of mounted file systems, by which a network one is recognized.

    Returns:
        The connection (autocommit, usable from any thread under a lock), and a note for the user:
        empty, or one line that says that the file lies on a network file system.

    Raises:
        StorageError: It cannot be opened, is no database, or a newer release wrote it.
    """
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
    try:
        with translated(path):
            note = _set_journal(connection, path, mounts)
            connection.execute("PRAGMA foreign_keys = ON")
            _migrate(connection, path, migrations)
    except BaseException:
        connection.close()
        raise
    return connection, note


def filesystem_of(path: Path, mounts: Path = MOUNTS) -> str:
    """The type of the file system that ``path`` lies on (``ext4``, ``nfs4``), or "" if unknown."""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    target, best, kind = str(path.resolve()), "", ""
    for fields in (line.split() for line in lines):
        if len(fields) < 3:
            continue
        mount = fields[1].replace("\\040", " ")
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, fields[2]
    return kind


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all or nothing. Takes the write lock at once, so that it cannot be lost midway."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")  # which waits for readers where there is no WAL
    except BaseException:
        if connection.in_transaction:  # SQLite itself rolls back when the disk is full
            connection.execute("ROLLBACK")
        raise


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what sqlite3 and the file system raise into our errors: here and nowhere else."""
    try:
        yield
    except REFUSALS as error:
        raise BackendError(f"{path}: it does not take this: {error}") from error
    except sqlite3.Error as error:
        raise StorageError(f"{path}: {error}. {_advice(error)}") from error
    except BackendError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}. {_advice(error)}") from error


def _advice(error: sqlite3.Error | OSError) -> str:
    text = str(error)
    if "full" in text or "No space" in text:
        return "Free space on that disk; `ray-synapse rm JOB` removes a run with its models."
    if "locked" in text or "busy" in text:
        return f"Another process has kept it locked for {BUSY_TIMEOUT_S:g} s; try again."
    if "malformed" in text or "not a database" in text:
        return "The file is damaged: move it away, a new one is made."
    return "Make the folder writable, or set RAY_SYNAPSE_HOME to one that is."


def _set_journal(connection: sqlite3.Connection, path: Path, mounts: Path) -> str:
    if _version(connection) == 0:  # only a new file takes it on, and it waits for other writers
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    kind = filesystem_of(path.parent, mounts)
    if kind in NETWORK_FILESYSTEMS:
        connection.execute("PRAGMA journal_mode = DELETE")
        return (
            f"{path.parent} is on a network file system ({kind}): using SQLite's slower rollback "
            "journal there. RAY_SYNAPSE_HOME can name a local folder."
        )
    _set_wal(connection)
    # A commit then survives the death of any process, and of the host up to the last checkpoint.
    connection.execute("PRAGMA synchronous = NORMAL")
    return ""


def _set_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL; SQLite's busy timeout does not cover this when two processes do it at once."""
    give_up = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.02)


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    if _version(connection) == len(migrations):
        return
    with transaction(connection):  # two processes may both find the file empty
        version = _version(connection)
        if version > len(migrations):
            raise StorageError(
                f"{path}: its schema has version {version}, this release knows {len(migrations)}. "
                f"Upgrade: {Path(sys.executable).name} -m pip install --upgrade ray_synapse"
            )
        for number, script in enumerate(migrations[version:], version + 1):
            for statement in filter(str.strip, script.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
