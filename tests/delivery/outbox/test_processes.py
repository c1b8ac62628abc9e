"""Several processes at one outbox, and what is left of those that are killed."""

import time
from pathlib import Path

import pytest

from ray_synapse.backend.protocol import Counts
from ray_synapse.delivery.outbox.outbox import Outbox
from tests.delivery.outbox import (
    PROCESS_S,
    Logs,
    checked,
    deliver_all,
    image,
    line,
    outbox_at,
    python,
    query,
    say,
    table,
    values,
    waiting_rows,
)

PROCESS = """
import itertools, sys, time
from pathlib import Path
from ray_synapse.backend.protocol import Batch, Record
from tests.delivery.outbox import Logs, image, message, metric, outbox_at, progress, table

outbox = outbox_at(Path(sys.argv[1]))
"""


def test_two_processes_log_to_one_outbox_while_a_third_sends(tmp_path: Path) -> None:
    code = f"""{PROCESS}
logs = Logs(outbox, sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for number in range(200):
    logs.log(metric([sys.argv[2], number]), table(number), progress(number))
print("done", flush=True)
"""
    outbox = outbox_at(tmp_path)  # the file is made by whoever is first
    with python(code, tmp_path, "one") as one, python(code, tmp_path, "two") as two:
        for process in (one, two):
            assert line(process) == "ready"
        for process in (one, two):
            say(process)
        said, tables, give_up = [], 0, time.monotonic() + PROCESS_S
        while len(said) < 400 and time.monotonic() < give_up:
            if (letter := outbox.take_letter(50, 1_000_000, 0)) is not None:
                said += values(letter)
                outbox.letter_delivered(letter)
            if snapshots := outbox.take_snapshots(["trials", "progress_record"], 2):
                tables += len(snapshots)
                outbox.snapshots_delivered(snapshots)
        assert [line(one), line(two)] == ["done", "done"]
    for name in ("one", "two"):
        assert [number for process, number in said if process == name] == [*range(200)]
    counts = checked(outbox)
    assert (counts.logged, counts.delivered) == (1_200, 400 + tables)
    assert counts.waiting == waiting_rows(outbox) <= 2


def test_the_counts_are_those_of_one_moment(tmp_path: Path) -> None:
    code = f"""{PROCESS}
logs = Logs(outbox)
print("ready", flush=True)
while True:
    logs.log(metric(1), metric(2), table(3))
    outbox.letter_delivered(outbox.take_letter(10, 1_000_000, 0))
    outbox.snapshots_delivered(outbox.take_snapshots(["trials"]))
"""
    outbox = outbox_at(tmp_path)
    with python(code, tmp_path) as process:
        assert line(process) == "ready"
        ends, looks = time.monotonic() + 2, 0
        while time.monotonic() < ends:
            counts, looks = checked(outbox), looks + 1
            assert 0 <= counts.waiting <= 3
    assert looks > 100
    assert counts.delivered > 100


def test_a_process_that_is_killed_in_the_middle_of_a_commit_leaves_nothing_of_it(
    tmp_path: Path,
) -> None:
    code = f"""{PROCESS}
def halt(statement):
    if statement == "COMMIT":
        print("halfway", flush=True)
        time.sleep({PROCESS_S})

logs = Logs(outbox)
logs.log(message("before"), table(1))
with outbox._alone() as db:
    db.set_trace_callback(halt)
logs.log(table(2), *(image(n, 100_000) for n in range(60)))
"""
    outbox = outbox_at(tmp_path)
    with python(code, tmp_path) as process:
        assert line(process) == "halfway"
        journal = outbox.path.with_name(outbox.path.name + "-wal")
        assert journal.stat().st_size > 1_000_000  # a part of it is on the disk already
        process.kill()
        process.wait(PROCESS_S)
    assert query(outbox, "PRAGMA integrity_check") == ["ok"]
    assert outbox.counts() == {"p": Counts(logged=2, waiting=2)}
    assert outbox.newest("trials")["data"] == {"trials": 1}
    logs = Logs(outbox)
    logs.last = 2
    assert logs.log(table(2), *(image(n, 100_000) for n in range(60))) == 63  # it is sent again
    assert deliver_all(outbox) == ["before", *range(60)]


