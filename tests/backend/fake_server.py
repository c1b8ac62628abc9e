"""A server that answers with the bytes it is given, and remembers what it was sent."""

import contextlib
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ray_synapse.backend.http import Credentials, HttpApi

Act = bytes | Callable[[socket.socket], None]


class Seen(NamedTuple):
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]  # their names in lower case
    body: bytes

    @property
    def tokens(self) -> set[str]:
        """The names of the headers that hold tokens."""
        return self.headers.keys() & {"authorization", "synapse-access-token", "synapse-tenant"}


@dataclass
class Fake:
    """Gives the next of the answers to each request, and the last one for ever."""

    sock: socket.socket
    answers: list[Act]
    tls: ssl.SSLContext | None = None
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        address, port = self.sock.getsockname()
        return f"{'http' if self.tls is None else 'https'}://{address}:{port}"

    def serve(self) -> None:
        """Until the socket is closed."""
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.sock.accept()
                self.connections += 1
                threading.Thread(target=self._talk, args=[sock], daemon=True).start()

    def _talk(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(sock)
            if self.tls is not None:
                sock = stack.enter_context(self.tls.wrap_socket(sock, server_side=True))
            file = stack.enter_context(sock.makefile("rb"))
            while self._exchange(sock, file):
                pass

    def _exchange(self, sock: socket.socket, file: Any) -> bool:
        """One request and its answer. Gives whether the connection stays."""
        line = file.readline().decode("latin-1").split()
        if not line:
            return False
        headers = {}
        while text := file.readline().decode("latin-1").strip():
            name, _, value = text.partition(":")
            headers[name.lower()] = value.strip()
        body = file.read(int(headers.get("content-length", 0)))
        act = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.seen.append(Seen(line[0], line[1], headers, body))
        if callable(act):
            act(sock)
            return False
        sock.sendall(act)
        return b"\r\nContent-Length:" in act and b"\r\nConnection: close" not in act


@contextlib.contextmanager
def answering(
    *answers: Act, tls: ssl.SSLContext | None = None, address: str = "127.0.0.1"
) -> Iterator[Fake]:
    """A server on this machine, until the block ends."""
    with socket.create_server((address, 0)) as sock:
        fake = Fake(sock, list(answers), tls)
        thread = threading.Thread(target=fake.serve, daemon=True)
        thread.start()
        yield fake
        sock.shutdown(socket.SHUT_RDWR)  # ends `accept`
        thread.join(5)


_apis: list[HttpApi] = []


def api_of(url: str, *tokens: str | None) -> HttpApi:
    """A client that ``tidily`` closes."""
    _apis.append(HttpApi(Credentials(url, *tokens)))
    return _apis[-1]


@contextlib.contextmanager
def tidily() -> Iterator[None]:
    """No proxies of this machine before a test, and no open connections after it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        yield
    while _apis:
        _apis.pop().close()


def raw(status: int, body: bytes = b"", **headers: object) -> bytes:
    """An answer. ``Retry_After=5`` is a header; None leaves out one that is there by itself."""
    named = {"Content_Length": len(body), **headers}
    lines = [
        f"{key.replace('_', '-')}: {value}" for key, value in named.items() if value is not None
    ]
    return "\r\n".join([f"HTTP/1.1 {status} Word", *lines, "", ""]).encode("latin-1") + body


def answer(status: int, value: Any = None, **headers: object) -> bytes:
    """An answer of JSON."""
    body = json.dumps({} if value is None else value).encode()
    return raw(status, body, **{"Content_Type": "application/json", **headers})


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS with a certificate that nobody has signed, and its file."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    make += ["-subj", "/CN=localhost", "-addext", names, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(make, check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, cert
