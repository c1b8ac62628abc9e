"""Whether the process of a run lives, and what its server is told if it does not."""

import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from ray_synapse.backend.protocol import Record
from ray_synapse.delivery.outbox.outbox import Outbox
from ray_synapse.delivery.synapse import SynapseBackend, SynapseSpec
from ray_synapse.values import dumps
from tests.delivery.outbox import JOB, TIME, Logs, checked, entries, metric, rows, take

HERE = socket.gethostname()
TABLE: dict[str, Any] = {
    "base": ["trial_id", "status"],
    "trials": {"a": {"base": ["a", "RUNNING"]}, "b": {"base": ["b", "ERROR"]}},
}
LONG_AGO = "2024-01-02T03:04:05.000+00:00"


@pytest.fixture
def run(tmp_path: Path) -> SynapseBackend:
    """A run that this process drives."""
    backend = SynapseBackend(SynapseSpec(None, str(tmp_path), JOB, 1 << 30, offline=True))
    backend.introduce("digits")
    drive(backend, os.getpid())
    Logs(backend.outbox).log(Record(0, "trials", TIME, dumps(TABLE)), metric(1))
    return backend


def drive(backend: SynapseBackend, pid: int) -> None:
    backend.patch_job(JOB, {"status": "RUNNING", "host": HERE, "pid": pid})


def leftover(backend: SynapseBackend) -> Outbox:
    """The outbox as ``sync`` opens it: it does not know the job beforehand."""
    return Outbox(backend.outbox.path, 0)


def statuses(outbox: Outbox) -> list[str]:
    return [row["base"][1] for row in outbox.newest("trials")["data"]["trials"].values()]


def deliver_snapshots(outbox: Outbox) -> None:
    kinds = ("status", "trials", "progress_record")
    outbox.snapshots_delivered(outbox.take_snapshots(kinds, 9))


def test_the_server_is_told_once_of_a_run_whose_process_is_gone(
    run: SynapseBackend, gone: int
) -> None:
    run.patch_job(JOB, {"pid": gone, "experiment": "/results/digits"})
    beat = run.job(JOB)["beat"]
    outbox = leftover(run)
    assert outbox.end_if_interrupted()
    assert outbox.newest("status") == "STOPPED"
    assert statuses(outbox) == ["TERMINATED", "ERROR"]
    assert outbox.newest("trials")["job"] == JOB
    said = entries(take(outbox))[-1]
    assert (said["job"], said["event"], said["level"]) == (JOB, "message", "warning")
    assert beat in said["data"]["content"]
    assert 'tune.Tuner.restore("/results/digits", trainable)' in said["data"]["content"]
    before = rows(outbox, "SELECT * FROM entries UNION ALL SELECT *, 0, 0 FROM snapshots")
    assert not outbox.end_if_interrupted()
    assert not leftover(run).end_if_interrupted()
    after = rows(outbox, "SELECT * FROM entries UNION ALL SELECT *, 0, 0 FROM snapshots")
    assert after == before
    checked(outbox)


def test_several_at_once_tell_it_once(run: SynapseBackend, gone: int) -> None:
    run.patch_job(JOB, {"pid": gone})
    outboxes = [leftover(run) for _ in range(6)]
    told: list[bool] = []
    threads = [
        threading.Thread(target=lambda each=each: told.append(each.end_if_interrupted()))
        for each in outboxes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == [False] * 5 + [True]
    assert rows(run.outbox, "SELECT COUNT(*) FROM entries WHERE event = 'message'") == [(1,)]
    checked(run.outbox)


def test_also_when_all_was_delivered_before(run: SynapseBackend, gone: int) -> None:
    deliver_snapshots(run.outbox)
    run.outbox.letter_delivered(take(run.outbox))
    run.patch_job(JOB, {"pid": gone})
    assert run.outbox.is_empty()
    outbox = leftover(run)
    assert outbox.end_if_interrupted()
    assert not outbox.is_empty()
    assert checked(outbox).waiting == 3


def test_a_run_that_logged_no_table_is_told_of_too(tmp_path: Path, gone: int) -> None:
    backend = SynapseBackend(SynapseSpec(None, str(tmp_path), JOB, 1 << 30, offline=True))
    backend.introduce("digits")
    drive(backend, gone)
    assert leftover(backend).end_if_interrupted()
    assert backend.outbox.newest("trials") is None


def test_a_run_that_lives_or_has_ended_is_left_alone(run: SynapseBackend, gone: int) -> None:
    assert not leftover(run).end_if_interrupted()
    run.outbox.know_job(host="another.example", pid=gone)
    run.beat(JOB)
    assert not leftover(run).end_if_interrupted()
    drive(run, gone)
    run.patch_job(JOB, {"status": "SUCCEEDED"})
    assert not leftover(run).end_if_interrupted()
    assert run.job(JOB)["status"] == "SUCCEEDED"


def test_an_outbox_of_a_release_before_beats_is_judged_by_its_process(
    run: SynapseBackend, gone: int
) -> None:
    with run.outbox._write() as db:
        db.execute("DELETE FROM about WHERE key = 'beat'")
    assert "beat" not in run.job(JOB)
    assert not leftover(run).end_if_interrupted()
    run.outbox.know_job(pid=gone)
    assert leftover(run).end_if_interrupted()


def test_a_process_that_was_only_suspended_says_with_its_next_beat_that_it_runs(
    run: SynapseBackend,
) -> None:
    run.outbox.note_about(beat=LONG_AGO)
    assert leftover(run).end_if_interrupted()
    deliver_snapshots(run.outbox)
    assert run.job(JOB)["status"] == "STOPPED"
    run.beat(JOB)
    assert run.job(JOB)["status"] == "RUNNING"
    assert not leftover(run).end_if_interrupted()
    run.beat(JOB)
    (status,) = run.outbox.take_snapshots(["status"], 9)
    assert status.data == '"RUNNING"'
    checked(run.outbox)


def test_after_an_end_of_its_own_a_last_beat_says_nothing(run: SynapseBackend) -> None:
    run.outbox.note_about(beat=LONG_AGO)
    assert leftover(run).end_if_interrupted()
    run.patch_job(JOB, {"status": "STOPPED"})
    run.beat(JOB)
    assert run.job(JOB)["status"] == "STOPPED"


def test_a_process_that_goes_on_with_an_interrupted_run_is_told_of(
    run: SynapseBackend, gone: int
) -> None:
    drive(run, gone)
    assert leftover(run).end_if_interrupted()
    drive(run, os.getpid())
    assert run.job(JOB)["status"] == "RUNNING"
    assert not leftover(run).end_if_interrupted()


def test_a_beat_is_one_row_however_often_it_comes(run: SynapseBackend) -> None:
    run.beat(JOB)
    before = checked(run.outbox), rows(run.outbox, "SELECT COUNT(*) FROM about")
    first = run.job(JOB)["beat"]
    for _ in range(20):
        run.beat(JOB)
    assert run.job(JOB)["beat"] >= first
    assert (checked(run.outbox), rows(run.outbox, "SELECT COUNT(*) FROM about")) == before
