"""The command ``ray-synapse serve``, in a process of its own."""

import contextlib
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ray_synapse.backend.database import DATABASE
from ray_synapse.backend.local import LocalBackend
from tests.server.clients import (
    ENTRY,
    JSON,
    MULTIPART,
    WAIT_S,
    answer,
    asked,
    client_of,
    connected,
    head,
    is_one_clean_line,
    made_job,
    part,
    port_of,
    serve,
    started,
    uploaded,
)
from tests.serving import Served, served

RAY_PORTS = {6379, 6380, 8000, 8076, 8265, 9000, 10001, 44217, 44227, 52365, *range(10002, 20000)}
DEFAULT_PORT = 8470
BATCH = 20


@contextlib.contextmanager
def taken(port: int) -> Iterator[int]:
    """Somebody who listens on a port: we, or another program of this machine."""
    with socket.socket() as sock:
        with contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            sock.listen()
        yield port or sock.getsockname()[1]


def is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Writers:
    """Clients that log without a pause, and remember what was answered."""

    def __init__(self, server: Served, job: int, count: int = 3) -> None:
        self.answered: list[tuple[int, int]] = []
        self.enough = threading.Event()
        self._server, self._job = server, job
        self._threads = [threading.Thread(target=self._write, args=(i,)) for i in range(count)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()

    def _write(self, writer: int) -> None:
        with client_of(self._server) as client, contextlib.suppress(httpx.TransportError):
            for batch in range(100_000):
                numbers = range(batch * BATCH, (batch + 1) * BATCH)
                entries = [
                    {**ENTRY, "job": self._job, "data": {"writer": writer, "n": number}}
                    for number in numbers
                ]
                if client.post("/logs/", json=entries).status_code != 201:
                    return
                self.answered += [(writer, number) for number in numbers]
                if len(self.answered) >= 10 * BATCH:
                    self.enough.set()


def cut_off(home: Path, how: signal.Signals) -> tuple[int, list[str]]:
    """End a server amid writes; what it answered must be there. Gives its end and its lines."""
    with served(home) as server:
        job = made_job(server)
        writers = Writers(server, job)
        assert writers.enough.wait(WAIT_S)
        code = server.stop(how)
        writers.join()
    rows = [row["data"] for row in LocalBackend(home).logs(job)]
    kept = [(data["writer"], data["n"]) for data in rows]
    assert set(writers.answered) <= set(kept)
    assert len(kept) == len(set(kept))
    assert len(kept) % BATCH == 0  # a batch is kept whole or not at all
    with contextlib.closing(sqlite3.connect(home / DATABASE)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return code, server.lines


def test_without_a_port_it_serves_on_one_that_is_none_of_rays(home: Path) -> None:
    if not is_free(DEFAULT_PORT):
        pytest.skip(f"port {DEFAULT_PORT} is taken by another program")
    with started(home) as server:
        assert port_of(server) == DEFAULT_PORT
        assert port_of(server) not in RAY_PORTS
        assert httpx.get(f"{server.url}/jobs/").status_code == 200


def test_a_taken_default_port_is_replaced_by_a_free_one_that_is_printed(home: Path) -> None:
    with taken(DEFAULT_PORT), started(home) as server:
        assert port_of(server) != DEFAULT_PORT
        assert any(server.url in line and "serving" in line for line in server.lines)
        assert httpx.get(f"{server.url}/jobs/").json()["count"] == 0


def test_a_given_port_that_is_taken_is_an_error_in_one_line(home: Path) -> None:
    with taken(0) as port:
        result = serve(home, "--port", str(port))
    assert (result.returncode, result.stdout) == (1, "")
    assert is_one_clean_line(result.stderr)
    assert str(port) in result.stderr


@pytest.mark.parametrize("port", ["70000", "-1", "http", "8e3", "٣"])
def test_what_is_no_port_is_a_wrong_argument(home: Path, port: str) -> None:
    result = serve(home, f"--port={port}")
    assert result.returncode == 2
    assert "is no port" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("host", ["no.such.host.invalid", "", "a" * 70, "127.0.0.1:80", "[::1]"])
def test_what_is_no_host_is_an_error_in_one_line(home: Path, host: str) -> None:
    result = serve(home, f"--host={host}", "--port=0")
    assert (result.returncode, result.stdout) == (1, "")
    assert is_one_clean_line(result.stderr)
    assert "--host" in result.stderr


@pytest.mark.parametrize("port", [[], ["--port=0"]])
def test_an_address_of_another_machine_is_an_error_that_says_so(
    home: Path, port: list[str]
) -> None:
    result = serve(home, "--host=192.0.2.1", *port)
    assert (result.returncode, result.stdout) == (1, "")
    assert is_one_clean_line(result.stderr)
    assert "192.0.2.1" in result.stderr


@pytest.mark.parametrize("token", ["", "short", "with a blank", "Schlüssel-Wort", "line\nbreak"])
def test_a_token_that_is_short_or_cannot_stand_in_a_header_is_an_error_in_one_line(
    home: Path, token: str
) -> None:
    result = serve(home, "--port=0", f"--token={token}")
    assert (result.returncode, result.stdout) == (1, "")
    assert is_one_clean_line(result.stderr)
    assert "--token" in result.stderr


def test_a_folder_that_cannot_be_used_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = serve(tmp_path / "file" / "home", "--port=0")
    assert (result.returncode, result.stdout) == (1, "")
    assert is_one_clean_line(result.stderr)


def test_all_addresses_demand_a_token_that_is_made_and_printed(home: Path) -> None:
    with served(home, "--host", "0.0.0.0") as server:
        assert server.token is not None
        assert len(server.token) >= 20
        assert asked(server, "GET", "/jobs/", "127.0.0.1").status == 401
        token = f"Token {server.token}"
        for host in ("127.0.0.1", "localhost", socket.gethostname()):
            assert asked(server, "GET", "/jobs/", host, Synapse_Access_Token=token).status == 200


def test_two_servers_make_different_tokens(tmp_path: Path) -> None:
    public = ("--host", "0.0.0.0")
    with served(tmp_path / "a", *public) as one, served(tmp_path / "b", *public) as other:
        assert one.token != other.token


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "::1"])
def test_the_loopback_needs_no_token_by_any_of_its_names(home: Path, host: str) -> None:
    with served(home, f"--host={host}") as server:
        assert httpx.get(f"{server.url}/jobs/").status_code == 200
        assert not any("TOKEN" in line for line in server.lines)


