"""What a run is made of, for the other parts of the package."""

import os
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ray_synapse import console, payloads, signals
from ray_synapse.backend.protocol import Backend
from ray_synapse.delivery import cluster
from ray_synapse.delivery.channel import Channel
from ray_synapse.delivery.patience import Patience
from ray_synapse.delivery.synapse import SynapseBackend
from ray_synapse.errors import BackendError
from ray_synapse.heartbeat import Heartbeat
from ray_synapse.progress import Progress
from ray_synapse.run_spec import RunSpec, Sweep
from ray_synapse.settings import DEADLINE_S
from ray_synapse.values import Wire, to_wire


class RunCore:
    """The part of ``TrainRun`` that is not for its users."""

    def __init__(self, spec: RunSpec, *, owned: bool) -> None:
        self.name = spec.name
        self.job_id = spec.job_id
        self.metric, self.mode, self.upload = spec.metric, spec.mode, spec.upload
        self.num_samples = spec.num_samples
        self._spec = spec
        self._is_tune = spec.is_tune
        self._of = spec.trial  # where this process is none of a trial, but works for one
        self._checkpoint_output: str | None = None
        owns_relay = owned and cluster.trial_id() is None
        self._channel = Channel(spec.backend, spec.job_id, spec.relay, owns_relay=owns_relay)
        self._progress: Progress | None = None
        self._table: str | None = None  # the newest trials table that was logged, as JSON
        self._sweeps: list[Sweep] = []  # the newest last
        self._refused = ""  # why its sweep could not begin
        self._earlier: list[RunCore] = []  # handles of the jobs that this run was before
        self._is_wrapped = False  # `wrap_trainable` was given it
        self._is_new = False  # its job was made by this process, and not asked for by its id
        self._told: set[str] = set()  # what finish said already
        self._heard: Callable[[str, str, Any], None] | None = None  # told of each metric here
        self._status: str | None = None  # the one that this process gave to its job last
        self._is_restorable = True  # its script has what Tune's restore asks for
        self._is_ended = False  # its job has its final status, from a TrainAction
        self._told_error: BaseException | None = None  # and a message tells of this one
        self._owner_pid: int | None = None
        self._heartbeat: Heartbeat | None = None
        if owned:
            self._drive()
        self._patience = Patience(DEADLINE_S)
        self._early: Any = None  # what uploads models while the sweep goes on
        self._parent_model: int | str | None = None  # what the trials start from

    def _put_metric(
        self, category: str, key: str, value: Any, metrics: Mapping[str, Any], trial: str | None
    ) -> None:
        self._channel.put("metric", payloads.metric(category, key, value, metrics, trial))

    def _put_table(self, text: str) -> None:
        self._table = text
        self._channel.put("trials", text)

    def _trial_completed(self, trial: Any) -> None:
        """Have its model uploaded while the sweep goes on, where models go to a server."""
        if self.upload != "all" or not isinstance(self._backend, SynapseBackend):
            return
        if self._early is None:
            from ray_synapse.results.uploads import EarlyUploads

            self._early = EarlyUploads(self)
        self._early.add(trial)

    def _count_dropped(self, number: int) -> None:
        """Count records that were dropped before they got here."""
        self._channel.count_dropped(number)

    def _adopt(self) -> None:
        """This process drives the run from now on: it makes the relay and ends the job."""
        self._drive()
        self._channel.own_relay()

    def _drive(self) -> None:
        signals.watch()
        if self._owner_pid != os.getpid():  # else it does already
            self._owner_pid = os.getpid()
            self._heartbeat = Heartbeat(partial(self._backend.beat, self.job_id))

    def _leave(self) -> None:
        """This process drives the run no more."""
        self._owner_pid = None
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None

    def _driven_here(self) -> dict[str, Wire]:
        """The fields of a job that this process drives."""
        return {"status": "RUNNING", "host": socket.gethostname(), "pid": os.getpid()}

    def _know_job(self, job: Mapping[str, Any]) -> None:
        """Note what the server said of the job."""
        if isinstance(self._backend, SynapseBackend):
            record = to_wire(job.get("progress_record"))
            self._backend.outbox.know_job(progress_record=record)

    def _as_spec(self) -> RunSpec:
        old = self._spec
        return RunSpec(
            *(self.name, self.job_id, old.backend, old.relay, self.metric, self.mode, self.upload),
            *(self._is_tune, self.num_samples, self._trial_id),
        )

    @property
    def _trial_id(self) -> str | None:
        """The trial that this code works for, or None."""
        return cluster.trial_id() or self._of

    @property
    def _backend(self) -> Backend:
        return self._channel.backend

    def _patch_job(self, **fields: Wire) -> None:
        """Change the job; a backend that cannot is only told of."""
        if "status" in fields:
            self._status = str(fields["status"])
        try:
            self._backend.patch_job(self.job_id, fields)
        except BackendError as error:
            console.say_once(f"job {self.job_id}: not changed: {error}")

    def _overall_before(self) -> float:
        try:
            record = self._backend.job(self.job_id)["progress_record"] or {}
            return float(record["current_progress"]["overall"])
        except (BackendError, KeyError, TypeError, ValueError):
            return 0.0
