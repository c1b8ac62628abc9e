"""The proxy of the tests does the wrong that its script says, and nothing else."""

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.contracts.things import entry, md5, span
from tests.faults import (
    Fault,
    cut,
    cut_request,
    drip,
    garbage,
    hang,
    hang_after,
    lost,
    refuse,
    slow,
    status,
    status_after,
    too_large,
)
from tests.proxy import Proxy
from tests.serving import served
from tests.synapse import counts_of, make_job, metric_values

pytestmark = pytest.mark.filterwarnings("error")  # ResourceWarning, and faults in a thread

TIMEOUT_S = 0.25  # of the clients that are kept waiting
LONG_S = 10
MIB = 1 << 20


class Real(NamedTuple):
    """The server behind the proxies."""

    url: str
    home: Path


class Job:
    """A job on the server, and a client that logs to it through a proxy."""

    def __init__(self, server: Real, proxy: Proxy) -> None:
        self._home, self.id = server.home, make_job(server.url)
        self.client = client_of(proxy)

    def log(self, value: int, client: httpx.Client | None = None, **options: Any) -> httpx.Response:
        body = entry(self.id, data={"value": value})
        return (client or self.client).post("/logs/", json=body, **options)

    def values(self) -> list[int]:
        return metric_values(self._home, self.id)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    folder = tmp_path_factory.mktemp("served")
    with served(folder) as found:
        yield Real(found.url, folder)


@pytest.fixture
def proxy(server: Real) -> Iterator[Proxy]:
    with Proxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def job(server: Real, proxy: Proxy) -> Iterator[Job]:
    job = Job(server, proxy)
    with job.client:
        yield job


def client_of(proxy: Proxy, timeout: float = LONG_S) -> httpx.Client:
    return httpx.Client(base_url=proxy.url, timeout=timeout, verify=False)


