"""What a backend can do, and the values that go into and out of it."""

from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, NamedTuple, Protocol

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


class BackendSpec(Protocol):
    """A small value from which any process on any node can open the same backend."""

    def open(self) -> "Backend":
        """Open it. Cheap; whether it can be reached shows at the first call."""

    def reachable(self) -> bool:
        """Whether this process, on this node, can write to it by itself."""

    def describe(self) -> str:
        """Where it is, for a message."""


class Backend(Protocol):
    """Keeps jobs, what they log, and their models. Every method may be called from any thread.

    All methods raise ``StorageError`` when the backend cannot be read or written now, and
    ``NotFoundError`` for a job that does not exist.
    """

    def create_job(self, name: str, fields: dict[str, Wire]) -> JobId:
        """Make a job, always a new one, and return its id."""

    def job(self, job: JobId) -> dict[str, Any]:
        """The job's fields: ``id``, ``name``, ``status``, ``created``, ``progress_record``, …."""

    def patch_job(self, job: JobId, fields: dict[str, Wire]) -> None:
        """Overwrite fields of the job."""

    def write(self, job: JobId, batch: Batch) -> int:
        """Keep a batch; what is there already is passed over.

        Returns:
            The highest ``seq`` of that process that is now kept.
        """

    def counts(self, job: JobId) -> dict[str, Counts]:
        """What each process of the job had logged when it was last heard of."""

    def trials(self, job: JobId) -> dict[str, Any] | None:
        """The newest trials table, or None."""

    def find_model(self, name: str) -> dict[str, Any] | None:
        """The model of that name, or None."""

    def add_model(
        self,
        job: JobId,
        name: str,
        configuration: dict[str, Wire],
        size: int,
        write: Callable[[BinaryIO], None],
    ) -> int:
        """Keep a model under a name that is not taken.

        Args:
            job: The job it belongs to.
            name: Unique within the backend.
            configuration: What is to be known of it.
            size: How many bytes ``write`` will write, about.
            write: Writes the archive into a file that cannot be read back or moved in.

        Returns:
            The model's id.

        Raises:
            NoSpaceError: There is no room for ``size`` bytes.
        """

    def set_best_trial(self, job: JobId, payload: dict[str, Wire]) -> None:
        """Register the trial that won: ``trial_id`` and its hyperparameters."""
