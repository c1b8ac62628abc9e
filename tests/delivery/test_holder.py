"""The threads that empty an outbox: one process at a time, two uploads at a time, whatever dies."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from ray_synapse.artifact import Artifact
from ray_synapse.delivery import stream, uploader
from ray_synapse.delivery.holder import MAX_READS, UPLOADS, Holder
from tests.delivery import hasten
from tests.delivery.outbox import Logs, metric
from tests.delivery.test_stream import (
    CHUNK,
    KEYS,
    Bench,
    Server,
    archive_of,
    bench,
    expected_ranges,
    hurry,
    range_of,
    weights,
)
from tests.exchanges import Exchange
from tests.faults import Fault, hang, hang_after, made, refuse, slow, status, status_after
from tests.serving import served
from tests.storage import KEYS as S3_KEYS
from tests.storage import S3, s3_server, stored, through_fsspec
from tests.synapse import metric_values

ROOT = Path(__file__).parents[2]  # from which a script finds these tests
FILES = {"weights.bin": weights(1000)}
LARGE = 3 * CHUNK  # bytes of a model of several chunks
WAIT_S = 20


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    hasten(monkeypatch)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("server")
    with served(home) as process:
        yield Server(process.url, home)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture
def it(server: Server, tmp_path: Path) -> Iterator[Bench]:
    with bench(server, tmp_path) as made:
        yield made


@contextmanager
def sending(it: Bench, *, is_on: bool = True) -> Iterator[Holder]:
    """A holder of the outbox in this process."""
    holder = Holder(it.open_outbox(), it.job, it.credentials)
    if is_on:
        holder.resume()
    try:
        yield holder
    finally:
        it.proxy.heal()
        holder.close(WAIT_S)


def until(condition: Callable[[], object], seconds: float = WAIT_S) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not come about"
        time.sleep(0.01)


def until_settled(it: Bench) -> None:
    """Until no model waits any more."""
    until(lambda: not it.outbox.waiting_models())


def is_free(it: Bench) -> bool:
    """Whether nobody sends from the outbox."""
    with it.outbox.holding() as is_mine:
        return is_mine


def delivered_once(it: Bench, *, content: dict[str, bytes] | None = None) -> int | str:
    """There is one model, on the server and in the outbox. Returns its id."""
    (row,) = it.outbox.models()
    ((name, model),) = it.server.models(it.name).items()
    assert (row.state, row.reason, row.model, name) == ("delivered", None, model["id"], it.name)
    assert it.server.content(model["id"]) == (content or {"weights.bin": weights(LARGE)})
    return row.model  # type: ignore[return-value]  # it was compared with an id


# What it is for


def test_all_models_of_an_outbox_are_delivered(it: Bench, server: Server) -> None:
    sizes = {f"{it.name}_{number}": 100 + number * CHUNK for number in range(4)}
    for name, size in sizes.items():
        it.request(it.artifact(size), name)
    with sending(it):
        until_settled(it)
    models = server.models(it.name)
    assert {row.name: row.model for row in it.outbox.models()} == {
        name: model["id"] for name, model in models.items()
    }
    for name, size in sizes.items():
        assert server.content(models[name]["id"]) == {"weights.bin": weights(size)}
    assert it.outbox.is_empty()
    assert it.outbox.left().models == {"delivered": 4}


def test_a_model_that_is_asked_for_while_others_are_under_way_is_delivered(it: Bench) -> None:
    with sending(it):
        for number in range(3):
            it.request(it.artifact(FILES), f"{it.name}_{number}")
            until_settled(it)


def test_the_result_of_the_job_is_completed_when_its_models_have_ids(
    it: Bench, server: Server
) -> None:
    first = it.request(it.artifact(FILES), f"{it.name}_a")
    second = it.request(it.artifact(FILES), f"{it.name}_b")
    lacking: Any = {"model_id": None, "trial_models": [{"model_id": None}, {"model_id": None}]}
    places: dict[int, list[list[str | int]]] = {
        first.id: [["trial_models", 0, "model_id"]],
        second.id: [["trial_models", 1, "model_id"], ["model_id"]],
    }
    it.outbox.put_result(lacking, places)
    with sending(it):
        until(it.outbox.is_empty)
    a, b = (row.model for row in it.outbox.models())
    expected = {"model_id": b, "trial_models": [{"model_id": a}, {"model_id": b}]}
    assert it.api.get_job(it.job)["result"] == expected


def test_logging_goes_on_during_an_upload(it: Bench, server: Server) -> None:
    it.request(it.artifact(FILES))
    it.proxy.always(hang().on("PUT"))
    logs = Logs(it.outbox)
    with sending(it):
        until(lambda: it.ranges())
        for number in range(1, 4):
            logs.log(metric(number))
            until(lambda: metric_values(server.home, it.job) == [*range(1, logs.last + 1)])
        assert not server.models(it.name)
        it.proxy.heal()
        until_settled(it)


def test_two_models_are_uploaded_at_a_time_and_not_more(it: Bench) -> None:
    """Each holds a chunk in memory."""
    lock, under_way, most = threading.Lock(), list[str](), list[int]()

    def act(exchange: Exchange) -> None:
        with lock:
            under_way.append(exchange.path)
            most.append(len(under_way))
        exchange.wait(0.05)
        exchange.relay(exchange.body())
        with lock:
            under_way.remove(exchange.path)

    for number in range(5):
        it.request(it.artifact(LARGE), f"{it.name}_{number}")
    it.proxy.always(Fault("counted", act).on("PUT"))
    with sending(it):
        until_settled(it)
    assert max(most) == UPLOADS == 2


# One process at a time


def test_of_two_holders_only_one_sends_and_the_other_takes_over(it: Bench) -> None:
    with sending(it) as first:
        until(lambda: first.is_holding)
        with sending(it) as second:
            for number in range(3):
                it.request(it.artifact(LARGE), f"{it.name}_{number}")
            until_settled(it)
            assert (first.is_holding, second.is_holding) == (True, False)
            assert len(it.ranges()) == 3 * len(expected_ranges(LARGE + 1))
            first.pause()
            it.request(it.artifact(FILES), f"{it.name}_last")
            until_settled(it)
            assert (first.is_holding, second.is_holding) == (False, True)
    assert len(it.server.models(it.name)) == 4


def test_a_holder_that_was_not_told_to_sends_nothing(it: Bench) -> None:
    it.request(it.artifact(FILES))
    with sending(it, is_on=False) as holder:
        time.sleep(0.2)
        assert it.proxy.requests == []
        assert is_free(it)
        holder.resume()
        until_settled(it)


def test_pause_frees_the_outbox_once_what_is_under_way_is_finished(it: Bench) -> None:
    for number in range(4):
        it.request(it.artifact(FILES), f"{it.name}_{number}")
    it.proxy.always(hang().on("PUT"))
    with sending(it) as holder:
        until(lambda: len(it.ranges()) == UPLOADS)
        holder.pause()
        for _ in range(20):
            time.sleep(0.01)
            assert not is_free(it)
        it.proxy.heal()
        until(lambda: is_free(it))
        assert not holder.is_holding
        before = len(it.proxy.requests)
        time.sleep(0.2)
        assert len(it.proxy.requests) == before
        assert len(it.outbox.waiting_models()) >= 2
        holder.resume()
        until_settled(it)
    assert len(it.server.models(it.name)) == 4


def test_pause_does_not_wait_for_a_server_that_is_away(
    it: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "SETTLE_S", (60.0,))
    it.request(it.artifact(LARGE))
    it.proxy.always(status(503).on("PUT", "/chunked_upload/."))
    with sending(it) as holder:
        until(lambda: len(it.ranges()) == 2)
        holder.pause()
        until(lambda: is_free(it), 2)
        monkeypatch.undo()
        it.proxy.heal()
        holder.resume()
        until_settled(it)
    delivered_once(it)


def test_what_is_logged_does_not_wait_for_the_upload_of_a_process_that_was_paused(
    it: Bench, server: Server
) -> None:
    """When Ray starts, the relay takes over from the driver, which may have a large model."""
    it.request(it.artifact(6 * CHUNK))
    it.proxy.always(slow(0.5).on("PUT"))
    with sending(it) as first, sending(it, is_on=False) as second:
        until(lambda: it.ranges())
        first.pause()
        second.resume()
        Logs(it.outbox).log(metric(1))
        until(lambda: metric_values(server.home, it.job), 2)
        it.proxy.heal()
        until_settled(it)
    delivered_once(it, content={"weights.bin": weights(6 * CHUNK)})
    assert len(it.ranges()) <= 8


def test_a_holder_that_is_closed_ends_its_threads(it: Bench) -> None:
    before = set(threading.enumerate())
    with sending(it) as holder:
        until(lambda: holder.is_holding)
        mine = [each for each in set(threading.enumerate()) - before if "synapse" in each.name]
        assert len(mine) == 1 + UPLOADS
        holder.close(WAIT_S)
        assert not holder.is_holding
        until(lambda: not any(each.is_alive() for each in mine))
        assert is_free(it)


# Processes that die


def prepared(it: Bench) -> str:
    """Code with which a process of its own begins: it has a ``holder`` then."""
    return f"""
