"""What follows a request that failed: each row of what is promised, and the waits."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_synapse.delivery.retry import (
    FIRST_WAIT_S,
    HURRIED_WAIT_S,
    MAX_RETRY_AFTER_S,
    MAX_WAIT_S,
    Backoff,
    Verdict,
    concerns_all,
    verdict,
    wait_before,
)
from ray_synapse.errors import (
    BackendError,
    DeniedError,
    NoAnswerError,
    NotFoundError,
    RefusedError,
    StorageError,
    TooLargeError,
    Unreachable,
    UnreachableError,
)

CHANCES = st.floats(0, 1)
REASONS: list[Unreachable] = ["name", "name_later", "certificate", "refused", "timeout", "other"]


def answered(
    status: int, kind: type[BackendError] = BackendError, retry_after: float | None = None
) -> BackendError:
    """The error for a server's answer."""
    error = kind("POST /logs/: the server says no")
    error.status, error.retry_after = status, retry_after
    return error


def unreachable(reason: Unreachable) -> UnreachableError:
    error = UnreachableError("POST /logs/: no connection")
    error.reason = reason
    return error


def lost(status: int | None = None) -> NoAnswerError:
    """The error for an answer that did not come, or of which only the beginning did."""
    error = NoAnswerError("POST /logs/: the answer was lost")
    error.status = status
    return error


NOT_SENT = [unreachable(reason) for reason in REASONS]
NOT_PROCESSED = [answered(429), answered(502), answered(503, StorageError), answered(504)]
MAYBE_DONE = [
    *(lost(), lost(200), lost(201)),  # it broke off in its middle, or was no JSON
    *(answered(status) for status in (500, 501, 505, 507, 508, 511, 520, 599)),
]
REFUSED = [
    *(answered(status, RefusedError) for status in (400, 409, 422)),
    answered(404, NotFoundError),
    *(answered(status) for status in (402, 405, 406, 408, 410, 411, 415, 418, 425, 431, 451, 499)),
    RefusedError("no server takes it"),  # so it was not sent at all
]
DENIED = [answered(401, DeniedError), answered(403, DeniedError)]
TOO_LARGE = answered(413, TooLargeError)
ELSEWHERE = [answered(status) for status in (301, 302, 303, 307, 308)]


def named(error: object) -> str:
    if isinstance(error, BackendError):
        return f"{type(error).__name__}-{error.status}-{getattr(error, 'reason', '')}"
    return str(error)


# What is done


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("error", NOT_SENT, ids=named)
def test_what_was_not_sent_at_all_is_sent_again(error: BackendError, repeatable: bool) -> None:
    assert verdict(error, repeatable=repeatable) is Verdict.AGAIN


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("error", NOT_PROCESSED, ids=named)
def test_what_a_busy_server_did_not_process_is_sent_again(
    error: BackendError, repeatable: bool
) -> None:
    assert verdict(error, repeatable=repeatable) is Verdict.AGAIN


@pytest.mark.parametrize("error", MAYBE_DONE, ids=named)
def test_what_may_have_been_processed_is_in_doubt(error: BackendError) -> None:
    assert verdict(error, repeatable=False) is Verdict.DOUBT


@pytest.mark.parametrize("error", MAYBE_DONE, ids=named)
def test_what_may_be_processed_twice_is_never_in_doubt(error: BackendError) -> None:
    assert verdict(error, repeatable=True) is Verdict.AGAIN


@pytest.mark.parametrize("repeatable", [True, False])
def test_what_is_too_much_at_once_is_split(repeatable: bool) -> None:
    assert verdict(TOO_LARGE, repeatable=repeatable) is Verdict.SPLIT


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("error", REFUSED, ids=named)
def test_what_the_server_refuses_is_parked(error: BackendError, repeatable: bool) -> None:
    assert verdict(error, repeatable=repeatable) is Verdict.PARK


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("error", DENIED, ids=named)
def test_a_refused_token_stops_the_sending(error: BackendError, repeatable: bool) -> None:
    assert verdict(error, repeatable=repeatable) is Verdict.STOP


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("error", ELSEWHERE, ids=named)
def test_an_answer_that_leads_elsewhere_loses_nothing(
    error: BackendError, repeatable: bool
) -> None:
    assert verdict(error, repeatable=repeatable) is Verdict.AGAIN


def test_only_what_a_server_may_have_done_is_in_doubt() -> None:
    doubt = {
        status
        for status in range(300, 600)
        if verdict(answered(status), repeatable=False) is Verdict.DOUBT
    }
    assert doubt == {*range(500, 600)} - {502, 503, 504}


# Whom it concerns


@pytest.mark.parametrize("error", [*NOT_SENT, *NOT_PROCESSED, lost()], ids=named)
def test_while_the_server_is_away_everything_waits(error: BackendError) -> None:
    assert concerns_all(error)


@pytest.mark.parametrize(
    "error", [*REFUSED, TOO_LARGE, answered(500), lost(200), *ELSEWHERE], ids=named
)
def test_what_is_wrong_with_one_request_does_not_keep_the_others_waiting(
    error: BackendError,
) -> None:
    assert not concerns_all(error)


# How long it waits


