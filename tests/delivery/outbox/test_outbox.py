"""An outbox's file, and what is known of its run."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_synapse.delivery.outbox.base import FOLDER, outbox_path
from ray_synapse.delivery.outbox.outbox import Outbox
from tests.delivery.outbox import (
    JOB,
    Logs,
    change,
    image,
    line,
    metric,
    outbox_at,
    progress,
    python,
    table,
    take,
)

HOST = "https://api.synapse.sh"
UUID = "8f14e45f-ceea-467f-a8f2-1f2b3c4d5e6f"


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return outbox_at(tmp_path)


# Where it lies

ODD_JOBS = [
    *("", ".", "..", "../x", "..\\x", "/etc/passwd", "a/b", "a_b", "a b", "a.b", "a:b", "~", "-"),
    *("a\0b", "a\nb", "ü", "\uff41", "a@any", "7@any.db", "7.lock", "x" * 64, "x" * 65, "x" * 66),
    *(
        "/" * 64,
        "/" * 65,
        "ü" * 300,
        "x" * 5_000,
        "x" * 5_000 + "y",
        UUID,
        UUID.upper(),
        "7",
        "007",
    ),
]


def test_every_job_has_an_outbox_of_its_own() -> None:
    paths = [outbox_path("/home", HOST, job) for job in ODD_JOBS]
    assert [job for job in ODD_JOBS if paths.count(outbox_path("/home", HOST, job)) > 1] == []


@given(st.lists(st.text(), min_size=2, max_size=5, unique=True))
def test_no_two_jobs_share_an_outbox(jobs: list[str]) -> None:
    assert len({outbox_path("/home", HOST, job) for job in jobs}) == len(jobs)


def test_a_job_that_is_a_number_is_the_one_that_is_its_text() -> None:
    assert outbox_path("/home", HOST, 7) == outbox_path("/home", HOST, "7")


def test_a_job_of_the_same_id_on_another_server_has_another_outbox() -> None:
    hosts = [None, HOST, "http://api.synapse.sh", "https://api.synapse.sh:8443", "any", ""]
    assert len({outbox_path("/home", host, 7) for host in hosts}) == len(hosts)


@pytest.mark.parametrize("job", [JOB, *ODD_JOBS], ids=lambda job: repr(job)[:12])
def test_any_job_can_be_kept_in_the_folder(tmp_path: Path, job: int | str) -> None:
    path = outbox_path(tmp_path, HOST, job)
    assert path.parent == tmp_path / FOLDER
    outbox = Outbox(path, job)
    with outbox.holding() as is_mine:
        assert is_mine
        Logs(outbox).log(metric(1))
    assert take(outbox).number == 1
    assert {each.name.split("@")[0] for each in path.parent.iterdir()} == {path.name.split("@")[0]}
    assert [*tmp_path.iterdir()] == [tmp_path / FOLDER]


def test_a_job_can_be_told_from_the_name_of_its_file() -> None:
    assert outbox_path("/home", HOST, 7).name.startswith("7@")
    assert outbox_path("/home", HOST, UUID).name.startswith(f"{UUID}@")
    assert outbox_path("/home", None, 7).name == "7@any.db"


# What is known


def test_what_is_noted_is_there_for_the_next_process(tmp_path: Path) -> None:
    outbox = outbox_at(tmp_path)
    assert outbox.about() == {}
    outbox.note_about(host=HOST, keys=True)
    outbox.note_about(keys=None, last_error="503")
    assert outbox_at(tmp_path).about() == {"host": HOST, "keys": None, "last_error": "503"}


def test_fields_of_the_job_are_added_to_those_that_are_known(outbox: Outbox) -> None:
    assert outbox.job_fields() == {}
    outbox.know_job(id=7, name="digits", status="PENDING")
    outbox.know_job(status="RUNNING", metric=None)
    known = {"id": 7, "name": "digits", "status": "RUNNING", "metric": None}
    assert outbox.job_fields() == known


def test_what_was_logged_here_is_newer_than_what_was_known_of_the_job(outbox: Outbox) -> None:
    outbox.know_job(id=7, status="PENDING", progress_record={"old": 1})
    outbox.put("status", "RUNNING")
    outbox.put("result", {"model_id": 3})
    Logs(outbox).log(progress(50), table(1))
    newest = {"status": "RUNNING", "result": {"model_id": 3}, "progress_record": {"percent": 50}}
    assert outbox.job_fields() == {"id": 7, **newest}
    outbox.snapshots_delivered(outbox.take_snapshots(["status", "result"], 2))
    outbox.snapshots_parked(outbox.take_snapshots(["progress_record"]), "400")
    assert outbox.job_fields() == {"id": 7, **newest}
    outbox.put("status", "SUCCEEDED")
    assert outbox.job_fields()["status"] == "SUCCEEDED"


def test_an_outbox_has_one_identity_for_good(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        outboxes = [outbox_at(tmp_path) for _ in range(4)]
        identities = set(pool.map(Outbox.identity, outboxes))
    assert len(identities) == 1
    assert outbox_at(tmp_path).identity() in identities
    assert outbox_at(tmp_path / "other").identity() not in identities


# What a person should read


def test_a_line_is_given_once(outbox: Outbox) -> None:
    assert outbox.take_notes() == []
    for text in ("second", "first", "second"):
        outbox.note(text)
    assert outbox.take_notes() == ["second", "first"]
    assert outbox.take_notes() == []
    outbox.note("first")
    outbox.note("third")
    assert outbox.take_notes() == ["third"]


def test_a_line_of_another_process_is_given_to_one(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from tests.delivery.outbox import outbox_at
outbox = outbox_at(Path(sys.argv[1]))
outbox.note("from afar")
print(outbox.take_notes() if len(sys.argv) > 2 else "noted", flush=True)
"""
    outbox = outbox_at(tmp_path)
    with python(code, tmp_path) as process:
        assert line(process) == "noted"
    with python(code, tmp_path, "take") as process:
        assert line(process) == "['from afar']"
    assert outbox.take_notes() == []


