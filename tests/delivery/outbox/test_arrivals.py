"""What comes into an outbox."""

import json
import os
from pathlib import Path

import pytest

from ray_synapse.backend.protocol import Batch, Counts, Record
from ray_synapse.delivery.outbox.outbox import Outbox
from ray_synapse.errors import BackendError, StorageError
from tests.delivery.outbox import (
    JOB,
    TIME,
    Logs,
    checked,
    deliver_all,
    image,
    message,
    metric,
    outbox_at,
    progress,
    query,
    table,
    waiting_rows,
)


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return outbox_at(tmp_path)


# In order, each once


def test_the_records_of_a_process_keep_their_order_over_batches(outbox: Outbox) -> None:
    logs = Logs(outbox)
    assert [logs.log(metric(1), message(2)), logs.log(metric(3)), logs.log()] == [2, 3, 3]
    assert deliver_all(outbox) == [1, 2, 3]


def test_a_batch_that_comes_twice_is_kept_once(outbox: Outbox) -> None:
    logs = Logs(outbox)
    batch = logs.batch(metric(1), table(1), image(2), progress(1))
    assert [outbox.commit(batch), outbox.commit(batch)] == [4, 4]
    assert checked(outbox) == Counts(logged=4, waiting=4)
    assert deliver_all(outbox) == [1, 2]


def test_of_a_batch_that_overlaps_only_the_new_records_are_kept(outbox: Outbox) -> None:
    logs = Logs(outbox)
    first, second = logs.batch(metric(1), metric(2)), logs.batch(metric(3))
    outbox.commit(first)
    assert outbox.commit(second._replace(after=0, records=[*first.records, *second.records])) == 3
    assert deliver_all(outbox) == [1, 2, 3]


def test_a_batch_that_was_overtaken_by_its_repetition_changes_nothing(outbox: Outbox) -> None:
    logs = Logs(outbox)
    first, second = logs.batch(metric(1)), logs.batch(metric(2))
    for batch in (first, second, first):
        assert outbox.commit(batch) >= 1
    assert outbox.commit(first) == 2
    assert checked(outbox) == Counts(logged=2, waiting=2)
    assert deliver_all(outbox) == [1, 2]


def test_what_was_delivered_is_not_taken_again(outbox: Outbox) -> None:
    logs = Logs(outbox)
    batch = logs.batch(metric(1), metric(2))
    outbox.commit(batch)
    deliver_all(outbox)
    assert outbox.commit(batch) == 2
    assert checked(outbox) == Counts(logged=2, delivered=2)


def test_a_batch_after_a_gap_is_refused_until_the_gap_is_filled(outbox: Outbox) -> None:
    logs = Logs(outbox)
    first, second, third = (logs.batch(metric(n)) for n in (1, 2, 3))
    outbox.commit(first)
    with pytest.raises(StorageError, match="record 2 of process p is still missing"):
        outbox.commit(third)
    assert checked(outbox) == Counts(logged=1, waiting=1)
    assert [outbox.commit(second), outbox.commit(third)] == [2, 3]
    assert deliver_all(outbox) == [1, 2, 3]


def test_a_batch_of_which_one_record_cannot_be_kept_leaves_nothing(outbox: Outbox) -> None:
    logs = Logs(outbox)
    batch = logs.batch(metric(1), table(1), Record(0, "message", TIME, '"\ud800"'))
    with pytest.raises(BackendError, match="does not take this"):
        outbox.commit(batch)
    assert (outbox.counts(), waiting_rows(outbox)) == ({}, 0)
    assert outbox.commit(batch._replace(records=batch.records[:2])) == 2


def test_each_process_has_numbers_and_counts_of_its_own(outbox: Outbox) -> None:
    one, two = Logs(outbox, "one"), Logs(outbox, "two")
    one.log(metric(1), metric(2))
    two.log(metric(3))
    one.log(metric(4))
    assert outbox.counts() == {"one": Counts(3, waiting=3), "two": Counts(1, waiting=1)}
    assert deliver_all(outbox) == [1, 2, 3, 4]


def test_what_a_process_counts_itself_is_part_of_the_equation(outbox: Outbox) -> None:
    claim = Batch("p", 0, (), logged=10, dropped=2, replaced=3)
    assert outbox.commit(claim) == 0
    assert outbox.counts()["p"] == Counts(logged=10, waiting=5, dropped=2, replaced=3)
    outbox.commit(claim._replace(logged=6, dropped=1, replaced=0))  # it comes late
    assert outbox.counts()["p"] == Counts(logged=10, waiting=5, dropped=2, replaced=3)


# Snapshots


def test_of_thousands_of_tables_the_newest_waits(outbox: Outbox) -> None:
    logs = Logs(outbox)
    for start in range(0, 3_000, 500):
        logs.log(*map(table, range(start, start + 500)))
    assert checked(outbox) == Counts(logged=3_000, waiting=1, replaced=2_999)
    assert query(outbox, "SELECT COUNT(*) FROM snapshots") == [1]
    (only,) = outbox.take_snapshots(["trials"], 10)
    assert json.loads(only.data)["data"] == {"trials": 2_999}


def test_a_snapshot_replaces_only_those_of_its_kind(outbox: Outbox) -> None:
    logs = Logs(outbox)
    logs.log(table(1), progress(10), metric(0), progress(20))
    outbox.put("status", "RUNNING")
    outbox.put("best_trial", {"trial_id": "a"})
    outbox.put("status", "SUCCEEDED")
    assert outbox.counts() == {
        "p": Counts(logged=4, waiting=3, replaced=1),
        "": Counts(logged=3, waiting=2, replaced=1),
    }
    assert outbox.newest("progress_record") == {"percent": 20}
    assert outbox.newest("status") == "SUCCEEDED"
    assert outbox.newest("best_trial") == {"trial_id": "a"}
    assert outbox.newest("result") is None
    assert waiting_rows(outbox) == 5


def test_a_replaced_table_is_counted_for_the_process_that_logged_it(outbox: Outbox) -> None:
    Logs(outbox, "old").log(table(1))
    Logs(outbox, "new").log(table(2))
    assert outbox.counts() == {
        "old": Counts(logged=1, replaced=1),
        "new": Counts(logged=1, waiting=1),
    }


def test_a_table_is_an_entry_of_the_log_as_any_other(outbox: Outbox) -> None:
    Logs(outbox).log(table(5)._replace(step="trials"))
    (taken,) = outbox.take_snapshots(["trials"])
    entry = {"event": "trials", "datetime": TIME, "job": JOB, "step": "trials"}
    assert json.loads(taken.data) == {**entry, "data": {"trials": 5}}


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("a file")
    with pytest.raises(StorageError, match="RAY_SYNAPSE_HOME"):
        Logs(outbox_at(tmp_path)).log(metric(1))
    os.remove(tmp_path / "outbox")
    assert Logs(outbox_at(tmp_path)).log(metric(1)) == 1
