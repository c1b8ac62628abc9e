"""An archive that is read, and its MD5 made, on threads of their own while it is sent."""

import hashlib
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType

PIECE_BYTES = 1 << 20  # handed on at a time: many small files are gathered to it
AHEAD = 8  # pieces that are read before they are sent or hashed
JOIN_S = 1.0  # for threads that end at once, unless a file system hangs
LOOK_S = 0.2  # between two looks whether to go on, while waiting


class Reading:
    """Reads once and in order; a context manager, which ends the threads.

    The MD5 takes longer than to send: about 1.5 s for 1 GiB. Neither that nor reading and sending
    needs Python's lock. While the interpreter exits, when no thread can be started, all of it
    happens in the calling thread.

    Args:
        pieces: The archive's pieces.
        check: Called for each piece, and while none comes; what it raises comes out of ``next``.
    """

    def __init__(self, pieces: Iterator[bytes], check: Callable[[], None]) -> None:
        self._source, self._check = _gathered(pieces), check
        self._to_send: queue.Queue[bytes | Exception] = queue.Queue(AHEAD)
        self._to_hash: queue.Queue[bytes] = queue.Queue(AHEAD)
        self._digest = hashlib.md5(usedforsecurity=False)
        self._rest = b""  # of a piece of which only a part was asked for
        self._error: Exception | None = None
        self._has_threads = True
        self._is_over = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "Reading":
        try:
            for work in (self._hash, self._read):
                thread = threading.Thread(target=work, name="ray_synapse-reading", daemon=True)
                thread.start()
                self._threads.append(thread)
        except RuntimeError:  # the interpreter is exiting
            self._has_threads = False
            self._is_over.set()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(JOIN_S)

    def next(self, most: int) -> bytes:
        """The next bytes, at most so many; empty at the end.

        Raises:
            OSError: The files cannot be read, or have changed.
        """
        self._check()
        piece, self._rest = self._rest, b""
        piece = piece or self._next_read()
        if len(piece) > most:
            piece, self._rest = piece[:most], piece[most:]
        return piece

    def md5(self) -> str:
        """The MD5 of all of it, in hexadecimal. To be asked at the end."""
        for thread in self._threads:
            thread.join()
        return self._digest.hexdigest()

    def _next_read(self) -> bytes:
        if not self._has_threads:
            piece = next(self._source, b"")
            self._digest.update(piece)
            return piece
        while self._error is None:
            try:
                found = self._to_send.get(timeout=LOOK_S)
            except queue.Empty:
                self._check()
                continue
            if not isinstance(found, Exception):
                return found
            self._error = found
        raise self._error

    def _read(self) -> None:
        try:
            for piece in self._source:
                if not _put(self._to_send, piece, self._is_over):
                    return
                _put(self._to_hash, piece, self._is_over)
            _put(self._to_send, b"", self._is_over)
        except Exception as error:  # a file system's: for who sends
            _put(self._to_send, error, self._is_over)
        finally:
            _put(self._to_hash, b"", self._is_over)

    def _hash(self) -> None:
        while not self._is_over.is_set():
            with suppress(queue.Empty):
                piece = self._to_hash.get(timeout=LOOK_S)
                if not piece:
                    return
                self._digest.update(piece)


class Chunk:
    """Some of it, in pieces: read while they are sent first, then kept to be sent again.

    Args:
        reading: Where they come from; the chunk before must have been read to its end.
        length: How many bytes it has.
    """

    def __init__(self, reading: Reading, length: int) -> None:
        self._reading, self.length = reading, length
        self._pieces: list[bytes] = []
        self._missing = length

    def finish(self) -> None:
        """Read what was not read yet, and keep none of it: what was sent may hold on to this."""
        self._pieces.clear()
        while self._missing:
            self._more()
            self._pieces.clear()

    def after(self, skip: int) -> "Part":
        """What comes after so many bytes, which are read now."""
        while self.length - self._missing < skip:
            self._more()
        return Part(self, skip)

    def pieces(self, skip: int) -> Iterator[bytes]:
        """The same in pieces; the ones that are not read yet are waited for."""
        index = 0
        while index < len(self._pieces) or self._missing:
            if index == len(self._pieces):
                self._more()
            piece = self._pieces[index]
            if skip < len(piece):
                yield piece[skip:] if skip else piece
            skip = max(skip - len(piece), 0)
            index += 1

    def _more(self) -> None:
        piece = self._reading.next(self._missing)
        if not piece:
            raise OSError("the archive is shorter than it was laid out")
        self._pieces.append(piece)
        self._missing -= len(piece)


class Part:
    """A part of a chunk, for a request's body."""

    def __init__(self, chunk: Chunk, skip: int) -> None:
        self._chunk, self._skip = chunk, skip

    def __len__(self) -> int:
        return self._chunk.length - self._skip

    def __iter__(self) -> Iterator[bytes]:
        return self._chunk.pieces(self._skip)


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces that are worth a request's while."""
    small, size = list[bytes](), 0
    for piece in pieces:
        small.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            yield b"".join(small)
            small, size = [], 0
    if small:
        yield b"".join(small)


def _put(
    to: "queue.Queue[bytes | Exception] | queue.Queue[bytes]",
    piece: "bytes | Exception",
    is_over: threading.Event,
) -> bool:
    """Put it as soon as there is room. Returns False if it is over before."""
    while not is_over.is_set():
        with suppress(queue.Full):
            to.put(piece, timeout=LOOK_S)  # type: ignore[arg-type]  # an error only to one of them
            return True
    return False
