"""A run as text, in a pipe and on a terminal of any width."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

import ray_synapse
from ray_synapse import views
from ray_synapse.backend.local import LocalBackend
from ray_synapse.backend.protocol import Batch, JobId, Record
from ray_synapse.formats import local_time
from ray_synapse.values import dumps

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def log(backend: LocalBackend, job: JobId, process: str, *records: tuple[str, Any, str]) -> None:
    """Write records (event, data, level) as one process."""
    made = [
        Record(seq, event, "2024-01-02T03:04:05+00:00", dumps(data), level=level)
        for seq, (event, data, level) in enumerate(records, 1)
    ]
    backend.write(job, Batch(process, 0, made, len(made), 0, 0))


def table(
    trials: int = 3, hyperparameters: int = 2, metrics: int = 1, best: str = ""
) -> dict[str, Any]:
    return {
        "base": ["trial_id", "status"],
        "hyperparameters": [f"hyperparameter_{index}" for index in range(hyperparameters)],
        "metrics": [f"metric_{index}" for index in range(metrics)],
        "trials": {
            f"trial_{index}": {
                "base": [f"trial_{index}", "TERMINATED"],
                "hyperparameters": [0.125] * hyperparameters,
                "metrics": [index + 0.5] * metrics,
            }
            for index in range(trials)
        },
        "best_trial": best,
    }


@pytest.fixture
def job(backend: LocalBackend) -> JobId:
    return backend.create_job(
        "digits", {"metric": "metric_0", "mode": "max", "status": "SUCCEEDED"}
    )


def shown(backend: LocalBackend, job: JobId, capsys: pytest.CaptureFixture[str]) -> str:
    views.render_job(backend, job)
    return capsys.readouterr().out


def on_terminal(*arguments: str, columns: int) -> list[str]:
    """The lines that a terminal of that width shows, without colors."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "ray_synapse", *arguments],
        stdout=follower,
        stderr=follower,
        stdin=follower,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"},
    )
    os.close(follower)
    output = b""
    while True:
        try:
            piece = os.read(leader, 65_536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not piece:
            break
        output += piece
    os.close(leader)
    assert process.wait(60) == 0, output
    text = output.decode("utf-8")
    assert "Traceback" not in text
    return ANSI.sub("", text).splitlines()


def test_the_best_trial_is_marked(
    backend: LocalBackend, job: JobId, capsys: pytest.CaptureFixture[str]
) -> None:
    log(backend, job, "p", ("trials", table(best="trial_1"), ""))
    lines = shown(backend, job, capsys).splitlines()
    assert [line for line in lines if line.startswith("* trial_1 ")]
    assert [line for line in lines if line.startswith("  trial_0 ")]
    assert "* the best trial" in lines


def test_a_table_without_a_best_trial_marks_none(
    backend: LocalBackend, job: JobId, capsys: pytest.CaptureFixture[str]
) -> None:
    log(backend, job, "p", ("trials", table(), ""))
    assert "*" not in shown(backend, job, capsys)


def test_everything_of_a_job_is_shown(
    backend: LocalBackend, job: JobId, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    progress = {"record": {"steps": {}}, "current_progress": {"overall": 62.5, "step": "trials"}}
    log(
        backend,
        job,
        "p",
        ("trials", table(), ""),
        ("progress", progress, ""),
        ("message", {"content": "Trial trial_0 has no checkpoint"}, "warning"),
    )
    backend.add_model(job, "digits_trial_1", {}, 3, lambda archive: archive.write(b"zip") and None)
    text = shown(backend, job, capsys)
    for part in (
        f"job {job}  digits  SUCCEEDED  62 %",
        "optimizes max metric_0",
        "hyperparameter_1",
        "warning: Trial trial_0 has no checkpoint",
        "digits_trial_1",
        "3 B",
        "3 logged, 3 delivered",
        f"stored in {home}",
    ):
        assert part in text


def test_a_job_with_nothing_logged_is_shown(
    backend: LocalBackend, job: JobId, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "0 logged, 0 delivered" in shown(backend, job, capsys)


def test_rows_that_were_logged_by_hand_are_shown(
    backend: LocalBackend, job: JobId, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {"t1": {"status": "RUNNING", "lr": 0.25}, "t2": {"status": "ERROR", "note": "why"}}
    by_hand = {"base": [], "hyperparameters": [], "metrics": [], "trials": rows, "best_trial": "t1"}
    log(backend, job, "p", ("trials", by_hand, ""))
    lines = shown(backend, job, capsys).splitlines()
    assert next(line.split() for line in lines if line.startswith("* t1")) == [
        *("*", "t1", "RUNNING", "0.25")
    ]
    assert next(line.split() for line in lines if line.startswith("  t2"))[-1] == "why"


@pytest.mark.parametrize("row", [None, [], [1, 2], "text", 3, {}], ids=repr)
def test_a_row_of_any_form_does_not_break_the_table(
    backend: LocalBackend, job: JobId, capsys: pytest.CaptureFixture[str], row: Any
) -> None:
    logged = {**table(), "trials": {"t1": row, **table()["trials"]}}
    log(backend, job, "p", ("trials", logged, ""))
    assert "trial_2" in shown(backend, job, capsys)


def test_a_hyperparameter_and_a_metric_of_one_name_keep_their_own_values(
    backend: LocalBackend, job: JobId, capsys: pytest.CaptureFixture[str]
) -> None:
    both = {
        "base": ["trial_id", "status"],
        "hyperparameters": ["lr", "status", "trial"],
        "metrics": ["lr"],
        "trials": {
            "t1": {
                "base": ["t1", "RUNNING"],
                "hyperparameters": [0.25, "hp-status", "hp-trial"],
                "metrics": [0.75],
            }
        },
        "best_trial": "t1",
    }
    log(backend, job, "p", ("trials", both, ""))
    line = next(line for line in shown(backend, job, capsys).splitlines() if "0.75" in line)
    assert line.split() == ["*", "t1", "RUNNING", "0.25", "hp-status", "hp-trial", "0.75"]


def test_a_name_with_markup_is_shown_as_it_is(
    backend: LocalBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    job = backend.create_job("[red]a[/red] [/b]", {"metric": "[x]"})
    marked = {**table(), "hyperparameters": ["[bold]", "[/]"]}
    log(backend, job, "p", ("trials", marked, ""), ("message", {"content": "[/x] no"}, "info"))
    text = shown(backend, job, capsys)
    for part in ("[red]a[/red] [/b]", "[bold]", "[/]", "[/x] no", "[x]"):
        assert part in text


def test_in_a_pipe_nothing_is_colored_cut_or_wrapped(
    backend: LocalBackend, job: JobId, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = table(hyperparameters=60, metrics=4, best="trial_0")
    wide["trials"]["trial_0"]["hyperparameters"][0] = "x" * 1_500
    log(backend, job, "p", ("trials", wide, ""), ("message", {"content": "y" * 15_000}, "info"))
    text = shown(backend, job, capsys)
    assert "\x1b" not in text
    assert "not shown" not in text
    assert "x" * 1_500 in text
    assert "y" * 15_000 in text
    assert "hyperparameter_59" in text


def test_in_a_pipe_not_even_a_very_wide_table_is_cut(
    backend: LocalBackend, job: JobId, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = table(trials=1, hyperparameters=8)
    wide["trials"]["trial_0"]["hyperparameters"] = ["x" * 2_000] * 8
    log(backend, job, "p", ("trials", wide, ""))
    text = shown(backend, job, capsys)
    assert "not shown" not in text
    assert text.count("x" * 2_000) == 8


@pytest.mark.parametrize("columns", [80, 60, 200])
def test_no_line_of_a_table_is_wider_than_the_terminal(
    backend: LocalBackend, columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    job = backend.create_job("a-long-name-" * 10, {"metric": "metric_0", "mode": "min"})
    wide = table(hyperparameters=30, metrics=4, best="trial_1")
    wide["trials"]["trial_0"]["hyperparameters"][0] = "long value " * 20
    log(backend, job, "p", ("trials", wide, ""), ("message", {"content": "word " * 100}, "info"))
    lines = on_terminal("show", str(job), columns=columns)
    too_wide = [line for line in lines if len(line.rstrip()) > columns]
    assert too_wide == [line for line in too_wide if line.startswith("stored in ")]
    best = next(line for line in lines if line.startswith("* trial_1"))
    assert "1.5" in best  # the optimized metric is there in any width
    assert any("not shown for want of width" in line for line in lines)
    assert all(len(line.rstrip()) <= columns for line in on_terminal("ls", columns=columns))


def test_the_best_trial_stands_out_in_a_wide_terminal_with_all_columns(
    backend: LocalBackend, job: JobId
) -> None:
    log(backend, job, "p", ("trials", table(hyperparameters=5, best="trial_1"), ""))
    lines = on_terminal("show", str(job), columns=200)
    header = next(line for line in lines if line.startswith("trial "))
    assert header.split() == [
        *("trial", "status", *(f"hyperparameter_{index}" for index in range(5)), "metric_0")
    ]


def test_a_run_and_the_id_of_its_job_are_shown_alike(capsys: pytest.CaptureFixture[str]) -> None:
    with ray_synapse.init("plain", backend="local") as run:
        run.log_message("hello there")
        ray_synapse.show(run)
        by_run = capsys.readouterr().out
        ray_synapse.show(run.job_id)
        assert capsys.readouterr().out == by_run
    assert "hello there" in by_run


def test_a_job_that_does_not_exist_is_an_error_of_ours(backend: LocalBackend) -> None:
    with pytest.raises(ray_synapse.NotFoundError, match="job 99 does not exist"):
        ray_synapse.show(99)


@pytest.fixture
def killed(backend: LocalBackend) -> JobId:
    """The job of a process that was killed in the middle of its sweep."""
    code = """
import ray_synapse, time
run = ray_synapse.init("digits", backend="local", metric="metric_0", mode="max")
print(run.job_id, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        job = int(process.stdout.readline())
        process.kill()
    middle = table(trials=5)
    for row, status in zip(
        middle["trials"].values(), ("RUNNING", "PENDING", "PAUSED", "ERROR"), strict=False
    ):
        row["base"][1] = status
    log(backend, job, "p", ("trials", middle, ""))
    backend.patch_job(job, {"experiment": "/results/digits"})
    return job


def test_a_killed_run_is_shown_as_it_is(
    backend: LocalBackend, killed: JobId, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(backend, killed, capsys)
    assert f"job {killed}  digits  STOPPED (interrupted)" in text
    rows = [line.split()[1] for line in text.splitlines() if line.startswith("  trial_")]
    assert rows == ["TERMINATED", "TERMINATED", "TERMINATED", "ERROR", "TERMINATED"]
    (line,) = [line for line in text.splitlines() if "interrupted" in line and "job " not in line]
    assert "ended without a word" in line
    assert f"last heard of at {local_time(backend.job(killed)['beat'])}" in line
    assert 'tune.Tuner.restore("/results/digits", trainable)' in line
    views.render_jobs(backend.jobs())
    assert "STOPPED (interrupted)" in capsys.readouterr().out
    assert backend.job(killed)["status"] == "RUNNING", "to look changes nothing"


def test_a_killed_run_as_json_is_stopped_and_interrupted(
    backend: LocalBackend, killed: JobId, job: JobId
) -> None:
    found = views.describe_job(backend, killed)
    assert (found["status"], found["interrupted"]) == ("STOPPED", True)
    statuses = [row["base"][1] for row in found["trials"]["trials"].values()]
    assert statuses == ["TERMINATED", "TERMINATED", "TERMINATED", "ERROR", "TERMINATED"]
    found = views.describe_job(backend, job)
    assert (found["status"], found["interrupted"]) == ("SUCCEEDED", False)


def test_a_killed_run_that_another_process_goes_on_with_runs_again(
    backend: LocalBackend, killed: JobId, capsys: pytest.CaptureFixture[str]
) -> None:
    with ray_synapse.init("digits", job_id=killed, backend="local"):
        text = shown(backend, killed, capsys)
        assert f"job {killed}  digits  RUNNING" in text
        assert "interrupted" not in text
        assert re.search(r"trial_0 +RUNNING", text)
        assert views.describe_job(backend, killed)["interrupted"] is False


def test_a_run_of_a_machine_that_is_lost_is_interrupted_until_it_is_heard_of_again(
    backend: LocalBackend,
) -> None:
    fields = {"status": "RUNNING", "host": "another.example", "pid": os.getpid()}
    job = backend.create_job("a", fields)
    assert views.status_of(backend.job(job)) == "RUNNING"
    with backend._write() as db:
        db.execute("UPDATE jobs SET beat = '2024-01-02T03:04:05.000+00:00'")
    assert views.status_of(backend.job(job)) == "STOPPED (interrupted)"
    backend.beat(job)
    assert views.status_of(backend.job(job)) == "RUNNING"
    backend.patch_job(job, {"status": "FAILED"})
    assert views.status_of(backend.job(job)) == "FAILED"
