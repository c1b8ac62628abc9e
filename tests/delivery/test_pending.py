"""The records of one process that are not known to be written yet."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_synapse.backend.local import LocalBackend
from ray_synapse.backend.protocol import SNAPSHOTS, Batch, Counts, Record
from ray_synapse.delivery.pending import (
    MAX_BATCH_BYTES,
    MAX_BATCH_RECORDS,
    MAX_PENDING_BYTES,
    MAX_PENDING_RECORDS,
    Pending,
)
from ray_synapse.errors import StorageError


def record(event: str = "metric", data: str = "0") -> Record:
    return Record(0, event, "2024-01-02T03:04:05+00:00", data)


def filled(*events: str) -> Pending:
    pending = Pending()
    for event in events:
        assert pending.add(record(event))
    return pending


def hand_over(pending: Pending) -> Batch:
    batch = pending.next_batch()
    assert batch is not None
    pending.sent(batch)
    return batch


def seqs(batch: Batch | None) -> list[int]:
    return [] if batch is None else [each.seq for each in batch.records]


def holds(counts: Counts) -> bool:
    return counts.logged == sum(counts[1:]) and min(counts) >= 0


def test_records_are_numbered_from_1_in_order() -> None:
    pending = filled("metric", "message", "metric")
    batch = hand_over(pending)
    assert seqs(batch) == [1, 2, 3]
    assert (batch.process, batch.after, batch.logged) == (pending.process, 0, 3)
    assert pending.last == 3


def test_each_process_has_an_id_of_its_own() -> None:
    assert Pending().process != Pending().process


def test_nothing_pending_is_no_batch() -> None:
    pending = Pending()
    assert pending.next_batch() is None
    assert (len(pending), pending.first, pending.last) == (0, None, 0)
    pending.take_back()
    assert pending.counts() == Counts()


def test_a_batch_that_was_not_handed_over_is_offered_again() -> None:
    pending = filled("metric", "metric")
    assert pending.next_batch() == pending.next_batch()
    assert len(pending) == 2


def test_a_batch_names_the_record_before_it() -> None:
    pending = filled("metric", "metric")
    hand_over(pending)
    pending.add(record())
    batch = hand_over(pending)
    assert (seqs(batch), batch.after) == ([3], 2)


def test_a_written_record_is_forgotten() -> None:
    pending = filled("metric", "metric", "metric")
    hand_over(pending)
    pending.written(2)
    assert (len(pending), pending.first) == (1, 3)
    pending.written(2)
    assert pending.counts() == Counts(3, 2, waiting=1)
    pending.written(3)
    assert pending.counts() == Counts(3, 3)


def test_what_is_in_flight_can_be_sent_again() -> None:
    pending = filled("metric", "metric")
    hand_over(pending)
    pending.add(record())
    pending.take_back()
    batch = hand_over(pending)
    assert (seqs(batch), batch.after) == ([1, 2, 3], 0)


def test_only_what_is_not_written_is_sent_again() -> None:
    pending = filled("metric", "metric", "metric")
    hand_over(pending)
    pending.written(2)
    pending.take_back()
    batch = hand_over(pending)
    assert (seqs(batch), batch.after) == ([3], 2)


def test_an_answer_that_comes_after_the_records_were_taken_back_forgets_nothing() -> None:
    pending = filled("metric", "metric")
    hand_over(pending)
    pending.take_back()
    pending.written(2)
    assert len(pending) == 2
    hand_over(pending)
    pending.written(2)
    assert pending.counts() == Counts(2, 2)


@pytest.mark.parametrize("event", sorted(SNAPSHOTS))
def test_a_snapshot_replaces_the_unsent_one_of_its_kind(event: str) -> None:
    pending = filled(event, "metric", event)
    assert seqs(hand_over(pending)) == [2, 3]
    assert pending.counts() == Counts(3, waiting=2, replaced=1)


def test_a_snapshot_replaces_none_of_another_kind_and_no_single_record() -> None:
    pending = filled("trials", "progress", "metric", "message", "visualization")
    assert seqs(hand_over(pending)) == [1, 2, 3, 4, 5]
    assert pending.counts().replaced == 0


def test_a_snapshot_that_was_handed_over_is_replaced_no_more() -> None:
    pending = filled("trials")
    hand_over(pending)
    pending.add(record("trials"))
    assert seqs(hand_over(pending)) == [2]
    assert pending.counts() == Counts(2, waiting=2)


def test_a_snapshot_that_may_have_been_written_is_not_called_replaced() -> None:
    """Else the backend counts it twice: as delivered and as replaced."""
    pending = filled("trials")
    hand_over(pending)
    pending.take_back()
    pending.add(record("trials"))
    assert pending.counts().replaced == 0


def test_a_replaced_snapshot_leaves_no_gap_that_a_backend_would_wait_for() -> None:
    """Also when the write after it failed, and what was in flight was taken back."""
    pending = filled("metric")
    hand_over(pending)
    pending.written(1)
    for event in ("trials", "metric", "trials"):
        pending.add(record(event))
    pending.take_back()
    batch = hand_over(pending)
    assert seqs(batch) == [3, 4]
    assert batch.after == 1


def test_a_batch_has_a_limited_number_of_records() -> None:
    pending = filled(*["metric"] * (MAX_BATCH_RECORDS + 1))
    sizes = []
    while pending.next_batch() is not None:
        sizes.append(len(hand_over(pending).records))
    assert sum(sizes) == MAX_BATCH_RECORDS + 1
    assert max(sizes) <= MAX_BATCH_RECORDS


def test_a_batch_has_a_limited_size_but_at_least_one_record() -> None:
    pending = Pending()
    for _ in range(3):
        pending.add(record(data="x" * (MAX_BATCH_BYTES // 2)))
    pending.add(record(data="x" * MAX_BATCH_BYTES * 3))
    batches = []
    while (batch := pending.next_batch()) is not None:
        pending.sent(batch)
        batches.append(batch)
    assert [each.seq for batch in batches for each in batch.records] == [1, 2, 3, 4]
    for batch in batches:
        size = sum(each.size() for each in batch.records)
        assert size <= MAX_BATCH_BYTES or len(batch.records) == 1


def test_past_the_limit_of_bytes_new_records_are_dropped_and_counted() -> None:
    pending, data = Pending(), "x" * (MAX_PENDING_BYTES // 4)
    kept = [pending.add(record(data=data)) for _ in range(6)]
    assert kept == [True, True, True, False, False, False]
    assert pending.counts() == Counts(6, waiting=3, dropped=3)
    assert pending.add(record())


def test_past_the_limit_of_records_new_ones_are_dropped_and_counted() -> None:
    pending = filled(*["metric"] * MAX_PENDING_RECORDS)
    assert not pending.add(record())
    assert pending.counts() == Counts(
        MAX_PENDING_RECORDS + 1, waiting=MAX_PENDING_RECORDS, dropped=1
    )


def test_there_is_room_again_after_a_write() -> None:
    pending, data = Pending(), "x" * (MAX_PENDING_BYTES // 2)
    assert pending.add(record(data=data))
    assert not pending.add(record(data=data))
    hand_over(pending)
    pending.written(1)
    assert pending.add(record(data=data))
    batch = hand_over(pending)
    assert (batch.after, seqs(batch), batch.dropped) == (1, [2], 1)


def test_the_newest_snapshot_finds_room_where_an_older_one_gives_way() -> None:
    """The last table must come through once the disk has room again."""
    pending = filled("trials", *["metric"] * (MAX_PENDING_RECORDS - 1))
    assert pending.add(record("trials", data="the last table"))
    assert pending.counts() == Counts(
        MAX_PENDING_RECORDS + 1, waiting=MAX_PENDING_RECORDS, replaced=1
    )


def test_what_nobody_will_ever_take_is_dropped_and_counted() -> None:
    pending = filled("metric", "metric", "metric")
    hand_over(pending)
    pending.written(1)
    pending.add(record())
    pending.drop_all()
    assert pending.counts() == Counts(4, 1, dropped=3)
    assert (len(pending), pending.first, pending.next_batch()) == (0, None, None)


def test_records_that_never_got_here_are_counted_as_dropped() -> None:
    pending = filled("metric")
    pending.count_dropped(5)
    assert pending.counts() == Counts(6, waiting=1, dropped=5)
    assert hand_over(pending).logged == 6


@pytest.fixture(scope="module")
def backend() -> Iterator[LocalBackend]:
    with tempfile.TemporaryDirectory() as folder:
        yield LocalBackend(Path(folder))


STEPS = st.lists(
    st.sampled_from(
        [
            *("metric", "message", "trials", "progress"),  # something is logged
            *("hand over", "write", "write, answer lost", "fail", "answer", "take back"),
            "drop one",
        ]
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=150)
@given(steps=STEPS)
def test_whatever_happens_nothing_is_lost_doubled_or_out_of_order(
    backend: LocalBackend, steps: list[str]
) -> None:
    """Against a real database. A batch may be in flight, refused, or written without an answer."""
    job = backend.create_job("property", {})
    pending = Pending()
    in_flight: list[Batch] = []
    answers: list[int] = []
    logged: list[tuple[str, int]] = []

    def write(batch: Batch) -> int:
        kept = backend.write(job, batch)
        assert holds(backend.counts(job)[pending.process])
        return kept

    for step in [*steps, "take back"]:
        if step in {"metric", "message", *SNAPSHOTS}:
            logged.append((step, len(logged)))
            assert pending.add(record(step, json.dumps(len(logged) - 1)))
        elif step == "hand over" and pending.next_batch():
            in_flight.append(hand_over(pending))
        elif step in ("write", "write, answer lost") and in_flight:
            answers.append(write(in_flight.pop(0)))
            if step == "write, answer lost":
                answers.pop()
        elif step == "answer" and answers:
            pending.written(answers.pop(0))
        elif step in ("fail", "take back"):
            in_flight.clear()
            pending.take_back()
        elif step == "drop one":
            pending.count_dropped(1)
        assert holds(pending.counts())

    while (batch := pending.next_batch()) is not None:
        kept = write(batch)
        pending.sent(batch)
        pending.written(kept)

    singles = [each for each in logged if each[0] not in SNAPSHOTS]
    assert [(row["event"], row["data"]) for row in backend.logs(job)] == singles
    newest = [number for event, number in logged if event == "trials"][-1:]
    assert [backend.trials(job)] == (newest or [None])
    counts = pending.counts()
    assert holds(counts)
    assert counts.waiting == 0
    assert counts.logged == len(logged) + steps.count("drop one")


def test_a_backend_that_misses_a_record_refuses_the_ones_after_it(backend: LocalBackend) -> None:
    job = backend.create_job("gap", {})
    pending = filled("metric")
    hand_over(pending)  # and lost
    pending.add(record())
    with pytest.raises(StorageError, match="record 1 of process"):
        backend.write(job, hand_over(pending))


def test_a_backend_that_refuses_gets_only_the_newest_table_when_it_takes_them_again() -> None:
    pending = Pending()
    for number in range(100):
        assert pending.add(Record(0, "trials", "now", f'{{"n":{number}}}'))
        batch = pending.next_batch()
        assert batch is not None
        pending.sent(batch)
        pending.take_back()
        pending.refused()
    assert len(pending) == 1
    assert pending.counts().replaced == 99
