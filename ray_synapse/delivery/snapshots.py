"""Sends the snapshots of an outbox: the job's fields, the trials table, the best trial."""

import json
import time
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial

from ray_synapse.backend.http import HttpApi
from ray_synapse.backend.protocol import JobId
from ray_synapse.delivery.lane import Lane, failure_of
from ray_synapse.delivery.outbox.departures import Snapshot
from ray_synapse.delivery.outbox.outbox import Outbox
from ray_synapse.delivery.retry import Verdict, verdict
from ray_synapse.delivery.standing import Standing
from ray_synapse.errors import BackendError

MIN_INTERVAL_S = 1.0  # between two tables, or two states of the job: nobody reads faster
SLOWNESS = 5.0  # a table that took a second is followed by the next one after so many
ENDED = ("STOPPED", "SUCCEEDED", "FAILED")
JOB_FIELDS = ("progress_record", "result", "status")


class Snapshots(Lane):
    """A lane of snapshots. Only the newest counts with the server: having it twice is harmless.

    Args:
        outbox: What is to be sent. This process must hold it.
        api: The server.
        standing: How the server stands to us.
        job: The run's job.
    """

    def __init__(self, outbox: Outbox, api: HttpApi, standing: Standing, job: JobId) -> None:
        super().__init__(outbox, api, standing)
        self._job = job
        self._identity = ""

    @abstractmethod
    def _taken(self) -> list[Snapshot]:
        """What goes in the next request."""

    @abstractmethod
    def _request(self, snapshots: Sequence[Snapshot], key: str) -> None:
        """Make it."""

    def _send(self) -> bool:
        self._identity = self._identity or self._outbox.identity()
        snapshots = self._taken()
        if not snapshots:
            return False
        key = "-".join([self._identity, *(str(each.id) for each in snapshots)])
        started = time.monotonic()
        error = failure_of(lambda: self._request(snapshots, key))
        if error is not None:
            self._snapshots_failed(snapshots, error)
            return True
        self.note(partial(self._outbox.snapshots_delivered, snapshots))
        self._worked(max(MIN_INTERVAL_S, SLOWNESS * (time.monotonic() - started)))
        self._standing.answered()
        return True

    def _snapshots_failed(self, snapshots: Sequence[Snapshot], error: BackendError) -> None:
        self._standing.failed(error)
        if verdict(error, repeatable=True) in (Verdict.AGAIN, Verdict.STOP):
            self.note(partial(self._outbox.snapshots_back, snapshots))
            self._failed(error)
        else:
            self._refused(snapshots, error)

    def _refused(self, snapshots: Sequence[Snapshot], error: BackendError) -> None:
        self.note(partial(self._outbox.snapshots_parked, snapshots, str(error)))


class Tables(Snapshots):
    """The lane of trials tables."""

    def _taken(self) -> list[Snapshot]:
        return self._outbox.take_snapshots(["trials"])

    def _request(self, snapshots: Sequence[Snapshot], key: str) -> None:
        self._api.create_logs(snapshots[0].data.encode(), key=key)


class BestTrials(Snapshots):
    """The lane of the trial that is best."""

    def _taken(self) -> list[Snapshot]:
        return self._outbox.take_snapshots(["best_trial"])

    def _request(self, snapshots: Sequence[Snapshot], key: str) -> None:
        self._api.override_best_trial(self._job, json.loads(snapshots[0].data), key=key)


class JobFields(Snapshots):
    """The lane of the job's fields, which go together, unless one of them was refused."""

    def __init__(self, outbox: Outbox, api: HttpApi, standing: Standing, job: JobId) -> None:
        super().__init__(outbox, api, standing, job)
        self._one_by_one = False  # to find which of the last request was refused

    def _taken(self) -> list[Snapshot]:
        self._outbox.complete_result()
        kinds = list(JOB_FIELDS)
        if self._outbox.has_waiting_entries() and self._outbox.newest("status") in ENDED:
            kinds.remove("status")  # a job that has ended has all that it logged
        return self._outbox.take_snapshots(kinds, 1 if self._one_by_one else len(kinds))

    def _request(self, snapshots: Sequence[Snapshot], key: str) -> None:
        body = {each.kind: json.loads(each.data) for each in snapshots}
        self._api.update_job(self._job, body, key=key)

    def _refused(self, snapshots: Sequence[Snapshot], error: BackendError) -> None:
        if len(snapshots) == 1:
            self._one_by_one = False
            super()._refused(snapshots, error)
        else:
            self._one_by_one = True
            self.note(partial(self._outbox.snapshots_back, snapshots))