def test_every_commit_that_has_returned_outlives_its_process(tmp_path: Path) -> None:
    code = f"""{PROCESS}
logs = Logs(outbox, str(sys.argv[2]))
for number in itertools.count(0, 3):
    logs.log(metric(number), metric(number + 1), metric(number + 2))
    print(logs.last, flush=True)
"""
    outbox = outbox_at(tmp_path)
    for name, commits in (("one", 1), ("two", 20), ("three", 57)):
        with python(code, tmp_path, name) as process:
            for _ in range(commits):
                told = line(process)
            process.kill()
            assert process.stdout is not None
            rest = process.stdout.read().split("\n")[:-1]  # without a half line
            told = rest[-1] if rest else told
        said = deliver_all(outbox)
        assert len(said) in (int(told), int(told) + 3)  # the last may not have come to tell
        assert said == [*range(len(said))]
        assert outbox.counts()[name] == Counts(logged=len(said), delivered=len(said))


# Who may send

HOLDER = f"""{PROCESS}
with outbox.holding() as is_mine:
    print(is_mine, flush=True)
    sys.stdin.readline()
print("free", flush=True)
sys.stdin.readline()
"""


def may_send(outbox: Outbox) -> bool:
    with outbox.holding() as is_mine:
        return is_mine


def test_one_process_at_a_time_holds_an_outbox(tmp_path: Path) -> None:
    outbox = outbox_at(tmp_path)
    with python(HOLDER, tmp_path) as first, python(HOLDER, tmp_path) as second:
        assert sorted([line(first), line(second)]) == ["False", "True"]
        assert not may_send(outbox)
        for process in (first, second):
            say(process)
            assert line(process) == "free"
        assert may_send(outbox)


def test_a_killed_process_holds_nothing_any_more(tmp_path: Path) -> None:
    outbox = outbox_at(tmp_path)
    with python(HOLDER, tmp_path) as process:
        assert line(process) == "True"
        assert not may_send(outbox)
        process.kill()
        process.wait(PROCESS_S)
        assert may_send(outbox)


def test_a_forked_child_does_not_hold_the_outbox_of_its_parent(tmp_path: Path) -> None:
    code = f"""{PROCESS}
import os
with outbox.holding() as is_mine:
    if os.fork() == 0:
        print("forked", flush=True)
        sys.stdin.read()  # to the end of the test
        os._exit(0)
    time.sleep({PROCESS_S})
"""
    outbox = outbox_at(tmp_path)
    with python(code, tmp_path) as process:
        assert line(process) == "forked"
        assert not may_send(outbox)  # its parent lives
        process.kill()
        process.wait(PROCESS_S)
        assert may_send(outbox)


def test_two_in_one_process_do_not_hold_the_same_outbox(tmp_path: Path) -> None:
    first, second = outbox_at(tmp_path), outbox_at(tmp_path)
    with first.holding() as is_mine:
        assert is_mine
        assert not may_send(second)
        assert not may_send(first)  # asking does not free it
        assert not may_send(second)
    assert may_send(second)


def test_a_holder_that_fails_frees_the_outbox(tmp_path: Path) -> None:
    outbox = outbox_at(tmp_path)
    with pytest.raises(ValueError, match="a fault"), outbox.holding():
        raise ValueError("a fault")
    assert may_send(outbox)


def test_another_outbox_may_be_held_at_the_same_time(tmp_path: Path) -> None:
    with outbox_at(tmp_path / "one").holding(), outbox_at(tmp_path / "two").holding() as is_mine:
        assert is_mine


def test_who_holds_an_outbox_does_not_keep_others_from_logging(tmp_path: Path) -> None:
    outbox = outbox_at(tmp_path)
    with python(HOLDER, tmp_path) as process:
        assert line(process) == "True"
        assert Logs(outbox).log(table(1), image(1)) == 2


def test_what_a_killed_process_had_sent_is_found_as_the_same_letter(tmp_path: Path) -> None:
    code = f"""{PROCESS}
logs = Logs(outbox)
logs.log(*map(metric, range(100)), table(1))
logs.log(progress(5))
letter = outbox.take_letter(60, 1_000_000, 0)
snapshots = outbox.take_snapshots(["trials", "progress_record"], 2)
print(letter.key, flush=True)
print(letter.body.decode(), flush=True)
print([tuple(each) for each in snapshots], flush=True)
time.sleep({PROCESS_S})
"""
    outbox = outbox_at(tmp_path)
    with python(code, tmp_path) as process:
        key, body, snapshots = line(process), line(process), line(process)
        process.kill()
        process.wait(PROCESS_S)
    assert str([tuple(each) for each in outbox.snapshots_under_way()]) == snapshots
    assert checked(outbox) == Counts(logged=102, waiting=102)
    (letter,) = outbox.letters_under_way()
    assert letter[:3] == (key, body.encode(), 60)
    assert values(letter) == [*range(60)]
    outbox.letter_delivered(letter)
    outbox.snapshots_back(outbox.snapshots_under_way())
    assert deliver_all(outbox) == [*range(60, 100)]
    assert checked(outbox) == Counts(logged=102, delivered=100, waiting=2)
