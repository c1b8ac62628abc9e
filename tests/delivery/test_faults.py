"""A run that logs to a served backend through everything that can go wrong on the way."""

import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ray_synapse
from ray_synapse import cli, start
from ray_synapse.backend.http import connection
from ray_synapse.delivery import snapshots
from ray_synapse.run import TrainRun
from tests.delivery import hasten
from tests.exchanges import Exchange, Seen
from tests.faults import (
    Fault,
    cut,
    cut_request,
    drip,
    fault,
    garbage,
    hang,
    hang_after,
    lost,
    made,
    refuse,
    slow,
    status,
    status_after,
    too_large,
)
from tests.proxy import Proxy
from tests.serving import Served, served
from tests.synapse import kept, make_job

NAMES = {"metric": "value", "message": "content", "visualization": "index"}  # of numbers in them
PNG = b"\x89PNG\r\n\x1a\n" + b"pixels" * 20
BEST = {"trial_id": "a", "lr": 0.1}
WORDS = ("delivered", "waiting", "in_doubt", "parked", "dropped", "replaced")
ODD = ("poison", LONG := "x" * 2_000)  # messages that the server never gets
READ_S, ANSWER_S = 0.3, 0.6  # in some tests: of silence, and for a whole answer

Entry = tuple[str, int]  # an event, and which one of them


