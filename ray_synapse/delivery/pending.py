"""The records of one process that are not known to be written yet. Knows no thread and no Ray."""

import uuid
from collections import deque
from itertools import islice

from ray_synapse.backend.protocol import SNAPSHOTS, Batch, Counts, Record

MAX_PENDING_BYTES = 64 << 20  # a few large images, or a hundred thousand metrics
MAX_PENDING_RECORDS = 100_000  # about 64 MB of the smallest ones, as Python keeps them
MAX_BATCH_RECORDS = 500  # of one write: its transaction then stays in the milliseconds
MAX_BATCH_BYTES = 64 * 1024  # a batch of small records travels in one call of the relay


class Pending:
    """Numbers records, keeps them in order, and counts what becomes of them.

    A record is unsent, then in flight (handed over, no answer yet), then written. What was in
    flight can be taken back, to be sent again.
    """

    def __init__(self) -> None:
        self.process = uuid.uuid4().hex
        self._unsent: deque[Record] = deque()
        self._in_flight: deque[Record] = deque()
        self._bytes = 0  # of both
        self._last = 0  # the number of the newest record
        self._sent = 0  # the number of the last one that was handed over
        self._written = 0  # the number up to which all are known to be written
        self._handed = 0  # the number of the last one that was ever handed over
        self._delivered = self._dropped = self._replaced = 0

    def __len__(self) -> int:
        return len(self._unsent) + len(self._in_flight)

    @property
    def last(self) -> int:
        """The number of the newest record."""
        return self._last

    @property
    def first(self) -> int | None:
        """The number of the oldest record that is not written, or None."""
        queue = self._in_flight or self._unsent
        return queue[0].seq if queue else None

    def add(self, record: Record) -> bool:
        """Number a record and keep it; a snapshot replaces the unsent one of its kind.

        Returns:
            False if there was no room: the record is dropped, and counted. For a snapshot there
            is always room, since there is only one of its kind.
        """
        size = record.size()
        if record.event in SNAPSHOTS:
            self._remove_unsent(record.event)
        elif self._bytes + size > MAX_PENDING_BYTES or len(self) >= MAX_PENDING_RECORDS:
            self._dropped += 1
            return False
        self._last += 1
        self._unsent.append(Record(self._last, *record[1:]))
        self._bytes += size
        return True

    def next_batch(self, limit: int = MAX_BATCH_RECORDS) -> Batch | None:
        """The oldest unsent records, up to a batch's size and ``limit`` records, or None."""
        if not self._unsent:
            return None
        records, size = [self._unsent[0]], self._unsent[0].size()
        for record in islice(self._unsent, 1, limit):
            size += record.size()
            if size > MAX_BATCH_BYTES:
                break
            records.append(record)
        return self.claim()._replace(after=self._sent, records=records)

    def claim(self) -> Batch:
        """A batch without records: only what this process counts itself."""
        logged = self.counts().logged
        return Batch(self.process, 0, (), logged, self._dropped, self._replaced)

    def sent(self, batch: Batch) -> None:
        """The batch was handed over."""
        for _ in batch.records:
            self._in_flight.append(self._unsent.popleft())
        self._sent = batch.records[-1].seq
        self._handed = max(self._handed, self._sent)

    def written(self, seq: int) -> None:
        """Everything in flight up to this number is written."""
        self._written = max(self._written, seq)
        while self._in_flight and self._in_flight[0].seq <= seq:
            self._bytes -= self._in_flight.popleft().size()
            self._delivered += 1

    def take_back(self) -> None:
        """What is in flight is unsent again."""
        self._unsent.extendleft(reversed(self._in_flight))
        self._in_flight.clear()
        self._sent = self._written

    def refused(self) -> None:
        """The backend said that it has taken nothing of what was handed over and not written."""
        self._handed = self._written

    def drop_all(self) -> None:
        """Nobody will ever take what is pending."""
        self._dropped += len(self)
        self._unsent.clear()
        self._in_flight.clear()
        self._bytes = 0
        self._sent = self._written = self._last

    def drop_first(self) -> None:
        """The oldest unsent record can never be taken."""
        self._bytes -= self._unsent.popleft().size()
        self._dropped += 1

    def count_dropped(self, number: int) -> None:
        """Count records that were dropped before they got a number."""
        self._dropped += number

    def counts(self) -> Counts:
        """What became of all records so far."""
        done = self._delivered + self._dropped + self._replaced
        return Counts(
            done + len(self),
            self._delivered,
            waiting=len(self),
            dropped=self._dropped,
            replaced=self._replaced,
        )

    def _remove_unsent(self, event: str) -> None:
        for index in range(len(self._unsent) - 1, -1, -1):
            if self._unsent[index].seq <= self._handed:  # it may be written, its answer lost
                return
            if self._unsent[index].event == event:
                self._bytes -= self._unsent[index].size()
                del self._unsent[index]
                self._replaced += 1
                return
