"""What a backend can do, and the values that go into and out of it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, BinaryIO, NamedTuple, Protocol

from ray_synapse.errors import StorageError
from ray_synapse.values import Wire

JobId = int | str

SNAPSHOTS = frozenset({"trials", "progress"})  # events of which only the newest matters


class Record(NamedTuple):
    """One thing that was logged, ready for the wire.

    Attributes:
        seq: Its number within the process that logged it, from 1.
        event: ``metric``, ``visualization``, ``message``, ``trials`` or ``progress``.
        time: When it was logged: ISO 8601, UTC.
        data: The event's ``data`` as JSON text.
        file: A data URI, or None.
        step: The progress category it belongs to, or None.
        level: A message's level, or None.
    """

    seq: int
    event: str
    time: str
    data: str
    file: str | None = None
    step: str | None = None
    level: str | None = None

    def size(self) -> int:
        """About how many bytes it takes in memory and on the wire."""
        data = len(self.data) if self.data.isascii() else len(self.data.encode("utf-8", "replace"))
        return data + len(self.file or "") + 200


class Batch(NamedTuple):
    """Records of one process, in order.

    Attributes:
        process: Which process, by a random id.
        after: The number of the record before the first of ``records`` in that process. A backend
            that has not got that one yet must refuse the batch: so order survives a resend.
        records: In ascending order of ``seq``.
        logged: How many records the process has made so far, these and the ones below included.
        dropped: How many of them it had to drop.
        replaced: How many of them were snapshots that a newer one made needless.
    """

    process: str
    after: int
    records: Sequence[Record]
    logged: int
    dropped: int
    replaced: int

    def beyond(self, kept: int) -> list[Record]:
        """The records that a backend lacks which has kept all up to ``kept``.

        Raises:
            StorageError: It lacks some before these, too.
        """
        if self.after > kept:
            raise StorageError(
                f"record {self.after} of process {self.process} is still missing: it must come "
                "before the ones after it"
            )
        return [record for record in self.records if record.seq > kept]

    def accounted(self, before: "Batch", last: int) -> "Batch":
        """What is done with now that all records up to number ``last`` are kept: no records.

        Args:
            before: What this gave for the batch before.
            last: The number of the last record that is kept.
        """
        kept = sum(before.after < record.seq <= last for record in self.records)
        delivered = before.logged - before.dropped - before.replaced + kept
        return self._replace(
            after=last, records=(), logged=delivered + self.dropped + self.replaced
        )

    def since(self, before: "Batch") -> "Batch":
        """The same batch, for a job in which its process begins after what ``before`` tells of.

        Args:
            before: What ``accounted`` gave.
        """
        first = before.after
        return Batch(
            self.process,
            max(self.after - first, 0),
            [each._replace(seq=each.seq - first) for each in self.records if each.seq > first],
            max(self.logged - before.logged, 0),
            max(self.dropped - before.dropped, 0),
            max(self.replaced - before.replaced, 0),
        )


class Counts(NamedTuple):
    """What became of the records of one process or of a whole run.

    ``logged == delivered + waiting + in_doubt + parked + dropped + replaced``, always.
    """

    logged: int = 0
    delivered: int = 0
    waiting: int = 0
    in_doubt: int = 0
    parked: int = 0
    dropped: int = 0
    replaced: int = 0

    @classmethod
    def of(cls, logged: int = 0, **known: int) -> "Counts":
        """The counts of which all are known but those that wait."""
        return cls(logged, waiting=logged - sum(known.values()), **known)

    @classmethod
    def total(cls, counts: Iterable["Counts"]) -> "Counts":
        """The sum."""
        return cls(*map(sum, zip(*counts, strict=True))) if (counts := list(counts)) else cls()


class BackendSpec(Protocol):
    """A small value from which any process on any node can open the same backend.

    Attributes:
        home: The folder of this machine in which it keeps what it keeps.
    """

    @property
    def home(self) -> str:
        """The folder."""

    def open(self) -> "Backend":
        """Open it. Cheap; whether it can be reached shows at the first call."""

    def reachable(self) -> bool:
        """Whether this process, on this node, can write to it by itself."""

    def describe(self) -> str:
        """Where it is, for a message."""


class Left(NamedTuple):
    """What is not delivered, or never will be, beside the counts of the records.

    Attributes:
        models: How many models there are by state: ``waiting``, ``parked``, ``delivered``.
        reasons: Why records and models are in doubt or parked, with how often.
        last_error: What the last request that failed ended with, or None.
        oldest_s: The age in seconds of the oldest of what still has to go, or None.
    """

    models: dict[str, int]
    reasons: dict[str, int]
    last_error: str | None
    oldest_s: float | None


class Backend(Protocol):
    """Keeps jobs and what they log. Every method may be called from any thread.

    All methods raise ``StorageError`` when the backend cannot be read or written now, and
    ``NotFoundError`` for a job that does not exist.
    """

    def job(self, job: JobId) -> dict[str, Any]:
        """The job's fields: ``id``, ``name``, ``status``, ``progress_record``, ``metric``, …."""

    def patch_job(self, job: JobId, fields: dict[str, Wire]) -> None:
        """Overwrite fields of the job."""

    def beat(self, job: JobId) -> None:
        """Note that the process that drives the job is alive; nothing else is changed."""

    def write(self, job: JobId, batch: Batch) -> int:
        """Keep a batch; what is there already is passed over.

        Returns:
            The highest ``seq`` of that process that is now kept.
        """

    def counts(self, job: JobId) -> dict[str, Counts]:
        """What each process of the job had logged when it was last heard of."""

    def left(self, job: JobId) -> Left:
        """What else is to be known of what is left."""

    def trials(self, job: JobId) -> dict[str, Any] | None:
        """The newest trials table, or None."""

    def set_best_trial(self, job: JobId, payload: dict[str, Wire]) -> None:
        """Register the trial that won: ``trial_id`` and its hyperparameters."""


class ModelStore(Protocol):
    """A backend that takes models at once."""

    def find_model(self, name: str) -> dict[str, Any] | None:
        """The model of that name, or None."""

    def add_model(
        self,
        job: JobId,
        name: str,
        configuration: dict[str, Wire],
        size: int,
        write: Callable[[BinaryIO], None],
        parent: int | str | None = None,
    ) -> int:
        """Keep a model under a name that is not taken.

        Args:
            job: The job it belongs to.
            name: Unique within the backend.
            configuration: What is to be known of it.
            size: How many bytes ``write`` will write, about.
            write: Writes the archive into a file that cannot be read back or moved in.
            parent: The id of the model that it was trained from; one that is gone is left out.

        Returns:
            The model's id.

        Raises:
            NoSpaceError: There is no room for ``size`` bytes.
        """