class Server(NamedTuple):
    """The server of all these tests, and where it keeps what it is sent."""

    served: Served
    home: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("server")
    with served(home) as process:
        yield Server(process, home)


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Likewise for the waits for an answer, where one does not come."""
    monkeypatch.setattr(connection, "READ_S", READ_S)
    monkeypatch.setattr(connection, "ANSWER_S", ANSWER_S)


@fault
def drip_body(it: Exchange, seconds: float) -> None:
    """The head comes at once, then byte after byte over that time."""
    answer = it.process()
    it.write(answer.status, answer.head())
    for i in range(len(answer.body)):
        it.wait(seconds / len(answer.body))
        it.write(answer.status, answer.body[i : i + 1])


@fault
def refuse_if(it: Exchange, word: bytes, code: int) -> None:
    """The server refuses what has a word in it, with a text of its own."""
    body = it.read()
    if word in body:
        it.send(made(code, {"detail": f"there must be no {word.decode()}"}))
    else:
        it.seen.fault = None
        it.relay([body])


class Story:
    """A run that logs numbered entries, and knows what the server must have got of it."""

    def __init__(self, server: Server, proxy: Proxy, deadline_s: float = 20.0) -> None:
        self.proxy, self.home = proxy, server.home
        self.job = make_job(server.served.url)
        self.run: TrainRun = ray_synapse.init(
            "digits", host=proxy.url, job_id=self.job, deadline_s=deadline_s
        )
        self.logged: list[Entry] = []
        self.others = 1  # the job's status, and other snapshots

    def log(self, number: int = 10) -> None:
        """Log so many metrics and messages, an image, tables and progress."""
        for _ in range(number):
            i = len(self.logged)
            self.run.log_metric("training", "loss", i)
            self.run.log_message(str(i + 1), "warning")
            self.logged += [("metric", i), ("message", i + 1)]
        i = len(self.logged)
        self.run.log_visualization("predictions", "train", i, PNG)
        self.logged.append(("visualization", i))
        self.log_table()
        self.run.set_progress(i, 10_000, "train")
        self.others += 1

    def log_table(self) -> None:
        self.run.log_trials({"trials": {"a": {"step": len(self.logged)}}})
        self.others += 1

    def log_message(self) -> None:
        self.logged.append(("message", len(self.logged)))
        self.run.log_message(str(self.logged[-1][1]))

    def log_odd(self, content: str) -> None:
        self.run.log_message(content)
        self.others += 1

    def log_best(self) -> None:
        self.run._backend.set_best_trial(self.job, dict(BEST))
        self.others += 1

    def end(self) -> None:
        """End the run: its last table and its status are newer than all faults."""
        self.log_table()
        self.others += 1
        with self.run:
            pass

    @property
    def stats(self) -> dict[str, Any]:
        return self.run.stats()

    def until_delivered(self) -> None:
        until(lambda: self.stats["waiting"] == 0)

    def on_server(self) -> list[Entry]:
        """What the server has kept, in the order it came."""
        return [entry_of(each) for each in kept(self.home).logs(self.job)]

    def posts(self) -> list[Seen]:
        return [each for each in self.proxy.requests if each.path == "/logs/"]

    def in_doubt(self) -> list[Entry]:
        """The entries that the outbox keeps since they may have been processed."""
        return [entry_of(json.loads(body)) for body in rows_of(self.run, "in_doubt")]

    def parked(self) -> list[Entry]:
        """The entries that the outbox keeps since the server refuses them."""
        bodies = [json.loads(body) for body in rows_of(self.run, "parked")]
        entries = [each for each in bodies if isinstance(each, dict) and "job" in each]
        return [entry_of(each) for each in entries if each["event"] in NAMES]

    def check(self, missing: Iterable[Entry] = ()) -> None:
        """The equation holds, and the server has each of the others once, and the last states."""
        stats, missing = self.stats, set(missing)
        self.check_equation()
        assert (stats["waiting"], stats["dropped"]) == (0, 0)
        assert self.on_server() == [each for each in self.logged if each not in missing]
        job, table = kept(self.home).job(self.job), kept(self.home).trials(self.job)
        assert job["status"] == "SUCCEEDED"
        assert table is not None
        assert table["trials"] == {"a": {"step": len(self.logged)}}
        self.check_wire()

    def check_equation(self) -> None:
        """The numbers add up, and are those of what the outbox really holds."""
        stats = self.stats
        assert stats["logged"] == sum(stats[word] for word in WORDS)
        assert stats["logged"] == len(self.logged) + self.others
        assert min(stats[word] for word in WORDS) >= 0
        assert stats["waiting"] == len(rows_of(self.run, "waiting", "sending"))
        assert stats["in_doubt"] == len(rows_of(self.run, "in_doubt"))
        assert stats["parked"] == len(rows_of(self.run, "parked"))

    def check_wire(self) -> None:
        """What every request has to be, whatever was done to it."""
        bodies: dict[str, set[tuple[str, str, bytes]]] = {}
        sent: dict[Entry, list[int | None]] = {}
        for seen in self.proxy.requests:
            key = seen.headers["Idempotency-Key"]
            assert (key is None) == (seen.method == "GET")
            if key is not None and seen.size == int(seen.headers["Content-Length"]):
                bodies.setdefault(key, set()).add((seen.method, seen.path, seen.body))
            entries = list(entries_of(seen))
            for each in entries:
                sent.setdefault(each, []).append(seen.status)
            assert len(entries) <= 250
            assert len(entries) == 1 or "visualization" not in dict(entries)
        assert [key for key, requests in bodies.items() if len(requests) > 1] == []
        for each in self.in_doubt():  # it was not sent again
            assert all(map(is_not_done, sent.get(each, [])[:-1]))


def entry_of(logged: dict[str, Any]) -> Entry:
    data = logged["data"]
    return logged["event"], int(data[NAMES[logged["event"]]])


def entries_of(seen: Seen) -> Iterator[Entry]:
    """The single entries of a request; a table is none."""
    try:
        found = json.loads(seen.body)
    except ValueError:  # it was cut off
        return
    if isinstance(found, list):
        yield from (entry_of(each) for each in found if each["data"].get("content") not in ODD)


def is_not_done(status: int | None) -> bool:
    """Whether an answer says that the request was surely not processed."""
    return status is not None and (300 <= status < 500 or 502 <= status <= 504)


def rows_of(run: TrainRun, *states: str) -> list[str]:
    """What the outbox of a run holds in these states, as SQLite says."""
    (path,) = Path(os.environ["RAY_SYNAPSE_HOME"], "outbox").glob(f"{run.job_id}@*.db")
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute(
            "SELECT body, state FROM entries UNION ALL SELECT data, state FROM snapshots"
        )
        return [body for body, state in rows if state in states]


def until(condition: Callable[[], object], seconds: float = 15) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not come about"
        time.sleep(0.01)


@contextmanager
def told(server: Server, strip_keys: bool, **options: Any) -> Iterator[Story]:
    """A story that has begun well."""
    with Proxy(server.served.url, strip_keys=strip_keys) as proxy:
        story = Story(server, proxy, **options)
        story.log(3)
        story.until_delivered()
        try:
            yield story
        finally:
            proxy.heal()
            start.close(story.run)


class Case(NamedTuple):
    """What happens to requests, and what that means for a POST without an honoured key."""

    fault: Fault
    in_doubt: bool
    processed: bool


CASES = {
    "reset": Case(refuse(), in_doubt=True, processed=False),
    "slow": Case(slow(0.2), in_doubt=False, processed=True),
    "429": Case(status(429), in_doubt=False, processed=False),
    "500": Case(status(500), in_doubt=True, processed=False),
    "500 after": Case(status_after(500), in_doubt=True, processed=True),
    "502": Case(status(502, body=b"<html>away"), in_doubt=False, processed=False),
    "503": Case(status(503), in_doubt=False, processed=False),
    "504": Case(status(504), in_doubt=False, processed=False),
    "cut": Case(cut(), in_doubt=True, processed=True),
    "cut with a reset": Case(cut(reset=True), in_doubt=True, processed=True),
    "lost": Case(lost(), in_doubt=True, processed=True),
    "garbage": Case(garbage(), in_doubt=True, processed=True),
    "drip": Case(drip(0.2), in_doubt=False, processed=True),
    "cut request": Case(cut_request(50), in_doubt=True, processed=False),
}
HANGING = {
    "hang": Case(hang(), in_doubt=True, processed=False),
    "hang after": Case(hang_after(), in_doubt=True, processed=True),
    "endless body": Case(drip_body(60), in_doubt=True, processed=True),
}
KEYS = pytest.mark.parametrize("strip_keys", [False, True], ids=["keys", "no-keys"])


@KEYS
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_fault_in_mid_run_loses_nothing_unknown_and_doubles_nothing(
    server: Server, case: Case, strip_keys: bool
) -> None:
    disturb(server, case, strip_keys)


@KEYS
@pytest.mark.parametrize("case", HANGING.values(), ids=HANGING)
@pytest.mark.usefixtures("impatience")
def test_an_answer_that_does_not_come_loses_nothing_unknown_and_doubles_nothing(
    server: Server, case: Case, strip_keys: bool
) -> None:
    disturb(server, case, strip_keys)


def disturb(server: Server, case: Case, strip_keys: bool) -> None:
    """Let it happen to requests of each kind, then to all for a while, and look at the end."""
    with told(server, strip_keys) as story:
        aims = [("POST", "/logs/"), ("PATCH", ""), ("PUT", "/trains/"), ("POST", "/logs/")]
        story.proxy.script(*(case.fault.on(*aim) for aim in aims))
        story.log_best()
        for _ in range(4):
            story.log(3)
            time.sleep(0.03)
        until(lambda: faulted(story) >= 4)
        story.proxy.always(case.fault)
        story.log()
        is_doubtful = strip_keys and case.in_doubt
        until(lambda: faulted(story) >= 5 and (story.in_doubt() or not is_doubtful))
        story.proxy.heal()
        story.log()
        story.end()
        doubted = story.in_doubt()
        assert is_doubtful or not doubted
        story.check(missing=() if case.processed else doubted)
        assert kept(server.home).job(story.job)["best_trial"] == BEST


def faulted(story: Story) -> int:
    return sum(seen.fault is not None for seen in story.proxy.requests)


@KEYS
def test_a_server_that_is_not_there_puts_nothing_in_doubt(server: Server, strip_keys: bool) -> None:
    with told(server, strip_keys) as story:
        story.proxy.stop()
        for _ in range(3):
            story.log()
            time.sleep(0.1)
        story.log_best()
        assert story.stats["waiting"] > 60
        assert "nothing listens there" in story.stats["last_error"]
        assert story.stats["oldest_s"] > 0.2
        story.proxy.start()
        story.until_delivered()
        story.log()
        story.end()
        story.check()


@KEYS
def test_a_server_that_is_restarted_delivers_what_was_logged_meanwhile(
    tmp_path: Path, strip_keys: bool
) -> None:
    home = tmp_path / "server"
    with served(home) as first:
        port = first.url.rpartition(":")[2]
        with told(Server(first, home), strip_keys) as story:
            first.stop()
            story.log()
            time.sleep(0.2)
            with served(home, "--port", port):
                story.end()
            story.check()


@pytest.mark.parametrize(("code", "strip_keys"), [(401, False), (401, True), (403, False)])
def test_a_server_that_refuses_the_token_is_sent_nothing_more_until_sync_has_another(
    server: Server,
    code: int,
    strip_keys: bool,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with told(server, strip_keys) as story:
        story.proxy.always(status(code))
        story.log()
        until(lambda: faulted(story))
        before = len(story.proxy.requests)
        for _ in range(5):
            story.log()
            time.sleep(0.05)
        assert len(story.proxy.requests) == before
        started = time.monotonic()
        story.end()
        assert time.monotonic() - started < 5  # no waiting for what cannot come
        assert len(story.proxy.requests) == before
        story.check_equation()
        assert story.stats["waiting"] > 100
        assert story.stats["in_doubt"] == 0
        said = capfd.readouterr().err
        assert said.count(f"JOB {story.job} IS NOT BEING DELIVERED ANY MORE") == 1
        assert f"`ray-synapse sync {story.job}` sends what waits" in said
        story.proxy.heal()
        sync(story, monkeypatch)
        story.check()


def sync(story: Story, monkeypatch: pytest.MonkeyPatch) -> int:
    """The command, for the run's job, in this process."""
    monkeypatch.setenv("SYNAPSE_HOST", story.proxy.url)
    return cli.main(["sync", str(story.job)])


