"""What is not delivered, in words."""

import pytest

from ray_synapse.backend.protocol import Counts, Left
from ray_synapse.delivery.report import MAX_ERROR_CHARS, shortened, undelivered

NOTHING = Left({}, {}, None, None)


def left(error: str | None = None, **models: int) -> Left:
    return Left(models, {}, error, None)


def test_nothing_is_said_when_everything_is_delivered() -> None:
    counts = [Counts(5, delivered=3, replaced=2), Counts(1, delivered=1)]
    assert undelivered(7, counts, left("POST /logs/: 503", delivered=4)) == ""
    assert undelivered(7, [], NOTHING) == ""


def test_what_waits_is_said_with_the_command_that_sends_it() -> None:
    said = undelivered("a-b", [Counts(5, delivered=3, waiting=2)], NOTHING)
    assert said == ("job a-b: 2 records not delivered yet; `ray-synapse sync a-b` sends what waits")


def test_the_last_error_says_why_it_waits() -> None:
    said = undelivered(7, [Counts(1, waiting=1)], left("POST /logs/: 503\nService  Unavailable"))
    assert said == (
        "job 7: 1 record not delivered yet (POST /logs/: 503 Service Unavailable); "
        "`ray-synapse sync 7` sends what waits"
    )


@pytest.mark.parametrize(
    ("counts", "models", "said"),
    [
        (Counts(1, waiting=1), {}, "1 record not delivered yet"),
        (Counts(1_234_567, waiting=1_234_567), {}, "1,234,567 records not delivered yet"),
        (Counts(), {"waiting": 1}, "1 model not delivered yet"),
        (Counts(2, waiting=2), {"waiting": 3}, "2 records, 3 models not delivered yet"),
        (Counts(2, in_doubt=2), {}, "2 records in doubt"),
        (Counts(1, parked=1), {}, "1 record refused by the server"),
        (Counts(9, dropped=9), {}, "9 records dropped"),
        (Counts(), {"parked": 2}, "2 models not uploaded"),
        (
            Counts(6, in_doubt=1, parked=2, dropped=3),
            {"parked": 1, "delivered": 5},
            "1 record in doubt, 2 records refused by the server, 1 model not uploaded, "
            "3 records dropped",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_kind_of_what_is_missing_has_its_number(
    counts: Counts, models: dict[str, int], said: str
) -> None:
    line = undelivered(7, [counts], left(**models))
    assert line.startswith(f"job 7: {said}; `ray-synapse ")
    assert "\n" not in line


def test_only_what_waits_is_said_to_be_sent_by_sync() -> None:
    lost = undelivered(7, [Counts(3, in_doubt=1, parked=1, dropped=1)], left(parked=1))
    assert "sync" not in lost
    assert lost.endswith("`ray-synapse doctor` says why")


def test_what_waits_and_what_is_lost_are_said_in_one_line() -> None:
    processes = [Counts(3, waiting=2, in_doubt=1), Counts(2, waiting=1, in_doubt=1)]
    said = undelivered(7, processes, left("lost"))
    assert said == (
        "job 7: 3 records not delivered yet (lost); `ray-synapse sync 7` sends what waits. "
        "2 records in doubt; `ray-synapse doctor` says why"
    )


def test_a_long_error_is_cut() -> None:
    assert shortened("x" * MAX_ERROR_CHARS) == "x" * MAX_ERROR_CHARS
    assert shortened("x" * 10_000) == "x" * MAX_ERROR_CHARS + "…"


def test_an_error_cannot_steer_the_terminal() -> None:
    said = shortened("<h1>\x1b[31m502\r\n\tBad\x07 Gateway</h1>")
    assert said.isprintable()
    assert "502" in said
    assert "Gateway" in said
