"""An HTTP proxy before a real server, which does wrong to requests as a script of faults says."""

import contextlib
import random
import socket
import sys
import threading
from collections.abc import Callable
from socketserver import ThreadingTCPServer
from typing import Any

from tests.exchanges import Exchange, Seen
from tests.faults import Fault

END_S = 10  # for the threads to end once their connections are closed
POLL_S = 0.02  # within which the listening thread sees that it shall stop


class Proxy:
    """Listens on a free port of 127.0.0.1 as long as the block lasts.

    Args:
        upstream: The URL of the server.
        strip_keys: Make the server look like one that knows no idempotency keys.
        seed: Decides when the faults come that have a chance.
    """

    def __init__(self, upstream: str, strip_keys: bool = False, seed: int = 0) -> None:
        self.upstream, self.strip_keys = upstream.rstrip("/"), strip_keys
        self._lock, self._dice = threading.Lock(), random.Random(seed)
        self._healed = threading.Event()
        self._script: list[Fault | None] = []
        self._always: tuple[Fault, ...] = ()
        self._seen: list[Seen] = []
        self._server: Server | None = None
        self._port = socket.socket()  # bound, so that nobody else gets the port after `stop`
        self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._port.bind(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._port.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"

    def __enter__(self) -> "Proxy":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._port.close()
        self.stop()

    @property
    def requests(self) -> list[Seen]:
        """All requests so far, in the order they came."""
        with self._lock:
            return list(self._seen)

    def script(self, *faults: Fault | None) -> None:
        """Add to what is done to the next requests.

        Each request takes the first fault that is left and meets it; None lets one request pass.
        """
        with self._lock:
            self._script += faults

    def always(self, *faults: Fault) -> None:
        """From now on, once the script is through, each request has the first that meets it."""
        with self._lock:
            self._always = faults

    def heal(self) -> None:
        """No faults any more. What hangs ends without an answer, what is slow is answered now."""
        with self._lock:
            self._script, self._always = [], ()
        self._go_on()

    def start(self) -> None:
        """Listen, again after ``stop`` on the same port."""
        self._server = Server(self)

    def stop(self) -> None:
        """Refuse connections and close the open ones. Then no request is on its way any more."""
        if self._server is not None:
            self._server.stop(self._go_on)
            self._server = None

    def met(self, seen: Seen) -> tuple[Fault | None, threading.Event]:
        """Note a request. Returns what to do to it, and what tells when the proxy is healed."""
        with self._lock:
            fault = self._next(seen.method, seen.path)
            seen.fault = fault.name if fault else None
            self._seen.append(seen)
            return fault, self._healed

    def _next(self, method: str, path: str) -> Fault | None:
        for i, each in enumerate(self._script):
            if each is None or each.meets(method, path, self._dice):
                return self._script.pop(i)
        return next((each for each in self._always if each.meets(method, path, self._dice)), None)

    def _go_on(self) -> None:
        with self._lock:
            healed, self._healed = self._healed, threading.Event()
        healed.set()


class Server(ThreadingTCPServer):
    """Listens from its making on, with a thread for each connection."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self._open: set[Any] = set()
        self._changed = threading.Condition()
        super().__init__(proxy.address, Exchange)
        self._thread = threading.Thread(target=self.serve_forever, args=(POLL_S,), daemon=True)
        self._thread.start()

    def stop(self, go_on: Callable[[], None]) -> None:
        """Close everything, and let those go on that wait."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        with self._changed:
            for connection in self._open:
                with contextlib.suppress(OSError):  # it is closed already
                    connection.shutdown(socket.SHUT_RDWR)
            go_on()
            is_over = self._changed.wait_for(lambda: not self._open, END_S)
        assert is_over, f"{len(self._open)} requests did not end; does the server answer?"

    def process_request(self, request: Any, client_address: Any) -> None:
        """A connection begins."""
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """A connection ends."""
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is no error; any other is the proxy's own, for pytest to show."""
        if not isinstance(sys.exc_info()[1], OSError):
            raise
