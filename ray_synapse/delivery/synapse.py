"""A Synapse server as the backend of a run: everything goes into an outbox first."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray_synapse.backend.database import now
from ray_synapse.backend.protocol import Batch, Counts, JobId, Left
from ray_synapse.delivery.outbox.base import outbox_path
from ray_synapse.delivery.outbox.outbox import Outbox
from ray_synapse.values import Wire

SENT_FIELDS = ("status", "result")  # of a job, which the server takes; the rest is only noted here


@dataclass(frozen=True)
class SynapseSpec:
    """A job on a server: small enough for any pickle, and without a token.

    Attributes:
        host: The server's address; None if only a later ``sync`` will know it.
        home: The folder in which the outbox lies.
        job: The job's id on the server.
        limit: The most bytes that the outbox may take on the disk.
        offline: Whether the run makes no connection.
    """

    host: str | None
    home: str
    job: JobId
    limit: int
    offline: bool

    def open(self) -> "SynapseBackend":
        """Open it; the outbox is made at the first write."""
        return SynapseBackend(self)

    @property
    def path(self) -> Path:
        """Where the outbox lies."""
        return outbox_path(self.home, self.host, self.job)

    def reachable(self) -> bool:
        """Whether the outbox is on this machine."""
        return self.path.is_file()

    def describe(self) -> str:
        """The server's address."""
        return described(self.host)


def described(host: str | None) -> str:
    """A server's address, for a person."""
    return host or "a server that is not known yet"


class SynapseBackend:
    """Puts everything into the outbox and asks only that. Implements ``protocol.Backend``.

    It makes no connection: one process of the run sends what is in the outbox (``Holder``).
    """

    def __init__(self, spec: SynapseSpec) -> None:
        self.spec = spec
        self.is_over = False  # the run has ended: nothing comes from its other processes any more
        self.outbox = Outbox(spec.path, spec.job, spec.limit)

    def introduce(self, name: str) -> None:
        """Note whose outbox this is, for ``ray-synapse doctor`` and ``sync``."""
        self.outbox.note_about(host=self.spec.host)
        self.outbox.know_job(id=self.spec.job, name=name)

    def job(self, job: JobId) -> dict[str, Any]:
        """What is known of the job here: from the server at the beginning, and logged since."""
        unknown = dict.fromkeys(("name", "status", "progress_record", "metric", "mode"))
        return {**unknown, "search_space": None, "id": job, **self.outbox.job_fields()}

    def patch_job(self, job: JobId, fields: dict[str, Wire]) -> None:
        """Overwrite fields of the job."""
        noted = {name: value for name, value in fields.items() if name not in SENT_FIELDS}
        if noted:
            self.outbox.know_job(**noted)
        if noted.get("pid"):  # who says that it drives the job is alive
            self.outbox.note_about(beat=now())
        for name in SENT_FIELDS:
            if name in fields:
                self.outbox.put(name, fields[name])

    def beat(self, job: JobId) -> None:
        """Note in the outbox that the process that drives the job is alive."""
        self.outbox.beat()

    def write(self, job: JobId, batch: Batch) -> int:
        """Keep a batch in the outbox; what came there before is passed over."""
        return self.outbox.commit(batch)

    def counts(self, job: JobId) -> dict[str, Counts]:
        """What became of the records of each process that came here."""
        return self.outbox.counts(is_over=self.is_over)

    def left(self, job: JobId) -> Left:
        """What is not delivered, or never will be."""
        return self.outbox.left()

    def trials(self, job: JobId) -> dict[str, Any] | None:
        """The newest trials table that was logged here, or None."""
        entry = self.outbox.newest("trials")
        return entry["data"] if entry else None

    def set_best_trial(self, job: JobId, payload: dict[str, Wire]) -> None:
        """Register the trial that won: ``trial_id`` and its hyperparameters."""
        self.outbox.put("best_trial", payload)
