"""What a run leaves behind that is not delivered, and the commands doctor and sync."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import ray_synapse
from ray_synapse import cli, greeting, registry, start
from ray_synapse.delivery import patience
from ray_synapse.run import TrainRun
from tests.delivery import hasten
from tests.faults import hang, lost, slow, status
from tests.proxy import Proxy
from tests.serving import Served, served
from tests.synapse import counts_of, kept, make_job, metric_values

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels" * 4_000
WORDS = ("delivered", "waiting", "in_doubt", "parked", "dropped", "replaced")
END_S = 30


class Server(NamedTuple):
    """The server of all these tests, and where it keeps what it is sent."""

    served: Served
    home: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("server")
    with served(home) as process:
        yield Server(process, home)


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.served.url) as proxy:
        yield proxy


@pytest.fixture
def job(server: Server) -> int:
    return make_job(server.served.url)


@pytest.fixture(autouse=True)
def configured(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The server is configured, nobody waits long, and no run is left open."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SYNAPSE_HOST", proxy.url)
    monkeypatch.setenv("RAY_SYNAPSE_DEADLINE_S", "10")
    monkeypatch.setattr(greeting, "TRIED_S", 0.3)
    hasten(monkeypatch)
    yield
    for run in registry.open_runs():
        run._patience = patience.Patience(0.0)
        start.close(run)


def leave(job: int, number: int = 5, **options: Any) -> TrainRun:
    """A run whose script has ended, and that could deliver nothing."""
    with ray_synapse.init("digits", job_id=job, **{"offline": True, **options}) as run:
        log(run, number)
    return run


def log(run: TrainRun, number: int = 5) -> None:
    for i in range(number):
        run.log_metric("training", "loss", i)
    run.log_message("trained", "success")
    run.log_visualization("predictions", "train", 0, PNG)
    run.log_trials({"trials": {"a": {"step": number}}})
    run.set_progress(1, 2, "train")


def check_delivered(server: Server, job: int, number: int = 5) -> None:
    """The server has each record of ``log`` once, in order, and the last states."""
    assert metric_values(server.home, job) == list(range(number))
    backend = kept(server.home)
    events = counts_of(each["event"] for each in backend.logs(job))
    assert events == {"metric": number, "message": 1, "visualization": 1}
    table = backend.trials(job)
    assert table is not None
    assert table["trials"] == {"a": {"step": number}}
    assert backend.job(job)["status"] == "SUCCEEDED"
    assert backend.job(job)["progress_record"]["current_progress"]["step"] == "train"


def holds(stats: dict[str, Any]) -> bool:
    return stats["logged"] == sum(stats[word] for word in WORDS)


def command(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "ray_synapse", *arguments],
        capture_output=True,
        text=True,
        timeout=END_S,
        check=False,
        env={**os.environ, **variables},
    )


def hears_ctrl_c() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def running(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Python in a process of its own, which has ended after the block."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hears_ctrl_c,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def script(code: str) -> tuple[str, str]:
    """The arguments for a script that logs to the configured server."""
    head = "import sys, time, ray_synapse\nfrom tests.test_leftovers import log\n"
    return "-c", head + textwrap.dedent(code)


def until(condition: Callable[[], object], seconds: float = 15) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not come about"
        time.sleep(0.02)


def posts(proxy: Proxy) -> int:
    return sum(seen.method == "POST" for seen in proxy.requests)


# Offline


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_offline_makes_no_connection_and_sync_delivers_on_another_day(
    proxy: Proxy,
    server: Server,
    job: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    how: str,
) -> None:
    if how == "environment":
        monkeypatch.setenv("RAY_SYNAPSE_OFFLINE", "1")
    started = time.monotonic()
    run = leave(job, offline=how == "argument")
    assert time.monotonic() - started < 5  # there is nothing to wait for
    assert proxy.requests == []
    stats = run.stats()
    assert holds(stats)
    assert stats["waiting"] == stats["logged"] - stats["replaced"] == 10
    assert f"`ray-synapse sync {job}` sends what waits" in capfd.readouterr().err
    done = command("sync", RAY_SYNAPSE_OFFLINE="")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"job {job}: 10 records delivered to {proxy.url}" in done.stdout
    check_delivered(server, job)


def test_offline_needs_no_host_and_no_token(
    server: Server, job: int, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SYNAPSE_HOST")
    leave(job)
    monkeypatch.setenv("SYNAPSE_HOST", proxy.url)
    assert cli.main(["sync", str(job)]) == 0
    check_delivered(server, job)


def test_offline_needs_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ray_synapse.SettingsError, match="SYNAPSE_JOB_ID"):
        ray_synapse.init("digits", offline=True)


def test_a_later_run_of_the_job_delivers_what_an_offline_one_has_left(
    server: Server, job: int
) -> None:
    with ray_synapse.init("digits", job_id=job, offline=True) as run:
        run.log_metric("training", "loss", 0)
    with ray_synapse.init("digits", job_id=job) as run:
        run.log_metric("training", "loss", 1)
    assert metric_values(server.home, job) == [0, 1]


# sync


def test_sync_a_second_time_sends_nothing(
    proxy: Proxy, server: Server, job: int, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(job)
    assert cli.main(["sync"]) == 0
    before = len(proxy.requests)
    capsys.readouterr()
    assert cli.main(["sync"]) == 0
    assert cli.main(["sync", str(job)]) == 0
    assert capsys.readouterr().out == "nothing is left to deliver\n" * 2
    assert len(proxy.requests) == before
    check_delivered(server, job)


def test_sync_of_one_job_leaves_the_others(server: Server, job: int) -> None:
    other = make_job(server.served.url)
    leave(job)
    leave(other)
    assert cli.main(["sync", str(other)]) == 0
    check_delivered(server, other)
    assert metric_values(server.home, job) == []
    assert cli.main(["sync"]) == 0
    check_delivered(server, job)


def test_sync_of_a_job_that_nothing_was_logged_for_is_one_clean_line(
    proxy: Proxy, job: int, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(job)
    capsys.readouterr()
    assert cli.main(["sync", "99999"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("ray-synapse: nothing was ever logged for job '99999'")
    assert captured.err.count("\n") == 1
    assert "`ray-synapse doctor`" in captured.err
    assert proxy.requests == []


@pytest.mark.parametrize("keys", ["keys", "no-keys"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_sync_can_be_interrupted_and_repeated(
    proxy: Proxy, server: Server, job: int, how: signal.Signals, keys: str
) -> None:
    proxy.strip_keys = keys == "no-keys"
    run = leave(job, 1_100)
    proxy.always(slow(0.3).on("POST"))
    with running("-m", "ray_synapse", "sync", str(job)) as process:
        until(lambda: posts(proxy) >= 3)
        process.send_signal(how)
        _, error = process.communicate(timeout=END_S)
    assert process.returncode != 0
    assert "Traceback" not in error
    if how == signal.SIGINT:
        assert f"`ray-synapse sync {job}` sends what waits" in error
    assert run.stats()["waiting"] > 200
    proxy.heal()
    assert cli.main(["sync", str(job)]) == 0
    stats = run.stats()
    assert holds(stats)
    assert stats["waiting"] == 0
    if how == signal.SIGKILL and proxy.strip_keys:  # what was under way
        assert 0 < stats["in_doubt"] <= 250
        values = metric_values(server.home, job)
        assert values == sorted(set(values))
        assert len(values) >= 1_100 - stats["in_doubt"]
    else:
        assert stats["in_doubt"] == 0
        check_delivered(server, job, 1_100)


def test_ctrl_c_ends_sync_and_not_only_the_run_that_it_is_at(
    proxy: Proxy, server: Server, job: int
) -> None:
    leave(job, 1_000)
    leave(make_job(server.served.url), 1_000)
    proxy.always(slow(0.3).on("POST"))
    with running("-m", "ray_synapse", "sync") as process:
        until(lambda: posts(proxy) >= 2)
        process.send_signal(signal.SIGINT)
        until(lambda: process.poll() is not None)
    assert process.returncode != 0
    jobs = {seen.path for seen in proxy.requests if seen.method == "GET"}
    assert len(jobs) == 1


@pytest.mark.parametrize("arguments", [["sync"], ["sync", "JOB"]])
def test_beside_a_running_run_sync_leaves_it_to_that(
    proxy: Proxy, server: Server, job: int, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    code = f"""
    run = ray_synapse.init("digits", job_id={job})
    log(run)
    print("ready", flush=True)
    sys.stdin.readline()
    """
    process = subprocess.Popen(
        [sys.executable, *script(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        proxy.stop()
        try:
            assert cli.main([each.replace("JOB", str(job)) for each in arguments]) == 0
            assert cli.main(["doctor"]) == 0
        finally:
            proxy.start()
            process.communicate("\n")
    assert capsys.readouterr().out.count("its run sends it right now") == 2
    check_delivered(server, job)


def test_another_host_that_is_configured_gets_nothing(
    proxy: Proxy,
    server: Server,
    job: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    leave(job)
    with Proxy(server.served.url) as other:
        monkeypatch.setenv("SYNAPSE_HOST", other.url)
        monkeypatch.setenv("SYNAPSE_ACCESS_TOKEN", "s3cret")
        capsys.readouterr()
        assert cli.main(["sync"]) == 1
        assert other.requests == []
        said = capsys.readouterr().err
        assert f"it belongs to {proxy.url}" in said
        assert f"SYNAPSE_HOST={proxy.url}" in said
        assert other.url in said
        assert "s3cret" not in said
    monkeypatch.setenv("SYNAPSE_HOST", proxy.url)
    assert cli.main(["sync"]) == 0
    check_delivered(server, job)


def test_sync_without_a_configured_host_says_which_one_it_needs(
    proxy: Proxy, job: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(job)
    monkeypatch.delenv("SYNAPSE_HOST")
    capsys.readouterr()
    assert cli.main(["sync"]) == 1
    assert f"SYNAPSE_HOST={proxy.url}" in capsys.readouterr().err


def test_a_run_that_sync_cannot_deliver_does_not_keep_it_from_the_next(
    proxy: Proxy, server: Server, job: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNAPSE_HOST", "http://127.0.0.1:9")
    leave(make_job(server.served.url))
    monkeypatch.setenv("SYNAPSE_HOST", proxy.url)
    leave(job)
    assert cli.main(["sync"]) == 1
    check_delivered(server, job)


def test_sync_to_a_server_that_is_down_sends_nothing_and_can_be_tried_again(
    proxy: Proxy, server: Server, job: int, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(job)
    proxy.stop()
    capsys.readouterr()
    assert cli.main(["sync"]) == 1
    said = capsys.readouterr().err
    assert "IS DOWN" in said
    assert "Nothing was sent" in said
    proxy.start()
    assert cli.main(["sync"]) == 0
    check_delivered(server, job)


def test_sync_with_a_wrong_token_says_so_and_can_be_tried_again(
    proxy: Proxy, server: Server, job: int, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(job)
    capsys.readouterr()
    for fault in (status(401), status(401).on("POST"), status(401).on("PATCH")):
        proxy.always(fault)
        assert cli.main(["sync"]) == 1
        assert "401" in capsys.readouterr().err
    proxy.heal()
    assert cli.main(["sync"]) == 0
    check_delivered(server, job)


# doctor


def doctor(capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert cli.main(["doctor"]) == 0
    return capsys.readouterr().out


def test_doctor_says_when_nothing_is_left(
    job: int, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(capsys).startswith("nothing is left to deliver (0 runs")
    leave(job)
    cli.main(["sync"])
    assert doctor(capsys).startswith("nothing is left to deliver (1 run ")


def test_doctor_shows_what_waits_for_how_long_and_the_command(
    proxy: Proxy, job: int, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(job)
    time.sleep(1.1)
    lines = doctor(capsys).splitlines()
    assert lines[0] == f"job {job}  digits  {proxy.url}"
    assert "  records: 11 logged, 0 delivered, 10 waiting, 1 replaced" in lines
    assert f"  `ray-synapse sync {job}` sends what waits" in lines
    assert re.search(r"the oldest has waited for [1-9]", "\n".join(lines))
    assert proxy.requests == []


def test_doctor_shows_what_is_in_doubt_and_why(
    proxy: Proxy, job: int, capsys: pytest.CaptureFixture[str]
) -> None:
    proxy.strip_keys = True
    proxy.script(lost().on("POST"))
    with ray_synapse.init("digits", job_id=job) as run:
        run.log_message("lost")
    assert f"job {job}: 1 record in doubt; `ray-synapse doctor` says why" in capsys.readouterr().err
    text = doctor(capsys)
    assert "1 in_doubt" in text or "1 in doubt" in text
    assert "  1 x POST /logs/: the answer of" in text
    assert "sends what waits" not in text


def test_doctor_shows_what_the_server_refuses_and_why(
    proxy: Proxy, job: int, capsys: pytest.CaptureFixture[str]
) -> None:
    proxy.always(status(422, {"data": ["No such thing."]}).on("POST"))
    with ray_synapse.init("digits", job_id=job) as run:
        run.log_message("refused")
    assert f"job {job}: 1 record refused by the server" in capsys.readouterr().err
    text = doctor(capsys)
    assert "1 parked" in text
    assert "No such thing." in text
    assert "sends what waits" not in text


def test_what_does_not_fit_on_the_disk_is_dropped_counted_and_said(
    job: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_SYNAPSE_OUTBOX_BYTES", str(1 << 20))
    with ray_synapse.init("digits", job_id=job, offline=True) as run:
        for i in range(60):
            run.log_visualization("predictions", "train", i, PNG)
        log(run)
    stats = run.stats()
    assert holds(stats)
    assert 0 < stats["dropped"] < 60
    said = capsys.readouterr().err
    assert f"{stats['dropped']} records dropped" in said
    assert "RAY_SYNAPSE_OUTBOX_BYTES" in said
    text = doctor(capsys)
    assert f"{stats['dropped']} dropped" in text
    assert "RAY_SYNAPSE_OUTBOX_BYTES" in text  # "doctor says why"
    cli.main(["sync"])
    assert f"{stats['dropped']} dropped" in doctor(capsys)  # also when nothing waits any more


def test_doctor_shows_every_run_that_has_something_left(
    server: Server, job: int, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_job(server.served.url)
    leave(job)
    leave(other)
    text = doctor(capsys)
    assert f"job {job}  digits" in text
    assert f"job {other}  digits" in text


def test_a_damaged_outbox_does_not_hide_the_other_runs(
    server: Server, job: int, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_job(server.served.url)
    leave(other)
    (damaged,) = (home / "outbox").glob("*.db")
    leave(job)
    damaged.write_bytes(b"this is no database, but it is long enough" * 1_000)
    for beside in (home / "outbox").glob(f"{damaged.name}-*"):
        beside.unlink()
    cli.main(["doctor"])
    assert f"job {job}  digits" in capsys.readouterr().out
    cli.main(["sync"])
    assert str(damaged) in capsys.readouterr().err
    check_delivered(server, job)


def test_what_a_server_says_cannot_steer_the_terminal(
    job: int, proxy: Proxy, capsys: pytest.CaptureFixture[str]
) -> None:
    proxy.always(status(422, {"data": ["\x1b[2Jgone"]}).on("POST"))
    with ray_synapse.init("digits", job_id=job) as run:
        run.log_message("refused")
    text = doctor(capsys)
    assert "gone" in text
    assert "\x1b" not in text


# The end of a run


def test_a_run_that_has_delivered_all_ends_without_a_word(
    server: Server, job: int, capfd: pytest.CaptureFixture[str]
) -> None:
    run = leave(job, offline=False)
    assert capfd.readouterr() == ("", "")
    check_delivered(server, job)
    stats = run.stats()
    assert holds(stats)
    assert stats["delivered"] + stats["replaced"] == stats["logged"] == 11
    assert (stats["last_error"], stats["oldest_s"], stats["reasons"]) == (None, None, {})


def test_with_a_deadline_of_0_the_end_does_not_wait(
    proxy: Proxy, server: Server, job: int, capfd: pytest.CaptureFixture[str]
) -> None:
    run = ray_synapse.init("digits", job_id=job, deadline_s=0)
    proxy.always(hang())
    log(run)
    started = time.monotonic()
    with run:
        pass
    assert time.monotonic() - started < 3  # the usual deadline here is 10 s
    assert f"`ray-synapse sync {job}` sends what waits" in capfd.readouterr().err


def test_the_deadline_counts_time_without_progress_only(
    proxy: Proxy, server: Server, job: int
) -> None:
    run = ray_synapse.init("digits", job_id=job, deadline_s=1)
    proxy.always(slow(0.5).on("POST", "/logs/"))
    for i in range(1_200):
        run.log_metric("training", "loss", i)
    started = time.monotonic()
    with run:
        pass
    assert time.monotonic() - started > 1.5  # longer than the deadline
    assert metric_values(server.home, job) == list(range(1_200))


def test_a_server_that_hangs_is_waited_for_as_long_as_the_deadline_says(
    proxy: Proxy, job: int, capfd: pytest.CaptureFixture[str]
) -> None:
    run = ray_synapse.init("digits", job_id=job, deadline_s=1)
    proxy.always(hang())
    log(run)
    started = time.monotonic()
    with run:
        pass
    assert 0.8 < time.monotonic() - started < 5
    said = capfd.readouterr().err
    assert said.count("not delivered") == 1
    assert f"job {job}: 10 records not delivered yet" in said


def test_a_script_that_ends_by_itself_delivers_first(server: Server, job: int) -> None:
    with running(*script(f"log(ray_synapse.init('digits', job_id={job}))")) as process:
        out, error = process.communicate(timeout=END_S)
    assert (process.returncode, out, error) == (0, "", "")
    check_delivered(server, job)


@pytest.mark.parametrize("ending", ["with", "exit"])
def test_ctrl_c_ends_the_wait_and_the_line_with_the_command_is_printed(
    proxy: Proxy, server: Server, job: int, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setenv("RAY_SYNAPSE_DEADLINE_S", "60")
    code = f"""
    run = ray_synapse.init("digits", job_id={job})
    log(run)
    print("ready", flush=True)
    sys.stdin.readline()
    """
    if ending == "with":
        code += """
    with run:
        pass
    print("after", flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, *script(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hears_ctrl_c,
    )
    with process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        proxy.always(hang())
        print("go", file=process.stdin, flush=True)
        time.sleep(1)
        assert process.poll() is None
        interrupted = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=END_S)
        assert time.monotonic() - interrupted < 3
    assert process.returncode == 0
    assert out == ("after\n" if ending == "with" else "")
    assert f"`ray-synapse sync {job}` sends what waits" in error
    assert "Traceback" not in error
    proxy.heal()
    assert cli.main(["sync"]) == 0
    check_delivered(server, job)


