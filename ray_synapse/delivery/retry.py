"""What follows a request that failed. Pure: from the error to a decision."""

import random
from enum import Enum

from ray_synapse.errors import (
    BackendError,
    DeniedError,
    NoAnswerError,
    RefusedError,
    TooLargeError,
    UnreachableError,
)

FIRST_WAIT_S = 0.5
MAX_WAIT_S = 30.0  # a server that is back is noticed within half a minute
MAX_RETRY_AFTER_S = 120.0  # a proxy that says "in an hour" is asked again all the same
HURRIED_WAIT_S = 2.0  # while a script waits for its end: it would give up before a longer one
NOT_PROCESSED = (429, 502, 503, 504)  # the request was not processed (backend-contract, "Errors")


class Verdict(Enum):
    """What to do with what could not be sent."""

    AGAIN = "again"  # it was not processed, or may be processed twice: send it again, later
    DOUBT = "in_doubt"  # it may have been processed: do not send it again
    PARK = "parked"  # the server refuses it: keep it aside with the answer, go on with the rest
    SPLIT = "split"  # too much at once
    STOP = "stop"  # the server refuses us: send nothing more


def verdict(error: BackendError, *, repeatable: bool) -> Verdict:
    """Decide.

    Args:
        error: What the request ended with.
        repeatable: Whether it is harmless to have it processed twice.
    """
    status = error.status
    if isinstance(error, RefusedError):  # also one that was never sent, since no server takes it
        return Verdict.PARK
    if not error.was_sent or status in NOT_PROCESSED:
        return Verdict.AGAIN
    if isinstance(error, DeniedError):
        return Verdict.STOP
    if isinstance(error, TooLargeError):
        return Verdict.SPLIT
    if status is not None and 300 <= status < 400:  # it leads elsewhere: a setting to correct
        return Verdict.AGAIN
    if status is not None and 400 <= status < 500:
        return Verdict.PARK
    return Verdict.AGAIN if repeatable else Verdict.DOUBT


def concerns_all(error: BackendError) -> bool:
    """Whether any other request would fare the same, so that all should wait."""
    is_silent = isinstance(error, (UnreachableError, NoAnswerError)) and error.status is None
    return is_silent or error.status in NOT_PROCESSED


def wait_before(attempt: int, error: BackendError, chance: float | None = None) -> float:
    """How long to wait, in seconds: growing, and not in step with other clients.

    Args:
        attempt: How many have failed in a row, from 1.
        error: The last failure; what the server asks for in ``Retry-After`` is the least.
        chance: From 0 to 1; random by default.
    """
    chance = random.random() if chance is None else chance
    growing = min(FIRST_WAIT_S * 2.0 ** min(attempt - 1, 30), MAX_WAIT_S / 1.5) * (0.5 + chance)
    return at_least_asked(growing, error)


def at_least_asked(wait: float, error: BackendError) -> float:
    """A wait in seconds, or what the server asked for if that is longer."""
    return max(wait, min(error.retry_after or 0.0, MAX_RETRY_AFTER_S))


class Backoff:
    """When to try again what has failed. Knows no clock: ``now`` is in seconds of any."""

    def __init__(self) -> None:
        self.attempt = 0  # how many have failed in a row
        self._failed_at = self._until = self._asked_until = 0.0

    def failed(self, error: BackendError, now: float) -> None:
        """One more has failed."""
        self.attempt += 1
        self._failed_at = now
        self._until = now + wait_before(self.attempt, error)
        self._asked_until = now + min(error.retry_after or 0.0, MAX_RETRY_AFTER_S)

    def worked(self) -> None:
        """It has not failed."""
        self.attempt = 0
        self._failed_at = self._until = self._asked_until = 0.0

    def left(self, now: float, *, is_hurried: bool) -> float:
        """How long still to wait, in seconds.

        Args:
            now: The time.
            is_hurried: Whether somebody waits for it; what the server asked for is kept even then.
        """
        until = self._until
        if is_hurried:
            until = max(min(until, self._failed_at + HURRIED_WAIT_S), self._asked_until)
        return max(until - now, 0.0)