def test_each_time_that_the_token_is_refused_it_is_said(
    server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    with Proxy(server.served.url) as proxy:
        job = make_job(server.served.url)
        for _ in range(2):
            run = ray_synapse.init("digits", host=proxy.url, job_id=job, deadline_s=5)
            until(lambda run=run: run.stats()["waiting"] == 0)
            proxy.always(status(401))
            run.log_message("kept")
            with run:
                pass
            assert "IS NOT BEING DELIVERED ANY MORE" in capfd.readouterr().err
            proxy.heal()


def test_a_run_with_a_right_token_delivers_also_what_one_with_a_wrong_token_has_left(
    server: Server,
) -> None:
    with Proxy(server.served.url) as proxy:
        job = make_job(server.served.url)
        for fault, content in ((status(401).on("POST"), "first"), (None, "second")):
            with ray_synapse.init("digits", host=proxy.url, job_id=job, deadline_s=5) as run:
                proxy.always(*[fault] if fault else [])
                run.log_message(content)
            proxy.heal()
        said = [each["data"]["content"] for each in kept(server.home).logs(job, "message")]
        assert said == ["first", "second"]


@KEYS
def test_retry_after_is_respected(server: Server, strip_keys: bool) -> None:
    with told(server, strip_keys) as story:
        story.proxy.script(status(429, headers={"Retry-After": "1"}).on("POST"))
        story.log()
        until(lambda: faulted(story))
        before, at = len(story.proxy.requests), time.monotonic()
        until(lambda: len(story.proxy.requests) > before)
        assert 0.9 < time.monotonic() - at < 3
        story.end()
        story.check()


@KEYS
def test_a_batch_that_is_too_large_is_split_and_a_single_entry_parked(
    server: Server, strip_keys: bool
) -> None:
    with told(server, strip_keys) as story:
        story.proxy.always(too_large(1500))
        story.log(40)
        story.log_odd(LONG)
        story.log(40)
        story.end()
        stats = story.stats
        assert (stats["parked"], stats["in_doubt"]) == (1, 0)
        ((reason, number),) = stats["reasons"].items()
        assert number == 1
        assert "413" in reason
        story.check()
        assert sum(seen.status == 413 for seen in story.posts()) < 40  # halved, not one by one


@pytest.mark.parametrize(
    ("code", "strip_keys"),
    [(400, False), (400, True), (404, False), (409, True), (418, False), (422, True)],
)
def test_an_entry_that_the_server_refuses_is_parked_with_its_words_and_the_rest_goes_on(
    server: Server, code: int, strip_keys: bool
) -> None:
    with told(server, strip_keys) as story:
        story.proxy.always(refuse_if(b"poison", code).on("POST", "/logs/"))
        story.log()
        story.until_delivered()
        story.log_odd("poison")
        until(lambda: story.stats["parked"])
        story.log()
        story.end()
        stats = story.stats
        assert (stats["parked"], stats["in_doubt"]) == (1, 0)
        ((reason, number),) = stats["reasons"].items()
        assert (number, str(code) in reason, "there must be no poison" in reason) == (1, True, True)
        story.check()


@KEYS
def test_among_many_only_the_entry_that_is_refused_is_parked(
    server: Server, strip_keys: bool
) -> None:
    with told(server, strip_keys) as story:
        story.proxy.stop()
        story.log(60)
        story.log_odd("poison")
        story.log(60)
        story.proxy.always(refuse_if(b"poison", 400).on("POST", "/logs/"))
        story.proxy.start()
        story.end()
        assert story.stats["parked"] == 1
        story.check()


@KEYS
def test_a_field_of_the_job_that_is_refused_does_not_hold_up_the_others(
    server: Server, strip_keys: bool
) -> None:
    with told(server, strip_keys) as story:
        story.proxy.always(refuse_if(b"poison", 400).on("PATCH"))
        story.run._patch_job(result={"word": "poison"})
        story.others += 1
        story.log()
        story.end()
        assert story.stats["parked"] == 1
        story.check()


@KEYS
def test_a_job_that_is_removed_on_the_server_ends_nothing(server: Server, strip_keys: bool) -> None:
    with told(server, strip_keys) as story:
        delivered = story.stats["delivered"]
        kept(server.home).delete_job(story.job)
        story.log()
        story.end()
        story.check_equation()
        stats = story.stats
        assert stats["parked"] > 20
        assert (stats["waiting"], stats["in_doubt"], stats["delivered"]) == (0, 0, delivered)
        assert any("404" in reason for reason in stats["reasons"])


@KEYS
def test_an_outage_costs_one_table_and_one_state_of_the_job(
    server: Server, strip_keys: bool
) -> None:
    with told(server, strip_keys) as story:
        story.proxy.stop()
        before = len(story.proxy.requests)
        for _ in range(100):
            story.log_table()
            story.run.set_progress(1, 2, "train")
            story.others += 1
        assert story.stats["waiting"] <= 3
        story.proxy.start()
        story.until_delivered()
        after = story.proxy.requests[before:]
        assert sum(b'"trials"' in seen.body for seen in after) <= 2
        assert sum(seen.method == "PATCH" for seen in after) <= 2
        assert story.stats["replaced"] > 190
        story.end()
        story.check()


def test_a_run_that_has_ended_keeps_no_connection(server: Server) -> None:
    with told(server, strip_keys=False) as story:
        story.log()
        story.end()
        proxy = story.proxy._server
        assert proxy is not None
        until(lambda: not proxy._open, 1)


@KEYS
def test_after_an_outage_much_goes_in_few_requests(server: Server, strip_keys: bool) -> None:
    with told(server, strip_keys) as story:
        story.proxy.stop()
        for _ in range(2):
            story.log(300)
        before = len(story.proxy.requests)
        story.proxy.start()
        story.until_delivered()
        sizes = [len(list(entries_of(seen))) for seen in story.posts()[before:]]
        assert max(sizes) == 250
        assert sum(size > 0 for size in sizes) <= 10
        story.end()
        story.check()


def test_a_slow_server_makes_tables_rarer_and_logging_no_slower(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with told(server, strip_keys=False) as story:
        monkeypatch.setattr(snapshots, "SLOWNESS", 5.0)
        story.proxy.always(slow(0.3))
        before, tables, give_up = len(story.proxy.requests), 0, time.monotonic() + 2.5
        while time.monotonic() < give_up:
            story.log_table()
            tables += 1
            time.sleep(0.01)
        assert tables > 30  # each would have to wait for 0.3 s
        assert 1 <= len(story.proxy.requests) - before <= 2
        story.proxy.heal()
        story.end()
        story.check()


@KEYS
@pytest.mark.usefixtures("impatience")
def test_logging_does_not_wait_for_a_server_that_hangs(server: Server, strip_keys: bool) -> None:
    with told(server, strip_keys) as story:
        story.proxy.always(hang())
        started = time.monotonic()
        story.log(100)
        assert time.monotonic() - started < 10  # it would take a minute
        until(lambda: story.in_doubt() if strip_keys else faulted(story))
        story.proxy.heal()
        story.end()
        story.check(missing=story.in_doubt())


def test_with_honoured_keys_a_letter_is_repeated_under_its_key_until_it_is_done(
    server: Server,
) -> None:
    with told(server, strip_keys=False) as story:
        story.proxy.script(*[lost().on("POST"), status(500).on("POST"), cut().on("POST")] * 3)
        story.log_message()
        story.until_delivered()
        letters = [seen for seen in story.posts() if story.logged[-1] in entries_of(seen)]
        assert len(letters) == 10
        assert len({seen.headers["Idempotency-Key"] for seen in letters}) == 1
        assert len({seen.body for seen in letters}) == 1
        story.log()
        story.end()
        story.check()


def test_with_honoured_keys_a_letter_that_was_done_is_not_doubled_however_long_the_server_fails(
    server: Server,
) -> None:
    with told(server, strip_keys=False) as story:
        story.proxy.stop()
        for _ in range(20):
            story.log_message()
        story.proxy.script(lost().on("POST"), *[status(500).on("POST")] * 12)
        story.proxy.start()
        until(lambda: faulted(story) >= 13)
        story.end()
        story.check()
        assert story.stats["parked"] == 0


@KEYS
def test_an_error_of_the_server_after_an_outage_parks_nothing(
    server: Server, strip_keys: bool
) -> None:
    with told(server, strip_keys) as story:
        story.proxy.script(*[status(503).on("POST")] * 12, status(500).on("POST"))
        story.log_message()
        until(lambda: faulted(story) >= 13)
        story.log()
        story.end()
        assert story.stats["parked"] == 0
        story.check(missing=story.in_doubt())


def test_without_them_a_letter_in_doubt_tells_why_and_is_not_sent_again(server: Server) -> None:
    with told(server, strip_keys=True) as story:
        story.proxy.script(lost().on("POST"))
        story.log_message()
        until(lambda: story.stats["in_doubt"])
        doubted = story.logged[-1:]
        story.log()
        story.end()
        ((reason, number),) = story.stats["reasons"].items()
        assert number == 1
        assert reason.startswith("POST /logs/: the answer of")
        assert story.in_doubt() == doubted
        story.check()


ANY_FAULT = (
    *(each.fault for each in (*CASES.values(), *HANGING.values())),
    *(status(code) for code in (400, 401, 403, 404, 413, 422)),
    too_large(700),
    status(302, headers={"Location": "http://127.0.0.1:9/"}),
)
AIMS = ((None, ""), ("POST", "/logs/"), ("PATCH", ""), ("PUT", ""), ("GET", ""))
FAULTS = st.builds(
    lambda each, aim, chance: each.on(*aim, chance=chance),
    st.sampled_from(ANY_FAULT),
    st.sampled_from(AIMS),
    st.sampled_from([1.0, 0.5]),
)
STEPS = st.one_of(
    st.tuples(st.just("log"), st.integers(1, 20)),
    st.tuples(st.just("script"), st.lists(FAULTS, min_size=1, max_size=3)),
    st.tuples(st.just("always"), st.lists(FAULTS, min_size=1, max_size=2)),
    st.tuples(st.sampled_from(["heal", "best", "outage"]), st.none()),
    st.tuples(st.just("wait"), st.floats(0.02, 0.2)),
)


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, min_size=3, max_size=8), strip_keys=st.booleans())
@pytest.mark.usefixtures("impatience")
def test_after_any_faults_and_a_sync_all_is_accounted_for_and_nothing_doubled(
    server: Server, steps: list[tuple[str, Any]], strip_keys: bool
) -> None:
    with told(server, strip_keys, deadline_s=0.2) as story, pytest.MonkeyPatch.context() as patch:
        for step in steps:
            take(story, *step)
        story.log()
        story.end()
        story.check_equation()
        story.proxy.heal()
        until(lambda: not is_held(story))
        assert sync(story, patch) == 0
        story.check_equation()
        stats = story.stats
        assert (stats["waiting"], stats["dropped"]) == (0, 0)
        assert strip_keys or not stats["in_doubt"]
        arrived, aside = story.on_server(), [*story.in_doubt(), *story.parked()]
        assert max(Counter(arrived).values()) == 1
        assert arrived == [each for each in story.logged if each in set(arrived)]
        assert set(arrived) | set(aside) == set(story.logged)
        assert len(aside) == len(set(aside))
        assert not set(arrived) & set(story.parked())
        story.check_wire()


def take(story: Story, step: str, what: Any) -> None:
    """Do one step of a schedule."""
    if step == "log":
        story.log(what)
    elif step == "script":
        story.proxy.script(*what)
    elif step == "always":
        story.proxy.always(*what)
    elif step == "heal":
        story.proxy.heal()
    elif step == "best":
        story.log_best()
    elif step == "outage":
        story.proxy.stop()
        story.log(2)
        story.proxy.start()
    else:
        time.sleep(what)


def is_held(story: Story) -> bool:
    """Whether the run's own threads are still at a request that they had sent."""
    with story.run._backend.outbox.holding() as is_mine:
        return not is_mine