import json, os, sys, tempfile, time, tracemalloc
from pathlib import Path
from ray_synapse.backend.http import Credentials
from ray_synapse.delivery import stream
from ray_synapse.delivery.holder import Holder
from ray_synapse.delivery.outbox.outbox import Outbox

stream.CHUNK_BYTES = {CHUNK}
outbox = Outbox(Path({str(it.outbox.path)!r}), {it.job})
holder = Holder(outbox, {it.job}, Credentials({it.host!r}))
"""


@contextmanager
def process(code: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", code]
    env = {**os.environ, **environment}
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def said(running: "subprocess.Popen[str]") -> str:
    assert running.stdout is not None
    return running.stdout.readline().strip()


# Where it is killed, and how many bytes may be sent twice then.
KILLS = {
    "before the first chunk came": (hang().on("PUT"), CHUNK),
    "after the first chunk came": (hang_after().on("PUT"), CHUNK),
    "in a later chunk": (hang().on("PUT", "/chunked_upload/."), CHUNK),
    "after a later chunk": (hang_after().on("PUT", "/chunked_upload/."), 0),
    "before the end": (hang().on("POST", "/chunked_upload/"), 0),
    "after the end": (hang_after().on("POST", "/chunked_upload/"), 0),
    "before the registration": (hang().on("POST", "/models/"), 0),
    "after the registration": (hang_after().on("POST", "/models/"), 0),
}


@pytest.mark.parametrize(("kill", "doubled"), KILLS.values(), ids=KILLS)
def test_killed_at_any_point_the_next_process_goes_on_there(
    it: Bench, server: Server, kill: Fault, doubled: int
) -> None:
    artifact = it.artifact(LARGE)
    it.request(artifact)
    it.proxy.always(kill)
    with process(f"{prepared(it)}holder.resume()\ntime.sleep(60)") as first:
        until(lambda: any(each.fault for each in it.proxy.requests))
        if kill.name == "hang_after":
            until(lambda: is_processed(it))
        first.send_signal(signal.SIGKILL)
        first.wait()
    it.proxy.heal()
    with sending(it):
        until_settled(it)
    delivered_once(it)
    total = archive_of(artifact).size
    sent = sum(last + 1 - start for start, last, _ in it.ranges())
    assert total <= sent <= total + doubled
    assert len(server.uploads(it.name)) <= 2


def is_processed(it: Bench) -> bool:
    """Whether the server has done what the request that hangs had asked for."""
    hanging = next(each for each in it.proxy.requests if each.fault)
    if hanging.path == "/models/":
        return bool(it.server.models(it.name))
    uploads = it.server.uploads(it.name)
    if hanging.method == "POST":
        return any(ended for _, _, ended in uploads)
    return any(offset > range_of(hanging)[1] for _, offset, _ in uploads)


def test_a_child_that_was_forked_does_not_keep_the_outbox_when_its_parent_dies(it: Bench) -> None:
    code = f"""{prepared(it)}
