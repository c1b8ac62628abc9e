"""Opening the database: by several processes, on any file system, of any age."""

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_synapse import vitals
from ray_synapse.backend import sqlite
from ray_synapse.backend.local import LocalBackend
from ray_synapse.backend.schema import MIGRATIONS
from ray_synapse.errors import StorageError

STEPS = ("CREATE TABLE a (x);", "ALTER TABLE a ADD COLUMN y; CREATE TABLE b (z);")


_open: list[sqlite3.Connection] = []


@pytest.fixture(autouse=True)
def close_what_was_opened() -> Iterator[None]:
    yield
    while _open:
        _open.pop().close()


def connect(
    path: Path, migrations: tuple[str, ...], mounts: Path = sqlite.MOUNTS
) -> tuple[sqlite3.Connection, str]:
    connection, note = sqlite.connect(path, migrations, mounts=mounts)
    _open.append(connection)
    return connection, note


def opened(path: Path, migrations: tuple[str, ...] = STEPS) -> sqlite3.Connection:
    connection, note = connect(path, migrations)
    assert note == ""
    return connection


def one(connection: sqlite3.Connection, statement: str) -> object:
    return connection.execute(statement).fetchone()[0]


def tables(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [row[0] for row in rows if not row[0].startswith("sqlite_")]


def mounts(tmp_path: Path, *lines: str) -> Path:
    """A table of mounted file systems, as Linux writes it."""
    file = tmp_path / "mounts"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def test_a_new_database_has_every_step_and_its_folder_is_made(tmp_path: Path) -> None:
    connection = opened(tmp_path / "deep" / "er" / "x.db")
    assert tables(connection) == ["a", "b"]
    assert one(connection, "PRAGMA user_version") == 2


def test_an_older_database_gets_the_steps_it_lacks_and_keeps_its_rows(tmp_path: Path) -> None:
    old = opened(tmp_path / "x.db", STEPS[:1])
    old.execute("INSERT INTO a VALUES (7)")
    old.close()
    connection = opened(tmp_path / "x.db")
    assert connection.execute("SELECT * FROM a").fetchall() == [(7, None)]
    assert tables(connection) == ["a", "b"]
    assert one(connection, "PRAGMA user_version") == 2


def test_a_step_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    opened(tmp_path / "x.db", STEPS[:1]).close()
    with pytest.raises(StorageError):
        connect(tmp_path / "x.db", (STEPS[0], "CREATE TABLE b (z); CREATE TABLE a (x);"))
    connection = opened(tmp_path / "x.db", STEPS[:1])
    assert tables(connection) == ["a"]


def test_a_database_of_a_newer_release_is_refused_and_left_alone(tmp_path: Path) -> None:
    opened(tmp_path / "x.db").close()
    with pytest.raises(StorageError, match=r"version 2, this release knows 1.*pip install"):
        connect(tmp_path / "x.db", STEPS[:1])
    assert tables(opened(tmp_path / "x.db")) == ["a", "b"]


def test_the_packages_own_steps_can_be_applied(tmp_path: Path) -> None:
    connection = opened(tmp_path / "x.db", MIGRATIONS)
    assert tables(connection) == [
        *("answers", "dataset_events", "datasets", "jobs", "logs", "models", "processes"),
        *("snapshots", "uploads"),
    ]
    assert one(connection, "PRAGMA user_version") == len(MIGRATIONS)
    assert one(connection, "PRAGMA integrity_check") == "ok"


def test_a_database_of_the_first_release_keeps_its_jobs_and_models(tmp_path: Path) -> None:
    old = opened(tmp_path / "x.db", MIGRATIONS[:1])
    old.executescript(
        """
        INSERT INTO jobs (name, status, created, updated) VALUES ('a', 'SUCCEEDED', 't', 't');
        INSERT INTO models (job, name, created, file, size, configuration)
            VALUES (1, 'm', 't', 'models/1/m.zip', 7, '{}'), (1, 'gone', 't', 'f', 1, '{}');
        DELETE FROM models WHERE name = 'gone';
        """
    )
    old.close()
    new = opened(tmp_path / "x.db", MIGRATIONS)
    assert new.execute("SELECT id, job, name, file, size, upload FROM models").fetchall() == [
        (1, 1, "m", "models/1/m.zip", 7, None)
    ]
    new.execute("INSERT INTO models (name, created, size, configuration) VALUES ('n', 't', 0, '')")
    assert one(new, "SELECT MAX(id) FROM models") == 3, (
        "the id of a removed model is not used again"
    )
    new.execute("DELETE FROM jobs")
    assert one(new, "SELECT GROUP_CONCAT(name) FROM models") == "n"
    assert new.execute("PRAGMA foreign_key_check").fetchall() == []
    assert one(new, "PRAGMA integrity_check") == "ok"


def test_a_database_of_the_second_release_keeps_its_jobs_which_nobody_was_heard_of(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ray_synapse.db"
    old = opened(path, MIGRATIONS[:2])
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    insert = (
        "INSERT INTO jobs (name, status, created, updated, host, pid, metric, result, meta) "
        "VALUES (?, 'RUNNING', 't', 'u', ?, ?, 'loss', '[1]', '{}')"
    )
    here = socket.gethostname()
    rows = [("killed", here, gone.pid), ("lives", here, os.getpid()), ("far", "far", 7)]
    old.executemany(insert, [*rows, ("http", None, None)])
    old.execute("INSERT INTO snapshots VALUES (1, 'trials', 't', '{}')")
    old.close()
    backend = LocalBackend(tmp_path)
    jobs = [backend.job(each["id"]) for each in reversed(backend.jobs())]
    assert [(job["name"], job["host"], job["pid"]) for job in jobs] == [*rows, ("http", None, None)]
    for job in jobs:
        assert (job["beat"], job["experiment"]) == (None, None)
        assert (job["metric"], job["result"], job["updated"]) == ("loss", [1], "u")
        assert vitals.is_interrupted(job) == (job["name"] == "killed")
    assert backend.trials(1) == {}
    backend.beat(2)
    assert not vitals.is_interrupted(backend.job(2))
    new = opened(path, MIGRATIONS)
    assert one(new, "PRAGMA user_version") == 3
    plan = new.execute("EXPLAIN QUERY PLAN SELECT MAX(id) FROM jobs WHERE experiment = 'a'")
    assert "jobs_by_experiment" in plan.fetchone()[3]
    assert one(new, "PRAGMA integrity_check") == "ok"


def test_on_a_local_disk_readers_and_a_writer_do_not_block_each_other(tmp_path: Path) -> None:
    writer, reader = opened(tmp_path / "x.db"), opened(tmp_path / "x.db")
    assert one(writer, "PRAGMA journal_mode") == "wal"
    with sqlite.transaction(writer):
        writer.execute("INSERT INTO b VALUES (1)")
        assert one(reader, "SELECT COUNT(*) FROM b") == 0
    assert one(reader, "SELECT COUNT(*) FROM b") == 1


def test_a_connection_waits_for_another_ones_transaction(tmp_path: Path) -> None:
    connection = opened(tmp_path / "x.db")
    assert one(connection, "PRAGMA busy_timeout") == sqlite.BUSY_TIMEOUT_S * 1000


def test_what_refers_to_a_removed_row_goes_with_it(tmp_path: Path) -> None:
    assert one(opened(tmp_path / "x.db"), "PRAGMA foreign_keys") == 1


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "fuse.sshfs", "lustre", "9p"])
def test_on_a_network_file_system_it_is_a_rollback_journal_and_one_line_says_so(
    tmp_path: Path, kind: str
) -> None:
    table = mounts(tmp_path, "/dev/sda / ext4 rw 0 0", f"server:/x {tmp_path} {kind} rw 0 0")
    connection, note = connect(tmp_path / "x" / "y.db", STEPS, mounts=table)
    assert one(connection, "PRAGMA journal_mode") == "delete"
    assert note.count("\n") == 0
    for part in (str(tmp_path / "x"), kind, "rollback journal", "RAY_SYNAPSE_HOME"):
        assert part in note
    assert tables(connection) == ["a", "b"]


