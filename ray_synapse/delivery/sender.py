"""Sends what waits in an outbox, one request at a time, each kept until the server confirmed it."""

import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from ray_synapse.backend.http import HttpApi
from ray_synapse.backend.protocol import JobId
from ray_synapse.delivery.outbox.departures import Letter, Snapshot
from ray_synapse.delivery.outbox.outbox import Outbox
from ray_synapse.delivery.retry import Backoff, Verdict, verdict
from ray_synapse.delivery.standing import Standing
from ray_synapse.errors import BackendError, NoAnswerError

MAX_ENTRIES = 250  # of one request: the published client sends at most a few hundred
MAX_LETTER_BYTES = 512 << 10  # of one request, but for an image: a second at 4 Mbit/s
MAX_AGE_S = 0.5  # for which an entry waits for others to go with it
POLL_S = 0.2  # between two looks for something to send
MIN_INTERVAL_S = 1.0  # between two tables, or two states of the job: nobody reads faster
SLOWNESS = 5.0  # a table that took a second is followed by the next one after so many
ENDED = ("STOPPED", "SUCCEEDED", "FAILED")
KEY_S = 6 * 24 * 3600.0  # the served backend remembers a key for a week
JOB_FIELDS = ("progress_record", "result", "status")


class Lane:
    """One kind of what is sent, with its own waits."""

    def __init__(self) -> None:
        self.backoff = Backoff()
        self.spaced_until = 0.0
        self.empty_until = 0.0  # there was nothing: looking again at once would only cost time
        self.one_by_one = False  # something in the last request was refused: find which

    def failed(self, error: BackendError) -> None:
        """Wait before the next try."""
        self.backoff.failed(error, time.monotonic())

    def worked(self, interval: float = 0.0) -> None:
        """Go on, but not before ``interval`` seconds."""
        self.backoff.worked()
        self.spaced_until = time.monotonic() + interval


