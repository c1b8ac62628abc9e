"""Our client of the API: what it sends, and what it makes of any answer or none."""

import errno
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ray_synapse import __version__
from ray_synapse.backend.http import Credentials, HttpApi, client, connection
from ray_synapse.errors import (
    BackendError,
    DeniedError,
    NoAnswerError,
    NotFoundError,
    RefusedError,
    SettingsError,
    StorageError,
    TooLargeError,
    UnreachableError,
)
from tests.backend.fake_server import Act, Fake, answer, answering, api_of, raw, tidily
from tests.serving import served

PAGE = b"<!DOCTYPE html><html><head><title>Bad &amp; broken</title></head>"
CHUNKED: dict[str, Any] = {"Content_Length": None, "Transfer_Encoding": "chunked"}
HONOURED = {"Idempotency-Key-Honoured": "true"}


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    with tidily():
        yield


@contextmanager
def asked(*answers: Act) -> Iterator[tuple[HttpApi, Fake]]:
    """The client of a server with these answers."""
    with answering(*answers) as fake:
        yield api_of(fake.url), fake


def fault_of(call: Callable[[], object]) -> BackendError:
    with pytest.raises(BackendError) as raised:
        call()
    assert type(raised.value).__module__ == "ray_synapse.errors"
    return raised.value


def fault_after(*answers: Act) -> BackendError:
    """What a write to such a server raises."""
    with asked(*answers) as (api, _):
        return fault_of(lambda: api.create_model({"name": "a"}, key="k"))


def slowly(*parts: bytes, pause: float) -> Act:
    """An answer with a pause before each of its parts."""

    def act(sock: socket.socket) -> None:
        for part in parts:
            time.sleep(pause)
            sock.sendall(part)

    return act


class TestSent:
    def test_a_write_is_compact_json_with_its_key(self) -> None:
        with asked(answer(201, {"id": 1})) as (api, fake):
            assert api.create_model(
                {"name": "ü", "configuration": {"a": [1, None]}}, key="k-1"
            ) == {"id": 1}
        (seen,) = fake.seen
        assert (seen.method, seen.path) == ("POST", "/models/")
        assert seen.body.decode() == '{"name":"ü","configuration":{"a":[1,null]}}'
        assert seen.headers["content-type"] == "application/json"
        assert seen.headers["idempotency-key"] == "k-1"
        assert seen.headers["user-agent"] == f"ray_synapse/{__version__}"

    def test_without_a_key_there_is_no_header(self) -> None:
        with asked(answer(200)) as (api, fake):
            api.update_job(1, {"status": "RUNNING"})
        assert "idempotency-key" not in fake.seen[0].headers

    @pytest.mark.parametrize("key", ["a\nb", "ü", " a", "a\r\nX-Other: 1"])
    @pytest.mark.parametrize("is_chunk", [False, True])
    def test_a_key_that_can_be_no_header_is_refused_before_anything_is_sent(
        self, key: str, is_chunk: bool
    ) -> None:
        with asked(answer(200)) as (api, fake):
            chunk = partial(api.put_chunk, None, "a", "bytes 0-0/1", b"a")
            error = fault_of(lambda: (chunk if is_chunk else partial(api.create_logs, []))(key=key))
            assert isinstance(error, RefusedError)
            assert list(error.faults) == ["Idempotency-Key"]
            assert (error.was_sent, fake.seen) == (False, [])

    def test_json_that_is_ready_is_sent_as_it_is(self) -> None:
        ready = b'[ {"event": "metric"} ]'
        with asked(answer(201, {"count": 1})) as (api, fake):
            api.create_logs(ready)
        assert fake.seen[0].body == ready

    @pytest.mark.parametrize(
        ("fields", "named"),
        [
            ({"status": "RUNNING", "meta": {"a": [float("nan")]}}, ["meta"]),
            ({"meta": float("-inf")}, ["meta"]),
            ({"meta": {1, 2}}, ["meta"]),
            ({"meta": object()}, ["meta"]),
            ([float("inf")], []),
            ({(1, 2): 3}, []),
        ],
        ids=str,
    )
    def test_what_is_no_json_is_refused_before_anything_is_sent(
        self, fields: Any, named: list[str]
    ) -> None:
        with asked(answer(200)) as (api, fake):
            with pytest.raises(RefusedError) as refused:
                api.update_job(1, fields)
            assert list(refused.value.faults) == named
            assert (refused.value.was_sent, refused.value.status, fake.seen) == (False, None, [])

    @pytest.mark.parametrize(
        ("job", "path"),
        [
            (7, "7"),
            ("1/2", "1%2F2"),
            ("a b?c#d", "a%20b%3Fc%23d"),
            ("%2F", "%252F"),
            ("..", "%2E%2E"),
            ("ü", "%C3%BC"),
        ],
    )
    def test_an_id_is_one_part_of_the_path_whatever_it_is(self, job: Any, path: str) -> None:
        with asked(answer(200)) as (api, fake):
            api.get_job(job)
            api.override_best_trial(job, {"trial_id": "t"})
        assert [seen.path for seen in fake.seen] == [
            f"/jobs/{path}/",
            f"/trains/{path}/override_best_trial/",
        ]

    def test_a_query_keeps_its_order_and_its_repetitions(self) -> None:
        with asked(answer(200)) as (api, fake):
            api.list_jobs([("ids_ex", "2"), ("params", "name:a%3Ab"), ("ids_ex", "1")])
        assert fake.seen[0].path == "/jobs/?ids_ex=2&params=name%3Aa%253Ab&ids_ex=1"

    def test_a_host_may_have_a_path(self) -> None:
        with answering(answer(200)) as fake:
            api_of(f"{fake.url}/api/").get_job(1)
        assert fake.seen[0].path == "/api/jobs/1/"

    def test_many_threads_share_one_client(self, tmp_path: Path) -> None:
        with served(tmp_path) as server, ThreadPoolExecutor(12) as threads:
            api = api_of(server.url)
            names = [f"job {number}" for number in range(60)]
            made = threads.map(lambda name: api.create_job({"name": name})["name"], names)
            assert list(made) == names

    def test_a_connection_is_kept_for_a_moment_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connection, "IDLE_S", 0.2)
        with asked(answer(200)) as (api, fake):
            for _ in range(3):
                api.get_job(1)
            assert fake.connections == 1
            time.sleep(0.4)
            api.get_job(1)
            assert fake.connections == 2

    def test_after_it_was_closed_it_opens_again(self) -> None:
        with asked(answer(200, {"id": 1})) as (api, fake):
            api.get_job(1)
            api.close()
            assert api.get_job(1) == {"id": 1}
            assert fake.connections == 2


