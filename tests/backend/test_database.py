"""Who waits for whom: readers for nobody, writers for one another."""

import threading
from pathlib import Path

import pytest

from ray_synapse.backend import sqlite
from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.backend.database import as_id
from ray_synapse.backend.store import MAX_IDLE_READERS
from ray_synapse.errors import StorageError


def test_a_writer_that_waits_for_others_gives_up_with_an_error(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.1)
    api = EmbeddedApi(home)
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with api._write():
            inside.set()
            done.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(20)
    with pytest.raises(StorageError, match="others have been writing"):
        api.create_job({"name": "a"})
    assert api.list_jobs()["count"] == 0, "who reads does not wait"
    done.set()
    thread.join()


def test_a_reader_in_the_middle_of_its_reading_does_not_keep_a_writer_waiting(home: Path) -> None:
    api = EmbeddedApi(home)
    for name in "abc":
        api.create_job({"name": name})
    with api._read() as db:
        rows = db.execute("SELECT name FROM jobs")
        assert next(rows)["name"] == "a"
        api.create_job({"name": "d"})
        assert [row["name"] for row in rows] == ["b", "c"], "it sees what was there as it began"
    assert api.list_jobs()["count"] == 4


def test_many_readers_at_once_leave_a_few_connections_open(home: Path) -> None:
    api = EmbeddedApi(home)
    api.create_job({"name": "a"})
    barrier = threading.Barrier(20)

    def read() -> None:
        with api._read() as db:
            barrier.wait(20)
            assert db.execute("SELECT COUNT(*) FROM jobs").fetchone()[0] == 1

    threads = [threading.Thread(target=read) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(api._open) == MAX_IDLE_READERS + 1  # and the one that writes
    api.close()
    assert api.list_jobs()["count"] == 1, "it opens again"


def test_it_can_be_closed_while_others_read(home: Path) -> None:
    api = EmbeddedApi(home)
    api.create_job({"name": "a"})
    with api._read() as db:
        api.close()
        assert db.execute("SELECT COUNT(*) FROM jobs").fetchone()[0] == 1
    assert api._open == []
    assert api.list_jobs()["count"] == 1


def test_a_new_connection_does_not_wait_for_a_writer_of_another_process(home: Path) -> None:
    writer = EmbeddedApi(home)
    writer.create_job({"name": "a"})
    with writer._write():
        assert EmbeddedApi(home).list_jobs()["count"] == 1


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *((1, 1), ("1", 1), ("12345", 12345), ((1 << 63) - 1, (1 << 63) - 1)),
        *((each, 0) for each in (0, -1, "", "01", "1.0", " 1", "+1", "1e0", "²", "a", 1 << 63)),
    ],
)
def test_an_id_is_a_plain_number_or_nobodys(value: int | str, number: int) -> None:
    assert as_id(value) == number
