"""One kind of what is sent from an outbox, with its own waits."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from ray_synapse.backend.http import HttpApi
from ray_synapse.delivery.outbox.outbox import Outbox
from ray_synapse.delivery.retry import Backoff
from ray_synapse.delivery.standing import Standing
from ray_synapse.errors import BackendError, NoAnswerError

POLL_S = 0.2  # between two looks for something to send


class Lane(ABC):
    """Sends one thing at a time, each kept until the server confirmed it. For one thread.

    Args:
        outbox: What is to be sent. This process must hold it.
        api: The server.
        standing: How the server stands to us.
    """

    def __init__(self, outbox: Outbox, api: HttpApi, standing: Standing) -> None:
        self._outbox, self._api, self._standing = outbox, api, standing
        self._backoff = Backoff()
        self._spaced_until = 0.0
        self._empty_until = 0.0  # there was nothing: looking again at once would only cost time
        self._then: Callable[[], None] | None = None  # what is to be noted of the last request

    def step(self) -> bool:
        """Send one thing, if one is due. Returns whether it did."""
        if not self._is_due():
            return False
        if not self._send():
            self._empty_until = time.monotonic() + POLL_S
            return False
        return True

    def note(self, then: Callable[[], None] | None = None) -> None:
        """Note in the outbox what became of a request; again with the next call if that fails."""
        self._then = then or self._then
        if self._then is not None:
            self._then()
            self._then = None

    @abstractmethod
    def _send(self) -> bool:
        """Send the next thing. Returns whether there was one."""

    def _failed(self, error: BackendError) -> None:
        """Wait before the next try."""
        self._backoff.failed(error, time.monotonic())

    def _worked(self, interval: float = 0.0) -> None:
        """Go on, but not before ``interval`` seconds."""
        self._backoff.worked()
        self._spaced_until = time.monotonic() + interval

    def _is_due(self) -> bool:
        if self._standing.left(self._backoff) or time.monotonic() < self._empty_until:
            return False
        return time.monotonic() >= self._spaced_until or self._outbox.is_hurried()


def failure_of(request: Callable[[], object]) -> BackendError | None:
    """Make a request, and give the error that it ended with, if it did."""
    try:
        request()
    except BackendError as error:
        return error
    except Exception as error:  # a setting of the machine that no request can do with, or our fault
        return NoAnswerError(f"{type(error).__name__}: {error}")
    return None
