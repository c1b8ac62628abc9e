"""A server that takes everything and keeps nothing: what remains is what the client costs.

``python -m benchmarks.sink`` is what runs in the process. It counts bytes and requests, and tells
them at ``/counts/``.
"""

import json
import re
import socketserver
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

READ_BYTES = 1 << 20
HONOURED = "Idempotency-Key-Honoured: true\r\n"


class Sink(socketserver.ThreadingTCPServer):
    """Answers as a Synapse server would that has done what it was asked."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Exchanges)
        self.counts: Counter[str] = Counter()
        self.lock = threading.Lock()


class _Exchanges(socketserver.StreamRequestHandler):
    server: Sink

    def handle(self) -> None:
        """Answer until the client goes."""
        buffer = memoryview(bytearray(READ_BYTES))
        while first := self.rfile.readline():
            method, path, _ = first.decode("latin-1").split(" ", 2)
            head, fields = len(first), {}
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                name, _, value = line.decode("latin-1").partition(":")
                fields[name.lower()] = value.strip()
                head += len(line)
            if fields.get("expect"):
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            left = length = int(fields.get("content-length", 0))
            while left and (count := self.rfile.readinto(buffer[: min(left, READ_BYTES)])):
                left -= count
            if path != "/counts/":
                with self.server.lock:
                    self.server.counts += Counter(
                        {"bytes": head + 2 + length, "requests": 1, f"{method} {_kind(path)}": 1}
                    )
            body = json.dumps(self._answer(method, path, fields)).encode()
            self.wfile.write(
                f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{HONOURED}"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )

    def _answer(self, method: str, path: str, fields: dict[str, str]) -> Any:
        if path == "/counts/":
            with self.server.lock:
                return dict(self.server.counts)
        if path.startswith("/chunked_upload/"):
            span = re.search(r"-(\d+)/", fields.get("content-range", ""))
            offset = int(span.group(1)) + 1 if span else 0
            ended = None if span else "2026-01-01T00:00:00Z"
            return {"id": "u", "url": "/chunked_upload/u/", "offset": offset, "completed_at": ended}
        if method == "GET" and path.startswith("/models/"):
            return {"count": 0, "next": None, "previous": None, "results": []}
        return {"id": 1, "name": "benchmark", "status": "RUNNING", "count": 0}


def _kind(path: str) -> str:
    return path.split("/")[1]


@contextmanager
def sink() -> Iterator[str]:
    """The URL of one."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sink"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    with Sink() as server:
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
