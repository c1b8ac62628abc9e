"""One upload of one archive to a served backend, through everything that can go wrong."""

import contextlib
import io
import os
import random
import re
import sqlite3
import threading
import time
import uuid
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ray_synapse.archive import Archive
from ray_synapse.artifact import Artifact, ModelFile, identity
from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.backend.database import DATABASE
from ray_synapse.backend.http import Credentials, HttpApi, client, connection
from ray_synapse.delivery import stream, uploader
from ray_synapse.delivery.outbox.base import outbox_path
from ray_synapse.delivery.outbox.models import ModelRow
from ray_synapse.delivery.outbox.outbox import Outbox
from ray_synapse.delivery.stream import CHUNK_BYTES, PausedError, UploadStream
from ray_synapse.errors import BackendError, NotFoundError
from tests.exchanges import Exchange, Seen
from tests.faults import (
    Fault,
    cut,
    cut_request,
    drip,
    garbage,
    hang,
    hang_after,
    lost,
    made,
    refuse,
    status,
    status_after,
)
from tests.proxy import Proxy
from tests.serving import served
from tests.storage import folder
from tests.synapse import make_job

CHUNK = 1 << 20  # here: an archive is read in pieces of as many
SETTLE_S = (0.01, 0.02, 0.03, 0.04, 0.05)
ANSWER_S = 0.25  # of silence, where something hangs
KEYS = pytest.mark.parametrize("strip_keys", [False, True], ids=["keys", "no-keys"])

Files = dict[str, bytes]


def weights(size: int, seed: object = "weights") -> bytes:
    """Bytes of which no two parts are alike."""
    return random.Random(str(seed)).randbytes(size)


def unpacked(archive: Path) -> Files:
    """The files in a zip archive, whose checksums must be right."""
    with zipfile.ZipFile(archive) as bundle:
        assert bundle.testzip() is None
        return {name: bundle.read(name) for name in bundle.namelist()}


class Server(NamedTuple):
    """A server, and what it has kept."""

    url: str
    home: Path

    def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        """What its database says."""
        with contextlib.closing(sqlite3.connect(self.home / DATABASE)) as db:
            return db.execute(query, arguments).fetchall()

    def uploads(self, name: str) -> list[tuple[str, int, bool]]:
        """Of each upload of that model: its id, how many bytes came, whether it has ended."""
        query = "SELECT id, offset, completed_at IS NOT NULL FROM uploads WHERE filename = ?"
        return [(id, offset, bool(ended)) for id, offset, ended in self.rows(query, f"{name}.zip")]

    def uploaded(self, upload: str) -> Files:
        """The files in what was uploaded."""
        return unpacked(EmbeddedApi(self.home).finished_upload(upload))

    def models(self, name: str) -> dict[str, dict[str, Any]]:
        """Each model whose name begins like that, by its whole name."""
        api = EmbeddedApi(self.home)
        names = self.rows(
            "SELECT name, id FROM models WHERE substr(name, 1, ?) = ?", len(name), name
        )
        return {each: api.get_model(id) for each, id in names}

    def content(self, model: int | str) -> Files:
        """The files of a model."""
        return unpacked(EmbeddedApi(self.home).model_archive(str(model)))

    def forget(self, upload: str) -> None:
        """Remove an upload, as a server does with those that nobody went on with."""
        with contextlib.closing(sqlite3.connect(self.home / DATABASE)) as db, db:
            db.execute("DELETE FROM uploads WHERE id = ?", (upload,))
        (self.home / "uploads" / upload).unlink()