holder.resume()
while not holder.is_holding:
    time.sleep(0.01)
child = os.fork()
if child == 0:
    time.sleep(60)
print(child, flush=True)
time.sleep(60)
"""
    with process(code) as parent:
        child = int(said(parent))
        try:
            assert not is_free(it)
            parent.kill()
            parent.wait()
            assert Path(f"/proc/{child}/stat").read_text().split()[2] in "SR"  # it lives
            until(lambda: is_free(it), 2)
        finally:
            os.kill(child, signal.SIGKILL)


# A server that is away, or refuses


@KEYS
@pytest.mark.parametrize("fault", [refuse(), status(503), status_after(500)], ids=lambda f: f.name)
def test_after_an_outage_each_model_is_there_once(
    server: Server, tmp_path: Path, fault: Fault, strip_keys: bool
) -> None:
    with bench(server, tmp_path, strip_keys=strip_keys) as it:
        for number in range(3):
            it.request(it.artifact(LARGE), f"{it.name}_{number}")
        it.proxy.script(*[None] * 12)
        it.proxy.always(fault)
        with sending(it):
            until(lambda: sum(each.fault is not None for each in it.proxy.requests) > 10)
            assert it.outbox.waiting_models()
            it.proxy.heal()
            until_settled(it)
        models = server.models(it.name)
        assert sorted(models) == [f"{it.name}_{number}" for number in range(3)]
        assert {row.model for row in it.outbox.models()} == {
            model["id"] for model in models.values()
        }
        for model in models.values():
            assert server.content(model["id"]) == {"weights.bin": weights(LARGE)}


def test_an_end_that_the_server_did_not_process_costs_seconds_not_half_a_minute(
    it: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a script whose last model meets a hiccup would give up waiting for it."""
    for module in (stream, uploader):
        monkeypatch.setattr(module, "SETTLE_S", (1.0, 2.0, 4.0, 8.0, 16.0))
    it.request(it.artifact(LARGE))
    it.proxy.script(status(503).on("POST", "/chunked_upload/"))
    with sending(it):
        until(lambda: not it.outbox.waiting_models(), 6)
    delivered_once(it)


