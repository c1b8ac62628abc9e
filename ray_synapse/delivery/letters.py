"""Sends the log entries of an outbox, in letters."""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from ray_synapse.backend.http import HttpApi
from ray_synapse.delivery.lane import Lane, failure_of
from ray_synapse.delivery.outbox.departures import Letter
from ray_synapse.delivery.outbox.outbox import Outbox
from ray_synapse.delivery.retry import Verdict, verdict
from ray_synapse.delivery.standing import Standing
from ray_synapse.errors import BackendError

MAX_ENTRIES = 250  # of one request: the published client sends at most a few hundred
MAX_LETTER_BYTES = 512 << 10  # of one request, but for an image: a second at 4 Mbit/s
MAX_AGE_S = 0.5  # for which an entry waits for others to go with it
KEY_S = 6 * 24 * 3600.0  # the served backend remembers a key for a week


class Letters(Lane):
    """The lane of log entries.

    With a server that does a write once for each key, the disk is used while the server works: the
    letter before is noted as delivered, the next one is taken. What a crash keeps from being noted
    goes again with its key, as long as the server remembers that.
    """

    def __init__(self, outbox: Outbox, api: HttpApi, standing: Standing) -> None:
        super().__init__(outbox, api, standing)
        self.is_sound = False  # the job could be asked for, and nothing got in doubt since
        self._honours_keys = False
        # What may have come, and goes again with its key, since the server honours these.
        self._repeats: deque[Letter] = deque()
        self._next: Letter | None = None  # that was taken while the server worked
        self._delivered: list[Letter] = []  # what is not noted yet
        self._most = MAX_ENTRIES

    def note_keys(self) -> None:
        """Note whether the server honours keys."""
        # For good: an answer without the header may be that of a proxy on the way.
        self._honours_keys = self._honours_keys or bool(self._api.honours_keys)

    def recover(self) -> None:
        """Decide about what another process had sent when it ended."""
        self._repeats.clear()
        for letter in self._outbox.letters_under_way():
            if self._is_repeatable(letter):
                self._repeats.append(letter)
            else:
                reason = "the process that sent it ended before it noted an answer"
                self._outbox.letter_set_aside(letter, "in_doubt", reason)

    def settle(self) -> None:
        """Note all that was delivered, and let wait again what was only taken."""
        self.note(self._settle)

    def _send(self) -> bool:
        letter = self._repeats[0] if self._repeats else self._next or self._take()
        if letter is None:
            return False
        if letter is self._next:
            self._next = None
        error = failure_of(
            lambda: self._api.create_logs(
                letter.body, key=letter.key, meanwhile=partial(self._look_ahead, letter)
            )
        )
        self.note_keys()
        if error is not None:
            self._letter_failed(letter, error)
            return True
        self._forget(letter)
        self._delivered.append(letter)
        self._most = min(self._most * 2, MAX_ENTRIES)
        self._worked()
        self._standing.answered()
        if self._next is None:
            self.settle()
        return True

    def _take(self) -> Letter | None:
        return self._outbox.take_letter(self._most, MAX_LETTER_BYTES, MAX_AGE_S)

    def _look_ahead(self, letter: Letter) -> None:
        """Use the disk while the server works on a letter."""
        if not self._is_repeatable(letter):
            return
        with suppress(BackendError):  # what follows the answer fails likewise, and says so
            self._note_delivered()
            if self._next is None and not self._repeats:
                self._next = self._take()

    def _is_repeatable(self, letter: Letter) -> bool:
        """Whether a process after a crash may send it again."""
        return self._honours_keys and time.time() - letter.time < KEY_S

    def _note_delivered(self) -> None:
        while self._delivered:
            self._outbox.letter_delivered(self._delivered[0])
            del self._delivered[0]

    def _settle(self, then: Callable[[], None] | None = None) -> None:
        if self._next is not None:
            self._outbox.letter_back(self._next)
            self._next = None
        self._note_delivered()
        if then is not None:
            then()

    def _letter_failed(self, letter: Letter, error: BackendError) -> None:
        self._standing.failed(error)
        what = verdict(error, repeatable=self._honours_keys)
        is_temporary = what in (Verdict.AGAIN, Verdict.STOP)
        if is_temporary or what is Verdict.DOUBT:
            self._failed(error)
        if is_temporary and self._honours_keys:
            if letter not in self._repeats:  # the same with the same key, whatever happened to it
                self._repeats.append(letter)
            self.settle()
            return
        self._forget(letter)
        then: Callable[[], None]
        if is_temporary:
            then = partial(self._back, letter)
        elif what is Verdict.DOUBT:
            self.is_sound = False  # so that not one letter after the other gets in doubt
            then = self._aside(letter, "in_doubt", error)
        elif letter.number > 1 and error.status != 404:  # the job is missing for each of them
            self._most = letter.number // 2
            # What another process took after it was not sent: that waits for an answer to this.
            then = partial(self._back, letter, *self._repeats)
            self._repeats.clear()
        else:
            then = self._aside(letter, "parked", error)
        self.note(partial(self._settle, then))

    def _back(self, *letters: Letter) -> None:
        for each in letters:
            self._outbox.letter_back(each)

    def _aside(self, letter: Letter, state: str, error: BackendError) -> Callable[[], None]:
        return partial(self._outbox.letter_set_aside, letter, state, str(error))

    def _forget(self, letter: Letter) -> None:
        if letter in self._repeats:
            self._repeats.remove(letter)