def test_a_database_in_wal_mode_that_was_moved_to_a_network_is_switched(tmp_path: Path) -> None:
    local = opened(tmp_path / "x.db")
    local.execute("INSERT INTO b VALUES (1)")
    local.close()
    table = mounts(tmp_path, f"server:/x {tmp_path} nfs rw 0 0")
    connection, _ = connect(tmp_path / "x.db", STEPS, mounts=table)
    assert one(connection, "PRAGMA journal_mode") == "delete"
    assert one(connection, "SELECT COUNT(*) FROM b") == 1


@pytest.mark.parametrize("kind", ["ext4", "nfs"])
def test_freed_pages_can_be_given_back_on_any_file_system(tmp_path: Path, kind: str) -> None:
    table = mounts(tmp_path, f"x {tmp_path} {kind} rw 0 0")
    connection, _ = connect(tmp_path / "x.db", STEPS, mounts=table)
    incremental = 2
    assert one(connection, "PRAGMA auto_vacuum") == incremental


def test_the_file_system_is_that_of_the_longest_mount_point_above(tmp_path: Path) -> None:
    folder = tmp_path / "with space" / "inner"
    folder.mkdir(parents=True)
    escaped = str(folder.parent).replace(" ", "\\040")
    table = mounts(
        tmp_path,
        "x / ext4 rw 0 0",
        f"x {escaped} nfs rw 0 0",
        f"x {escaped}/inn tmpfs rw 0 0",
        f"x {tmp_path} xfs rw 0 0",
        "short line",
    )
    assert sqlite.filesystem_of(folder, table) == "nfs"
    assert sqlite.filesystem_of(folder.parent, table) == "nfs"
    assert sqlite.filesystem_of(tmp_path, table) == "xfs"
    assert sqlite.filesystem_of(Path("/"), table) == "ext4"


