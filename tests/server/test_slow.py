"""Clients that are slow or silent, and those that must not wait for them."""

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ray_synapse.backend.local import LocalBackend
from tests.server.clients import (
    END,
    ENTRY,
    JSON,
    MULTIPART,
    WAIT_S,
    answer,
    client_of,
    comes_true,
    connected,
    head,
    made_job,
    open_in,
    part,
    rest,
    started,
    uploaded,
)
from tests.serving import Served, served

MIB = 1 << 20
CLIENTS = 45  # more than the server has threads
HALVES = {
    "nothing": b"",
    "half-a-head": b"POST /logs/ HTTP/1.1\r\nHost: localh",
    "a-head": head("POST", "/logs/", Content_Length=1000, **JSON),
    "half-a-body": head("POST", "/logs/", Content_Length=1000, **JSON) + b'[{"event": ',
    "half-a-chunk": head(
        "PUT",
        "/chunked_upload/",
        Content_Length=3000,
        **MULTIPART,
        **{"Content-Range": "bytes 0-1999/4000"},
    )
    + part("file", b"x" * 1000),
    "half-a-refused-body": head("POST", "/nothing/", Content_Length=1000, **JSON) + b"[",
}
IMPATIENT = """
from ray_synapse.server import guard, patience, serve
guard.SILENCE_S = patience.HEAD_S = patience.UNREAD_S = 2
serve.KEEP_ALIVE_S = 5
"""


class Big(NamedTuple):
    """Two answers that no buffer of a socket holds: paths on the server."""

    file: str
    json: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("home")) as server:
        yield server
    assert not any("Please report" in line or "Traceback" in line for line in server.lines), (
        server.lines
    )


@pytest.fixture(scope="module")
def impatient_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def impatient(impatient_home: Path) -> Iterator[Served]:
    """A server that waits for a second where others wait for a minute."""
    with started(impatient_home, "--port=0", before=IMPATIENT) as server:
        yield server
    assert not any("Please report" in line or "Traceback" in line for line in server.lines), (
        server.lines
    )


def big(server: Served) -> Big:
    job = made_job(server)
    with client_of(server) as client:
        client.patch(f"/jobs/{job}/", json={"meta": "x" * (12 * MIB)}).raise_for_status()
        link = str(uploaded(client, "f", b"x" * (12 * MIB))["file"])
    return Big(link.removeprefix(server.url), f"/jobs/{job}/")


@pytest.fixture(scope="module")
def big_here(server: Served) -> Big:
    return big(server)


@pytest.fixture(scope="module")
def big_there(impatient: Served) -> Big:
    return big(impatient)


def others_are_answered(server: Served) -> bool:
    """Whether reads, writes and uploads work, each on a connection of its own."""
    job = made_job(server)
    with client_of(server) as client:
        return (
            client.post("/logs/", json={**ENTRY, "job": job}).status_code == 201
            and client.get(f"/jobs/{job}/").status_code == 200
            and client.get(str(uploaded(client, "f", b"abc")["file"])).content == b"abc"
        )


def sockets_of(server: Served) -> int:
    return open_in(server, "socket:")