class Sender:
    """Sends log entries, tables, the job's fields and its best trial. For one thread.

    Args:
        outbox: What is to be sent. This process must hold it.
        api: The server.
        job: The run's job.
        standing: How the server stands to us.
    """

    def __init__(self, outbox: Outbox, api: HttpApi, job: JobId, standing: Standing) -> None:
        self._outbox, self._api, self._job, self._standing = outbox, api, job, standing
        self._identity = ""
        self._is_sound = False  # the server did what it was asked last
        self._has_recovered = False
        self._honours_keys = False
        # What may have come, and goes again with its key, since the server honours these.
        self._repeats: deque[Letter] = deque()
        self._most = MAX_ENTRIES
        self._then: Callable[[], None] | None = None  # what is to be noted of the last request
        self._lanes: list[tuple[Lane, Callable[[Lane], bool]]] = [
            (Lane(), self._send_job),
            (Lane(), self._send_entries),
            (Lane(), self._send_table),
            (Lane(), self._send_best),
        ]

    def step(self) -> float:
        """Send one thing, if one is due. Returns how long to wait before the next step, in seconds.

        Raises:
            StorageError: The outbox cannot be read or written now.
        """
        self._note_outcome()
        wait = self._standing.wait()
        if self._standing.stopped or wait:
            return min(wait, POLL_S) or POLL_S
        if not self._is_sound:
            self._greet()
            return 0.0
        for _ in range(len(self._lanes)):
            lane, send = self._lanes[0]
            self._lanes.append(self._lanes.pop(0))  # each has its turn
            if self._is_due(lane):
                if send(lane):
                    return 0.0
                lane.empty_until = time.monotonic() + POLL_S
        return POLL_S

    def _note_outcome(self, then: Callable[[], None] | None = None) -> None:
        """Note in the outbox what became of a request; again in the next step if that fails."""
        self._then = then or self._then
        if self._then is not None:
            self._then()
            self._then = None

    def _is_due(self, lane: Lane) -> bool:
        if self._standing.left(lane.backoff) or time.monotonic() < lane.empty_until:
            return False
        return time.monotonic() >= lane.spaced_until or self._outbox.is_hurried()

    def _greet(self) -> None:
        """Ask for the job, which is harmless, before anything is written that could be in doubt."""
        error = _failure_of(lambda: self._api.get_job(self._job))
        if error is not None:
            what = verdict(error, repeatable=True)
            if what in (Verdict.AGAIN, Verdict.STOP):
                self._standing.failed(error, was_greeting=True)
                return
        self._standing.answered()
        self._note_keys()
        self._is_sound = True
        if not self._has_recovered:
            self._recover()
            self._has_recovered = True

    def _note_keys(self) -> None:
        # For good: an answer without the header may be that of a proxy on the way.
        self._honours_keys = self._honours_keys or bool(self._api.honours_keys)

    def _recover(self) -> None:
        """Decide about what another process had sent when it ended."""
        self._identity = self._outbox.identity()
        self._outbox.snapshots_back(self._outbox.snapshots_under_way())
        for letter in self._outbox.letters_under_way():
            is_known = self._honours_keys and time.time() - letter.time < KEY_S
            if is_known:
                self._repeats.append(letter)
            else:
                reason = "the process that sent it ended before the server answered"
                self._outbox.letter_set_aside(letter, "in_doubt", reason)

    # Entries

    def _send_entries(self, lane: Lane) -> bool:
        letter = (
            self._repeats[0]
            if self._repeats
            else self._outbox.take_letter(self._most, MAX_LETTER_BYTES, MAX_AGE_S)
        )
        if letter is None:
            return False
        error = _failure_of(lambda: self._api.create_logs(letter.body, key=letter.key))
        self._note_keys()
        if error is not None:
            self._letter_failed(lane, letter, error)
            return True
        self._note_outcome(partial(self._outbox.letter_delivered, letter))
        self._forget(letter)
        self._most = min(self._most * 2, MAX_ENTRIES)
        lane.worked()
        self._standing.answered()
        return True

    def _letter_failed(self, lane: Lane, letter: Letter, error: BackendError) -> None:
        self._standing.failed(error)
        what = verdict(error, repeatable=self._honours_keys)
        if what in (Verdict.AGAIN, Verdict.STOP):
            if not self._honours_keys:
                self._note_outcome(partial(self._outbox.letter_back, letter))
            elif letter not in self._repeats:  # the same with the same key, whatever happened to it
                self._repeats.append(letter)
            lane.failed(error)
            return
        self._forget(letter)
        if what is Verdict.DOUBT:
            self._set_aside(letter, "in_doubt", error)
            lane.failed(error)
            self._is_sound = False  # so that not one letter after the other gets in doubt
        elif letter.number > 1 and error.status != 404:  # the job is missing for each of them
            self._note_outcome(partial(self._outbox.letter_back, letter))
            self._most = letter.number // 2
        else:
            self._set_aside(letter, "parked", error)

    def _set_aside(self, letter: Letter, state: str, error: BackendError) -> None:
        self._note_outcome(partial(self._outbox.letter_set_aside, letter, state, str(error)))

    def _forget(self, letter: Letter) -> None:
        if letter in self._repeats:
            self._repeats.remove(letter)

    # Snapshots

    def _send_table(self, lane: Lane) -> bool:
        tables = self._outbox.take_snapshots(["trials"])
        # Only the newest table counts with the server, so having it twice there is harmless.
        return self._send_snapshots(
            lane, tables, lambda key: self._api.create_logs(tables[0].data.encode(), key=key)
        )

    def _send_job(self, lane: Lane) -> bool:
        self._outbox.complete_result()
        kinds = list(JOB_FIELDS)
        if self._outbox.has_waiting_entries() and self._outbox.newest("status") in ENDED:
            kinds.remove("status")  # a job that has ended has all that it logged
        fields = self._outbox.take_snapshots(kinds, 1 if lane.one_by_one else len(kinds))
        body = {each.kind: json.loads(each.data) for each in fields}
        return self._send_snapshots(
            lane, fields, lambda key: self._api.update_job(self._job, body, key=key)
        )

    def _send_best(self, lane: Lane) -> bool:
        best = self._outbox.take_snapshots(["best_trial"])
        return self._send_snapshots(
            lane,
            best,
            lambda key: self._api.override_best_trial(self._job, json.loads(best[0].data), key=key),
        )

    def _send_snapshots(
        self, lane: Lane, snapshots: Sequence[Snapshot], send: Callable[[str], object]
    ) -> bool:
        if not snapshots:
            return False
        key = "-".join([self._identity, *(str(each.id) for each in snapshots)])
        started = time.monotonic()
        error = _failure_of(lambda: send(key))
        if error is not None:
            self._snapshots_failed(lane, snapshots, error)
            return True
        self._note_outcome(partial(self._outbox.snapshots_delivered, snapshots))
        lane.worked(max(MIN_INTERVAL_S, SLOWNESS * (time.monotonic() - started)))
        self._standing.answered()
        return True

    def _snapshots_failed(
        self, lane: Lane, snapshots: Sequence[Snapshot], error: BackendError
    ) -> None:
        self._standing.failed(error)
        if verdict(error, repeatable=True) in (Verdict.AGAIN, Verdict.STOP):
            self._note_outcome(partial(self._outbox.snapshots_back, snapshots))
            lane.failed(error)
        elif len(snapshots) > 1:
            self._note_outcome(partial(self._outbox.snapshots_back, snapshots))
            lane.one_by_one = True
        else:
            self._note_outcome(partial(self._outbox.snapshots_parked, snapshots, str(error)))
            lane.one_by_one = False


def _failure_of(request: Callable[[], object]) -> BackendError | None:
    """Make a request, and give the error that it ended with, if it did."""
    try:
        request()
    except BackendError as error:
        return error
    except Exception as error:  # a setting of the machine that no request can do with, or our fault
        return NoAnswerError(f"{type(error).__name__}: {error}")
    return None
