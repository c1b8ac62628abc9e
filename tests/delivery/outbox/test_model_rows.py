"""The models that an outbox has to deliver."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ray_synapse.backend.protocol import Counts
from ray_synapse.delivery.outbox.models import ModelRow
from ray_synapse.delivery.outbox.outbox import Outbox
from tests.delivery.outbox import (
    Logs,
    checked,
    image,
    metric,
    outbox_at,
    progress,
    table,
    take,
    waiting_rows,
)

FILES = {"source": "checkpoint", "files": [["weights.bin", 3, 1.5]]}


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return outbox_at(tmp_path)


def ask(outbox: Outbox, name: str = "digits_a", identity: Any = FILES, **more: Any) -> int:
    rest = {"parent": None, "uri": "file:///m", "size": 100, **more}
    return outbox.request_model(name, identity, {"lr": 0.1}, **rest)


def deliver(outbox: Outbox, number: int, server_id: int | str) -> None:
    """What the process that sends does with a model that was registered."""
    outbox.model_delivered(number, server_id)
    outbox.complete_result()


def result(*ids: object) -> dict[str, Any]:
    return {"model_id": ids[0], "trial_models": [{"model_id": each} for each in ids]}


def place(index: int) -> list[str | int]:
    return ["trial_models", index, "model_id"]


# Which models there are


def test_a_model_is_known_as_it_was_asked_for(outbox: Outbox) -> None:
    number = ask(outbox, parent="parent-id", uri="s3://bucket/m", size=12)
    (row,) = outbox.models()
    assert row == ModelRow(
        *(number, "digits_a", FILES, {"lr": 0.1}, "parent-id", "s3://bucket/m", "waiting", None),
        *(12, 0, None, False, None),
    )
    assert outbox.model(ask(outbox, "b", parent=5)).parent == 5
    assert outbox.model(ask(outbox, "c")).parent is None


def test_a_model_that_is_asked_for_twice_is_one(outbox: Outbox) -> None:
    assert ask(outbox) == ask(outbox)
    assert len(outbox.models()) == 1
    assert outbox.left().models == {"waiting": 1}


def test_a_model_that_several_processes_ask_for_at_once_is_one(tmp_path: Path) -> None:
    outboxes = [outbox_at(tmp_path) for _ in range(8)]
    with ThreadPoolExecutor(len(outboxes)) as pool:
        numbers = list(pool.map(ask, outboxes))
    assert len(set(numbers)) == 1
    assert len(outboxes[0].models()) == 1


def test_other_files_or_another_name_make_another_model(outbox: Outbox) -> None:
    numbers = [ask(outbox), ask(outbox, identity=[1]), ask(outbox, "digits_b")]
    assert len(set(numbers)) == 3
    assert [row.id for row in outbox.models()] == numbers


def test_where_the_files_are_may_become_known_later(outbox: Outbox) -> None:
    number = ask(outbox, uri=None)
    assert outbox.model(number).uri is None
    ask(outbox, uri="file:///late")
    assert outbox.model(number).uri == "file:///late"
    ask(outbox, uri=None)
    assert outbox.model(number).uri == "file:///late"


def test_a_parked_model_that_is_asked_for_again_gets_another_try(outbox: Outbox) -> None:
    number = ask(outbox)
    outbox.set_model(number, state="parked", reason="its files are gone")
    assert outbox.waiting_models() == []
    assert outbox.is_empty()
    assert outbox.left().reasons == {"its files are gone": 1}
    assert ask(outbox) == number
    assert outbox.waiting_models() == [number]


def test_a_delivered_model_that_is_asked_for_again_stays_delivered(outbox: Outbox) -> None:
    number = ask(outbox)
    deliver(outbox, number, 5)
    assert ask(outbox) == number
    assert outbox.waiting_models() == []
    assert (outbox.model(number).state, outbox.model(number).model) == ("delivered", 5)


def test_how_far_a_model_came_is_kept(tmp_path: Path) -> None:
    outbox = outbox_at(tmp_path)
    number, other = ask(outbox), ask(outbox, "other")
    outbox.set_model(number, upload="u-1", sent=60)
    outbox.set_model(number, uploaded=True, reason="503")
    row = outbox_at(tmp_path).model(number)
    assert (row.upload, row.sent, row.uploaded, row.reason) == ("u-1", 60, True, "503")
    assert row.state == "waiting"
    assert outbox.model(other).upload is None


@pytest.mark.parametrize(
    ("sent", "size", "share"), [(0, 0, 0), (5, 20, 0.25), (20, 20, 0.99), (30, 20, 0.99)]
)
def test_a_model_is_done_in_parts_but_not_before_it_is_registered(
    outbox: Outbox, sent: int, size: int, share: float
) -> None:
    number, parked = ask(outbox, size=size), ask(outbox, "parked")
    outbox.set_model(number, sent=sent)
    outbox.set_model(parked, state="parked")
    assert outbox.shares() == {number: share, parked: 1}
    deliver(outbox, number, 1)
    assert outbox.shares() == {number: 1, parked: 1}


def test_models_wait_in_the_order_in_which_they_were_asked_for(outbox: Outbox) -> None:
    numbers = [ask(outbox, f"m{n}") for n in range(5)]
    deliver(outbox, numbers[1], 9)
    outbox.set_model(numbers[3], state="parked", reason="no")
    assert outbox.waiting_models() == [numbers[0], numbers[2], numbers[4]]
    assert outbox.left().models == {"waiting": 3, "delivered": 1, "parked": 1}


def test_models_are_not_counted_among_the_records(outbox: Outbox) -> None:
    number = ask(outbox)
    assert outbox.counts() == {}
    deliver(outbox, number, 1)
    assert (outbox.counts(), waiting_rows(outbox)) == ({}, 0)


@pytest.mark.parametrize("server_id", [17, "8f14e45f-ceea-467f-a8f2-1f2b3c4d5e6f"])
def test_a_delivered_model_has_the_id_of_the_server(outbox: Outbox, server_id: int | str) -> None:
    number = ask(outbox)
    outbox.set_model(number, reason="503")
    deliver(outbox, number, server_id)
    row = outbox.model(number)
    assert (row.model, row.state, row.reason) == (server_id, "delivered", None)


# Their ids in the result


def test_a_model_that_is_delivered_after_the_result_is_filled_in(outbox: Outbox) -> None:
    first, second = ask(outbox, "a"), ask(outbox, "b")
    outbox.put_result(result(None, None), {first: [["model_id"], place(0)], second: [place(1)]})
    assert outbox.newest("result") == result(None, None)
    deliver(outbox, second, "b-id")
    assert outbox.newest("result") == result(None, None) | {
        "trial_models": [{"model_id": None}, {"model_id": "b-id"}]
    }
    deliver(outbox, first, 1)
    assert outbox.newest("result") == result(1, "b-id")
    assert checked(outbox) == Counts(logged=3, waiting=1, replaced=2)


def test_a_model_that_was_delivered_before_the_result_is_filled_in_too(outbox: Outbox) -> None:
    first, second = ask(outbox, "a"), ask(outbox, "b")
    deliver(outbox, first, 1)
    outbox.put_result(result(None, None), {first: [["model_id"], place(0)], second: [place(1)]})
    assert outbox.newest("result") == result(1, None)
    deliver(outbox, second, 2)
    assert outbox.newest("result") == result(1, 2)
    checked(outbox)


@pytest.mark.parametrize("answer", ["delivered", "back", "parked"])
def test_a_model_that_is_delivered_while_the_result_is_on_its_way_is_sent_with_the_next(
    outbox: Outbox, answer: str
) -> None:
    number = ask(outbox)
    outbox.put_result(result(None), {number: [place(0), ["model_id"]]})
    taken = outbox.take_snapshots(["result"])
    deliver(outbox, number, 1)
    if answer == "parked":
        outbox.snapshots_parked(taken, "400")
    else:
        {"delivered": outbox.snapshots_delivered, "back": outbox.snapshots_back}[answer](taken)
    assert outbox.newest("result") == result(1)
    (newer,) = outbox.take_snapshots(["result"])
    outbox.snapshots_delivered([newer])
    done = 2 if answer == "delivered" else 1
    assert checked(outbox) == Counts(logged=2, delivered=done, replaced=2 - done)
    assert outbox.newest("result") == result(1)


def test_a_result_that_was_delivered_without_the_id_is_sent_again_with_it(outbox: Outbox) -> None:
    number = ask(outbox)
    outbox.put_result(result(None), {number: [place(0), ["model_id"]]})
    outbox.snapshots_delivered(outbox.take_snapshots(["result"]))
    assert outbox.take_snapshots(["result"]) == []
    deliver(outbox, number, 1)
    assert outbox.newest("result") == result(1)
    assert len(outbox.take_snapshots(["result"])) == 1


def test_a_result_that_changes_nothing_is_not_sent_again(outbox: Outbox) -> None:
    number = ask(outbox)
    outbox.put_result(result(None), {number: [place(0), ["model_id"]]})
    deliver(outbox, number, 1)
    before = checked(outbox)
    deliver(outbox, number, 1)
    assert checked(outbox) == before
    deliver(outbox, ask(outbox, "not of this result"), 2)
    assert checked(outbox) == before
    assert outbox.newest("result") == result(1)


def test_the_ids_of_many_models_make_one_new_result(outbox: Outbox) -> None:
    numbers = [ask(outbox, f"m{n}") for n in range(50)]
    outbox.put_result(result(*[None] * 50), {n: [place(i)] for i, n in enumerate(numbers)})
    for number in numbers:
        outbox.model_delivered(number, number)
    outbox.complete_result()
    outbox.complete_result()
    ids = [each["model_id"] for each in outbox.newest("result")["trial_models"]]
    assert ids == numbers
    assert checked(outbox) == Counts(logged=2, waiting=1, replaced=1)


def test_an_outbox_is_not_empty_before_the_result_has_all_ids(outbox: Outbox) -> None:
    number = ask(outbox)
    outbox.put_result(result(None), {number: [place(0), ["model_id"]]})
    outbox.snapshots_delivered(outbox.take_snapshots(["result"]))
    outbox.model_delivered(number, 1)  # and then its process is killed
    assert not outbox.is_empty()
    outbox.complete_result()
    assert not outbox.is_empty()
    outbox.snapshots_delivered(outbox.take_snapshots(["result"]))
    assert outbox.is_empty()
    assert outbox.newest("result") == result(1)


def test_a_model_without_a_result_is_delivered_all_the_same(outbox: Outbox) -> None:
    deliver(outbox, ask(outbox), 1)
    assert outbox.newest("result") is None


def test_the_places_in_an_earlier_result_are_forgotten(outbox: Outbox) -> None:
    first, second = ask(outbox, "a"), ask(outbox, "b")
    outbox.put_result(result(None, None), {first: [place(0)], second: [place(1)]})
    outbox.put_result(result(None), {second: [place(0), ["model_id"]]})
    deliver(outbox, first, 1)
    assert outbox.newest("result") == result(None)
    deliver(outbox, second, 2)
    assert outbox.newest("result") == result(2)


def test_a_model_can_be_delivered_though_the_result_became_another_one(outbox: Outbox) -> None:
    number = ask(outbox)
    outbox.put_result(result(None), {number: [place(0)]})
    outbox.put("result", {"accuracy": 0.9})  # without places: it has none for a model
    deliver(outbox, number, 1)
    assert outbox.model(number).state == "delivered"
    assert outbox.newest("result") == {"accuracy": 0.9}


# What moved


def test_the_progress_changes_with_each_byte_and_each_model(outbox: Outbox) -> None:
    number, other = ask(outbox, "a"), ask(outbox, "b")
    seen = [outbox.progress()]
    for step in ({"sent": 1}, {"sent": 2}, {"sent": 100}, {"uploaded": True}):
        outbox.set_model(number, **step)
        seen.append(outbox.progress())
    deliver(outbox, number, 1)
    seen.append(outbox.progress())
    outbox.set_model(other, state="parked", reason="no")
    seen.append(outbox.progress())
    assert len(set(seen)) == 7
    assert outbox.progress() == seen[-1]


def test_the_progress_changes_with_each_record_that_is_delivered(outbox: Outbox) -> None:
    Logs(outbox).log(metric(1), table(1))
    before = outbox.progress()
    letter, taken = take(outbox), outbox.take_snapshots(["trials"])
    assert outbox.progress() == before
    outbox.letter_delivered(letter)
    between = outbox.progress()
    outbox.snapshots_delivered(taken)
    assert len({before, between, outbox.progress()}) == 3


def test_the_progress_stays_while_a_server_that_is_away_gets_nothing(tmp_path: Path) -> None:
    outbox = outbox_at(tmp_path, 200_000)
    logs = Logs(outbox)
    logs.log(metric(0), table(0), progress(0))
    before = outbox.progress()
    for number in range(20):  # somebody goes on logging: that must not keep a run from ending
        logs.log(table(number), progress(number), image(number, 20_000))
        outbox.letter_back(take(outbox))
        outbox.put("status", "RUNNING")
    assert checked(outbox).replaced > 0
    assert checked(outbox).dropped > 0
    assert outbox.progress() == before
