"""Log entries are taken and noted while the server works, and that costs no record."""

import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from ray_synapse.backend import sqlite
from ray_synapse.delivery import letters as letters_module
from ray_synapse.delivery.outbox.outbox import Outbox
from ray_synapse.delivery.sender import Sender
from ray_synapse.delivery.standing import Standing
from ray_synapse.errors import StorageError
from tests.backend.fake_server import api_of, tidily
from tests.delivery import hasten
from tests.delivery.outbox import ROOT, Logs, metric
from tests.exchanges import Exchange
from tests.faults import Fault, lost, made, refuse, status
from tests.proxy import Proxy
from tests.serving import served
from tests.synapse import make_job, metric_values

MOST = 10  # entries of a letter here
RECORDS = 5 * MOST
WAIT_S = 20
KEYS = pytest.mark.parametrize("strip_keys", [False, True], ids=["with keys", "without keys"])


class Bench(NamedTuple):
    """An outbox whose records go to a server by way of a proxy."""

    home: Path
    proxy: Proxy
    job: int
    outbox: Outbox

    def sender(self) -> Sender:
        standing = Standing(self.outbox, self.job, self.proxy.url)
        return Sender(self.outbox, api_of(self.proxy.url), self.job, standing)

    def send(self, sender: Sender, letters: int) -> None:
        """Let it send so many letters."""
        until = self.posts() + letters
        while self.posts() < until:
            sender.step()

    def send_all(self, sender: Sender) -> None:
        give_up = time.monotonic() + WAIT_S
        while not self.outbox.is_empty():
            assert time.monotonic() < give_up, self.outbox.counts()
            time.sleep(sender.step())

    def posts(self) -> int:
        return sum(seen.path == "/logs/" for seen in self.proxy.requests)

    def arrived(self) -> list[int]:
        return metric_values(self.home, self.job)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    with served(home) as server:
        yield server.url


@pytest.fixture
def strip_keys() -> bool:
    return False


@pytest.fixture
def bench(
    home: Path, url: str, tmp_path: Path, strip_keys: bool, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    hasten(monkeypatch)
    monkeypatch.setattr("ray_synapse.delivery.letters.MAX_ENTRIES", MOST)
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.2)
    job = make_job(url)
    with Proxy(url, strip_keys) as proxy, tidily():
        outbox = Outbox(tmp_path / "outbox.db", job)
        Logs(outbox).log(*map(metric, range(RECORDS)))
        yield Bench(home, proxy, job, outbox)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else can write there."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@KEYS
def test_all_arrive_once_and_in_order(bench: Bench) -> None:
    bench.send_all(bench.sender())
    assert bench.arrived() == [*range(RECORDS)]
    assert bench.posts() == RECORDS / MOST


@KEYS
def test_letters_are_taken_ahead_only_for_a_server_that_honours_keys(
    bench: Bench, strip_keys: bool
) -> None:
    bench.send(bench.sender(), 2)
    ahead = [letter.number for letter in bench.outbox.letters_under_way()]
    assert ahead == ([] if strip_keys else [MOST, MOST])  # one that arrived, and one to come


@KEYS
@pytest.mark.parametrize("letters", [1, 2, 4])
def test_who_closes_leaves_what_arrived_noted_and_the_rest_waiting(
    bench: Bench, letters: int
) -> None:
    sender = bench.sender()
    bench.send(sender, letters)
    sender.close()
    assert bench.outbox.letters_under_way() == []
    (counts,) = bench.outbox.counts().values()
    assert counts.delivered == letters * MOST
    assert counts.waiting == RECORDS - letters * MOST
    bench.send_all(bench.sender())
    assert bench.arrived() == [*range(RECORDS)]