def test_a_server_that_refuses_the_token_gets_nothing_more_until_there_is_another(
    it: Bench,
) -> None:
    artifact = it.artifact(LARGE)
    row = it.request(artifact)
    it.request(it.artifact(FILES), f"{it.name}_other")
    it.proxy.always(status(401).on("PUT", "/chunked_upload/."))
    with sending(it):
        until(lambda: it.outbox.about().get("stopped"))
        until(lambda: it.row(row.id).reason)
        time.sleep(0.3)  # for what was under way
        before = len(it.proxy.requests)
        it.request(it.artifact(FILES), f"{it.name}_later")
        time.sleep(0.3)
        assert len(it.proxy.requests) == before
        assert it.row(row.id).state == "waiting"
        assert "401" in str(it.row(row.id).reason)
    begun = len(it.ranges())
    with sending(it):
        until_settled(it)
    assert len(it.server.models(it.name)) == 3
    total = archive_of(artifact).size
    assert [each for each in it.ranges()[begun:] if each[2] == total] == expected_ranges(total)[1:]


@pytest.mark.parametrize("code", [400, 404, 409, 413])
def test_a_model_that_the_server_refuses_is_parked_with_its_words_and_the_others_go_on(
    it: Bench, server: Server, code: int
) -> None:
    def act(exchange: Exchange) -> None:
        body = exchange.read()
        if b"_bad" in body:
            exchange.send(made(code, {"detail": "not this one"}))
        else:
            exchange.seen.fault = None
            exchange.relay([body])

    bad = it.request(it.artifact(FILES), f"{it.name}_bad")
    others = [it.request(it.artifact(FILES), f"{it.name}_{number}") for number in range(3)]
    it.proxy.always(Fault("picky", act).on("POST", "/models/"))
    with sending(it):
        until_settled(it)
        it.proxy.heal()
        assert it.row(bad.id).state == "parked"
        assert "not this one" in str(it.row(bad.id).reason)
        assert str(code) in str(it.row(bad.id).reason)
        assert sorted(server.models(it.name)) == [each.name for each in others]
        reason = it.row(bad.id).reason
        assert reason is not None
        assert it.outbox.left().reasons == {reason: 1}


def test_an_upload_that_is_lost_on_the_server_while_it_goes_on_is_not_lost_for_us(
    it: Bench, server: Server
) -> None:
    """It begins again, or it is parked with a reason: it does not wait for ever, nor half of it."""
    row = it.request(it.artifact(LARGE))
    it.proxy.always(hang().on("PUT", "/chunked_upload/."))
    with sending(it):
        until(lambda: len(it.ranges()) == 2)
        ((upload, _, _),) = server.uploads(it.name)
        server.forget(upload)
        it.proxy.heal()
        until_settled(it)
    found = it.row(row.id)
    if found.state == "parked":
        assert upload in str(found.reason)
        assert server.models(it.name) == {}
        it.request(Artifact(str(found.uri)))  # as the end of a sweep does
        with sending(it):
            until_settled(it)
    delivered_once(it)