def comes_true(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + LONG_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


@contextmanager
def soon(condition: Callable[[], bool], act: Callable[[], None]) -> Iterator[None]:
    """Do something as soon as a thing is so that comes about within the block."""

    def wait() -> None:
        assert comes_true(condition)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    yield
    thread.join()


class TestPassing:
    def test_requests_of_one_client_go_over_one_connection(
        self, server: Real, proxy: Proxy
    ) -> None:
        connection = HTTPConnection(*proxy.address)
        connection.connect()
        first = connection.sock
        for method in ("GET", "HEAD", "GET"):
            connection.request(method, "/jobs/?is_active=true")
            answer = connection.getresponse()
            assert answer.status == 200
            assert bool(answer.read()) == (method == "GET")
            assert connection.sock is first
        connection.close()

    def test_a_request_and_its_answer_come_as_they_were_sent(self, job: Job, proxy: Proxy) -> None:
        answer = job.log(1, headers={"Idempotency-Key": "a-key"})
        assert (answer.status_code, answer.json()) == (201, {"count": 1})
        assert answer.headers["idempotency-key-honoured"] == "true"
        assert job.client.patch(f"/jobs/{job.id}/", json={"status": "RUNNING"}).is_success
        assert job.client.get("/jobs/0/").status_code == 404
        assert job.values() == [1]
        logged, patched, got = proxy.requests
        assert (logged.method, logged.path, logged.status) == ("POST", "/logs/", 201)
        assert (logged.fault, logged.size) == (None, len(logged.body))
        assert b'"value":1' in logged.body.replace(b" ", b"")
        assert logged.headers["idempotency-KEY"] == "a-key"
        assert (patched.method, patched.status) == ("PATCH", 200)
        assert (got.path, got.status, got.body) == ("/jobs/0/", 404, b"")

    def test_a_chunked_body_arrives_whole(self, job: Job, proxy: Proxy) -> None:
        pieces = [b'{"meta": "', *[b"x" * 1000] * 50, b'"}']
        answer = job.client.patch(f"/jobs/{job.id}/", content=iter(pieces))
        assert answer.status_code == 200, answer.text
        assert proxy.requests[0].body == b"".join(pieces)
        assert job.client.get(f"/jobs/{job.id}/").json()["meta"] == "x" * 50_000

    def test_large_files_stream_both_ways_behind_the_proxy(self, job: Job, proxy: Proxy) -> None:
        content = (b"0123456789abcdef" * 64) * 1024 * 20  # 20 MiB
        total = len(content)
        sent = job.client.put(
            "/chunked_upload/",
            data={"filename": "a.zip"},
            files={"file": content},
            headers={"Content-Range": span(0, total - 1, total)},
        )
        url = sent.raise_for_status().json()["url"]
        assert url.startswith(proxy.url)
        file = job.client.post(url, json={"md5": md5(content)}).raise_for_status().json()["file"]
        assert file.startswith(proxy.url)
        answer = job.client.get(file)
        assert hashlib.md5(answer.content).hexdigest() == md5(content)
        assert proxy.requests[0].size > total
        assert len(proxy.requests[0].body) < MIB  # tests shall not hold models in memory

    def test_the_next_page_is_behind_the_proxy(self, server: Real, proxy: Proxy, job: Job) -> None:
        make_job(server.url)
        following = job.client.get("/jobs/?page_size=1").json()["next"]
        assert following.startswith(proxy.url)
        assert len(job.client.get(following).json()["results"]) == 1

    def test_a_server_that_is_down_is_a_502(self) -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
            with Proxy(url) as proxy, client_of(proxy) as client:
                assert client.post("/logs/", content=b"x" * MIB).status_code == 502


BROKEN = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
BREAKS: list[tuple[Fault, Any, bool]] = [  # with what the client sees, and whether it was processed
    (refuse(), BROKEN, False),
    (hang(), httpx.ReadTimeout, False),
    (hang(0.01), httpx.RemoteProtocolError, False),
    (hang_after(), httpx.ReadTimeout, True),
    (hang_after(0.01), httpx.RemoteProtocolError, True),
    (cut(), httpx.RemoteProtocolError, True),
    (cut(reset=True), httpx.ReadError, True),
    (lost(), httpx.RemoteProtocolError, True),
    (lost(reset=True), httpx.ReadError, True),
    (cut_request(10), BROKEN, False),
]


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "error", "is_processed"), BREAKS, ids=[fault.name for fault, *_ in BREAKS]
    )
    def test_it_breaks_one_request(
        self, fault: Fault, error: Any, is_processed: bool, job: Job, proxy: Proxy
    ) -> None:
        proxy.script(fault)
        with client_of(proxy, TIMEOUT_S) as client, pytest.raises(error):
            job.log(1, client)
        assert comes_true(lambda: job.values() == [1] * is_processed)
        assert job.log(2).status_code == 201
        assert job.values() == [1] * is_processed + [2]
        assert [seen.fault for seen in proxy.requests] == [fault.name, None]

    @pytest.mark.parametrize("code", [400, 401, 404, 413, 429, 500, 503])
    def test_a_status_is_answered_instead_of_the_server(
        self, code: int, job: Job, proxy: Proxy
    ) -> None:
        proxy.script(status(code, {"detail": "so"}, {"Retry-After": "2"}), status(code, b"plain"))
        answer = job.log(1)
        assert (answer.status_code, answer.json()) == (code, {"detail": "so"})
        assert answer.headers["retry-after"] == "2"
        assert job.log(1).content == b"plain"
        assert job.values() == []
        assert [(seen.fault, seen.status) for seen in proxy.requests] == [
            (f"status {code}", code)
        ] * 2

    def test_a_status_after_it_was_processed(self, job: Job, proxy: Proxy) -> None:
        proxy.script(status_after(500))
        answer = job.log(1)
        assert answer.status_code == 500
        assert "detail" in answer.json()
        assert job.values() == [1]

    def test_garbage_is_no_json_under_the_right_status(self, job: Job, proxy: Proxy) -> None:
        proxy.script(garbage())
        answer = job.log(1)
        assert (answer.status_code, answer.headers["content-type"]) == (201, "application/json")
        with pytest.raises(ValueError, match="Expecting value"):
            answer.json()
        assert job.values() == [1]

    @pytest.mark.parametrize("fault", [slow(0.2), drip(0.2)], ids=lambda fault: fault.name)
    def test_a_late_answer_is_the_right_one(self, fault: Fault, job: Job, proxy: Proxy) -> None:
        proxy.script(fault)
        start = time.monotonic()
        assert job.log(1).json() == {"count": 1}
        assert 0.2 <= time.monotonic() - start < 3
        assert job.values() == [1]

    def test_no_pause_of_a_drip_is_long(self, proxy: Proxy) -> None:
        proxy.script(drip(0.5))
        with client_of(proxy, 0.3) as client:
            assert client.get("/jobs/0/").status_code == 404

    def test_only_what_is_too_large_is_refused(self, job: Job, proxy: Proxy) -> None:
        proxy.always(too_large(1000))
        assert job.log(1, headers={"X-Other": "x" * 2000}).status_code == 201
        large = [entry(job.id, data={"value": i}) for i in range(20)]
        assert job.client.post("/logs/", json=large).status_code == 413
        chunked = job.client.patch(f"/jobs/{job.id}/", content=iter([b'{"meta":', b"2}"]))
        assert chunked.status_code == 200, chunked.text
        assert job.values() == [1]
        assert [seen.fault for seen in proxy.requests] == [None, "too_large 1000", None]

    def test_a_large_request_is_cut_on_its_way(self, proxy: Proxy) -> None:
        proxy.script(cut_request(MIB))
        with client_of(proxy) as client, pytest.raises(BROKEN):
            client.put("/chunked_upload/", content=b"x" * 32 * MIB)
        assert MIB <= proxy.requests[0].size < 2 * MIB