class TestChunks:
    @pytest.mark.parametrize(
        "chunk", [b"abcdefgh", bytearray(b"abcdefgh"), memoryview(b"abcdefgh").cast("I")], ids=type
    )
    def test_a_chunk_of_any_kind_of_bytes_arrives(
        self, tmp_path: Path, chunk: bytes | bytearray | memoryview
    ) -> None:
        with served(tmp_path) as server:
            api = api_of(server.url)
            assert api.put_chunk(None, 'a".zip', "bytes 0-7/8", chunk)["filename"] == 'a".zip'

    def test_a_chunk_is_told_as_it_goes_out(self, tmp_path: Path) -> None:
        sent: list[int] = []
        content = bytes(1_000_000)
        with served(tmp_path) as server:
            api = api_of(server.url)
            text = "bytes 0-999999/1000000"
            assert api.put_chunk(None, "a", text, content, on_sent=sent.append)["offset"] == 10**6
        assert (sum(sent), len(sent) > 3) == (10**6, True)

    def test_a_chunk_is_not_copied(self, tmp_path: Path) -> None:
        size = 32 << 20
        content = bytes(size)
        with served(tmp_path) as server:
            api = api_of(server.url)
            api.list_jobs()  # what is needed once is there
            tracemalloc.start()
            try:
                api.put_chunk(None, "a", f"bytes 0-{size - 1}/{size}", content)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert peak < size / 10

    @pytest.mark.parametrize("given", [answer(200), answer(400), b"nonsense"], ids=str)
    def test_a_chunk_is_free_again_after_any_answer(self, given: bytes) -> None:
        chunk = bytearray(1_000_000)
        kept: BackendError | None = None
        with asked(given) as (api, _), memoryview(chunk) as part:
            try:
                api.put_chunk(None, "a", "bytes 0-999999/1000000", part)
            except BackendError as error:
                kept = error
        del chunk[:10]  # a BufferError as long as anything holds it
        assert (kept is None) == (b" 200 " in given)

    def test_who_is_told_can_end_the_call(self) -> None:
        def stop(_: int) -> None:
            raise KeyError("enough")

        with asked(answer(200)) as (api, _):
            with pytest.raises(KeyError, match="enough"):
                api.put_chunk(None, "a", "bytes 0-0/1", b"a", on_sent=stop)
            assert api.get_job(1) == {}


