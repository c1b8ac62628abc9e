"""How long the end of a run waits."""

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Hashable, Iterator

import pytest

from ray_synapse.delivery import patience
from ray_synapse.delivery.patience import Patience

LONG_S = 60.0  # a test that waited for so long would be noticed


def never() -> bool:
    return False


def still() -> Hashable:
    return 0


def moving_for(seconds: float) -> Callable[[], Hashable]:
    """Something that moves for that time, and then no more."""
    ends, numbers = time.monotonic() + seconds, itertools.count()
    return lambda: next(numbers) if time.monotonic() < ends else "the end"


def done_after(seconds: float) -> Callable[[], bool]:
    at = time.monotonic() + seconds
    return lambda: time.monotonic() >= at


def timed(wait: Callable[[], bool]) -> tuple[bool, float]:
    started = time.monotonic()
    return wait(), time.monotonic() - started


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> float:
    """What does not move for so many seconds stands still: sooner than for a real server."""
    monkeypatch.setattr(patience, "PACE_S", 0.3)
    return patience.PACE_S


def test_what_is_done_is_not_waited_for() -> None:
    waiting = Patience(LONG_S)
    assert timed(lambda: waiting.wait(lambda: True, still))[0]
    assert waiting.left == LONG_S
    assert Patience(0).wait(lambda: True, still)


def test_it_ends_as_soon_as_it_is_done() -> None:
    done, seconds = timed(lambda: Patience(LONG_S).wait(done_after(0.3), still))
    assert done
    assert 0.3 <= seconds < 2


def test_without_progress_it_ends_with_the_deadline() -> None:
    done, seconds = timed(lambda: Patience(0.4).wait(never, still))
    assert not done
    assert 0.3 <= seconds < 2


def test_a_deadline_of_zero_returns_at_once() -> None:
    done, seconds = timed(lambda: Patience(0).wait(never, moving_for(LONG_S)))
    assert not done
    assert seconds < 0.1


def test_it_waits_as_long_as_something_moves() -> None:
    waiting = Patience(0.4)
    done, seconds = timed(lambda: waiting.wait(never, moving_for(1.2)))
    assert not done
    assert 1.4 <= seconds < 4


def test_progress_does_not_give_back_what_was_waited_for(quick: float) -> None:
    waiting = Patience(LONG_S)
    assert waiting.wait(done_after(3 * quick), still)
    left = waiting.left
    assert LONG_S - 10 * quick < left < LONG_S - 2 * quick
    assert waiting.wait(done_after(3 * quick), moving_for(LONG_S))
    assert waiting.left == left


def test_what_moves_now_and_then_does_not_stand_still(quick: float) -> None:
    def moving() -> Hashable:
        return int(time.monotonic() / (quick / 2))

    waiting = Patience(LONG_S)
    assert waiting.wait(done_after(4 * quick), moving)
    assert waiting.left == LONG_S


def test_all_waits_of_a_run_share_one_deadline() -> None:
    waiting = Patience(0.5)
    found = [timed(lambda: waiting.wait(never, still)) for _ in range(5)]
    assert [done for done, _ in found] == [False] * 5
    assert 0.4 <= sum(seconds for _, seconds in found) < 2
    assert all(seconds < 0.1 for _, seconds in found[1:])


def test_what_is_done_when_patience_has_ended_is_done() -> None:
    waiting = Patience(0)
    assert not waiting.wait(never, still)
    assert waiting.wait(lambda: True, still)
    assert not waiting.is_interrupted


@pytest.fixture
def keyboard() -> Iterator[None]:
    """Ctrl-C does what it does in a terminal, also where these tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("keyboard")
@pytest.mark.parametrize("is_done", [True, False])
def test_ctrl_c_ends_this_wait_and_all_that_follow(is_done: bool) -> None:
    waiting, looks = Patience(LONG_S), itertools.count()
    was_pressed = False

    def press() -> Hashable:
        nonlocal was_pressed
        if next(looks) == 2:
            was_pressed = True
            signal.raise_signal(signal.SIGINT)
        return 0

    done, seconds = timed(lambda: waiting.wait(lambda: is_done and was_pressed, press))
    assert (done, seconds < 2) == (is_done, True)
    assert waiting.is_interrupted
    again, seconds = timed(lambda: waiting.wait(never, moving_for(LONG_S)))
    assert (again, seconds < 0.1) == (False, True)


def test_ctrl_c_while_it_sleeps_ends_the_wait() -> None:
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.25)
    try:
        done, seconds = timed(lambda: Patience(LONG_S).wait(never, still))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not done
    assert 0.2 <= seconds < 2


def test_another_error_is_not_hidden() -> None:
    def broken() -> Hashable:
        raise OSError("the outbox cannot be read")

    with pytest.raises(OSError, match="cannot be read"):
        Patience(LONG_S).wait(never, broken)


def test_ctrl_c_ends_a_wait_also_with_the_handler_that_tune_leaves_behind() -> None:
    """After ``fit()`` Tune's handler still swallows the first Ctrl-C."""
    swallowed: list[int] = []

    def of_tune(number: int, frame: object) -> None:
        swallowed.append(number)

    of_tune.__module__ = "ray.tune.tune"
    before = signal.signal(signal.SIGINT, of_tune)
    try:
        patience = Patience(20)
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        assert not patience.wait(lambda: False, lambda: 0)
        timer.join()
        assert signal.getsignal(signal.SIGINT) is of_tune
    finally:
        signal.signal(signal.SIGINT, before)
    assert patience.is_interrupted
    assert swallowed == []
