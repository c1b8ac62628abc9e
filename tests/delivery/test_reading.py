"""An archive that is read, and its MD5 made, while it is sent."""

import hashlib
import threading
from collections.abc import Iterator
from itertools import count

import pytest

from ray_synapse.delivery.reading import AHEAD, PIECE_BYTES, Chunk, Reading

WHOLE = bytes(range(256)) * 40_000  # ten megabytes, so ten pieces


def in_pieces(size: int, whole: bytes = WHOLE) -> Iterator[bytes]:
    return (whole[start : start + size] for start in range(0, len(whole), size))


def nothing() -> None:
    """Nobody wants it to end."""


@pytest.mark.parametrize("size", [100_000, PIECE_BYTES - 1, PIECE_BYTES, 3_000_000, len(WHOLE)])
@pytest.mark.parametrize("length", [700_000, 5 << 20, len(WHOLE)])
def test_chunks_have_the_bytes_of_the_whole_in_order(size: int, length: int) -> None:
    found = bytearray()
    with Reading(in_pieces(size), nothing) as reading:
        for start in range(0, len(WHOLE), length):
            chunk = Chunk(reading, min(length, len(WHOLE) - start))
            part = chunk.after(0)
            assert len(part) == chunk.length
            found += b"".join(part)
            chunk.finish()
        assert reading.md5() == hashlib.md5(WHOLE).hexdigest()
    assert found == WHOLE


def test_a_chunk_can_be_sent_again_from_anywhere_until_it_is_finished() -> None:
    with Reading(in_pieces(100_000), nothing) as reading:
        chunk = Chunk(reading, 3_000_000)
        first = chunk.after(0)
        assert next(iter(first)) == WHOLE[: len(next(iter(first)))]
        for skip in (2_999_999, 0, 1_500_000, PIECE_BYTES):
            part = chunk.after(skip)
            assert (len(part), b"".join(part)) == (3_000_000 - skip, WHOLE[skip:3_000_000])
        chunk.finish()
        assert b"".join(Chunk(reading, 10).after(0)) == WHOLE[3_000_000:3_000_010]


def test_what_is_not_sent_at_all_counts_for_the_md5() -> None:
    with Reading(in_pieces(100_000), nothing) as reading:
        Chunk(reading, len(WHOLE)).finish()
        assert reading.md5() == hashlib.md5(WHOLE).hexdigest()


def test_a_file_that_cannot_be_read_is_told_to_who_sends_each_time() -> None:
    def broken() -> Iterator[bytes]:
        yield WHOLE[:PIECE_BYTES]
        raise OSError("the disk is gone")

    with Reading(broken(), nothing) as reading:
        chunk = Chunk(reading, len(WHOLE))
        for _ in range(2):
            with pytest.raises(OSError, match="the disk is gone"):
                b"".join(chunk.after(0))


def test_an_archive_that_ends_early_is_an_error() -> None:
    with Reading(in_pieces(100_000), nothing) as reading, pytest.raises(OSError, match="shorter"):
        b"".join(Chunk(reading, len(WHOLE) + 1).after(0))


def test_no_more_is_read_than_is_needed_soon() -> None:
    numbers = count()

    def endless() -> Iterator[bytes]:
        for _ in numbers:
            yield WHOLE[:PIECE_BYTES]

    before = set(threading.enumerate())
    with Reading(endless(), nothing) as reading:
        Chunk(reading, PIECE_BYTES).finish()
    read = next(numbers)
    assert read <= AHEAD + 4
    assert set(threading.enumerate()) <= before


def test_who_must_make_place_is_asked_for_each_piece_and_while_nothing_comes() -> None:
    class TimeIsUpError(Exception):
        pass

    gate, asked = threading.Event(), count()

    def stalled() -> Iterator[bytes]:
        yield WHOLE[:PIECE_BYTES]
        gate.wait(30)

    def check() -> None:
        if next(asked) >= 3:
            gate.set()
            raise TimeIsUpError

    with Reading(stalled(), check) as reading, pytest.raises(TimeIsUpError):
        Chunk(reading, 2 * PIECE_BYTES).finish()


def test_without_threads_it_is_read_where_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """As while the interpreter exits."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with Reading(in_pieces(100_000), nothing) as reading:
        chunk = Chunk(reading, len(WHOLE))
        assert b"".join(chunk.after(5)) == WHOLE[5:]
        chunk.finish()
        assert reading.md5() == hashlib.md5(WHOLE).hexdigest()
