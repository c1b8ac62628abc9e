"""The thread that moves a moment later what was put in many small pieces."""

import gc
import os
import threading
import time

from ray_synapse.delivery.flusher import BUFFER_S, Flusher

WAIT_S = 20


class Moved:
    """Counts how often it was moved."""

    def __init__(self) -> None:
        self.times, self.was_moved = 0, threading.Event()

    def move(self) -> None:
        self.times += 1
        self.was_moved.set()

    def fail(self) -> None:
        raise ValueError("no")


def test_what_is_asked_for_often_is_done_once() -> None:
    flusher, moved = Flusher(), Moved()
    for _ in range(100):
        assert flusher.soon(moved.move)
    assert moved.was_moved.wait(WAIT_S)
    time.sleep(3 * BUFFER_S)
    assert moved.times in (1, 2)  # 2 if this thread was held up for so long
    moved.was_moved.clear()
    assert flusher.soon(moved.move)
    assert moved.was_moved.wait(WAIT_S)


def test_one_that_fails_keeps_no_other_waiting() -> None:
    flusher, moved, failing = Flusher(), Moved(), Moved()
    flusher.soon(failing.fail)
    flusher.soon(moved.move)
    assert moved.was_moved.wait(WAIT_S)


def test_it_keeps_nothing_alive() -> None:
    flusher, moved = Flusher(), Moved()
    flusher.soon(moved.move)
    assert moved.was_moved.wait(WAIT_S)
    time.sleep(BUFFER_S)
    del moved
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, Moved)]


def test_a_forked_child_has_a_thread_of_its_own() -> None:
    flusher, moved = Flusher(), Moved()
    flusher.soon(moved.move)
    assert moved.was_moved.wait(WAIT_S)
    child = os.fork()
    if not child:
        again = Moved()
        flusher.soon(again.move)
        os._exit(0 if again.was_moved.wait(WAIT_S) else 1)
    assert os.waitpid(child, 0)[1] == 0