class Bench:
    """A job on a server behind a proxy, and an outbox with models for it."""

    def __init__(self, server: Server, proxy: Proxy, path: Path, host: str) -> None:
        self.server, self.proxy, self.path, self.host = server, proxy, path, host
        self.job = make_job(server.url)
        self.api = HttpApi(self.credentials)
        self.name = f"digits_{uuid.uuid4().hex[:8]}"
        self.outbox = self.open_outbox()

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.host)

    def open_outbox(self) -> Outbox:
        """The outbox with connections of its own, as in another process."""
        return Outbox(outbox_path(self.path / "home", self.host, self.job), self.job)

    def artifact(self, files: Files | int) -> Artifact:
        """A model on this disk; for a number, one of so many bytes."""
        if isinstance(files, int):
            files = {"weights.bin": weights(files)}
        return Artifact(str(folder(self.path / uuid.uuid4().hex, files)))

    def request(
        self, artifact: Artifact, name: str | None = None, *, parent: int | str | None = None
    ) -> ModelRow:
        """Have a model delivered, as a sweep does whose trial has completed."""
        files = artifact.files()
        number = self.outbox.request_model(
            name or self.name,
            identity(artifact, files),
            {"trial": "a"},
            parent=parent,
            uri=artifact.uri(),
            size=sum(file.size for file in files),
        )
        return self.row(number)

    def row(self, number: int) -> ModelRow:
        """What the outbox knows of a model."""
        (row,) = (each for each in self.outbox.models() if each.id == number)
        return row

    def stream(
        self, model: ModelRow, archive: Archive, pause: threading.Event | None = None
    ) -> UploadStream:
        wait = (pause or threading.Event()).wait
        return UploadStream(self.outbox, self.api, wait, model, archive, f"{self.name}.zip")

    def send(self, size: int) -> tuple[str, int]:
        """Upload a model of that size. Returns the upload's id and the archive's size."""
        artifact = self.artifact(size)
        row = self.request(artifact)
        archive = archive_of(artifact)
        upload = self.stream(row, archive).send()
        assert self.server.uploaded(upload) == {"weights.bin": weights(size)}
        row = self.row(row.id)
        assert (row.upload, row.uploaded) == (upload, True)
        assert row.sent == row.size == archive.size
        return upload, archive.size

    def requests(self, method: str, path: str = "") -> list[Seen]:
        """Those that came, by their method and how their path begins."""
        return [
            each
            for each in self.proxy.requests
            if each.method == method and re.match(path, each.path)
        ]

    def ranges(self) -> list[tuple[int, int, int]]:
        """Of each chunk that came, in that order: first and last byte, and how many in all."""
        return [range_of(each) for each in self.requests("PUT", "/chunked_upload/")]


@contextlib.contextmanager
def bench(
    server: Server, path: Path, *, strip_keys: bool = False, is_direct: bool = False
) -> Iterator[Bench]:
    """A bench for one test; with ``is_direct`` nothing goes through its proxy."""
    with Proxy(server.url, strip_keys=strip_keys) as proxy:
        made = Bench(server, proxy, path, server.url if is_direct else proxy.url)
        try:
            yield made
        finally:
            proxy.heal()
            made.api.close()


def range_of(seen: Seen) -> tuple[int, int, int]:
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", seen.headers["Content-Range"])
    assert found is not None
    return int(found[1]), int(found[2]), int(found[3])


