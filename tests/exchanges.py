"""What goes through the proxy of the tests: a client's requests, and how each one is treated."""

import contextlib
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.faults import Answer, Fault, made

if TYPE_CHECKING:
    from tests.proxy import Server

PIECE_BYTES = 256 << 10  # are read at once
UPSTREAM_S = 60  # for the server to take or give some bytes
NOT_FORWARDED = {"host", "connection", "keep-alive", "expect", "accept-encoding"}
NOT_PASSED_BACK = {"connection", "keep-alive", "transfer-encoding", "content-length"}
KEY, HONOURED = "idempotency-key", "idempotency-key-honoured"


@dataclass
class Seen:
    """A request that came: here since its head was read, the rest follows as it comes.

    Attributes:
        method: ``GET`` and so on.
        path: With the query.
        headers: As the client sent them; names may be asked for in any case.
        fault: The name of what was done to it, if anything, as ``status 503``.
        status: What the client was sent, or is being sent.
        size: How many bytes of the body came.
        pieces: The body, whole if it is JSON; of anything else only the beginning.
    """

    method: str
    path: str
    headers: "Message[str, str]"
    fault: str | None = None
    status: int | None = None
    size: int = 0
    pieces: list[bytes] = field(default_factory=list, repr=False)

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def take(self, piece: bytes) -> None:
        """Note the next bytes of the body: of uploads not all, since they are large."""
        if self.size < PIECE_BYTES or "json" in self.headers.get("Content-Type", ""):
            self.pieces.append(piece)
        self.size += len(piece)


class Exchange(BaseHTTPRequestHandler):
    """A client's connection; a fault has these methods for the request that is at hand."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Server"

    def read(self) -> bytes:
        """The request's body, whole."""
        return b"".join(self.body())

    def body(self) -> Iterator[bytes]:
        """The request's body as it comes."""
        for piece in self._pieces():
            self.seen.take(piece)
            yield piece

    def process(self) -> Answer:
        """Have the server process the request."""
        with self._forwarded(self.body()) as response:
            return self._whole(response)

    def relay(self, body: Iterable[bytes]) -> None:
        """Have the server process the request and answer it."""
        with self._forwarded(body) as response:
            length, is_head = response.headers.get("Content-Length"), self.command == "HEAD"
            if length is None or (_is_json(response) and not is_head):
                self.send(self._whole(response))
                return
            head = Answer(response.status, self._headers(response)).head(length)
            self.write(response.status, head)
            while piece := response.read(PIECE_BYTES):
                self.write(response.status, piece)
            if response.length:  # the server broke off, and the client would wait for the rest
                self.end()

    def send(self, answer: Answer) -> None:
        """Answer the request."""
        body = b"" if self.command == "HEAD" else answer.body
        self.write(answer.status, answer.head() + body)

    def write(self, status: int, data: bytes) -> None:
        """Send bytes of an answer."""
        self.seen.status = status
        self.wfile.write(data)

    def wait(self, seconds: float | None) -> None:
        """Do nothing for that time, or until the proxy is healed."""
        self._healed.wait(seconds)

    def end(self, reset: bool = False) -> None:
        """Close the connection, in order or with a reset."""
        self.close_connection = True
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()  # before the server could end it in order

    def log_message(self, format: str, *args: object) -> None:
        """The requests are kept instead."""

    def _serve(self) -> None:
        self.seen = Seen(self.command, self.path, self.headers)
        fault, self._healed = self.server.proxy.met(self.seen)
        try:
            self._act(fault)
        except (OSError, HTTPException):  # the client is gone, or the server
            self.end()

    def _act(self, fault: Fault | None) -> None:
        try:
            if fault is None:
                self.relay(self.body())
            else:
                fault.act(self)
        except ConnectionRefusedError:  # by the server: nothing was processed
            self.send(made(502))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _pieces(self) -> Iterator[bytes]:
        if "Transfer-Encoding" not in self.headers:
            yield from self._exactly(int(self.headers.get("Content-Length", 0)))
            return
        while size := int(self._line().partition(b";")[0], 16):
            yield from self._exactly(size)
            self._line()
        while self._line().strip():
            pass  # trailers

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self.rfile.read1(min(size, PIECE_BYTES))
            if not piece:
                raise ConnectionError("the client is gone")
            size -= len(piece)
            yield piece

    def _line(self) -> bytes:
        line = self.rfile.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("the client is gone")
        return line

    @contextlib.contextmanager
    def _forwarded(self, body: Iterable[bytes]) -> Iterator[HTTPResponse]:
        to = urlsplit(self.server.proxy.upstream)
        with contextlib.closing(HTTPConnection(to.netloc, timeout=UPSTREAM_S)) as upstream:
            try:
                upstream.connect()
            except OSError:
                for _ in body:  # a client that is still sending would not see an answer
                    pass
                raise
            self._forward(upstream, body)
            yield upstream.getresponse()

    def _forward(self, upstream: HTTPConnection, body: Iterable[bytes]) -> None:
        hidden = NOT_FORWARDED | ({KEY} if self.server.proxy.strip_keys else set())
        upstream.putrequest(self.command, self.path, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in hidden:
                upstream.putheader(name, value)
        upstream.endheaders()
        is_chunked = "Transfer-Encoding" in self.headers
        is_open = True
        for piece in body:  # to its end: a client that is still sending would not see an answer
            data = b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece
            is_open = is_open and _sent(upstream, data)
        if is_chunked and is_open:
            _sent(upstream, b"0\r\n\r\n")

    def _whole(self, response: HTTPResponse) -> Answer:
        body = response.read()
        if _is_json(response):
            proxy = self.server.proxy
            body = body.replace(proxy.upstream.encode(), proxy.url.encode())
        return Answer(response.status, self._headers(response), body)

    def _headers(self, response: HTTPResponse) -> tuple[tuple[str, str], ...]:
        proxy = self.server.proxy
        hidden = NOT_PASSED_BACK | ({HONOURED} if proxy.strip_keys else set())
        return tuple(
            (name, value.replace(proxy.upstream, proxy.url))
            for name, value in response.getheaders()
            if name.lower() not in hidden
        )


def _sent(upstream: HTTPConnection, data: bytes) -> bool:
    try:
        upstream.send(data)
    except OSError:  # it may have answered before it closed
        return False
    return True


def _is_json(response: HTTPResponse) -> bool:
    return "json" in response.headers.get("Content-Type", "")
