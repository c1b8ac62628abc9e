"""How the server stands to us: for all the threads that send to it."""

import threading
import time
from pathlib import Path

import pytest

from ray_synapse.delivery.outbox.outbox import Outbox
from ray_synapse.delivery.retry import HURRIED_WAIT_S, MAX_RETRY_AFTER_S, MAX_WAIT_S, Backoff
from ray_synapse.delivery.standing import AWAY_AFTER, Standing
from ray_synapse.errors import (
    BackendError,
    DeniedError,
    NoAnswerError,
    RefusedError,
    UnreachableError,
)
from tests.delivery.outbox import outbox_at

HOST = "https://api.synapse.sh"


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return outbox_at(tmp_path)


@pytest.fixture
def standing(outbox: Outbox) -> Standing:
    return Standing(outbox, 7, HOST)


def down(text: str = "nothing listens there") -> UnreachableError:
    return UnreachableError(text)


def answered(status: int, text: str = "", retry_after: float | None = None) -> BackendError:
    kind = {400: RefusedError, 401: DeniedError, 403: DeniedError}.get(status, BackendError)
    error = kind(text or f"POST /logs/: {status}")
    error.status, error.retry_after = status, retry_after
    return error


def fail(standing: Standing, times: int, error: BackendError | None = None) -> None:
    for _ in range(times):
        standing.failed(error or down())


def test_a_server_that_was_not_asked_yet_is_asked_at_once(standing: Standing) -> None:
    assert standing.wait() == 0
    assert not standing.stopped


def test_a_server_that_is_away_is_asked_less_and_less(standing: Standing) -> None:
    seen = []
    for _ in range(12):
        standing.failed(down())
        seen.append(standing.wait())
    assert 0 < seen[0] < 2
    assert max(seen[:3]) < max(seen[6:])
    assert max(seen) <= 1.5 * MAX_WAIT_S


def test_a_server_that_asks_to_wait_is_not_asked_before(standing: Standing) -> None:
    standing.failed(answered(429, retry_after=60))
    assert 59 < standing.wait() <= 60
    standing.failed(answered(503, retry_after=3_600))
    assert standing.wait() <= MAX_RETRY_AFTER_S


def test_while_somebody_waits_for_the_end_the_server_is_asked_more_often(
    standing: Standing, outbox: Outbox
) -> None:
    fail(standing, 20)
    assert standing.wait() > HURRIED_WAIT_S
    outbox.note_about(is_hurried=True)
    assert 0 < standing.wait() <= HURRIED_WAIT_S
    outbox.note_about(is_hurried=False)
    assert standing.wait() > HURRIED_WAIT_S


def test_a_server_that_asks_to_wait_is_not_hurried(standing: Standing, outbox: Outbox) -> None:
    outbox.note_about(is_hurried=True)
    standing.failed(answered(429, retry_after=60))
    assert standing.wait() > 59


def test_each_thing_that_failed_may_have_a_wait_of_its_own(standing: Standing) -> None:
    one, other = Backoff(), Backoff()
    one.failed(answered(400), time.monotonic())
    assert 0 < standing.left(one) < 2
    assert standing.left(other) == standing.wait() == 0


def test_a_disk_that_cannot_be_used_keeps_no_thread_from_going_on(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("a file where the folder should be")
    standing = Standing(outbox_at(tmp_path), 7, HOST)
    fail(standing, AWAY_AFTER)
    assert standing.wait() > 0
    standing.failed(answered(401))
    assert standing.stopped
    standing.answered()
    assert standing.wait() == 0


def test_an_answer_ends_the_wait(standing: Standing) -> None:
    fail(standing, 10)
    standing.answered()
    assert standing.wait() == 0
    standing.failed(down())
    assert standing.wait() < 2  # it begins anew


@pytest.mark.parametrize("error", [answered(400), answered(404), answered(500)], ids=str)
def test_a_failure_of_one_request_keeps_no_other_waiting(
    standing: Standing, outbox: Outbox, error: BackendError
) -> None:
    fail(standing, 2 * AWAY_AFTER, error)
    assert standing.wait() == 0
    assert outbox.take_notes() == []


def test_what_was_refused_before_it_was_sent_keeps_no_other_waiting(
    standing: Standing, outbox: Outbox
) -> None:
    fail(standing, 2 * AWAY_AFTER, RefusedError("there are 1,000 models of that name already"))
    assert standing.wait() == 0
    assert outbox.take_notes() == []


def test_a_greeting_that_fails_in_any_way_keeps_all_waiting(standing: Standing) -> None:
    standing.failed(answered(500), was_greeting=True)
    assert standing.wait() > 0


def test_the_last_error_is_known_to_all_processes(standing: Standing, outbox: Outbox) -> None:
    for text in ("first", "second", "second"):
        standing.failed(down(text))
    assert outbox.left().last_error == "second"


# What a person is told


def test_a_hiccup_is_not_told(standing: Standing, outbox: Outbox) -> None:
    for _ in range(3):
        fail(standing, AWAY_AFTER - 1)
        standing.answered()
    assert outbox.take_notes() == []


def test_a_server_that_is_away_is_told_once(standing: Standing, outbox: Outbox) -> None:
    fail(standing, 5 * AWAY_AFTER)
    fail(standing, 5, NoAnswerError("lost"))
    (note,) = outbox.take_notes()
    assert "job 7" in note
    assert HOST in note
    assert "kept on this disk" in note
    assert outbox.take_notes() == []


def test_a_server_that_is_away_again_is_told_again(standing: Standing, outbox: Outbox) -> None:
    fail(standing, AWAY_AFTER)
    told = outbox.take_notes()
    standing.answered()
    fail(standing, AWAY_AFTER)
    assert outbox.take_notes() == told


def test_a_server_that_is_back_before_anybody_heard_is_not_told(
    standing: Standing, outbox: Outbox
) -> None:
    fail(standing, AWAY_AFTER)
    standing.answered()
    assert outbox.take_notes() == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_stops_everything_loudly(
    standing: Standing, outbox: Outbox, status: int
) -> None:
    standing.failed(answered(status, "GET /jobs/7/: give another token."))
    assert standing.stopped
    (note,) = outbox.take_notes()
    assert "JOB 7 IS NOT BEING DELIVERED" in note
    assert "GET /jobs/7/: give another token." in note
    assert "ray-synapse sync 7" in note
    assert outbox.about()["stopped"] == "GET /jobs/7/: give another token."


def test_a_refused_token_is_told_once_whatever_was_under_way(
    standing: Standing, outbox: Outbox
) -> None:
    requests = ("POST /logs/", "PUT /chunked_upload/", "PATCH /jobs/7/")
    for request in requests:  # by three threads
        standing.failed(answered(401, f"{request}: 401 Unauthorized"))
    assert len(outbox.take_notes()) == 1


def test_a_server_that_is_away_does_not_stop_the_sending(standing: Standing) -> None:
    for error in (down(), answered(503), answered(400), answered(500), NoAnswerError("lost")):
        fail(standing, 20, error)
    assert not standing.stopped


def test_threads_that_fail_together_leave_one_line(standing: Standing, outbox: Outbox) -> None:
    together = threading.Barrier(8)

    def work() -> None:
        together.wait()
        for _ in range(20):
            standing.failed(down())
            standing.wait()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outbox.take_notes()) == 1
    assert standing.wait() > 1
