"""Whatever happens to an outbox, it can say of each record what became of it."""

import json
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ray_synapse.backend.protocol import SNAPSHOTS, Counts, Record
from ray_synapse.delivery.outbox.departures import Letter, Snapshot
from ray_synapse.delivery.outbox.outbox import Outbox
from ray_synapse.delivery.pending import Pending
from ray_synapse.errors import StorageError
from tests.delivery.outbox import (
    MANY,
    checked,
    entries,
    image,
    message,
    metric,
    outbox_at,
    progress,
    rows,
    table,
    used,
    waiting_rows,
)

UNDER_WAY = "state = 'waiting' AND id <= (SELECT COALESCE(MAX(last), 0) FROM letters)"
LIMIT = 180_000  # bytes, of which an outbox without anything takes 75,000
KINDS = {
    "metric": metric,
    "message": message,
    "long message": lambda number: message([number, "x" * 5_000]),
    "image": lambda number: image(number, 25_000),
    "table": table,
    "progress": progress,
}
LANES = (("trials",), ("best_trial",), ("progress_record", "result", "status"))
ANSWERS = ("delivered", "in_doubt", "back", "parked")
REPEATABLE = ("delivered", "back", "parked")  # a snapshot is never in doubt
PROCESSES = st.integers(0, 1)
LANE = st.sampled_from(LANES)


def number_in(data: dict[str, Any]) -> int:
    """Which record it is: each has a number that no other has."""
    said = next(iter(data.values()))
    return int(said[0] if isinstance(said, list) else said)


