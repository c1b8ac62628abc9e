"""What leaves an outbox: letters of log entries."""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_synapse.backend import sqlite
from ray_synapse.backend.protocol import Counts, Record
from ray_synapse.delivery.outbox.departures import Letter
from ray_synapse.delivery.outbox.outbox import Outbox
from ray_synapse.delivery.outbox.schema import MIGRATIONS
from ray_synapse.values import dumps
from tests.delivery.outbox import (
    MANY,
    TIME,
    Logs,
    change,
    checked,
    deliver_all,
    entries,
    image,
    message,
    metric,
    outbox_at,
    progress,
    query,
    table,
    take,
    values,
)


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return outbox_at(tmp_path)


# Which entries go together


def test_a_letter_has_no_more_entries_than_asked_for(outbox: Outbox) -> None:
    Logs(outbox).log(*map(metric, range(25)))
    letters = [take(outbox, 10) for _ in range(3)]
    assert [letter.number for letter in letters] == [10, 10, 5]
    assert [each for letter in letters for each in values(letter)] == [*range(25)]
    assert outbox.take_letter(10, MANY, 0) is None


@pytest.mark.parametrize("most", [1, 50, 999, 1_000, 1_001, 5_000])
def test_a_letter_has_no_more_bytes_than_asked_for(outbox: Outbox, most: int) -> None:
    Logs(outbox).log(*(message("x" * (n % 300)) for n in range(200)))
    seen = 0
    while (letter := outbox.take_letter(MANY, most, 0)) is not None:
        assert letter.number == 1 or len(letter.body) <= most
        seen += letter.number
    assert seen == 200


def test_the_bytes_of_a_letter_are_those_of_its_body(outbox: Outbox) -> None:
    logs = Logs(outbox)
    logs.log(*(message("ü" * 50) for _ in range(10)))  # each two bytes
    whole = take(outbox)
    outbox.letter_back(whole)
    short = take(outbox, most_bytes=len(whole.body) - 1)
    assert (whole.number, short.number) == (10, 9)
    outbox.letter_back(short)
    assert take(outbox, most_bytes=len(whole.body)).body == whole.body


def test_an_entry_that_is_too_large_goes_alone(outbox: Outbox) -> None:
    Logs(outbox).log(metric(1), message("x" * 5_000), metric(2))
    letters = [take(outbox, most_bytes=1_000) for _ in range(3)]
    assert [letter.number for letter in letters] == [1, 1, 1]
    assert len(letters[1].body) > 5_000


def test_an_entry_with_an_image_goes_alone_and_in_its_place(outbox: Outbox) -> None:
    Logs(outbox).log(metric(1), metric(2), image(3), image(4), metric(5), image(6))
    assert [values(take(outbox)) for _ in range(5)] == [[1, 2], [3], [4], [5], [6]]


def test_entries_wait_for_others_until_the_first_has_the_age(outbox: Outbox) -> None:
    logs = Logs(outbox)
    logs.log(metric(1))
    assert outbox.take_letter(10, MANY, 60) is None
    change(outbox, "UPDATE entries SET time = time - 50")
    logs.log(metric(2))
    assert outbox.take_letter(10, MANY, 60) is None
    change(outbox, "UPDATE entries SET time = time - 10 WHERE id = 1")
    assert values(outbox.take_letter(10, MANY, 60)) == [1, 2]


def test_an_entry_alone_goes_when_it_has_the_age(outbox: Outbox) -> None:
    started = time.monotonic()
    Logs(outbox).log(metric(1))
    while (letter := outbox.take_letter(10, MANY, 0.2)) is None:
        time.sleep(0.01)
    assert values(letter) == [1]
    assert 0.15 <= time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("records", "most", "most_bytes", "first"),
    [
        ([metric(n) for n in range(5)], 3, MANY, [0, 1, 2]),
        ([message("a" * 500), message("b" * 500), metric(1)], 10, 700, ["a" * 500]),
        ([image(1)], 10, MANY, [1]),
        ([metric(1), image(2)], 10, MANY, [1]),
    ],
    ids=["count", "bytes", "image", "before an image"],
)
def test_a_letter_that_is_full_does_not_wait(
    outbox: Outbox, records: list[Record], most: int, most_bytes: int, first: list[Any]
) -> None:
    Logs(outbox).log(*records)
    assert values(outbox.take_letter(most, most_bytes, 60)) == first


def test_a_clock_that_was_set_back_keeps_nothing_waiting(outbox: Outbox) -> None:
    Logs(outbox).log(metric(1))
    change(outbox, "UPDATE entries SET time = time + 86400")
    assert values(outbox.take_letter(10, MANY, 60)) == [1]


def test_without_entries_there_is_no_letter(outbox: Outbox) -> None:
    assert outbox.take_letter(10, MANY, 0) is None
    Logs(outbox).log(table(1), progress(1))
    outbox.put("status", "RUNNING")
    assert outbox.take_letter(10, MANY, 0) is None


# What a letter says

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text() | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.builds(
    lambda *fields: Record(0, *fields),
    st.sampled_from(["metric", "message", "visualization", "joblog_loss"]),
    st.just(TIME) | st.text(),
    st.dictionaries(st.text(), JSON).map(dumps),
    st.none() | st.text(),
    st.none() | st.text(),
    st.none() | st.text(),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=6), st.integers() | st.text())