def test_by_default_only_the_loopback_is_listened_on(home: Path) -> None:
    with served(home) as server:
        port = f"{port_of(server):04X}"
        tables = [Path(f"/proc/net/{name}") for name in ("tcp", "tcp6")]
        rows = [line.split() for table in tables for line in table.read_text().splitlines()]
        at = [row[1] for row in rows if row[1].endswith(f":{port}") and row[3] == "0A"]
    assert at == [f"0100007F:{port}"]


def test_ctrl_c_amid_writes_ends_cleanly_with_everything_on_disk(home: Path) -> None:
    code, lines = cut_off(home, signal.SIGINT)
    assert code == 0
    assert str(home) in lines[-1]
    assert not any("Traceback" in line or "Please report" in line for line in lines)


def test_sigterm_amid_writes_ends_cleanly_with_everything_on_disk(home: Path) -> None:
    code, lines = cut_off(home, signal.SIGTERM)
    assert code == 0
    assert str(home) in lines[-1]
    assert not any("Traceback" in line or "Please report" in line for line in lines)


def test_sigkill_amid_writes_loses_nothing_that_was_answered(home: Path) -> None:
    cut_off(home, signal.SIGKILL)


def test_ctrl_c_does_not_wait_for_clients_that_are_idle_or_silent(home: Path) -> None:
    shortly = "import ray_synapse.server.serve; ray_synapse.server.serve.SHUTDOWN_S = 1"
    with started(home, "--port=0", before=shortly) as server, contextlib.ExitStack() as stack:
        _, half, body = (stack.enter_context(connected(server)) for _ in range(3))
        half.sendall(b"POST /logs/ HTTP/1.1\r\nHost: loc")
        body.sendall(head("POST", "/logs/", Content_Length=1000, **JSON) + b"[")
        client = stack.enter_context(client_of(server))
        assert client.get("/jobs/").status_code == 200
        assert server.stop() == 0
    assert not any("Traceback" in line or "Please report" in line for line in server.lines)


