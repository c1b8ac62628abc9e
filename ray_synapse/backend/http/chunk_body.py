"""The multipart body of a chunk, made as it is sent."""

import uuid
from collections.abc import Callable, Iterator

PIECE_BYTES = 256 << 10  # copied at a time; 200 of them are a chunk of 50 MiB


class ChunkBody:
    """A form of two fields, ``filename`` and ``file``. It can be sent more than once.

    ``close`` lets go of the chunk: a bytearray that is held cannot be cut by its owner.

    Args:
        filename: What the client calls the file.
        chunk: The bytes; they are copied piece by piece only.
        on_sent: Called with the number of bytes of each piece when it is sent.
    """

    def __init__(
        self,
        filename: str,
        chunk: bytes | bytearray | memoryview,
        on_sent: Callable[[int], None] | None,
    ) -> None:
        self._chunk, self._on_sent = memoryview(chunk).cast("B"), on_sent
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
        for first in range(0, len(self._chunk), PIECE_BYTES):
            piece = bytes(self._chunk[first : first + PIECE_BYTES])
            yield piece
            if self._on_sent is not None:
                self._on_sent(len(piece))
        yield self._tail

    def close(self) -> None:
        """Let go of the chunk."""
        self._chunk.release()
