"""Snapshots in an outbox: of each kind only the newest has to go."""

import json
from pathlib import Path
from typing import Any

import pytest

from ray_synapse.backend.protocol import Counts
from ray_synapse.delivery.outbox.departures import Snapshot
from ray_synapse.delivery.outbox.outbox import Outbox
from tests.delivery.outbox import (
    MANY,
    Logs,
    checked,
    metric,
    outbox_at,
    progress,
    query,
    table,
    take,
    waiting_rows,
)

JOB_KINDS = ["progress_record", "result", "status"]


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return outbox_at(tmp_path)


def one(outbox: Outbox, kind: str = "trials") -> Snapshot:
    (taken,) = outbox.take_snapshots([kind], MANY)
    return taken


def number_of(snapshot: Snapshot) -> Any:
    return json.loads(snapshot.data)["data"]["trials"]


def test_a_snapshot_on_its_way_is_not_taken_twice(outbox: Outbox) -> None:
    Logs(outbox).log(table(1))
    assert number_of(one(outbox)) == 1
    assert outbox.take_snapshots(["trials"]) == []
    assert checked(outbox) == Counts(logged=1, waiting=1)


def test_snapshots_of_several_kinds_are_taken_together_the_oldest_first(outbox: Outbox) -> None:
    outbox.put("status", "RUNNING")
    Logs(outbox).log(table(1), progress(5))
    outbox.put("result", {"a": 1})
    assert [each.kind for each in outbox.take_snapshots(JOB_KINDS)] == ["status"]
    rest = outbox.take_snapshots(JOB_KINDS, 3)
    assert [(each.kind, json.loads(each.data)) for each in rest] == [
        ("progress_record", {"percent": 5}),
        ("result", {"a": 1}),
    ]
    assert outbox.take_snapshots(JOB_KINDS, 3) == []


def test_a_delivered_snapshot_can_still_be_asked_for(outbox: Outbox) -> None:
    Logs(outbox).log(table(1))
    outbox.snapshots_delivered([one(outbox)])
    assert checked(outbox) == Counts(logged=1, delivered=1)
    assert outbox.newest("trials")["data"] == {"trials": 1}
    assert outbox.is_empty()
    Logs(outbox, "q").log(table(2))
    assert query(outbox, "SELECT COUNT(*) FROM snapshots") == [1]
    assert checked(outbox) == Counts(logged=2, delivered=1, waiting=1)


@pytest.mark.parametrize(
    ("answer", "first"),
    [("delivered", "delivered"), ("back", "replaced"), ("parked", "replaced")],
)
def test_while_a_table_is_on_its_way_only_the_newest_of_the_newer_waits(
    outbox: Outbox, answer: str, first: str
) -> None:
    logs = Logs(outbox)
    logs.log(table(1))
    taken = one(outbox)
    logs.log(table(2), table(3))
    assert checked(outbox) == Counts(logged=3, waiting=2, replaced=1)
    if answer == "parked":
        outbox.snapshots_parked([taken], "400")
    else:
        {"delivered": outbox.snapshots_delivered, "back": outbox.snapshots_back}[answer]([taken])
    counts = checked(outbox)
    assert counts.waiting == waiting_rows(outbox) == 1
    assert getattr(counts, first) == (1 if first == "delivered" else 2)
    assert outbox.left().reasons == {}
    assert number_of(one(outbox)) == 3


def test_a_table_that_is_back_goes_again(outbox: Outbox) -> None:
    Logs(outbox).log(table(1))
    taken = one(outbox)
    outbox.snapshots_back([taken])
    assert checked(outbox) == Counts(logged=1, waiting=1)
    assert one(outbox) == taken


def test_a_parked_table_waits_for_a_newer_one(outbox: Outbox) -> None:
    logs = Logs(outbox)
    logs.log(table(1))
    outbox.snapshots_parked([one(outbox)], "400 Bad Request")
    assert checked(outbox) == Counts(logged=1, parked=1)
    assert outbox.left().reasons == {"400 Bad Request": 1}
    assert outbox.take_snapshots(["trials"]) == []
    assert outbox.is_empty()
    logs.log(table(2))
    assert checked(outbox) == Counts(logged=2, waiting=1, replaced=1)
    assert outbox.left().reasons == {}
    assert number_of(one(outbox)) == 2


def test_snapshots_under_way_are_found_again_by_the_next_process(tmp_path: Path) -> None:
    first = outbox_at(tmp_path)
    logs = Logs(first)
    logs.log(table(1), progress(1))
    taken = first.take_snapshots(["trials", "progress_record"], 2)
    logs.log(table(2))
    second = outbox_at(tmp_path)
    assert second.snapshots_under_way() == taken
    second.snapshots_back(taken)
    assert second.snapshots_under_way() == []
    assert checked(second) == Counts(logged=3, waiting=2, replaced=1)
    assert number_of(one(second)) == 2


def test_an_outbox_is_empty_when_nothing_can_be_sent_any_more(outbox: Outbox) -> None:
    assert outbox.is_empty()
    logs = Logs(outbox)
    logs.log(metric(1))
    assert outbox.has_waiting_entries()
    letter = take(outbox)
    assert outbox.has_waiting_entries()
    assert not outbox.is_empty()
    outbox.letter_delivered(letter)
    assert not outbox.has_waiting_entries()
    assert outbox.is_empty()
    logs.log(table(1))
    assert (outbox.is_empty(), outbox.has_waiting_entries()) == (False, False)
    taken = one(outbox)
    assert not outbox.is_empty()
    outbox.snapshots_parked([taken], "no")
    assert outbox.is_empty()
    logs.log(metric(2))
    so_far = outbox.newest_ids()
    assert not outbox.is_empty(so_far)
    logs.log(metric(3), table(2))
    outbox.letter_delivered(take(outbox, 1))
    assert outbox.is_empty(so_far)  # though more has come since
    assert not outbox.is_empty()
    outbox.letter_delivered(take(outbox))
    outbox.snapshots_delivered([one(outbox)])
    model = outbox.request_model("m", [1], {}, parent=None, uri=None, size=1)
    assert not outbox.is_empty()
    outbox.model_delivered(model, 1)
    assert outbox.is_empty()