def memory_of(server: Served) -> int:
    """The most memory that the server has had."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


class TestOthers:
    @pytest.mark.parametrize("sent", HALVES.values(), ids=HALVES)
    def test_clients_that_stop_in_the_middle_do_not_stop_others(
        self, server: Served, sent: bytes
    ) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(CLIENTS):
                stack.enter_context(connected(server)).sendall(sent)
            assert others_are_answered(server)

    def test_clients_that_never_read_their_download_do_not_stop_others(
        self, server: Served, big_here: Big
    ) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(CLIENTS):
                sock = stack.enter_context(connected(server, 4096))
                sock.sendall(head("GET", big_here.file))
                assert sock.recv(100)
            assert others_are_answered(server)

    def test_a_client_that_never_reads_its_big_answer_does_not_stop_others(
        self, server: Served, big_here: Big
    ) -> None:
        with connected(server, 4096) as sock:
            sock.sendall(head("GET", big_here.json))
            assert sock.recv(100)
            assert others_are_answered(server)

    def test_a_client_that_sends_byte_by_byte_is_answered(self, server: Served) -> None:
        body = b'{"name": "slowly"}'
        with connected(server) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in head("POST", "/jobs/", Content_Length=len(body), **JSON) + body:
                sock.sendall(bytes([byte]))
                time.sleep(0.001)
            assert answer(sock).status == 201

    def test_requests_that_come_before_the_answers_are_answered_in_order(
        self, server: Served
    ) -> None:
        with connected(server) as sock:
            paths = ["/plugin_releases/1/", "/nothing/", "/models/"] * 3
            sock.sendall(b"".join(head("GET", path) for path in paths))
            found = b""
            while found.count(b"HTTP/1.1 ") < len(paths):
                found += sock.recv(1 << 16)
        statuses = [each[:3] for each in found.split(b"HTTP/1.1 ")[1:]]
        assert statuses == [b"200", b"404", b"200"] * 3

    def test_a_chunk_whose_connection_hangs_can_be_sent_again(self, server: Served) -> None:
        with client_of(server) as client:
            first = client.put(
                "/chunked_upload/",
                data={"filename": "f"},
                files={"file": b"a" * 1000},
                headers={"Content-Range": "bytes 0-999/3000"},
            ).json()
            path = f"/chunked_upload/{first['id']}/"
            with connected(server) as sock:
                span = {"Content-Range": "bytes 1000-2999/3000"}
                sock.sendall(head("PUT", path, Content_Length=4000, **MULTIPART, **span))
                sock.sendall(part("file", b"X" * 1500))
                assert comes_true(lambda: open_in(server, ".part") == 1)
                again = client.put(path, files={"file": b"b" * 2000}, headers=span)
                assert again.json()["offset"] == 3000
            md5 = hashlib.md5(b"a" * 1000 + b"b" * 2000).hexdigest()
            assert client.post(path, json={"md5": md5}).json()["completed_at"]

    def test_those_who_page_through_a_lot_and_those_who_write_do_not_hinder_each_other(
        self, tmp_path: Path
    ) -> None:
        backend, count = LocalBackend(tmp_path), 300
        jobs = [backend.create_job(f"job{i}", {}) for i in range(count)]
        with served(tmp_path) as server:
            written = threading.Event()
            passes: list[int] = []

            def page_through() -> None:
                with client_of(server) as client:
                    while not written.is_set() or not passes:
                        url, seen = "/jobs/?page_size=20", list[int]()
                        while url:
                            page = client.get(url).raise_for_status().json()
                            seen += [job["id"] for job in page["results"]]
                            url = page["next"]
                        assert seen == sorted(jobs, reverse=True)
                        passes.append(len(seen))

            readers = [threading.Thread(target=page_through) for _ in range(2)]
            for reader in readers:
                reader.start()
            with client_of(server) as client:
                for i in range(100):
                    entries = [{**ENTRY, "job": jobs[i], "data": {"n": n}} for n in range(10)]
                    assert client.post("/logs/", json=entries).status_code == 201
                    progress = client.patch(f"/jobs/{jobs[i]}/", json={"meta": i})
                    assert progress.json()["meta"] == i
            written.set()
            for reader in readers:
                reader.join(WAIT_S)
            assert passes
            assert set(passes) == {count}


class TestEnd:
    def test_a_connection_that_asks_for_nothing_is_closed(self, impatient: Served) -> None:
        with connected(impatient) as silent, connected(impatient) as half:
            half.sendall(HALVES["half-a-head"])
            assert b"200 OK" not in rest(silent) + rest(half)

    def test_a_connection_that_stops_in_a_later_head_is_closed(self, impatient: Served) -> None:
        with connected(impatient) as sock:
            sock.settimeout(8)
            sock.sendall(head("GET", "/jobs/"))
            assert answer(sock).status == 200
            sock.sendall(HALVES["half-a-head"])
            assert b"200 OK" not in rest(sock)

    def test_a_connection_between_two_requests_stays_open(self, impatient: Served) -> None:
        with connected(impatient) as sock:
            sock.sendall(head("GET", "/models/"))
            assert answer(sock).status == 200
            time.sleep(2.5)
            sock.sendall(head("GET", "/models/"))
            assert answer(sock).status == 200

    def test_a_request_that_does_not_come_to_its_end_is_told_so_and_leaves_nothing(
        self, impatient: Served, impatient_home: Path
    ) -> None:
        with contextlib.ExitStack() as stack:
            before = sorted(impatient_home.glob("uploads/*"))
            socks = [stack.enter_context(connected(impatient)) for _ in range(3)]
            for sock, sent in zip(socks, ("a-head", "half-a-body", "half-a-chunk"), strict=True):
                sock.sendall(HALVES[sent])
            for sock in socks:
                told = answer(sock)
                assert told.status == 408
                assert told.json()["detail"]
                assert told.headers["idempotency-key-honoured"] == "true"
                assert rest(sock) == b""
            assert sorted(impatient_home.glob("uploads/*")) == before

    def test_a_refused_request_that_does_not_come_to_its_end_is_told_why_and_closed(
        self, impatient: Served
    ) -> None:
        with contextlib.ExitStack() as stack:
            places = ("/nothing/", "localhost"), ("/jobs/1/", "localhost"), ("/jobs/", "evil.test")
            socks = [stack.enter_context(connected(impatient)) for _ in places]
            for sock, (path, host) in zip(socks, places, strict=True):
                sock.sendall(head("POST", path, host, Content_Length=1000, **JSON) + b"[")
            told = [answer(sock) for sock in socks]
            assert [each.status for each in told] in ([404, 405, 400], [408, 408, 408])
            assert all(each.json()["detail"] for each in told)
            assert all(rest(sock) == b"" for sock in socks)

    @pytest.mark.parametrize("kind", ["file", "json"])
    def test_a_client_that_never_reads_its_answer_is_let_go(
        self, impatient: Served, big_there: Big, kind: str
    ) -> None:
        assert comes_true(lambda: sockets_of(impatient) <= 5)
        before = sockets_of(impatient)
        with connected(impatient, 4096) as sock:
            sock.sendall(head("GET", getattr(big_there, kind)))
            assert sock.recv(100)
            assert sockets_of(impatient) > before
            assert comes_true(lambda: sockets_of(impatient) <= before)

    def test_a_client_that_reads_slowly_but_steadily_gets_its_whole_answer(
        self, impatient: Served, big_there: Big
    ) -> None:
        with connected(impatient, 1 << 16) as sock:
            sock.sendall(head("GET", big_there.json, Connection="close"))
            size = 0
            while piece := sock.recv(1 << 16):
                size += len(piece)
                time.sleep(0.015)  # three seconds in all
        assert size > 12 * MIB

    def test_no_client_that_goes_away_is_taken_for_a_fault_of_the_server(
        self, tmp_path: Path
    ) -> None:
        with started(tmp_path, "--port=0", before=IMPATIENT) as server:
            paths = big(server)
            for kind in paths:
                with connected(server, 4096) as sock:  # goes while it is answered
                    sock.sendall(head("GET", kind))
                    sock.recv(100)
            for sent in HALVES.values():
                with connected(server) as sock:  # goes while it asks
                    sock.sendall(sent)
            with connected(server) as sock, connected(server, 4096) as reader:  # are silent
                sock.sendall(HALVES["half-a-refused-body"])
                reader.sendall(head("GET", paths.file))
                rest(sock)
                time.sleep(0.5)
            assert server.stop() == 0
        assert not [line for line in server.lines if "Please report" in line or "Traceback" in line]


class TestMemory:
    def test_a_large_file_goes_up_and_down_without_being_in_memory(self, tmp_path: Path) -> None:
        size, step, block = 300 * MIB, 50 * MIB, bytes(range(256)) * 4096
        digest = hashlib.md5()

        def body(length: int) -> Iterator[bytes]:
            yield part("filename", b"model.zip") + part("file", b"")[:-2]
            for _ in range(length // MIB):
                digest.update(block)
                yield block
            yield b"\r\n" + END

        with served(tmp_path) as server, client_of(server) as client:
            made_job(server)
            before, url = memory_of(server), "/chunked_upload/"
            for first in range(0, size, step):
                span = {"Content-Range": f"bytes {first}-{first + step - 1}/{size}"}
                state = client.put(url, content=body(step), headers={**MULTIPART, **span})
                assert state.json()["offset"] == first + step
                url = state.json()["url"]
            link = client.post(url, json={"md5": digest.hexdigest()}).json()["file"]
            assert memory_of(server) - before < 100 * MIB
            before, found = memory_of(server), hashlib.md5()
            with client.stream("GET", link) as stream:
                for piece in stream.iter_raw():
                    found.update(piece)
            assert found.hexdigest() == digest.hexdigest()
            assert memory_of(server) - before < 100 * MIB
