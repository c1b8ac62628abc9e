"""Bodies of requests that are made, or followed by something, as they are sent."""

import uuid
from collections.abc import Callable, Iterator
from typing import Protocol

PIECE_BYTES = 256 << 10  # copied at a time; 200 of them are a chunk of 50 MiB


class Pieces(Protocol):
    """The bytes of a chunk, in pieces; they can be gone through more than once."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...


class ChunkBody:
    """A form of two fields, ``filename`` and ``file``. It can be sent more than once.

    ``close`` lets go of the chunk: a bytearray that is held cannot be cut by its owner.

    Args:
        filename: What the client calls the file.
        chunk: The bytes, or their pieces; they are copied piece by piece only.
        on_sent: Called with the number of bytes of each piece when it is sent.
    """

    def __init__(
        self,
        filename: str,
        chunk: bytes | bytearray | memoryview | Pieces,
        on_sent: Callable[[int], None] | None,
    ) -> None:
        self._chunk: memoryview | Pieces = (
            memoryview(chunk).cast("B")
            if isinstance(chunk, (bytes, bytearray, memoryview))
            else chunk
        )
        self._on_sent = on_sent
        line = f"--{uuid.uuid4().hex}"
        field = "Content-Disposition: form-data; name="
        head = (
            f'{line}\r\n{field}"filename"\r\n\r\n{filename}\r\n'
            f'{line}\r\n{field}"file"; filename="file"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        self._head, self._tail = head.encode("utf-8", "replace"), f"\r\n{line}--\r\n".encode()
        length = len(self._head) + len(self._chunk) + len(self._tail)
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={line[2:]}",
            "Content-Length": str(length),
        }

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        for piece in self._pieces():
            yield piece
            if self._on_sent is not None:
                self._on_sent(len(piece))
        yield self._tail

    def _pieces(self) -> Iterator[bytes]:
        for whole in (self._chunk,) if isinstance(self._chunk, memoryview) else self._chunk:
            view = memoryview(whole)
            for first in range(0, len(view), PIECE_BYTES):
                yield bytes(view[first : first + PIECE_BYTES])

    def close(self) -> None:
        """Let go of the chunk."""
        if isinstance(self._chunk, memoryview):
            self._chunk.release()


class FollowedBody:
    """A body, and what is done when it is sent.

    The HTTP client asks for more when it has written the body: all that is left to do is to wait.

    Args:
        content: The body; the request's ``Content-Length`` must tell its length.
        then: What is done.
    """

    def __init__(self, content: bytes, then: Callable[[], None]) -> None:
        self._content, self._then = content, then

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
        self._then()