def test_a_chunk_that_ctrl_c_cuts_off_is_told_to_come_again_and_leaves_nothing(home: Path) -> None:
    shortly = "import ray_synapse.server.serve; ray_synapse.server.serve.SHUTDOWN_S = 1"
    with started(home, "--port=0", before=shortly) as server, connected(server) as sock:
        span = {"Content-Range": "bytes 0-999/1000"}
        sock.sendall(head("PUT", "/chunked_upload/", Content_Length=1200, **MULTIPART, **span))
        sock.sendall(part("file", b"a" * 900)[:-2])
        while not list(home.glob("uploads/*")):
            time.sleep(0.01)
        server.process.send_signal(signal.SIGINT)
        told = answer(sock)
        assert (told.status, told.headers["retry-after"]) == (503, "5")
        assert "Send this again" in told.json()["detail"]
        assert server.process.wait(WAIT_S) == 0
    assert list(home.glob("uploads/*")) == []


def test_a_write_that_ctrl_c_overtakes_is_not_said_to_be_undone(home: Path) -> None:
    """503 would say so, and who then sends it again would have it twice."""
    shortly = "import ray_synapse.server.serve; ray_synapse.server.serve.SHUTDOWN_S = 1"
    other = LocalBackend(home)
    with started(home, "--port=0", before=shortly) as server, connected(server) as sock:
        with other._write():
            body = b'{"name": "overtaken"}'
            sock.sendall(head("POST", "/jobs/", Content_Length=len(body), **JSON) + body)
            time.sleep(0.5)
            server.process.send_signal(signal.SIGINT)
            told = answer(sock)
        assert told.status == 500
        assert "may have been done" in told.json()["detail"]
        assert server.process.wait(WAIT_S) == 0


def test_a_second_ctrl_c_does_not_wait_and_leaves_no_traceback(home: Path) -> None:
    with served(home) as server, connected(server) as sock:
        sock.sendall(head("POST", "/logs/", Content_Length=1000, **JSON) + b"[")
        httpx.get(f"{server.url}/jobs/")
        server.process.send_signal(signal.SIGINT)
        while not is_free(port_of(server)):  # it does not listen any more
            time.sleep(0.01)
        server.stop()
    assert not any("Traceback" in line or "Please report" in line for line in server.lines)


def test_after_the_end_a_new_server_takes_the_same_port_and_goes_on(home: Path) -> None:
    with served(home) as server, client_of(server) as client:
        job = made_job(server)
        client.get("/jobs/")  # a connection that is still open leaves the port in TIME_WAIT
        server.stop()
    with served(home, f"--port={port_of(server)}") as again:
        assert again.url == server.url
        assert httpx.get(f"{again.url}/jobs/{job}/").json()["name"] == "digits"


def test_two_servers_on_one_folder_know_what_the_other_wrote(home: Path) -> None:
    with served(home) as one, served(home) as other:
        job = made_job(one)
        with client_of(one) as client, client_of(other) as second:
            assert second.get(f"/jobs/{job}/").json()["name"] == "digits"
            second.patch(f"/jobs/{job}/", json={"status": "RUNNING"}).raise_for_status()
            assert client.get(f"/jobs/{job}/").json()["status"] == "RUNNING"
            upload = uploaded(client, "model.zip", b"content")
            assert second.get(f"/chunked_upload/{upload['id']}/").json()["completed_at"]
            writers = [Writers(one, job, 1), Writers(other, job, 1)]
            assert all(each.enough.wait(WAIT_S) for each in writers)
            codes = [one.stop(), other.stop()]
            for each in writers:
                each.join()
    assert codes == [0, 0]
    total = sum(len(each.answered) for each in writers)
    assert len(list(LocalBackend(home).logs(job))) >= total


def test_what_a_sweep_on_this_machine_writes_is_served_at_once(home: Path) -> None:
    with served(home) as server:
        job = LocalBackend(home).create_job("digits", {})
        assert httpx.get(f"{server.url}/jobs/{job}/").json()["name"] == "digits"


@pytest.mark.parametrize("library", ["starlette", "uvicorn", "python_multipart"])
def test_a_missing_library_is_one_line_with_the_command_that_brings_it(
    home: Path, library: str
) -> None:
    result = serve(home, "--port=0", before=f"sys.modules[{library!r}] = None")
    assert (result.returncode, result.stdout) == (1, "")
    assert is_one_clean_line(result.stderr)
    assert library in result.stderr
    assert "pip install" in result.stderr


def test_a_connection_is_kept_for_the_next_request(home: Path) -> None:
    with served(home) as server, connected(server) as sock:
        for _ in range(3):
            sock.sendall(head("GET", "/jobs/"))
            assert answer(sock).status == 200
