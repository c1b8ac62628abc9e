"""Whether a job's process lives, and what is said of one whose does not."""

import os
import socket
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from ray_synapse import vitals

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
HERE, THERE = socket.gethostname(), "another.example"


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


FRESH, STALE = ago(vitals.STALE_S - 1), ago(vitals.STALE_S + 1)


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that was killed."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process.kill()
    process.wait()
    return process.pid


def job(host: str | None, pid: int | None, beat: str | None, **others: Any) -> dict[str, Any]:
    return {"status": "RUNNING", "host": host, "pid": pid, "beat": beat, **others}


@pytest.mark.parametrize("beat", [FRESH, STALE, None])
def test_a_process_of_this_host_that_is_dead_is_gone_at_once(dead: int, beat: str | None) -> None:
    assert vitals.is_interrupted(job(HERE, dead, beat), NOW)


@pytest.mark.parametrize("pid", [os.getpid(), 1, None])
def test_a_live_process_of_this_host_is_gone_only_when_it_is_no_longer_heard_of(
    pid: int | None,
) -> None:
    assert not vitals.is_interrupted(job(HERE, pid, FRESH), NOW)
    assert vitals.is_interrupted(job(HERE, pid, STALE), NOW), "its number has another process now"


def test_a_process_of_another_host_is_gone_when_it_is_no_longer_heard_of(dead: int) -> None:
    for pid in (dead, os.getpid()):
        assert not vitals.is_interrupted(job(THERE, pid, FRESH), NOW)
        assert vitals.is_interrupted(job(THERE, pid, STALE), NOW)


def test_one_that_was_suspended_is_back_with_its_next_sign_of_life() -> None:
    suspended = job(HERE, os.getpid(), STALE)
    assert vitals.is_interrupted(suspended, NOW)
    assert not vitals.is_interrupted({**suspended, "beat": ago(0)}, NOW)


def test_a_clock_that_is_ahead_takes_nobodys_life() -> None:
    assert not vitals.is_interrupted(job(THERE, 7, ago(-3600)), NOW)


def test_a_job_without_any_sign_of_life_is_not_judged() -> None:
    assert not vitals.is_interrupted(job(None, None, None), NOW)
    assert not vitals.is_interrupted({"status": "RUNNING"}, NOW)
    assert not vitals.is_interrupted(job(THERE, 7, None), NOW), "of a release before beats"
    assert not vitals.is_interrupted(job(HERE, os.getpid(), None), NOW)


@pytest.mark.parametrize("status", ["PENDING", "SUCCEEDED", "FAILED", "STOPPED", None])
def test_only_a_job_that_is_said_to_run_can_be_interrupted(dead: int, status: str | None) -> None:
    ended = {**job(HERE, dead, STALE), "status": status}
    assert not vitals.is_interrupted(ended, NOW)
    assert vitals.as_it_is(ended) == {**ended, "interrupted": False}


def test_an_interrupted_job_is_stopped_and_the_rest_of_it_stays(dead: int) -> None:
    found = job(HERE, dead, STALE, name="digits")
    assert vitals.as_it_is(found) == {**found, "status": "STOPPED", "interrupted": True}


def test_the_words_say_when_it_was_last_heard_of_and_how_to_go_on() -> None:
    text = vitals.obituary(job(HERE, 7, FRESH, experiment="/results/digits"))
    assert FRESH in text
    assert 'tune.Tuner.restore("/results/digits", trainable)' in text
    text = vitals.obituary(job(HERE, 7, None, updated="then"), str.upper)
    assert "last heard of at THEN" in text
    assert "restore" not in text
    assert vitals.obituary({}).endswith("ended without a word.")


def cut(trials: Any, base: Any = ("trial_id", "status")) -> Any:
    columns = list(base) if isinstance(base, tuple) else base
    return vitals.table_at_end({"base": columns, "metrics": ["x"], "trials": trials})["trials"]


def test_trials_that_had_not_ended_were_cut_off_and_the_others_stay() -> None:
    statuses = ["PENDING", "RUNNING", "PAUSED", "TERMINATED", "ERROR", "odd"]
    rows = {each: {"base": [each, each], "metrics": ["RUNNING"]} for each in statuses}
    table = {"base": ["trial_id", "status"], "trials": rows, "best_trial": "x"}
    found = vitals.table_at_end(table)
    assert {each: row["base"] for each, row in found["trials"].items()} == {
        **{each: [each, "TERMINATED"] for each in statuses[:3]},
        **{each: [each, each] for each in statuses[3:]},
    }
    assert found["trials"]["RUNNING"]["metrics"] == ["RUNNING"]
    assert found["best_trial"] == "x"
    assert rows["RUNNING"]["base"] == ["RUNNING", "RUNNING"], "the table that came in is left"
    assert vitals.table_at_end(found) == found


def test_rows_that_were_logged_by_hand_are_cut_off_too() -> None:
    assert cut({"t": {"status": "RUNNING", "lr": 1}}, [])["t"] == {"status": "TERMINATED", "lr": 1}
    assert cut({"t": {"base": ["t", "RUNNING"]}}, ["status"])["t"]["base"] == ["t", "TERMINATED"]


@pytest.mark.parametrize(
    "row",
    [
        *(None, [], "RUNNING", 3, {}, {"status": ["RUNNING"]}),
        *({"base": each} for each in ([], "RUNNING", ["t", {}], None)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("base", [("trial_id", "status"), (), None, "status", ("x",)], ids=repr)
def test_a_row_of_any_other_form_stays_as_it_is(row: Any, base: Any) -> None:
    assert cut({"t": row}, base) == {"t": row}


@pytest.mark.parametrize("trials", [None, [], 7])
def test_a_table_without_rows_stays_as_it_is(trials: Any) -> None:
    assert cut(trials) == trials
