"""How long a connection may keep silent. Each one takes a file descriptor."""

import asyncio
import json
from collections.abc import Callable

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 30.0  # from its first byte, or from the connection, to the end of a request's head
UNREAD_S = 60.0  # while a client reads nothing of its answer; the published one gives up after 15


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP, which by itself waits for ever for the head and for the reader."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """A client came."""
        super().connection_made(transport)
        self._head, self._unread = _Alarm(self.loop), _Alarm(self.loop)
        self._head.set(HEAD_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        """A part of a request came."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._head.set(HEAD_S, self.transport.abort)
        else:
            self._head.stop()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in JSON as everything else."""
        body = json.dumps({"detail": msg}).encode()
        kind = [("content-type", "application/json"), ("connection", "close")]
        for event in (
            h11.Response(status_code=400, headers=kind, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """The client has read nearly all."""
        super().resume_writing()
        self._unread.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went, or was let go."""
        super().connection_lost(exc)
        self._head.stop()
        self._unread.stop()

    def _watch_reader(self) -> None:
        before = self.transport.get_write_buffer_size()

        def look() -> None:
            self._unread.stop()
            if self.transport.get_write_buffer_size() < before:
                self._watch_reader()
            else:
                self.transport.abort()

        self._unread.set(UNREAD_S, look)


class _Alarm:
    """Calls something after a while, if it is not stopped before."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float, call: Callable[[], None]) -> None:
        """Begin to count, if it does not count already."""
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, call)

    def stop(self) -> None:
        """Do not call."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
