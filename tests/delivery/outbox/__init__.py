"""What the tests of the outbox share."""

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray_synapse.backend.protocol import Batch, Counts, Record
from ray_synapse.delivery.outbox.departures import Letter
from ray_synapse.delivery.outbox.outbox import Outbox
from ray_synapse.values import Wire, dumps

JOB = 7
ROOT = Path(__file__).parents[3]  # from which a script finds these tests
TIME = "2024-01-02T03:04:05+00:00"
MANY = 1_000_000
PROCESS_S = 30  # for a process of a test to do its part


def metric(value: Wire, step: str | None = None) -> Record:
    return Record(0, "metric", TIME, dumps({"value": value}), step=step)


def message(text: Wire, level: str | None = None) -> Record:
    return Record(0, "message", TIME, dumps({"content": text}), level=level)


def image(index: int, size: int = 100) -> Record:
    data = dumps({"index": index})
    return Record(0, "visualization", TIME, data, f"data:image/png;base64,{'A' * size}")


def table(number: Wire) -> Record:
    return Record(0, "trials", TIME, dumps({"trials": number}))


def progress(percent: Wire) -> Record:
    return Record(0, "progress", TIME, dumps({"percent": percent}))


class Logs:
    """Logs to an outbox as a process does: numbers its records, says how many there are."""

    def __init__(self, outbox: Outbox, process: str = "p") -> None:
        self.outbox, self.process = outbox, process
        self.last = 0
        self.dropped = self.replaced = 0

    def batch(self, *records: Record) -> Batch:
        after = self.last
        numbered = [each._replace(seq=after + n) for n, each in enumerate(records, 1)]
        self.last += len(records)
        logged = self.last + self.dropped + self.replaced
        return Batch(self.process, after, numbered, logged, self.dropped, self.replaced)

    def log(self, *records: Record) -> int:
        return self.outbox.commit(self.batch(*records))


def take(outbox: Outbox, most: int = MANY, most_bytes: int = MANY) -> Letter:
    """The next letter, which must be there."""
    letter = outbox.take_letter(most, most_bytes, 0)
    assert letter is not None
    return letter


def entries(letter: Letter | None) -> list[dict[str, Any]]:
    """What a letter says."""
    assert letter is not None
    found = json.loads(letter.body)
    assert len(found) == letter.number
    return list(found)


def values(letter: Letter | None) -> list[Any]:
    """What the metrics, messages and images of a letter say."""
    return [next(iter(each["data"].values())) for each in entries(letter)]


def deliver_all(outbox: Outbox, most: int = MANY) -> list[Any]:
    """Have all waiting entries delivered. Returns what they said."""
    said: list[Any] = []
    while (letter := outbox.take_letter(most, MANY, 0)) is not None:
        said += values(letter)
        outbox.letter_delivered(letter)
    return said


def rows(outbox: Outbox, statement: str) -> list[Any]:
    """What the file says, read past the outbox's own code."""
    with contextlib.closing(sqlite3.connect(outbox.path)) as db:
        return db.execute(statement).fetchall()


def query(outbox: Outbox, statement: str) -> list[Any]:
    """The first column of it."""
    return [row[0] for row in rows(outbox, statement)]


def used(outbox: Outbox) -> int:
    """The bytes of the pages in use."""
    pages, free, size = (
        query(outbox, f"PRAGMA {name}")[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def change(outbox: Outbox, statement: str) -> None:
    """Change the file past the outbox's own code."""
    with contextlib.closing(sqlite3.connect(outbox.path)) as db, db:
        db.execute(statement)


def waiting_rows(outbox: Outbox) -> int:
    """How many rows still have to go."""
    where = "WHERE state IN ('waiting', 'sending')"
    tables = ("entries", "snapshots")
    return sum(query(outbox, f"SELECT COUNT(*) FROM {each} {where}")[0] for each in tables)


def checked(outbox: Outbox) -> Counts:
    """The counts of all processes; the equation must hold for each."""
    counts = outbox.counts()
    for each in counts.values():
        assert each.logged == sum(each[1:]), each
        assert min(each) >= 0, each
    return Counts.total(counts.values())


@contextlib.contextmanager
def python(code: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """A process of its own that runs some code, until the block ends."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def say(process: "subprocess.Popen[str]") -> None:
    """Give it an empty line to read."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def outbox_at(folder: Path, limit: int = 1 << 30) -> Outbox:
    """An outbox in that folder; each has connections of its own, as in another process."""
    return Outbox(folder / "outbox" / "7@any.db", JOB, limit)