# Files that are gone, or cannot be read


def test_a_model_whose_files_are_gone_is_parked_with_the_reason_and_the_others_go_on(
    it: Bench,
) -> None:
    gone, changed, other = (
        it.request(it.artifact(FILES), f"{it.name}_{what}") for what in ("gone", "changed", "other")
    )
    for row in (gone, changed):
        (Path(str(row.uri)) / "weights.bin").unlink()
    Path(str(gone.uri)).rmdir()
    (Path(str(changed.uri)) / "weights.bin").write_bytes(b"other ones")
    with sending(it):
        until_settled(it)
    assert [it.row(row.id).state for row in (gone, changed, other)] == [
        *("parked", "parked", "delivered")
    ]
    for row in (gone, changed):
        assert it.row(row.id).reason is not None
        assert str(row.uri) in str(it.row(row.id).reason)
    assert list(it.server.models(it.name)) == [other.name]


class Flaky(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no hints
    """A file system that cannot be read for a number of times."""

    cachable = False
    protocol = "flaky"

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures, self.tries = failures, 0

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode == "rb":
            self.tries += 1
            if self.tries <= self.failures:
                raise PermissionError(f"{path}: no credentials now")
        return super().open(path, mode, **options)


def on_flaky(it: Bench, failures: int) -> tuple[Flaky, Artifact]:
    flaky = Flaky(failures)
    flaky.pipe({f"/{it.name}/weights.bin": weights(LARGE)})
    return flaky, Artifact(f"/{it.name}", through_fsspec(flaky))


@pytest.mark.parametrize("failures", [1, MAX_READS - 1, MAX_READS])
def test_a_model_that_cannot_be_read_now_is_tried_a_few_times(it: Bench, failures: int) -> None:
    assert 3 <= MAX_READS <= 10
    flaky, artifact = on_flaky(it, failures)
    row = it.request(artifact)
    with sending(it, is_on=False) as holder:
        holder.know_artifact(row.id, artifact)
        holder.resume()
        until_settled(it)
    assert flaky.tries == min(failures + 1, MAX_READS)
    if failures < MAX_READS:
        delivered_once(it)
    else:
        assert it.row(row.id).state == "parked"
        assert "no credentials now" in str(it.row(row.id).reason)


def test_the_tries_of_a_server_that_was_away_are_not_those_of_the_files(it: Bench) -> None:
    """After an outage the first hiccup of the storage must not give the model up."""
    flaky, artifact = on_flaky(it, 0)
    row = it.request(artifact)
    it.proxy.always(status(503).on("PUT"))
    with sending(it, is_on=False) as holder:
        holder.know_artifact(row.id, artifact)
        holder.resume()
        until(lambda: flaky.tries > MAX_READS)
        flaky.failures = flaky.tries + 1
        until(lambda: flaky.tries >= flaky.failures)
        it.proxy.heal()
        until_settled(it)
    delivered_once(it)


@pytest.mark.parametrize("uri", ["fsspec+nosuch://bucket/model", "nosuch://bucket/model", None])
def test_a_place_that_this_process_cannot_open_is_a_reason(it: Bench, uri: str | None) -> None:
    number = it.outbox.request_model(it.name, {}, {}, parent=None, uri=uri, size=10)
    other = it.request(it.artifact(FILES), f"{it.name}_other")
    with sending(it):
        until_settled(it)
    assert (it.row(number).state, it.row(other.id).state) == ("parked", "delivered")
    assert str(it.row(number).reason).startswith("its files: ")
    assert uri is None or uri in str(it.row(number).reason)


@contextmanager
def away(folder: Path) -> Iterator[None]:
    """A folder that cannot be used as long as the block lasts."""
    kept = folder.with_name(f"{folder.name} is here")
    folder.rename(kept)
    folder.write_text("not a folder")
    try:
        yield
    finally:
        back = folder.with_name(f"{folder.name} is back")
        back.symlink_to(kept)
        back.replace(folder)  # in one step: a holder that looks makes a folder that is missing


def test_an_outbox_that_cannot_be_locked_at_first_is_delivered_later(it: Bench) -> None:
    it.request(it.artifact(LARGE))
    it.outbox.close()
    with sending(it, is_on=False) as holder:
        with away(it.outbox.path.parent):
            holder.resume()
            time.sleep(0.2)
        until(it.outbox.is_empty, 5)
    delivered_once(it)


def test_an_outbox_that_cannot_be_read_for_a_while_is_delivered_later(it: Bench) -> None:
    """Not even while the server is away, too."""
    it.request(it.artifact(LARGE))
    it.proxy.always(status(503))
    with sending(it) as holder:
        until(lambda: len(it.proxy.requests) > 3)
        it.outbox.close()
        with away(it.outbox.path.parent):
            holder._outbox.close()
            time.sleep(0.3)
        it.proxy.heal()
        until_settled(it)
    delivered_once(it)


# Where models lie, and what an upload takes


@pytest.mark.parametrize(
    ("kind", "is_known"),
    [
        *((kind, True) for kind in ("s3", "s3-subtree", "memory", "memory-prefix", "zip")),
        *((kind, False) for kind in ("s3", "s3-subtree", "memory-prefix", "fsspec-prefix")),
    ],
)
def test_a_model_is_streamed_from_where_it_lies_without_a_copy_on_this_disk(
    it: Bench, s3: S3, tmp_path: Path, kind: str, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"weights.bin": weights(2 * CHUNK), "sub/größe.json": b"{}", "empty": b""}
    artifact = stored(kind, tmp_path, s3, files)
    row = it.request(artifact)
    for name, key in zip(("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"), S3_KEYS.values(), strict=False):
        monkeypatch.setenv(f"AWS_{name}", key)
    with sending(it, is_on=False) as holder, written(it.outbox.path.parent) as paths:
        if is_known:
            holder.know_artifact(row.id, artifact)
        holder.resume()
        until_settled(it)
    assert paths == set()
    delivered_once(it, content=files)


_looking: list[tuple[Path, set[str]]] = []


@cache
def _listen() -> None:
    sys.addaudithook(_audit)  # it cannot be taken away again


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        for allowed, paths in _looking:
            if allowed not in Path(str(arguments[0])).parents:
                paths.add(str(arguments[0]))


@contextmanager
def written(allowed: Path) -> Iterator[set[str]]:
    """Which files this process opens to write, but for those below a folder, within the block."""
    _listen()
    looking = (allowed, set[str]())
    _looking.append(looking)
    try:
        yield looking[1]
    finally:
        _looking.remove(looking)


MEMORY = """
stream.CHUNK_BYTES = 50 << 20
writes = []

def audit(event, arguments):
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        writes.append(str(arguments[0]))

def resident(which):
    (line,) = (each for each in open("/proc/self/status") if each.startswith(which))
    return int(line.split()[1]) << 10

folder = tempfile.gettempdir()
before, start = os.stat(folder).st_mtime_ns, resident("VmRSS")
sys.addaudithook(audit)
tracemalloc.start()
holder.resume()
while outbox.waiting_models():
    time.sleep(0.1)
print(json.dumps({
    "peak": tracemalloc.get_traced_memory()[1],
    "resident": resident("VmHWM") - start,
    "writes": [each for each in writes if "/outbox/" not in each],
    "temporary": os.listdir(folder),
    "is_untouched": os.stat(folder).st_mtime_ns == before,
}), flush=True)
"""


@pytest.mark.parametrize(("models", "size"), [(1, 210 << 20), (2, 80 << 20)])
def test_an_upload_takes_the_memory_of_a_chunk_and_no_disk_whatever_the_size(
    server: Server, tmp_path: Path, models: int, size: int
) -> None:
    with bench(server, tmp_path, is_direct=True) as it:
        for number in range(models):
            artifact = it.artifact({"weights.bin": b""})
            os.truncate(Path(str(artifact.path)) / "weights.bin", size)
            it.request(artifact, f"{it.name}_{number}")
        temporary = tmp_path / "tmp"
        temporary.mkdir()
        with process(prepared(it) + MEMORY, TMPDIR=str(temporary)) as running:
            found = json.loads(said(running))
        assert len(server.models(it.name)) == models
        chunks = 1.3 * models * (50 << 20)  # each with the slack of a growing buffer
        assert found["peak"] < chunks
        assert found["resident"] < chunks + (16 << 20)
        assert (found["writes"], found["temporary"], found["is_untouched"]) == ([], [], True)
        for path in (server.home / "uploads").iterdir():
            if path.stat().st_size > size:
                path.unlink()  # they would only take the disk