class TestMeanwhile:
    def test_it_is_done_while_the_server_works(self) -> None:
        done = threading.Event()

        def work(sock: socket.socket) -> None:
            sock.sendall(answer(201 if done.wait(5) else 500))

        with asked(work) as (api, fake):
            api.create_logs([{"event": "metric"}], meanwhile=done.set)
        assert fake.seen[0].body == b'[{"event":"metric"}]'
        assert "transfer-encoding" not in fake.seen[0].headers

    def test_it_is_not_done_without_a_server(self) -> None:
        done = threading.Event()
        with pytest.raises(UnreachableError):
            api_of("http://127.0.0.1:1").create_logs(b"[]", meanwhile=done.set)
        assert not done.is_set()

    def test_what_it_raises_ends_the_call_and_the_next_one_works(self) -> None:
        def fail() -> None:
            raise KeyError("enough")

        with asked(answer(201)) as (api, _):
            with pytest.raises(KeyError, match="enough"):
                api.create_logs(b"[]", meanwhile=fail)
            api.create_logs(b"[]", meanwhile=lambda: None)


class TestRefused:
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            *[(status, RefusedError) for status in (400, 409, 422)],
            *[(status, DeniedError) for status in (401, 403)],
            (404, NotFoundError),
            (413, TooLargeError),
            (503, StorageError),
            *[(status, BackendError) for status in (304, 402, 429, 499, 500, 502, 504, 599)],
        ],
    )
    def test_a_status_is_an_error_that_tells_what_the_server_said(
        self, status: int, kind: type[BackendError]
    ) -> None:
        detail = {"detail": "The moon is full."} if status != 304 else None
        error = fault_after(answer(status, detail) if detail else raw(status))
        assert type(error) is kind
        assert (error.status, error.was_sent, error.retry_after) == (status, True, None)
        assert f"POST /models/: {status}" in str(error)
        assert not detail or detail["detail"] in str(error)

    def test_the_faults_of_fields_are_told_one_by_one(self) -> None:
        body = {
            "name": ["Is taken.", "Is long."],
            "version": "Is old.",
            "plugin": {"code": ["No."]},
        }
        error = fault_after(answer(400, body))
        assert isinstance(error, RefusedError)
        assert error.faults == {
            "name": ["Is taken. Is long."],
            "version": ["Is old."],
            "plugin": ['{"code": ["No."]}'],
        }
        assert str(error).startswith("POST /models/: 400 Bad Request: name: Is taken.")

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            (PAGE, "a page with the title 'Bad & broken'"),
            (b"<html>" + b"<p>words</p>" * 1000, "a page of HTML"),
            (b"", "(without a text)"),
            (b"plain\r\n\x1b[31mwords\x07", "plain [31mwords"),
            (b'[{}, {"job": ["No."]}]', '[{}, {"job": ["No."]}]'),
            (b"[" * 100_000, "[" * 499 + "…"),
            (b"\xff\xfe\xfa", "���"),
            (json.dumps({"detail": "x" * 10_000}).encode(), "x" * 499 + "…"),
        ],
        ids=lambda value: repr(value)[:20],
    )
    @pytest.mark.parametrize("status", [400, 502])
    def test_any_body_becomes_one_short_line(self, body: bytes, text: str, status: int) -> None:
        error = str(fault_after(raw(status, body)))
        assert error.partition(": ")[2].partition(": ")[2] == text
        assert error.isprintable()

    def test_many_long_faults_are_cut(self) -> None:
        error = fault_after(answer(400, {f"field {n}": ["long " * 20] for n in range(1000)}))
        assert len(str(error)) < 700

    def test_a_refusal_counts_though_its_text_was_lost(self) -> None:
        error = fault_after(raw(404, b"{", Content_Length=100, Connection="close"))
        assert (type(error), error.status) == (NotFoundError, 404)

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            *[("7", 7.0), ("0", 0.0), ("1.5", 1.5), ("-3", 0.0), (" 5 ", 5.0)],
            *[("", None), ("soon", None), ("nan", None), ("inf", None), ("9" * 400, None)],
            ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
            ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ],
    )
    @pytest.mark.parametrize("status", [429, 503])
    def test_how_long_to_wait_is_told_in_seconds(
        self, text: str, seconds: float | None, status: int
    ) -> None:
        assert fault_after(answer(status, Retry_After=text)).retry_after == seconds

    def test_a_date_to_wait_for_is_told_in_seconds(self) -> None:
        then = datetime.now(timezone.utc) + timedelta(seconds=60)
        error = fault_after(answer(429, Retry_After=format_datetime(then, usegmt=True)))
        assert error.retry_after == pytest.approx(60, abs=5)

    def test_a_date_to_wait_for_is_seen_from_the_clock_of_the_server(self) -> None:
        date = "Wed, 21 Oct 2015 07:28:{} GMT"
        error = fault_after(answer(429, Retry_After=date.format("30"), Date=date.format("00")))
        assert error.retry_after == 30.0

    def test_a_job_that_does_not_exist_is_not_found(self, tmp_path: Path) -> None:
        with served(tmp_path) as server:
            error = fault_of(lambda: api_of(server.url).get_job(404))
        assert (type(error), error.status) == (NotFoundError, 404)
        assert "GET /jobs/404/: 404 Not Found: job '404' does not exist" in str(error)