def expected_ranges(total: int, offset: int = 0) -> list[tuple[int, int, int]]:
    """The chunks of an archive from an offset on, if nothing goes wrong."""
    firsts = [offset, *range((offset // CHUNK + 1) * CHUNK, total, CHUNK)]
    return [(first, min(first // CHUNK * CHUNK + CHUNK, total) - 1, total) for first in firsts]


def archive_of(artifact: Artifact) -> Archive:
    return Archive(artifact.files(), artifact.open)


def size_of_model(total: int) -> int:
    """Of how many bytes the one file must be for an archive of so many."""
    return total - Archive([ModelFile("weights.bin", "", 0)], Artifact("").open).size


def once_for_each(fault: Fault) -> Fault:
    """The fault happens to the first request with each range, so to every chunk once."""
    met = set[str]()

    def act(it: Exchange) -> None:
        span = it.seen.headers["Content-Range"]
        if span not in met:
            met.add(span)
            fault.act(it)
        else:
            it.seen.fault = None
            it.relay(it.body())

    return Fault(f"{fault.name} once", act).on("PUT", "/chunked_upload/")


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks and waits of a size for tests."""
    monkeypatch.setattr(stream, "CHUNK_BYTES", CHUNK)
    monkeypatch.setattr(stream, "NOTE_EVERY_S", 0.0)
    monkeypatch.setattr(stream, "SETTLE_S", SETTLE_S)
    monkeypatch.setattr(uploader, "SETTLE_S", SETTLE_S)


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client does not wait long for an answer."""
    monkeypatch.setattr(connection, "READ_S", ANSWER_S)
    monkeypatch.setattr(client, "FINISH_S", ANSWER_S)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("server")
    with served(home) as process:
        yield Server(process.url, home)


# Nothing goes wrong


def test_a_chunk_is_as_large_as_the_published_clients() -> None:
    assert CHUNK_BYTES == 50 << 20


@pytest.mark.parametrize("total", [500, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + CHUNK // 2])
def test_an_archive_goes_in_chunks_one_after_the_other(
    server: Server, tmp_path: Path, total: int
) -> None:
    with bench(server, tmp_path) as it:
        upload, size = it.send(size_of_model(total))
        assert size == total
        assert it.ranges() == expected_ranges(total)
        assert server.uploads(it.name) == [(upload, total, True)]
        puts = it.requests("PUT")
        assert puts[0].path == "/chunked_upload/"
        assert {each.path for each in puts[1:]} <= {f"/chunked_upload/{upload}/"}
        keys = [each.headers["Idempotency-Key"] for each in (*puts, *it.requests("POST"))]
        assert len(set(keys)) == len(puts) + 1
        assert it.requests("GET") == []  # nothing had to be asked


@pytest.mark.parametrize(
    "files",
    [
        {"model.pt": b"weights", "sub/größe.json": b"{}", "empty": b""},
        {"empty": b""},
        {f"part-{number}": weights(200_000, number) for number in range(12)},
    ],
    ids=["folders", "empty", "many"],
)
def test_any_model_arrives_as_a_zip_archive_with_its_files(
    server: Server, tmp_path: Path, files: Files
) -> None:
    with bench(server, tmp_path) as it:
        artifact = it.artifact(files)
        upload = it.stream(it.request(artifact), archive_of(artifact)).send()
        assert server.uploaded(upload) == files


def test_who_waits_sees_the_bytes_of_a_chunk_move_before_it_is_confirmed(
    server: Server, tmp_path: Path
) -> None:
    """Else a chunk of 50 MiB on a slow line would look like no progress."""
    with bench(server, tmp_path) as it, ThreadPoolExecutor(1) as pool:
        artifact = it.artifact(2 * CHUNK)
        row, before = it.request(artifact), it.outbox.progress()
        it.proxy.script(hang().on("PUT"))
        pool.submit(it.stream(row, archive_of(artifact)).send)
        give_up = time.monotonic() + 10
        while it.row(row.id).sent < CHUNK:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        assert server.uploads(it.name) == []
        assert it.outbox.progress() != before
        it.proxy.heal()


# A chunk does not get through

PROCESSED = (lost(), cut(), garbage(), status_after(500))
NOT_PROCESSED = (cut_request(CHUNK // 2), refuse(), status(500), status(503))


@KEYS
@pytest.mark.parametrize("fault", NOT_PROCESSED, ids=lambda fault: fault.name)
def test_a_chunk_that_does_not_get_through_is_sent_again_and_no_other(
    server: Server, tmp_path: Path, fault: Fault, strip_keys: bool
) -> None:
    with bench(server, tmp_path, strip_keys=strip_keys) as it:
        it.proxy.always(once_for_each(fault))
        upload, total = it.send(size_of_model(3 * CHUNK + 77))
        twice = [each for each in expected_ranges(total) for _ in range(2)]
        assert it.ranges() == twice
        assert server.uploads(it.name) == [(upload, total, True)]


@KEYS
@pytest.mark.parametrize("fault", PROCESSED, ids=lambda fault: fault.name)
def test_a_chunk_whose_answer_is_lost_is_settled_by_asking(
    server: Server, tmp_path: Path, fault: Fault, strip_keys: bool
) -> None:
    """Only the first one is sent again: nobody can ask for an upload whose id is not known."""
    with bench(server, tmp_path, strip_keys=strip_keys) as it:
        it.proxy.always(once_for_each(fault))
        upload, total = it.send(size_of_model(3 * CHUNK + 77))
        first, *others = expected_ranges(total)
        assert it.ranges() == [first, first, *others]
        first_keys = {each.headers["Idempotency-Key"] for each in it.requests("PUT")[:2]}
        assert len(first_keys) == 1
        abandoned = [each for each in server.uploads(it.name) if each[0] != upload]
        assert [each[1:] for each in abandoned] == [(CHUNK, False)] * strip_keys


@KEYS
@pytest.mark.parametrize("fault", [hang(), hang_after()], ids=lambda fault: fault.name)
@pytest.mark.usefixtures("impatience")
def test_a_chunk_that_is_never_answered_holds_nothing_up(
    server: Server, tmp_path: Path, fault: Fault, strip_keys: bool
) -> None:
    with bench(server, tmp_path, strip_keys=strip_keys) as it:
        it.proxy.always(once_for_each(fault))
        it.send(size_of_model(CHUNK + 77))


def test_a_slow_answer_is_waited_for(server: Server, tmp_path: Path) -> None:
    with bench(server, tmp_path) as it:
        it.proxy.always(drip(0.2))
        _, total = it.send(size_of_model(CHUNK + 77))
        assert it.ranges() == expected_ranges(total)


@KEYS
@pytest.mark.parametrize("at", ["first", "middle", "last"])
def test_a_chunk_that_fails_several_times_gets_through(
    server: Server, tmp_path: Path, at: str, strip_keys: bool
) -> None:
    with bench(server, tmp_path, strip_keys=strip_keys) as it:
        spans = expected_ranges(3 * CHUNK + 77)
        chosen = {"first": 0, "middle": 1, "last": -1}[at]
        faults = [cut_request(CHUNK // 3), status(503), lost()]

        def act(act_of: Exchange) -> None:
            if range_of(act_of.seen) == spans[chosen] and faults:
                faults.pop(0).act(act_of)
            else:
                act_of.seen.fault = None
                act_of.relay(act_of.body())

        it.proxy.always(Fault("several", act).on("PUT"))
        it.send(size_of_model(3 * CHUNK + 77))
        assert faults == []


def test_a_server_that_does_not_come_back_is_given_up_and_what_it_has_is_remembered(
    server: Server, tmp_path: Path
) -> None:
    with bench(server, tmp_path) as it:
        artifact = it.artifact(3 * CHUNK)
        row, total = it.request(artifact), archive_of(artifact).size
        it.proxy.script(None, None)
        it.proxy.always(refuse())
        with pytest.raises(BackendError):
            it.stream(row, archive_of(artifact)).send()
        tried = it.ranges()
        assert tried[:3] == expected_ranges(total)[:3]
        assert len(it.proxy.requests) <= 2 + len(SETTLE_S) + 1
        row = it.row(row.id)
        assert row.upload is not None
        it.proxy.heal()
        assert it.stream(row, archive_of(artifact)).send() == row.upload
        assert it.ranges()[len(tried) :] == expected_ranges(total)[2:]
        assert server.uploaded(row.upload) == {"weights.bin": weights(3 * CHUNK)}


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_server_that_asks_to_wait_is_left_alone_for_so_long(
    server: Server, tmp_path: Path, method: str
) -> None:
    with bench(server, tmp_path) as it:
        it.proxy.script(status(429, headers={"Retry-After": "1"}).on(method))
        started = time.monotonic()
        _, total = it.send(size_of_model(CHUNK))
        assert time.monotonic() - started > 0.9
        assert len(it.ranges()) + len(it.requests("POST")) == len(expected_ranges(total)) + 2


def test_who_is_to_end_does_not_wait_for_the_server(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "SETTLE_S", (60.0,))
    pause = threading.Event()

    def act(exchange: Exchange) -> None:
        pause.set()
        exchange.send(made(503))

    with bench(server, tmp_path) as it:
        artifact = it.artifact(CHUNK)
        it.proxy.always(Fault("pause", act))
        with pytest.raises((BackendError, PausedError)):
            it.stream(it.request(artifact), archive_of(artifact), pause).send()
        assert len(it.proxy.requests) == 1


def test_who_is_to_end_makes_place_at_once_and_the_next_one_goes_on_there(
    server: Server, tmp_path: Path
) -> None:
    pause = threading.Event()

    def act(exchange: Exchange) -> None:
        pause.set()
        exchange.relay(exchange.body())

    with bench(server, tmp_path) as it:
        artifact = it.artifact(3 * CHUNK)
        row, total = it.request(artifact), archive_of(artifact).size
        it.proxy.always(Fault("pause", act).on("PUT", "/chunked_upload/."))
        with pytest.raises(PausedError):
            it.stream(row, archive_of(artifact), pause).send()
        before = it.ranges()
        assert before == expected_ranges(total)[:2]
        assert it.requests("POST") == []
        ((upload, offset, _),) = server.uploads(it.name)
        it.proxy.heal()
        assert it.stream(it.row(row.id), archive_of(artifact)).send() == upload
        assert it.ranges()[len(before) :] == expected_ranges(total, offset)


@pytest.mark.parametrize("code", [400, 401, 409, 413])
def test_a_chunk_that_is_refused_is_not_sent_again(
    server: Server, tmp_path: Path, code: int
) -> None:
    with bench(server, tmp_path) as it:
        artifact = it.artifact(2 * CHUNK)
        it.proxy.script(None, status(code, {"detail": "not like that"}))
        with pytest.raises(BackendError, match="not like that") as caught:
            it.stream(it.request(artifact), archive_of(artifact)).send()
        assert caught.value.status == code
        assert len(it.proxy.requests) == 2


# The end of an upload


@KEYS
@pytest.mark.parametrize("fault", PROCESSED, ids=lambda fault: fault.name)
def test_an_end_whose_answer_is_lost_is_settled_by_asking(
    server: Server, tmp_path: Path, fault: Fault, strip_keys: bool
) -> None:
    with bench(server, tmp_path, strip_keys=strip_keys) as it:
        it.proxy.script(fault.on("POST"))
        upload, total = it.send(size_of_model(CHUNK + 77))
        assert len(it.requests("POST")) == 1
        assert [each.path for each in it.requests("GET")] == [f"/chunked_upload/{upload}/"]
        assert it.ranges() == expected_ranges(total)
        assert len(server.uploads(it.name)) == 1


@pytest.mark.usefixtures("impatience")
def test_an_end_that_the_server_works_at_for_long_is_waited_for(
    server: Server, tmp_path: Path
) -> None:
    """It was seen to finish up to 17 s after its client gave up: it says so when it is asked."""
    with bench(server, tmp_path) as it:
        not_yet = {"id": "x", "offset": CHUNK, "completed_at": None}
        it.proxy.script(hang_after().on("POST"), *[status(200, not_yet).on("GET")] * 3)
        _, total = it.send(size_of_model(CHUNK))
        assert len(it.requests("POST")) == 1
        assert len(it.requests("GET")) == 4
        assert it.ranges() == expected_ranges(total)


@KEYS
@pytest.mark.parametrize("fault", NOT_PROCESSED[1:], ids=lambda fault: fault.name)
def test_an_end_that_does_not_get_through_costs_no_chunk(
    server: Server, tmp_path: Path, fault: Fault, strip_keys: bool
) -> None:
    with bench(server, tmp_path, strip_keys=strip_keys) as it:
        artifact = it.artifact(CHUNK + 77)
        row = it.request(artifact)
        it.proxy.script(fault.on("POST"))
        with contextlib.suppress(BackendError):
            it.stream(row, archive_of(artifact)).send()
        row = it.row(row.id)
        assert row.upload is not None
        assert it.stream(row, archive_of(artifact)).send() == row.upload
        assert it.ranges() == expected_ranges(archive_of(artifact).size)
        assert server.uploaded(row.upload) == {"weights.bin": weights(CHUNK + 77)}


def test_an_end_that_is_refused_since_it_has_worked_before_is_an_end(
    server: Server, tmp_path: Path
) -> None:
    """The contract does not say that it may be repeated, but how it is settled: by asking."""
    with bench(server, tmp_path) as it:
        not_yet = {"id": "x", "offset": CHUNK, "completed_at": None}
        over = status_after(400, {"detail": "The upload has ended."})
        it.proxy.script(status(500).on("POST"), over.on("POST"), status(200, not_yet).on("GET"))
        _, total = it.send(size_of_model(CHUNK))
        assert it.ranges() == expected_ranges(total)
        assert len(server.uploads(it.name)) == 1


# An upload that another process has begun


@pytest.mark.parametrize("offset", [10, CHUNK, CHUNK + 1, 2 * CHUNK + CHUNK // 2])
def test_an_upload_goes_on_at_whatever_offset_the_server_has(
    server: Server, tmp_path: Path, offset: int
) -> None:
    with bench(server, tmp_path) as it:
        artifact = it.artifact(3 * CHUNK)
        row, total = it.request(artifact), archive_of(artifact).size
        begun = b"".join(archive_of(artifact).pieces())[:offset]
        span = f"bytes 0-{offset - 1}/{total}"
        upload = it.api.put_chunk(None, f"{it.name}.zip", span, begun)
        it.outbox.set_model(row.id, upload=upload["id"])
        assert it.stream(it.row(row.id), archive_of(artifact)).send() == upload["id"]
        assert it.ranges()[1:] == expected_ranges(total, offset)
        assert server.uploaded(upload["id"]) == {"weights.bin": weights(3 * CHUNK)}


def test_an_upload_that_has_all_its_bytes_is_only_ended(server: Server, tmp_path: Path) -> None:
    with bench(server, tmp_path) as it:
        artifact = it.artifact(CHUNK)
        row = it.request(artifact)
        it.proxy.script(status(401).on("POST"))
        with pytest.raises(BackendError, match="401"):
            it.stream(row, archive_of(artifact)).send()
        sent = it.ranges()
        it.stream(it.row(row.id), archive_of(artifact)).send()
        assert it.ranges() == sent


def test_an_upload_that_has_ended_reads_no_file(server: Server, tmp_path: Path) -> None:
    def never(file: ModelFile) -> Any:
        raise AssertionError(file)

    with bench(server, tmp_path) as it:
        upload, total = it.send(CHUNK)
        (row,) = it.outbox.models()
        it.outbox.set_model(row.id, uploaded=0, sent=0)
        before = len(it.proxy.requests)
        files = archive_of(it.artifact(CHUNK))._files
        assert it.stream(it.row(row.id), Archive(files, never)).send() == upload
        assert [each.method for each in it.proxy.requests[before:]] == ["GET"]
        assert (it.row(row.id).uploaded, it.row(row.id).sent) == (True, total)


def test_an_upload_that_the_server_does_not_know_is_an_error_before_anything_is_sent(
    server: Server, tmp_path: Path
) -> None:
    with bench(server, tmp_path) as it:
        artifact = it.artifact(CHUNK)
        row = replace(it.request(artifact), upload=str(uuid.uuid4()))
        with pytest.raises(NotFoundError, match="does not exist"):
            it.stream(row, archive_of(artifact)).send()
        assert it.ranges() == []


def test_a_server_that_has_lost_what_it_had_is_sent_no_archive_with_a_hole(
    server: Server, tmp_path: Path
) -> None:
    with bench(server, tmp_path) as it:
        artifact = it.artifact(3 * CHUNK)
        row = it.request(artifact)
        it.proxy.script(None, None, status(503).on("PUT"), status(200, {"offset": 5}).on("GET"))
        it.proxy.always(status(200, {"offset": 5}).on("GET"))
        with pytest.raises(NotFoundError, match="lost what was sent before"):
            it.stream(row, archive_of(artifact)).send()
        assert len(it.requests("POST")) == 0


# The files


def test_a_file_that_changes_on_the_way_is_an_error_and_no_archive(
    server: Server, tmp_path: Path
) -> None:
    with bench(server, tmp_path) as it:
        artifact = it.artifact(3 * CHUNK)
        row, archive = it.request(artifact), archive_of(artifact)
        os.truncate(Path(str(artifact.path)) / "weights.bin", 2 * CHUNK)
        with pytest.raises(OSError, match="changed while it was read"):
            it.stream(row, archive).send()
        assert it.requests("POST") == []
        assert not it.row(row.id).uploaded


def test_each_file_is_read_once_whatever_goes_wrong(server: Server, tmp_path: Path) -> None:
    """A stream out of an object store cannot go back, and costs each time."""
    files = {name: weights(CHUNK, name) for name in "abc"}
    opened: list[str] = []

    def open_file(file: ModelFile) -> io.BytesIO:
        opened.append(file.name)
        return io.BytesIO(files[file.name])

    with bench(server, tmp_path) as it:
        row = it.request(it.artifact(files))
        it.proxy.always(once_for_each(lost()))
        archive = Archive([ModelFile(name, name, CHUNK) for name in files], open_file)
        assert server.uploaded(it.stream(row, archive).send()) == files
        assert opened == list(files)