def waits(chance: float, error: BackendError = NOT_SENT[0], number: int = 40) -> list[float]:
    return [wait_before(attempt, error, chance) for attempt in range(1, number + 1)]


@given(CHANCES)
def test_waits_grow_until_they_are_as_long_as_they_get(chance: float) -> None:
    found = waits(chance)
    assert all(a <= b for a, b in itertools.pairwise(found))
    assert found[0] < found[1] < found[2] < found[3]
    assert found[0] <= 2 * FIRST_WAIT_S
    assert found[-1] == found[-2]


@given(CHANCES, st.integers(1, 10_000))
def test_a_server_that_is_back_is_noticed_within_the_longest_wait(
    chance: float, attempt: int
) -> None:
    assert 0 < wait_before(attempt, NOT_SENT[0], chance) <= MAX_WAIT_S


def test_the_longest_wait_is_reached_within_minutes() -> None:
    assert max(waits(0.5)) >= MAX_WAIT_S / 2
    assert sum(waits(1, number=6)) < 60  # not so soon that a restart of the server costs a minute


@pytest.mark.parametrize("attempt", [1, 3, 100])
def test_clients_that_fail_together_do_not_come_back_together(attempt: int) -> None:
    found = [wait_before(attempt, NOT_SENT[0]) for _ in range(200)]
    assert max(found) > 1.5 * min(found)
    assert len(set(found)) > 100


@given(CHANCES, st.integers(1, 50), st.floats(0, MAX_RETRY_AFTER_S))
def test_a_server_that_asks_to_wait_is_not_asked_before(
    chance: float, attempt: int, retry_after: float
) -> None:
    for status in (429, 503):
        error = answered(status, retry_after=retry_after)
        assert wait_before(attempt, error, chance) >= retry_after


@pytest.mark.parametrize("retry_after", [121, 3_600, 1e9, float("inf")])
def test_a_server_that_asks_to_wait_for_hours_is_asked_within_minutes(retry_after: float) -> None:
    assert wait_before(1, answered(429, retry_after=retry_after)) == MAX_RETRY_AFTER_S


@pytest.mark.parametrize("retry_after", [None, 0.0])
def test_a_server_that_asks_to_come_back_at_once_is_not_hammered(
    retry_after: float | None,
) -> None:
    error = answered(503, StorageError, retry_after)
    assert [wait_before(n, error, 0.5) for n in range(1, 41)] == waits(0.5)
    assert min(waits(0)) >= FIRST_WAIT_S / 2


# When it is tried again

NOW = 1_000.0


def failed(times: int, error: BackendError = NOT_SENT[0]) -> Backoff:
    backoff = Backoff()
    for _ in range(times):
        backoff.failed(error, NOW)
    return backoff


def test_what_has_not_failed_is_due_at_once() -> None:
    for is_hurried in (True, False):
        assert Backoff().left(NOW, is_hurried=is_hurried) == 0


def test_what_has_failed_is_due_after_a_wait_that_grows_with_each_failure() -> None:
    found = [failed(times).left(NOW, is_hurried=False) for times in range(1, 30)]
    assert found[0] <= 2 * FIRST_WAIT_S
    assert max(found[:3]) < min(found[6:])


def test_the_wait_runs_off_while_time_goes_by() -> None:
    backoff = failed(8)
    left = backoff.left(NOW, is_hurried=False)
    assert backoff.left(NOW + 3, is_hurried=False) == pytest.approx(left - 3)
    assert backoff.left(NOW + left + 0.1, is_hurried=False) == 0
    assert backoff.left(NOW + 1e6, is_hurried=False) == 0


def test_what_has_worked_begins_anew() -> None:
    backoff = failed(20, answered(429, retry_after=60))
    backoff.worked()
    assert backoff.attempt == 0
    assert backoff.left(NOW, is_hurried=False) == backoff.left(NOW, is_hurried=True) == 0
    backoff.failed(NOT_SENT[0], NOW)
    assert backoff.left(NOW, is_hurried=False) <= 2 * FIRST_WAIT_S


@pytest.mark.parametrize("times", [1, 5, 50])
def test_whoever_waits_for_the_end_does_not_wait_for_long_waits(times: int) -> None:
    backoff = failed(times)
    plain, hurried = (backoff.left(NOW, is_hurried=each) for each in (False, True))
    assert hurried == min(plain, HURRIED_WAIT_S)
    assert backoff.left(NOW + HURRIED_WAIT_S, is_hurried=True) == 0


def test_what_the_server_asks_for_is_kept_even_in_a_hurry() -> None:
    backoff = failed(1, answered(429, retry_after=60))
    assert backoff.left(NOW, is_hurried=True) == 60
    assert backoff.left(NOW + 59, is_hurried=True) == 1
    backoff = failed(1, answered(429, retry_after=1e9))
    assert backoff.left(NOW, is_hurried=True) == MAX_RETRY_AFTER_S


def test_what_the_server_asked_for_is_forgotten_when_it_fails_otherwise() -> None:
    backoff = failed(1, answered(429, retry_after=60))
    backoff.failed(NOT_SENT[0], NOW + 60)
    assert backoff.left(NOW + 60, is_hurried=False) < 5