@pytest.mark.parametrize("letters", range(1, 6))
def test_what_a_killed_process_did_not_note_is_not_doubled(bench: Bench, letters: int) -> None:
    script = f"""
        import os, signal
        from pathlib import Path
        from ray_synapse.backend.http import Credentials, HttpApi
        from ray_synapse.delivery import letters
        from ray_synapse.delivery.outbox.outbox import Outbox
        from ray_synapse.delivery.sender import Sender
        from ray_synapse.delivery.standing import Standing

        letters.MAX_ENTRIES, left = {MOST}, {letters}
        outbox = Outbox(Path({str(bench.outbox.path)!r}), {bench.job})
        api = HttpApi(Credentials({bench.proxy.url!r}))
        create_logs = api.create_logs

        def counted(*arguments, **options):
            global left
            answer = create_logs(*arguments, **options)
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        api.create_logs = counted
        sender = Sender(outbox, api, {bench.job}, Standing(outbox, {bench.job}, "it"))
        while True:
            sender.step()
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, timeout=30)
    assert killed.returncode == -9
    assert bench.arrived() == [*range(letters * MOST)]
    bench.send_all(bench.sender())
    assert bench.arrived() == [*range(RECORDS)]
    assert set(bench.outbox.counts()["p"]._asdict().values()) == {0, RECORDS}


@pytest.mark.parametrize("fault", [lost(), refuse(), status(503)], ids=lambda it: it.name)
@pytest.mark.parametrize("before", [1, 2, 3])
def test_the_order_is_kept_when_a_letter_has_to_go_again(
    bench: Bench, fault: Fault, before: int
) -> None:
    sender = bench.sender()
    bench.send(sender, before)
    bench.proxy.script(fault.on("POST"), fault.on("POST"))
    bench.send_all(sender)
    assert bench.arrived() == [*range(RECORDS)]


def test_the_order_is_kept_when_a_letter_has_to_be_split(bench: Bench) -> None:
    sender = bench.sender()
    bench.send(sender, 2)
    bench.proxy.script(status(413).on("POST"))
    bench.send_all(sender)
    assert bench.arrived() == [*range(RECORDS)]


def test_the_order_is_kept_when_what_a_killed_process_had_is_split(bench: Bench) -> None:
    for _ in range(2):  # one that is sent, one that was taken while it was
        bench.outbox.take_letter(MOST, 1_000_000, 0)
    sender = bench.sender()
    sender.step()  # the greeting
    bench.proxy.script(status(413).on("POST"))
    bench.send_all(sender)
    assert bench.arrived() == [*range(RECORDS)]


def test_nothing_is_taken_ahead_that_a_process_after_a_crash_could_not_repeat(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters_module, "KEY_S", 0.0)
    bench.send(bench.sender(), 2)
    assert bench.outbox.letters_under_way() == []


@pytest.mark.parametrize("strip_keys", [True], ids=["without keys"])
def test_what_became_of_a_request_is_noted_at_the_end_if_it_could_not_be_before(
    bench: Bench,
) -> None:
    def refuse_with_the_disk(it: Exchange) -> None:
        it.read()
        stack.enter_context(locked(bench.outbox.path))
        it.send(made(503))

    sender = bench.sender()
    with ExitStack() as stack:
        bench.proxy.script(None, Fault("the disk, too", refuse_with_the_disk))
        with pytest.raises(StorageError):
            bench.send(sender, 1)
    assert len(bench.outbox.letters_under_way()) == 1
    sender.close()
    assert bench.outbox.letters_under_way() == []
    bench.send_all(bench.sender())
    assert bench.arrived() == [*range(RECORDS)]


def test_what_cannot_be_noted_now_is_noted_later_and_not_sent_again(bench: Bench) -> None:
    sender = bench.sender()
    bench.send(sender, 2)
    posts = bench.posts()
    failures = 0
    with locked(bench.outbox.path):
        for _ in range(6):
            try:
                sender.step()
            except StorageError:
                failures += 1
    assert failures
    assert bench.posts() <= posts + 1  # the one that was taken already
    bench.send_all(sender)
    assert bench.arrived() == [*range(RECORDS)]
    assert bench.posts() == RECORDS / MOST