def test_an_entry_says_exactly_what_was_logged(records: list[Record], job: int | str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder) / "any.db", job)
        Logs(outbox).log(*records)
        found: list[Any] = []
        while (letter := outbox.take_letter(MANY, MANY, 0)) is not None:
            found += entries(letter)
        outbox.close()
    for entry, record in zip(found, records, strict=True):
        expected = {"event": record.event, "datetime": record.time, "job": job}
        given = {"step": record.step, "level": record.level, "file": record.file}
        expected |= {name: value for name, value in given.items() if value is not None}
        assert entry == {**expected, "data": json.loads(record.data)}


# What becomes of a letter


def test_letters_have_keys_of_their_own(outbox: Outbox) -> None:
    Logs(outbox).log(*map(metric, range(5)))
    assert len({take(outbox, 1).key for _ in range(5)}) == 5


def test_a_letter_tells_since_when_its_first_entry_waits(outbox: Outbox) -> None:
    before = time.time()
    Logs(outbox).log(metric(1), metric(2))
    change(outbox, "UPDATE entries SET time = time - 100 WHERE id = 1")
    assert before - 100 <= take(outbox).time < before - 95


def test_a_letter_that_is_delivered_is_gone(outbox: Outbox) -> None:
    logs = Logs(outbox)
    logs.log(metric(1), metric(2), metric(3))
    letter = take(outbox, 2)
    assert checked(outbox) == Counts(logged=3, waiting=3)
    outbox.letter_delivered(letter)
    outbox.letter_delivered(letter)  # noted twice, counted once
    assert checked(outbox) == Counts(logged=3, waiting=1, delivered=2)
    assert outbox.letters_under_way() == []
    assert deliver_all(outbox) == [3]


def test_a_letter_of_several_processes_is_counted_for_each(outbox: Outbox) -> None:
    Logs(outbox, "one").log(metric(1), metric(2))
    Logs(outbox, "two").log(metric(3))
    outbox.letter_delivered(take(outbox))
    assert outbox.counts() == {"one": Counts(2, 2), "two": Counts(1, 1)}


def test_a_letter_that_is_back_goes_again_before_all_that_came_later(outbox: Outbox) -> None:
    logs = Logs(outbox)
    logs.log(*map(metric, range(6)))
    letter = take(outbox, 4)
    logs.log(metric(6))
    outbox.letter_back(letter)
    assert checked(outbox) == Counts(logged=7, waiting=7)
    assert outbox.letters_under_way() == []
    again = take(outbox, 2)
    assert again.key != letter.key
    assert values(again) == [0, 1]
    outbox.letter_delivered(again)
    outbox.letter_delivered(letter)  # an answer that comes late is not one for these entries
    assert deliver_all(outbox) == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("state", ["in_doubt", "parked"])
def test_what_is_set_aside_is_kept_with_the_reason_and_not_sent_again(
    outbox: Outbox, state: str
) -> None:
    logs = Logs(outbox)
    logs.log(metric(1), metric(2), metric(3))
    outbox.letter_set_aside(take(outbox, 2), state, "POST /logs/: 500")
    assert checked(outbox) == Counts(3, waiting=1)._replace(**{state: 2})
    assert outbox.left().reasons == {"POST /logs/: 500": 2}
    assert outbox.letters_under_way() == []
    assert deliver_all(outbox) == [3]
    assert outbox.is_empty()
    assert query(outbox, "SELECT state FROM entries") == [state, state]
    said = [json.loads(body)["data"] for body in query(outbox, "SELECT body FROM entries")]
    assert said == [{"value": 1}, {"value": 2}]


def test_what_was_under_way_when_its_process_ended_is_the_same_letter(tmp_path: Path) -> None:
    first = outbox_at(tmp_path)
    Logs(first).log(metric(1), message("ü"), image(2), metric(3))
    letters = [take(first), take(first)]
    second = outbox_at(tmp_path)
    assert second.letters_under_way() == letters
    assert all(isinstance(each, Letter) for each in second.letters_under_way())
    assert checked(second) == Counts(logged=4, waiting=4)
    for letter in second.letters_under_way():
        second.letter_delivered(letter)
    assert deliver_all(second) == [3]
    assert checked(second) == Counts(logged=4, delivered=4)


# What an older release left


def test_letters_that_an_older_release_had_on_its_way_stay_the_same(tmp_path: Path) -> None:
    """Their keys and bodies are what the server may know already."""
    path = outbox_at(tmp_path).path
    connection, _ = sqlite.connect(path, MIGRATIONS[:1])
    rows = [("sending", "k1"), ("parked", None), ("sending", "k1"), ("sending", "k2")]
    for number, (state, letter) in enumerate([*rows, ("waiting", None)]):
        body = json.dumps({"event": "metric", "data": {"value": number}})
        connection.execute(
            "INSERT INTO entries (process, event, body, size, state, letter, time) "
            "VALUES ('p', 'metric', ?, ?, ?, ?, 0)",
            (body, len(body), state, letter),
        )
    connection.close()
    outbox = outbox_at(tmp_path)
    found = outbox.letters_under_way()
    assert [(each.key, values(each)) for each in found] == [("k1", [0, 2]), ("k2", [3])]
    assert values(take(outbox, MANY)) == [4]
    outbox.letter_delivered(found[0])
    outbox.letter_back(found[1])
    assert query(outbox, "SELECT state FROM entries WHERE id = 2") == ["parked"]
