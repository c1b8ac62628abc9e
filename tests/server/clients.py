"""Clients that a real one would never be, and servers that are started in another way."""

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from tests.serving import Served

WAIT_S = 20
JSON = {"Content-Type": "application/json"}
ENTRY = {"event": "metric", "data": {}, "datetime": "2024-01-02T03:04:05+00:00"}
BOUNDARY = "a-line-between"
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


class Answer(NamedTuple):
    """What came back over a raw connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def port_of(server: Served) -> int:
    port = urlsplit(server.url).port
    assert port is not None
    return port


def connected(server: Served, receive_bytes: int | None = None) -> socket.socket:
    """A connection to the server, with a small buffer if it shall not read."""
    sock = socket.socket()
    if receive_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    sock.settimeout(WAIT_S)
    sock.connect(("127.0.0.1", port_of(server)))
    return sock


def head(method: str, path: str, host: str = "localhost", **headers: object) -> bytes:
    """The head of a request, byte for byte as it is given here."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def rest(sock: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    return b"".join(iter(lambda: sock.recv(1 << 16), b""))


def answer(sock: socket.socket) -> Answer:
    """The next answer on a connection."""
    with sock.makefile("rb") as file:
        status = int(file.readline().split()[1])
        headers = {}
        while line := file.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return Answer(status, headers, file.read(int(headers.get("content-length", -1))))


def asked(
    server: Served, method: str, path: str, host: str = "localhost", **headers: str
) -> Answer:
    """The answer to a request without a body, which no library has put in order."""
    with connected(server) as sock:
        sock.sendall(head(method, path, host, Connection="close", **headers))
        return answer(sock)


def client_of(server: Served, **headers: str) -> httpx.Client:
    # Without HTTPS there is nothing to verify, and to load the certificates takes its time.
    return httpx.Client(base_url=server.url, headers=headers, timeout=WAIT_S, verify=False)


def made_job(server: Served, name: str = "digits") -> int:
    with client_of(server) as client:
        return int(client.post("/jobs/", json={"name": name}).raise_for_status().json()["id"])


def uploaded(client: httpx.Client, filename: str, content: bytes) -> dict[str, Any]:
    """A finished upload of one chunk."""
    last = len(content) - 1
    url = client.put(
        "/chunked_upload/",
        data={"filename": filename},
        files={"file": (filename, content)},
        headers={"Content-Range": f"bytes 0-{last}/{last + 1}"},
    ).raise_for_status()
    ended = client.post(url.json()["url"], json={"md5": hashlib.md5(content).hexdigest()})
    return dict(ended.raise_for_status().json())


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    """A part of a multipart body."""
    of = f'; filename="{filename}"' if filename is not None else ""
    start = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{of}\r\n\r\n'
    return start.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


@contextlib.contextmanager
def started(home: Path, *arguments: str, before: str = "") -> Iterator[Served]:
    """``ray-synapse serve`` with just these arguments, after other code ran in its process."""
    script = f"import sys; from ray_synapse.cli import main\n{before}\nsys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", script, "serve", *arguments],
        env={**os.environ, "RAY_SYNAPSE_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines.append(line.rstrip())
            if "SYNAPSE_HOST=" in line:
                break
        assert lines, process.wait(WAIT_S)
        assert "SYNAPSE_HOST=" in lines[-1], lines
        yield Served(lines[-1].partition("=")[2], None, process, lines)
    finally:
        process.kill()
        lines += process.stdout.read().splitlines()
        process.stdout.close()
        process.wait()


def serve(home: Path, *arguments: str, before: str = "") -> "subprocess.CompletedProcess[str]":
    """``ray-synapse serve`` where it shall fail at once."""
    script = f"import sys\n{before}\nfrom ray_synapse.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", script, "serve", *arguments],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
        env={**os.environ, "RAY_SYNAPSE_HOME": str(home)},
    )


def is_one_clean_line(text: str) -> bool:
    return text.startswith("ray-synapse: ") and text.count("\n") == 1 and text.endswith("\n")


def open_in(server: Served, what: str) -> int:
    """How many files or sockets of such a name the server has open."""
    count = 0
    for each in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += what in str(each.readlink())
    return count


def comes_true(condition: Callable[[], bool]) -> bool:
    """Whether something is so before long."""
    end = time.monotonic() + 8
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False
