"""Sends what waits in an outbox, one request at a time, each kept until the server confirmed it."""

from ray_synapse.backend.http import HttpApi
from ray_synapse.backend.protocol import JobId
from ray_synapse.delivery.lane import POLL_S, Lane, failure_of
from ray_synapse.delivery.letters import Letters
from ray_synapse.delivery.outbox.outbox import Outbox
from ray_synapse.delivery.retry import Verdict, verdict
from ray_synapse.delivery.snapshots import BestTrials, JobFields, Tables
from ray_synapse.delivery.standing import Standing


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
        self._has_recovered = False
        self._letters = Letters(outbox, api, standing)
        self._lanes: list[Lane] = [
            JobFields(outbox, api, standing, job),
            self._letters,
            Tables(outbox, api, standing, job),
            BestTrials(outbox, api, standing, job),
        ]

    def step(self) -> float:
        """Send one thing, if one is due. Returns how long to wait before the next step, in seconds.

        Raises:
            StorageError: The outbox cannot be read or written now.
        """
        for lane in self._lanes:
            lane.note()
        wait = self._standing.wait()
        if self._standing.stopped or wait:
            self._letters.settle()
            return min(wait, POLL_S) or POLL_S
        if not self._letters.is_sound:
            self._greet()
            return 0.0
        for _ in range(len(self._lanes)):
            self._lanes.append(self._lanes.pop(0))  # each has its turn
            if self._lanes[-1].step():
                return 0.0
        return POLL_S

    def close(self) -> None:
        """Leave the outbox as another process may find it: what became of each request is noted.

        Raises:
            StorageError: The outbox cannot be written now.
        """
        for lane in self._lanes:
            lane.note()
        self._letters.settle()

    def _greet(self) -> None:
        """Ask for the job, which is harmless, before anything is written that could be in doubt."""
        error = failure_of(lambda: self._api.get_job(self._job))
        if error is not None:
            what = verdict(error, repeatable=True)
            if what in (Verdict.AGAIN, Verdict.STOP):
                self._standing.failed(error, was_greeting=True)
                return
        self._standing.answered()
        self._letters.note_keys()
        if not self._has_recovered:
            self._outbox.snapshots_back(self._outbox.snapshots_under_way())
            self._letters.recover()
            self._has_recovered = True
        self._letters.is_sound = True