def test_a_later_mount_at_the_same_place_hides_the_earlier(tmp_path: Path) -> None:
    table = mounts(tmp_path, f"x {tmp_path} nfs rw 0 0", f"x {tmp_path} ext4 rw 0 0")
    assert sqlite.filesystem_of(tmp_path, table) == "ext4"


def test_a_link_to_a_network_is_followed(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far")
    table = mounts(tmp_path, "x / ext4 rw 0 0", f"x {tmp_path}/far nfs rw 0 0")
    assert sqlite.filesystem_of(tmp_path / "link", table) == "nfs"


def test_without_a_table_of_mounts_the_file_system_is_unknown(tmp_path: Path) -> None:
    assert sqlite.filesystem_of(tmp_path, tmp_path / "missing") == ""
    assert opened(tmp_path / "x.db")


def test_a_file_that_is_no_database_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database at all, " * 500)
    with pytest.raises(StorageError, match=r"x\.db.*damaged: move it away"):
        connect(tmp_path / "x.db", STEPS)


def test_a_damaged_database_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    connection = opened(path)
    connection.executemany("INSERT INTO b VALUES (?)", [("x" * 500,)] * 200)
    connection.close()
    content = bytearray(path.read_bytes())
    content[4096:-100] = os.urandom(len(content) - 4096 - 100)
    path.write_bytes(content)

    def read() -> None:
        with sqlite.translated(path):
            connect(path, STEPS)[0].execute("SELECT * FROM b").fetchall()

    with pytest.raises(StorageError, match="damaged"):
        read()


def test_a_folder_that_cannot_be_made_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="RAY_SYNAPSE_HOME"):
        connect(tmp_path / "file" / "x.db", STEPS)


def test_a_folder_where_the_database_should_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.db").mkdir()
    with pytest.raises(StorageError, match=r"x\.db"):
        connect(tmp_path / "x.db", STEPS)


def test_a_write_that_a_reader_held_up_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is where there is no WAL."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.1)
    table = mounts(tmp_path, f"x {tmp_path} nfs rw 0 0")
    writer, _ = connect(tmp_path / "x.db", STEPS, mounts=table)
    reader, _ = connect(tmp_path / "x.db", STEPS, mounts=table)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM sqlite_master").fetchall()
    with pytest.raises(sqlite3.OperationalError, match="locked"), sqlite.transaction(writer):
        writer.execute("CREATE TABLE more (x)")
    reader.execute("ROLLBACK")
    with sqlite.transaction(writer):
        writer.execute("CREATE TABLE more (x)")


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    connection = opened(tmp_path / "x.db")

    def fail_midway() -> None:
        with sqlite.transaction(connection):
            connection.execute("INSERT INTO b VALUES (1)")
            raise KeyError

    with pytest.raises(KeyError):
        fail_midway()
    assert not connection.in_transaction
    assert one(connection, "SELECT COUNT(*) FROM b") == 0


OPEN_AT_ONCE = """
import sys
from collections.abc import Iterator
from pathlib import Path
from ray_synapse.backend import sqlite
from ray_synapse.backend.schema import MIGRATIONS
print("ready", flush=True)
sys.stdin.readline()
connection, note = sqlite.connect(Path(sys.argv[1]), MIGRATIONS)
with sqlite.transaction(connection):
    connection.execute("INSERT INTO jobs (name, status, created, updated) VALUES ('a', '', '', '')")
"""


@pytest.mark.parametrize("attempt", range(3))
def test_processes_that_open_a_new_database_at_once_all_can(tmp_path: Path, attempt: int) -> None:
    path = tmp_path / "new" / "x.db"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AT_ONCE, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert errors == [""] * 6
    connection = opened(path, MIGRATIONS)
    assert one(connection, "SELECT COUNT(*) FROM jobs") == 6
    assert one(connection, "PRAGMA journal_mode") == "wal"