class TestUnreachable:
    def check(self, url: str, reason: str) -> UnreachableError:
        api = api_of(url)
        error = fault_of(lambda: api.create_logs([], key="k"))
        assert isinstance(error, UnreachableError)
        assert (error.reason, error.was_sent, error.status) == (reason, False, None)
        assert url in str(error)
        assert api.honours_keys is None
        return error

    def test_a_port_where_nothing_listens(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        self.check(url, "refused")

    def test_a_name_that_is_none(self) -> None:
        error = fault_of(lambda: api_of("http://nosuchhost.invalid").get_job(1))
        assert isinstance(error, UnreachableError)
        assert error.reason in ("name", "name_later")  # where there is no DNS it cannot be known

    @pytest.mark.parametrize(
        ("code", "reason"),
        [(socket.EAI_NONAME, "name"), (socket.EAI_AGAIN, "name_later"), (99, "name_later")],
    )
    def test_what_dns_says_is_told(
        self, monkeypatch: pytest.MonkeyPatch, code: int, reason: str
    ) -> None:
        def no_address(*_: object, **__: object) -> None:
            raise socket.gaierror(code, "as DNS says")

        monkeypatch.setattr(socket, "getaddrinfo", no_address)
        self.check("http://synapse.example", reason)

    def test_a_server_that_takes_no_connection_in_time(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connection, "CONNECT_S", 0.3)
        with ExitStack() as stack:
            sock = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            for _ in range(3):  # more than may wait, and nobody accepts them
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                assert waiting.connect_ex(sock.getsockname()) in (0, errno.EINPROGRESS)
            self.check(f"http://127.0.0.1:{sock.getsockname()[1]}", "timeout")

    def test_a_server_without_tls(self) -> None:
        def refuse(sock: socket.socket) -> None:
            with sock.accept()[0] as peer:
                peer.recv(1 << 16)
                peer.sendall(raw(400))

        with socket.create_server(("127.0.0.1", 0)) as sock, ThreadPoolExecutor(1) as thread:
            thread.submit(refuse, sock)
            error = self.check(f"https://127.0.0.1:{sock.getsockname()[1]}", "no_tls")
        assert "SSL" in str(error)

    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("SSL_CERT_FILE", __file__),
            ("HTTP_PROXY", "nonsense://user:secret-word@proxy"),
            ("ALL_PROXY", "http://user:secret-word@proxy:port"),
        ],
    )
    def test_a_setting_of_the_environment_that_is_wrong_is_named_without_a_password(
        self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
    ) -> None:
        monkeypatch.setenv(variable, value)
        with pytest.raises(SettingsError, match=variable) as wrong:
            api_of("http://localhost:1").get_job(1)
        assert "secret-word" not in str(wrong.value)


