"""What an outbox drops when it gets too large."""

import time
from pathlib import Path

import pytest

from ray_synapse.backend.protocol import Counts
from ray_synapse.delivery.outbox.outbox import Outbox
from tests.delivery.outbox import (
    JOB,
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
    take,
    used,
    waiting_rows,
)

LIMIT = 1_000_000


def events(outbox: Outbox) -> dict[str, int]:
    found = query(outbox, "SELECT event FROM entries")
    return {event: found.count(event) for event in set(found)}


def test_past_the_limit_the_oldest_images_are_dropped_first(tmp_path: Path) -> None:
    outbox = outbox_at(tmp_path, LIMIT)
    logs = Logs(outbox)
    for index in range(30):
        logs.log(metric(index), image(index, 50_000), message(index))
    kept = events(outbox)
    assert kept["metric"] == kept["message"] == 30
    assert 10 <= kept["visualization"] < 20
    assert checked(outbox).dropped == 30 - kept["visualization"]
    assert waiting_rows(outbox) == checked(outbox).waiting
    said = deliver_all(outbox)
    assert [index for index in range(30) if said.count(index) == 3] == [
        *range(30 - kept["visualization"], 30)
    ]


def test_past_the_limit_the_oldest_metrics_follow_when_no_image_is_left(tmp_path: Path) -> None:
    outbox = outbox_at(tmp_path, LIMIT)
    logs = Logs(outbox)
    logs.log(image(0, 20_000), image(1, 20_000))
    for start in range(0, 6_000, 500):
        logs.log(*map(metric, range(start, start + 500)))
    kept = events(outbox)
    assert "visualization" not in kept
    assert 1_000 < kept["metric"] < 6_000
    assert checked(outbox) == Counts(6_002, waiting=kept["metric"], dropped=6_002 - kept["metric"])
    assert deliver_all(outbox) == [*range(6_000 - kept["metric"], 6_000)]


def test_messages_and_snapshots_are_never_dropped(tmp_path: Path) -> None:
    outbox = outbox_at(tmp_path, LIMIT)
    logs = Logs(outbox)
    logs.log(table("t" * 10_000), progress(1))
    outbox.put("result", "r" * 10_000)
    texts = [f"{number} {'x' * 10_000}" for number in range(150)]
    for text in texts:
        logs.log(message(text), metric(0))
    assert used(outbox) > LIMIT
    assert events(outbox)["message"] == 150
    assert outbox.newest("trials") is not None
    assert [each for each in deliver_all(outbox) if each] == texts
    assert checked(outbox).waiting == waiting_rows(outbox) == 3


def test_what_is_on_its_way_is_not_dropped(tmp_path: Path) -> None:
    outbox = outbox_at(tmp_path, LIMIT)
    logs = Logs(outbox)
    logs.log(*map(metric, range(100)))
    letter = take(outbox)
    logs.log(image(0, 100_000))
    picture = take(outbox)
    for index in range(1, 50):
        logs.log(image(index, 100_000))
        logs.log(*map(metric, range(200)))
    assert checked(outbox).dropped > 0
    assert outbox.letters_under_way() == [letter, picture]
    outbox.letter_delivered(letter)
    outbox.letter_delivered(picture)
    assert checked(outbox).delivered == 101


def test_what_is_kept_aside_is_dropped_too_and_counted_once(tmp_path: Path) -> None:
    outbox = outbox_at(tmp_path, LIMIT)
    logs = Logs(outbox)
    logs.log(image(0, 100_000))
    outbox.letter_set_aside(take(outbox), "parked", "too large")
    assert checked(outbox).parked == 1
    for index in range(1, 15):
        logs.log(image(index, 100_000))
    counts = checked(outbox)
    assert (counts.parked, counts.waiting) == (0, waiting_rows(outbox))
    assert counts.dropped == 15 - counts.waiting


def test_drops_are_counted_for_the_process_that_logged_the_record(tmp_path: Path) -> None:
    outbox = outbox_at(tmp_path, LIMIT)
    old, new = Logs(outbox, "old"), Logs(outbox, "new")
    old.dropped = 2  # by itself
    old.log(*(image(index, 100_000) for index in range(3)))
    for index in range(20):
        new.log(image(index, 100_000))
    assert outbox.counts()["old"] == Counts(logged=5, dropped=5)
    assert checked(outbox).dropped > 10


def test_a_person_is_told_what_was_dropped_and_how_to_change_the_limit(tmp_path: Path) -> None:
    outbox = outbox_at(tmp_path, LIMIT)
    logs = Logs(outbox)
    for index in range(8):
        logs.log(image(index, 100_000))
    assert outbox.take_notes() == []
    for index in range(8, 12):
        logs.log(image(index, 100_000))
    (note,) = set(outbox.take_notes())
    for part in (f"job {JOB}", "1.0 MB", "images", "dropped", "RAY_SYNAPSE_OUTBOX_BYTES"):
        assert part in note


@pytest.mark.parametrize("size", [0, 1_000, 60_000], ids=["metrics", "small", "large"])
def test_the_files_stay_near_the_limit(tmp_path: Path, size: int) -> None:
    limit = 2_000_000
    outbox = outbox_at(tmp_path, limit)
    logs = Logs(outbox)
    largest = in_use = 0
    for start in range(0, 4_000_000 // (size or 200), 50):
        logs.log(*(image(start + n, size) if size else metric(start + n) for n in range(50)))
        largest = max(largest, outbox.path.stat().st_size)
        in_use = max(in_use, used(outbox))
    assert checked(outbox).dropped > 0
    assert in_use <= 1.1 * limit
    assert largest <= limit + 2 * 50 * (size + 400)  # one batch, and what is in no body
    journal = outbox.path.with_name(outbox.path.name + "-wal")
    assert journal.stat().st_size < 10_000_000  # SQLite begins it anew after some megabytes


def test_the_disk_gets_back_what_was_delivered(tmp_path: Path) -> None:
    outbox = outbox_at(tmp_path)
    Logs(outbox).log(*(image(index, 100_000) for index in range(50)), message("x"))
    letters = [take(outbox) for _ in range(50)]
    assert outbox.path.stat().st_size > 5_000_000
    for letter in letters:
        outbox.letter_delivered(letter)
    outbox.shrink()
    outbox.close()
    assert outbox.path.stat().st_size < 200_000
    assert deliver_all(outbox) == ["x"]


def test_not_each_record_past_the_limit_needs_a_clean_up(tmp_path: Path) -> None:
    outbox = outbox_at(tmp_path, LIMIT)
    logs = Logs(outbox)
    while not checked(outbox).dropped:
        logs.log(image(0, 10_000))
    assert used(outbox) < 0.95 * LIMIT
    kept = checked(outbox)
    logs.log(image(1, 10_000), metric(1), image(2, 10_000))
    assert checked(outbox) == kept._replace(logged=kept.logged + 3, waiting=kept.waiting + 3)


def test_a_burst_of_records_stays_fast_past_the_limit(tmp_path: Path) -> None:
    outbox = outbox_at(tmp_path, 4_000_000)
    logs = Logs(outbox)
    started = time.monotonic()
    for start in range(0, 50_000, 500):
        logs.log(*map(metric, range(start, start + 500)))
    assert time.monotonic() - started < 10  # a second on a slow machine
    counts = checked(outbox)
    assert counts.dropped > 25_000
    assert counts.waiting == waiting_rows(outbox)
