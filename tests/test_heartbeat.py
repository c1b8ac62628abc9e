"""The sign of life of the process that drives a job."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from ray_synapse import heartbeat
from ray_synapse.backend.local import LocalBackend
from ray_synapse.errors import StorageError
from ray_synapse.heartbeat import Heartbeat


def until(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up, "it did not come about"
        time.sleep(0.005)


def test_it_beats_at_once_and_then_again_and_again_until_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.02)
    beats: list[float] = []
    started = time.monotonic()
    heart = Heartbeat(lambda: beats.append(time.monotonic()))
    until(lambda: len(beats) >= 4)
    assert beats[3] - started >= 0.05
    heart.stop()
    heart.stop()
    number = len(beats)
    time.sleep(0.1)
    assert len(beats) == number


def test_a_first_beat_does_not_wait_for_the_interval() -> None:
    beaten = threading.Event()
    heart = Heartbeat(beaten.set)
    assert beaten.wait(5)
    heart.stop()


def test_a_beat_that_fails_is_followed_by_the_next(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.01)
    faults = [StorageError("the disk is full"), ValueError("a fault of ours"), None, None]
    beats: list[BaseException | None] = []

    def beat() -> None:
        beats.append(faults[len(beats)] if len(beats) < len(faults) else None)
        if beats[-1] is not None:
            raise beats[-1]

    heart = Heartbeat(beat)
    until(lambda: len(beats) >= 4)
    heart.stop()
    assert beats[:4] == faults
    assert capfd.readouterr() == ("", "")


def test_to_stop_it_waits_for_a_beat_under_way_but_not_for_one_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heartbeat, "LAST_BEAT_S", 0.2)
    for takes, is_over in ((0.05, True), (5.0, False)):
        begun, over, go_on = threading.Event(), threading.Event(), threading.Event()

        def beat(
            begun: threading.Event = begun,
            over: threading.Event = over,
            go_on: threading.Event = go_on,
            takes: float = takes,
        ) -> None:
            begun.set()
            go_on.wait(takes)
            over.set()

        heart = Heartbeat(beat)
        assert begun.wait(5)
        started = time.monotonic()
        heart.stop()
        assert over.is_set() == is_over
        assert time.monotonic() - started < 2
        go_on.set()


@pytest.mark.parametrize(
    "code",
    ["Heartbeat(beat)", "import atexit; atexit.register(lambda: Heartbeat(beat).stop())"],
    ids=["never-stopped", "begun-at-the-end"],
)
def test_it_does_not_keep_the_process_alive_and_says_nothing_at_its_end(code: str) -> None:
    head = "from ray_synapse.heartbeat import Heartbeat\nbeat = lambda: None\n"
    done = subprocess.run(
        [sys.executable, "-c", head + code], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_with_the_embedded_backend_a_killed_process_was_heard_of_until_its_end(
    backend: LocalBackend,
) -> None:
    code = """
import sys, time
from functools import partial
from pathlib import Path
from ray_synapse import heartbeat
from ray_synapse.backend.local import LocalBackend
heartbeat.BEAT_S = 0.02
backend = LocalBackend(Path(sys.argv[1]))
heart = heartbeat.Heartbeat(partial(backend.beat, backend.create_job("a", {})))
time.sleep(60)
"""
    arguments = [sys.executable, "-c", code, str(backend.home)]
    with subprocess.Popen(arguments) as process:
        until(lambda: backend.jobs() and backend.job(1)["beat"])
        first = backend.job(1)["beat"]
        until(lambda: backend.job(1)["beat"] > first)
        process.kill()
        process.wait()
    last = backend.job(1)["beat"]
    time.sleep(0.1)
    assert backend.job(1)["beat"] == last