class TestScript:
    def test_each_request_takes_the_first_fault_that_meets_it(self, job: Job, proxy: Proxy) -> None:
        proxy.script(status(400).on("GET", "/logs/"))
        proxy.script(status(503).on("POST", "/logs/"), None, status(429).on(path=r"/jobs/\d+/"))
        proxy.script(status(500).on("POST"))
        answers = [
            *(job.client.get("/jobs/").status_code, job.log(1).status_code),
            *(job.log(2).status_code, job.log(3).status_code),
            *(job.client.get(f"/jobs/{job.id}/").status_code for _ in range(2)),
        ]
        assert answers == [200, 503, 500, 201, 429, 200]
        assert job.values() == [3]

    def test_what_is_always_so_comes_after_the_script_and_ends_when_it_heals(
        self, job: Job, proxy: Proxy
    ) -> None:
        proxy.always(status(401))
        proxy.script(status(503))
        assert [job.log(i).status_code for i in range(4)] == [503, 401, 401, 401]
        proxy.heal()
        assert job.log(4).status_code == 201

    def test_chance_is_decided_by_the_seed(self, server: Real) -> None:
        def faults(seed: int) -> list[str | None]:
            with Proxy(server.url, seed=seed) as proxy, client_of(proxy) as client:
                proxy.always(status(503).on(chance=0.3), status(500).on(chance=0.3))
                for _ in range(40):
                    client.get("/jobs/0/")
                return [seen.fault for seen in proxy.requests]

        first = faults(1)
        assert first == faults(1) != faults(2)
        assert counts_of(first).keys() == {None, "status 503", "status 500"}

    @pytest.mark.parametrize("fault", [hang(), hang_after(), slow(LONG_S)], ids=lambda f: f.name)
    def test_healing_ends_the_waiting(self, fault: Fault, job: Job, proxy: Proxy) -> None:
        proxy.script(fault)
        start = time.monotonic()
        with soon(lambda: bool(proxy.requests), proxy.heal):
            if fault.name.startswith("slow"):
                assert job.log(1).status_code == 201
            else:
                with pytest.raises(httpx.RemoteProtocolError):
                    job.log(1)
        assert time.monotonic() - start < LONG_S / 2


class TestStopping:
    def test_a_stopped_proxy_refuses_connections_until_it_starts_again(
        self, job: Job, proxy: Proxy
    ) -> None:
        for value in range(3):
            assert job.log(value).status_code == 201
            proxy.stop()
            for _ in range(2):
                with pytest.raises(httpx.ConnectError, match="refused"):
                    job.log(value)
            proxy.start()
        assert job.log(3).status_code == 201
        assert job.values() == [0, 1, 2, 3]
        assert len(proxy.requests) == 4

    def test_stopping_breaks_what_is_on_its_way(self, job: Job, proxy: Proxy) -> None:
        proxy.script(hang_after())
        with (
            soon(lambda: job.values() == [1], proxy.stop),
            pytest.raises(httpx.RemoteProtocolError),
        ):
            job.log(1)

    def test_nothing_is_left_at_the_end(self, server: Real) -> None:
        before = threading.active_count()
        with Proxy(server.url) as proxy:
            proxy.always(hang())
            for _ in range(2):
                with client_of(proxy, 0.1) as client, pytest.raises(httpx.ReadTimeout):
                    client.get("/jobs/")
        assert comes_true(lambda: threading.active_count() == before)
        with pytest.raises(httpx.ConnectError), client_of(proxy) as client:
            client.get("/jobs/")


class TestKeys:
    def test_without_keys_a_repeated_request_is_done_twice(self, server: Real) -> None:
        with Proxy(server.url, strip_keys=True) as proxy:
            job = Job(server, proxy)
            with job.client:
                for _ in range(2):
                    answer = job.log(1, headers={"Idempotency-Key": "the-same"})
                    assert "idempotency-key-honoured" not in answer.headers
            assert counts_of(job.values()) == {1: 2}
            assert [seen.headers["Idempotency-Key"] for seen in proxy.requests] == ["the-same"] * 2

    def test_with_keys_it_is_done_once_though_its_answer_was_lost(
        self, job: Job, proxy: Proxy
    ) -> None:
        headers = {"Idempotency-Key": "once-only"}
        proxy.script(lost())
        with pytest.raises(httpx.RemoteProtocolError):
            job.log(1, headers=headers)
        answer = job.log(1, headers=headers)
        assert answer.headers["idempotency-key-honoured"] == "true"
        assert counts_of(job.values()) == {1: 1}


def test_many_clients_at_once_each_get_their_own_answer(job: Job, proxy: Proxy) -> None:
    def log(value: int) -> None:
        with client_of(proxy) as client:
            for i in range(10):
                assert job.log(value * 10 + i, client).json() == {"count": 1}

    threads = [threading.Thread(target=log, args=(value,)) for value in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts_of(job.values()) == dict.fromkeys(range(80), 1)
    assert len(proxy.requests) == 80