class Outboxes(RuleBasedStateMachine):
    """Two processes log to an outbox and one sends; each may lose an answer or begin anew."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.sending, self.logging = self.opened(), self.opened()
        self.processes = [Pending(), Pending()]
        self.claims: dict[str, Counts] = {}  # what each said last of itself
        self.numbers = 0
        self.event: dict[int, str] = {}  # of each record
        self.came: dict[str, set[int]] = defaultdict(set)  # the records, by process
        self.delivered: dict[str, list[int]] = defaultdict(list)  # entries of the log, likewise
        self.dropped: set[int] = set()
        self.snapshots = Counter[str]()  # that came, by process
        self.snapshots_delivered = Counter[str]()
        self.letter: Letter | None = None
        self.under_way: dict[tuple[str, ...], list[Snapshot]] = {lane: [] for lane in LANES}
        self.models: dict[int, bool] = {}  # whether each is delivered
        self.result: list[int | None] | None = None

    def opened(self) -> Outbox:
        return outbox_at(Path(self.folder.name), LIMIT)

    def teardown(self) -> None:
        self.sending.close()
        self.logging.close()
        self.folder.cleanup()

    # The processes that log

    @rule(
        process=PROCESSES,
        kinds=st.lists(st.sampled_from([*KINDS]), min_size=1, max_size=12),
        most=st.integers(1, 30),
        is_answered=st.booleans(),
    )
    def log(self, process: int, kinds: list[str], most: int, is_answered: bool) -> None:
        for kind in kinds:
            self.numbers += 1
            record = KINDS[kind](self.numbers)
            self.event[self.numbers] = record.event
            assert self.processes[process].add(record)
        self.commit(process, most, is_answered)

    @rule(process=PROCESSES, most=st.integers(1, 30), is_answered=st.booleans())
    def commit(self, process: int, most: int, is_answered: bool) -> None:
        pending = self.processes[process]
        batch = pending.next_batch(most)
        claim = batch or pending.claim()
        if batch:
            pending.sent(batch)
        seq = self.logging.commit(claim)
        if batch and is_answered:
            pending.written(seq)
        elif batch:
            pending.take_back()
        self.claims[pending.process] = Counts(
            claim.logged, dropped=claim.dropped, replaced=claim.replaced
        )
        for record in claim.records:
            self.arrive(pending.process, record)

    def arrive(self, process: str, record: Record) -> None:
        number = number_in(json.loads(record.data))
        known = self.came[process]
        if number not in known:
            known.add(number)
            self.snapshots[process] += record.event in SNAPSHOTS

    @rule(process=PROCESSES)
    def lose_what_came_before(self, process: int) -> None:
        batch = self.processes[process].next_batch()
        if batch is not None:
            late = [each._replace(seq=each.seq + 1_000) for each in batch.records]
            gap = batch._replace(after=batch.after + 1_000, records=late)
            with pytest.raises(StorageError):
                self.logging.commit(gap)
        self.processes[process].count_dropped(2)

    @rule(kind=st.sampled_from(["status", "best_trial"]))
    def put(self, kind: str) -> None:
        self.logging.put(kind, "x")
        self.snapshots[""] += 1

    # The process that sends

    @precondition(lambda self: self.letter is None)
    @rule(most=st.integers(1, 20), most_bytes=st.sampled_from([1_000, 8_000, MANY]))
    def take_letter(self, most: int, most_bytes: int) -> None:
        self.letter = self.sending.take_letter(most, most_bytes, 0)

    @precondition(lambda self: self.letter is None)
    @rule(answers=st.lists(st.sampled_from(ANSWERS), min_size=2, max_size=6))
    def send_letters(self, answers: list[str]) -> None:
        for answer in answers:
            self.take_letter(20, MANY)
            if self.letter is not None:
                self.answer_letter(answer)

    @precondition(lambda self: self.letter is not None)
    @rule(answer=st.sampled_from(ANSWERS))
    def answer_letter(self, answer: str) -> None:
        letter, self.letter = self.letter, None
        assert letter is not None
        if answer == "delivered":
            self.sending.letter_delivered(letter)
            for entry in entries(letter):
                number = number_in(entry["data"])
                (process,) = (each for each, numbers in self.came.items() if number in numbers)
                self.delivered[process].append(number)
        elif answer == "back":
            self.sending.letter_back(letter)
        else:
            self.sending.letter_set_aside(letter, answer, "a reason")

    @rule(lane=LANE, most=st.integers(1, 3))
    def take_snapshots(self, lane: tuple[str, ...], most: int) -> None:
        if not self.under_way[lane]:
            self.under_way[lane] = self.sending.take_snapshots(lane, most)

    @rule(answer=st.sampled_from(REPEATABLE))
    def send_snapshots(self, answer: str) -> None:
        for lane in LANES:
            self.take_snapshots(lane, len(lane))
            self.answer_snapshots(lane, answer)

    @rule(lane=LANE, answer=st.sampled_from(REPEATABLE))
    def answer_snapshots(self, lane: tuple[str, ...], answer: str) -> None:
        taken, self.under_way[lane] = self.under_way[lane], []
        if answer == "delivered":
            self.note_delivered(taken)
            self.sending.snapshots_delivered(taken)
        elif answer == "back":
            self.sending.snapshots_back(taken)
        else:
            self.sending.snapshots_parked(taken, "a reason")

    def note_delivered(self, taken: list[Snapshot]) -> None:
        of = dict(rows(self.sending, "SELECT id, process FROM snapshots"))
        self.snapshots_delivered.update(of[each.id] for each in taken)

    @rule()
    def die(self) -> None:
        self.logging.close()
        self.sending.close()
        self.sending = self.opened()
        assert self.sending.letters_under_way() == ([self.letter] if self.letter else [])
        taken = [each for lane in self.under_way.values() for each in lane]
        assert self.sending.snapshots_under_way() == sorted(taken)

    # Models

    @rule(name=st.sampled_from("ab"))
    def ask_for_a_model(self, name: str) -> None:
        number = self.logging.request_model(name, [], {}, parent=None, uri=None, size=1)
        self.models.setdefault(number, False)

    @rule()
    def keep_the_result(self) -> None:
        places: dict[int, list[list[str | int]]] = {each: [[each]] for each in self.models}
        size = max(self.models, default=0) + 1
        self.logging.put_result([None] * size, places)
        self.result = [each if self.models.get(each) else None for each in range(size)]
        self.snapshots[""] += 1 + any(self.models.values())

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def deliver_a_model(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from([*self.models]))
        self.sending.model_delivered(number, number)
        self.sending.complete_result()
        if self.result and number < len(self.result) and self.result[number] is None:
            self.result[number] = number
            self.snapshots[""] += 1
        self.models[number] = True

    # What must hold after each step

    @invariant()
    def it_adds_up(self) -> None:
        checked(self.sending)
        counts = self.sending.counts()
        waiting = sum(each.waiting for each in counts.values())
        assert waiting == waiting_rows(self.sending) + sum(map(self.elsewhere, counts))
        for process, each in counts.items():
            self.check(process, each)

    def elsewhere(self, process: str) -> int:
        """How many records a process had when it was last heard of, and did not bring yet."""
        claim = self.claims.get(process, Counts())
        return claim.logged - claim.dropped - claim.replaced - len(self.came[process])

    def check(self, process: str, counts: Counts) -> None:
        kept = rows(self.sending, f"SELECT state, body FROM entries WHERE process = '{process}'")
        snapshots = rows(self.sending, f"SELECT state FROM snapshots WHERE process = '{process}'")
        states = Counter(state for state, *_ in [*kept, *snapshots])
        here = [number_in(json.loads(body)["data"]) for _, body in kept]
        delivered = self.delivered[process]
        came = {each for each in self.came[process] if self.event[each] not in SNAPSHOTS}
        lost = came - {*here} - {*delivered}
        claim = self.claims.get(process, Counts())

        assert delivered == sorted({*delivered})  # each once, in order
        assert here == sorted({*here})
        assert not {*here} & {*delivered}
        assert {*here} <= came
        assert counts.delivered == len(delivered) + self.snapshots_delivered[process]
        assert (counts.in_doubt, counts.parked) == (states["in_doubt"], states["parked"])
        assert counts.waiting == states["waiting"] + states["sending"] + self.elsewhere(process)
        assert counts.dropped == len(lost) + claim.dropped
        left = sum(state != "delivered" for (state,) in snapshots)
        replaced = self.snapshots[process] - self.snapshots_delivered[process] - left
        assert counts.replaced == replaced + claim.replaced

    @invariant()
    def only_images_and_then_metrics_are_dropped(self) -> None:
        query = f"SELECT event, {UNDER_WAY}, body FROM entries"
        kept = rows(self.sending, query)
        here = {number_in(json.loads(body)["data"]) for *_, body in kept}
        came = {each for numbers in self.came.values() for each in numbers}
        delivered = {each for numbers in self.delivered.values() for each in numbers}
        lost = {each for each in came - here - delivered if self.event[each] not in SNAPSHOTS}
        assert {self.event[each] for each in lost} <= {"visualization", "metric"}
        images = {event for event, is_sent, _ in kept if not is_sent} & {"visualization"}
        if "metric" in {self.event[each] for each in lost - self.dropped}:
            assert not images
        self.dropped = lost
        assert used(self.sending) < 1.1 * LIMIT or not images

    @invariant()
    def the_newest_of_each_kind_is_known_and_nothing_older_waits(self) -> None:
        kinds = rows(
            self.sending,
            "SELECT kind, COUNT(*) FROM snapshots WHERE state != 'sending' GROUP BY kind",
        )
        assert all(number == 1 for _, number in kinds)
        assert self.sending.newest("result") == self.result


def test_the_equation_holds_after_every_step_of_any_history() -> None:
    run_state_machine_as_test(
        Outboxes,
        settings=settings(
            max_examples=40,
            stateful_step_count=35,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
            phases=set(Phase) - {Phase.explain},  # it takes minutes to say no more
        ),
    )