class TestNoAnswer:
    @pytest.mark.parametrize(
        ("given", "status"),
        [
            pytest.param(b"", None, id="nothing"),
            pytest.param(b"HTTP/1.1 201 Crea", None, id="half a head"),
            pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", None, id="another protocol"),
            pytest.param(raw(201, b'{"id": 1', Content_Length=9), 201, id="half a body"),
            pytest.param(raw(201, b"5\r\n{", **CHUNKED), 201, id="half a chunk"),
            pytest.param(raw(201, b"no gzip", Content_Encoding="gzip"), 201, id="packed wrongly"),
        ],
    )
    def test_an_answer_that_is_cut_leaves_the_request_in_doubt(
        self, given: bytes, status: int | None
    ) -> None:
        error = fault_after(lambda sock: sock.sendall(given))
        assert (type(error), error.was_sent, error.status) == (NoAnswerError, True, status)
        assert "POST /models/" in str(error)

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"null", b"[]", b'"text"', PAGE, b"\xff", b'{"a":' * 100_000], ids=repr
    )
    def test_an_answer_that_is_no_object_leaves_the_request_in_doubt(self, body: bytes) -> None:
        error = fault_after(raw(201, body))
        assert (type(error), error.was_sent, error.status) == (NoAnswerError, True, 201)
        assert "Is http://127.0.0.1:" in str(error)

    @pytest.mark.parametrize("given", [raw(204), raw(201), answer(201, [{"id": 1}]), answer(200)])
    def test_what_only_has_to_be_kept_may_be_answered_with_anything_of_json(
        self, given: bytes
    ) -> None:
        with asked(given) as (api, _):
            assert api.create_logs([]) == {}
            assert api.update_job(1, {}) == {}
            assert api.override_best_trial(1, {}) == {}

    def test_but_a_page_is_no_answer_to_it(self) -> None:
        with asked(raw(200, PAGE)) as (api, _):
            assert type(fault_of(lambda: api.create_logs([]))) is NoAnswerError

    def test_a_slow_answer_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connection, "READ_S", 0.2)
        error = fault_after(slowly(answer(201, {"id": 1}), pause=1.0))
        assert (type(error), error.status) == (NoAnswerError, None)

    def test_who_cannot_wait_so_long_says_so(self) -> None:
        with answering(slowly(answer(200), pause=1.0)) as fake:
            api = HttpApi(Credentials(fake.url), read_s=0.2)
            assert type(fault_of(lambda: api.get_job(1))) is NoAnswerError
            api.close()

    def test_the_end_of_an_upload_is_waited_for_longer(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connection, "READ_S", 0.2)
        with asked(slowly(answer(200, {"id": "u"}), pause=0.6)) as (api, _):
            assert api.finish_upload("u", {"md5": "x"}) == {"id": "u"}
            monkeypatch.setattr(client, "FINISH_S", 0.2)
            assert type(fault_of(lambda: api.finish_upload("u", {}))) is NoAnswerError

    def test_an_answer_that_drips_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connection, "ANSWER_S", 0.3)
        head = raw(201, Content_Length=100)
        error = fault_after(slowly(head, *[b" "] * 100, pause=0.05))
        assert (type(error), error.status) == (NoAnswerError, 201)
        assert "0.3 s" in str(error)

    def test_an_answer_without_an_end_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connection, "MAX_ANSWER_BYTES", 10_000)
        error = fault_after(raw(200, b" " * 1_000_000))
        assert (type(error), "10000 bytes" in str(error)) == (NoAnswerError, True)

    def test_a_request_that_is_under_way_ends_when_it_is_closed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connection, "READ_S", 0.5)
        came = threading.Event()

        def hang(sock: socket.socket) -> None:
            came.set()
            sock.recv(1)

        with asked(hang) as (api, _), ThreadPoolExecutor(1) as thread:
            call = thread.submit(fault_of, lambda: api.create_logs([]))
            assert came.wait(5)
            api.close()
            assert type(call.result(5)) is NoAnswerError


class TestHonoursKeys:
    def test_the_served_backend_says_so_with_any_answer(self, tmp_path: Path) -> None:
        with served(tmp_path) as server:
            api = api_of(server.url)
            assert api.honours_keys is None
            fault_of(lambda: api.get_job(1))
            assert api.honours_keys is True

    def test_the_newest_answer_counts(self) -> None:
        with asked(answer(404), answer(200, **HONOURED), answer(200), answer(500, **HONOURED)) as (
            api,
            _,
        ):
            told = []
            for _ in range(4):
                with suppress(BackendError):
                    api.get_job(1)
                told.append(api.honours_keys)
        assert told == [False, True, False, True]

    @pytest.mark.parametrize(
        "given", [raw(502, PAGE), answer(504), raw(413, PAGE), raw(204), b"", raw(200, PAGE)]
    )
    def test_what_a_proxy_says_tells_nothing(self, given: bytes) -> None:
        cut = given or (lambda sock: None)
        with asked(answer(200, **HONOURED), cut) as (api, fake):
            api.get_job(1)
            fault_of(lambda: api.get_job(1))
            assert (api.honours_keys, len(fake.seen)) == (True, 2)