def test_a_script_that_fails_ends_the_job_as_failed_and_keeps_its_own_error(
    server: Server, job: int
) -> None:
    code = f"ray_synapse.init('digits', job_id={job}); 1 / 0"
    with running(*script(code)) as process:
        _, error = process.communicate(timeout=END_S)
    assert process.returncode == 1
    assert "ZeroDivisionError" in error
    assert kept(server.home).job(job)["status"] == "FAILED"


def test_a_script_that_is_killed_loses_nothing_that_it_had_logged(
    proxy: Proxy, server: Server, job: int
) -> None:
    code = f"""
    run = ray_synapse.init("digits", job_id={job})
    log(run)
    print("ready", flush=True)
    time.sleep(60)
    """
    proxy.always(hang().on("POST"))
    with running(*script(code)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        until(lambda: posts(proxy))
        process.kill()
        process.wait()
    proxy.heal()
    assert cli.main(["sync"]) == 0
    assert metric_values(server.home, job) == list(range(5))
    assert counts_of(each["event"] for each in kept(server.home).logs(job))["visualization"] == 1
    assert kept(server.home).trials(job) is not None


# A run whose process ended without a word

TABLE = {
    "base": ["trial_id", "status"],
    "trials": {"a": {"base": ["a", "RUNNING"]}, "b": {"base": ["b", "ERROR"]}},
}


@contextmanager
def driven(job: int, **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """A process that drives a run in the middle of its sweep, and is killed at the end."""
    code = f"""
    run = ray_synapse.init("digits", job_id={job}, **{options!r})
    run.log_trials({TABLE!r})
    print("ready", flush=True)
    time.sleep(60)
    """
    with running(*script(code)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


def statuses(server: Server, job: int) -> list[str]:
    table = kept(server.home).trials(job)
    return [row["base"][1] for row in table["trials"].values()] if table else []


def is_told(server: Server, job: int) -> bool:
    """Whether the server knows once, and all that it must, of an interrupted run."""
    backend = kept(server.home)
    messages = [
        (each["level"], "was interrupted" in each["data"]["content"])
        for each in backend.logs(job, "message")
    ]
    trials = statuses(server, job) == ["TERMINATED", "ERROR"]
    return backend.job(job)["status"] == "STOPPED" and trials and messages == [("warning", True)]


def test_sync_tells_the_server_of_a_killed_run_also_when_nothing_else_is_left(
    proxy: Proxy, server: Server, job: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with driven(job) as process:
        until(lambda: statuses(server, job) and kept(server.home).job(job)["status"] == "RUNNING")
        process.kill()
        process.wait()
    assert kept(server.home).job(job)["status"] == "RUNNING"
    lines = doctor(capsys).splitlines()
    assert lines[0] == f"job {job}  digits  {proxy.url}"
    (told,) = [line for line in lines if "was interrupted" in line]
    assert re.search(r"last heard of at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", told)
    assert f"  `ray-synapse sync {job}` tells its server" in lines
    assert kept(server.home).job(job)["status"] == "RUNNING", "doctor only looks"
    assert cli.main(["sync"]) == 0
    assert f"job {job}: its run was interrupted" in capsys.readouterr().out
    assert is_told(server, job)
    before = len(proxy.requests)
    assert cli.main(["sync"]) == 0
    assert cli.main(["sync", str(job)]) == 0
    assert capsys.readouterr().out == "nothing is left to deliver\n" * 2
    assert len(proxy.requests) == before
    assert doctor(capsys).startswith("nothing is left to deliver")


def test_sync_of_a_killed_run_is_repeated_when_the_server_was_down(
    proxy: Proxy, server: Server, job: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with driven(job, offline=True):
        pass
    proxy.stop()
    assert cli.main(["sync"]) == 1
    assert "was interrupted" in doctor(capsys)
    proxy.start()
    proxy.script(status(500).on("PATCH"), lost().on("POST"))
    assert cli.main(["sync"]) == 0
    assert cli.main(["sync"]) == 0
    assert is_told(server, job)


def test_a_run_that_lives_is_not_stopped_by_sync(server: Server, job: int) -> None:
    with driven(job, offline=True) as process:
        assert cli.main(["sync"]) == 0
        assert process.poll() is None
    assert kept(server.home).job(job)["status"] == "RUNNING"
    assert statuses(server, job) == ["RUNNING", "ERROR"]
    assert cli.main(["sync"]) == 0
    assert is_told(server, job)


def test_a_run_that_goes_on_after_it_was_interrupted_runs_on_the_server_too(
    server: Server, job: int
) -> None:
    with driven(job, offline=True):
        pass
    assert cli.main(["sync"]) == 0
    assert is_told(server, job)
    with ray_synapse.init("digits", job_id=job) as run:
        until(lambda: kept(server.home).job(job)["status"] == "RUNNING")
        run.log_trials(TABLE)
        until(lambda: statuses(server, job) == ["RUNNING", "ERROR"])
        assert cli.main(["sync"]) == 0
        assert kept(server.home).job(job)["status"] == "RUNNING"
    assert kept(server.home).job(job)["status"] == "SUCCEEDED"