def test_a_line_is_given_again_once_it_was_unsaid(outbox: Outbox) -> None:
    outbox.note("away")
    assert outbox.take_notes() == ["away"]
    outbox.unsaid("away")
    assert outbox.take_notes() == []
    outbox.note("away")
    assert outbox.take_notes() == ["away"]
    outbox.note("away again")
    outbox.unsaid("away again")  # nobody was told
    assert outbox.take_notes() == []


def test_a_process_that_begins_to_send_is_not_stopped_by_what_stopped_another(
    outbox: Outbox,
) -> None:
    for text in ("said", "not said yet"):
        outbox.note(text)
        if text == "said":
            assert outbox.take_notes() == ["said"]
    outbox.note_about(host=HOST, stopped="401", is_hurried=True)
    assert outbox.is_stopped()
    outbox.begin_sending()
    assert not outbox.is_stopped()
    assert not outbox.is_hurried()
    assert outbox.about()["host"] == HOST
    outbox.note("said")  # it is said to whoever runs it now
    assert outbox.take_notes() == ["not said yet", "said"]


# What is left


def test_nothing_is_left_of_an_outbox_without_anything(outbox: Outbox) -> None:
    assert outbox.left() == ({}, {}, None, None)
    assert outbox.is_empty()


def test_each_reason_is_given_with_how_often_it_is_one(outbox: Outbox) -> None:
    logs = Logs(outbox)
    for number, (state, reason) in enumerate(
        [("parked", "400"), ("in_doubt", "lost"), ("parked", "400")]
    ):
        logs.log(metric(number), metric(number))
        outbox.letter_set_aside(take(outbox), state, reason)
    logs.log(table(1), metric(3))
    outbox.snapshots_parked(outbox.take_snapshots(["trials"]), "400")
    model = outbox.request_model("m", [], {}, parent=None, uri=None, size=1)
    outbox.set_model(model, state="parked", reason="its files are gone")
    assert outbox.left().reasons == {"400": 5, "lost": 2, "its files are gone": 1}
    assert outbox.left().models == {"parked": 1}


def test_the_last_error_is_what_was_noted(outbox: Outbox) -> None:
    outbox.note_about(last_error="POST /logs/: 503")
    assert outbox.left().last_error == "POST /logs/: 503"


def test_the_oldest_is_the_one_of_all_that_still_has_to_go(outbox: Outbox) -> None:
    def grow_old(name: str, seconds: int) -> None:
        change(outbox, f"UPDATE {name} SET time = time - {seconds}")

    def oldest() -> float:
        age = outbox.left().oldest_s
        assert age is not None
        return age

    model = outbox.request_model("m", [], {}, parent=None, uri=None, size=1)
    Logs(outbox).log(table(1), image(1))
    assert 0 <= oldest() < 5
    for name, seconds in (("models", 300), ("entries", 3_000), ("snapshots", 30_000)):
        grow_old(name, seconds)
        assert seconds <= oldest() < seconds + 5
    taken = outbox.take_snapshots(["trials"])
    assert oldest() >= 30_000  # on its way is not there
    outbox.snapshots_delivered(taken)
    assert 3_000 <= oldest() < 3_005
    outbox.letter_set_aside(take(outbox), "in_doubt", "lost")
    assert 300 <= oldest() < 305
    outbox.model_delivered(model, 1)
    assert outbox.left().oldest_s is None


def test_a_clock_that_was_set_back_makes_nothing_younger_than_now(outbox: Outbox) -> None:
    Logs(outbox).log(metric(1))
    change(outbox, "UPDATE entries SET time = time + 3600")
    assert outbox.left().oldest_s == 0


def test_what_is_left_of_a_large_outbox_is_told_at_once(outbox: Outbox) -> None:
    logs = Logs(outbox)
    for start in range(0, 20_000, 500):
        logs.log(*map(metric, range(start, start + 500)))
    started = time.monotonic()
    for _ in range(10):
        outbox.counts()
        outbox.left()
        outbox.is_empty()
        outbox.progress()
    assert time.monotonic() - started < 2
