"""The one actor through which the processes of a run write, while Ray runs.

It sits on the driver's node and takes no CPU. It is a plain actor, not an async one, because only
those keep the order of the calls of a process. It belongs to the driver and ends with it.
"""

import pickle
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ray_synapse.backend.protocol import Batch
from ray_synapse.delivery.fetch import Downloads, Fetched
from ray_synapse.delivery.pending import MAX_BATCH_BYTES
from ray_synapse.delivery.synapse import SynapseBackend
from ray_synapse.errors import BackendError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ray_synapse.artifact import Artifact, ModelFile
    from ray_synapse.backend.protocol import BackendSpec, JobId
    from ray_synapse.delivery.holder import Holder

NAMESPACE = "ray_synapse"
ASK_S = 60.0  # for an answer of the relay: it may have a backlog of records

# Ray keeps an argument of 100 KB or more in the memory of the caller, where it dies with a trial
# that is killed; a smaller one travels with the call. This leaves room for what goes with it.
PIECE_BYTES = MAX_BATCH_BYTES


@dataclass(frozen=True)
class RelayAddress:
    """By what a process finds the relay of its run."""

    name: str
    namespace: str = NAMESPACE

    @classmethod
    def new(cls) -> "RelayAddress":
        """One that no relay has."""
        return cls(f"run-{uuid.uuid4().hex}")


class Relay:
    """Writes what the processes of one run hand to it. Runs as a Ray actor."""

    def __init__(self, spec: "BackendSpec", job: "JobId") -> None:
        self._spec, self._job = spec, job
        self._backend = spec.open()
        self._written: dict[str, Batch] = {}  # up to where each process has written to this job
        self._before: dict[str, Batch] = {}  # likewise to the jobs before it
        self._holder: Holder | None = None
        self._downloads: Downloads | None = None
        self._parts: dict[str, list[bytes]] = {}  # of one batch a process: they come in order

    def accept(self, batch: Batch) -> int:
        """Write a batch. Returns the highest number of that process that is now written."""
        before = self._before.get(batch.process)
        last = self._backend.write(self._job, batch if before is None else batch.since(before))
        last += 0 if before is None else before.after
        known = self._written.get(batch.process) or before or Batch(batch.process, 0, (), 0, 0, 0)
        self._written[batch.process] = batch.accounted(known, last)
        return last

    def serve(self, spec: "BackendSpec", job: "JobId") -> None:
        """Write to this job from now on, also for processes that know the run by another one."""
        if (spec, job) == (self._spec, self._job):
            return
        self._spec, self._job = spec, job
        self._backend = spec.open()
        self._before.update(self._written)
        self._written.clear()

    def accept_piece(self, process: str, index: int, count: int, piece: bytes) -> int:
        """Collect the pieces of a large batch, write it with the last one.

        Returns:
            As ``accept``; -1 before the last piece.
        """
        if index == 0:
            self._parts[process] = []
        parts = self._parts.setdefault(process, [])
        parts.append(piece)
        if index + 1 < count:
            return -1
        del self._parts[process]
        return self.accept(pickle.loads(b"".join(parts)))

    def connect(self, *secrets: Any) -> None:
        """Send what the run logs to its server from now on.

        Args:
            *secrets: What ``Credentials.reveal`` gave. They are only ever handed over like this.
        """
        from ray_synapse.backend.http import Credentials  # late: a trial needs no HTTP client
        from ray_synapse.delivery.holder import Holder

        if self._holder is not None:  # another token
            self._holder.close(0.0)
        if isinstance(self._backend, SynapseBackend):
            self._holder = Holder(self._backend.outbox, self._job, Credentials(*secrets))
            self._holder.resume()
            self._downloads = Downloads(self._holder.fetch_model)

    def know_artifact(self, number: int, artifact: "Artifact") -> None:
        """Take the files of a model that is to be delivered."""
        if self._holder is not None:
            self._holder.know_artifact(number, artifact)

    def look_for_model(self, model_id: "int | str") -> Fetched:
        """Begin to download a model for a trial, or say what became of it."""
        if self._downloads is None:
            return Fetched(error=BackendError("the run is not connected to its server."))
        return self._downloads.look(model_id)

    def model_files(self, model_id: "int | str") -> "list[ModelFile]":
        """The files of a model that was downloaded."""
        assert self._downloads is not None
        return self._downloads.files(model_id)

    def model_piece(self, model_id: "int | str", name: str, offset: int) -> bytes:
        """Some bytes of one of these files."""
        assert self._downloads is not None
        return self._downloads.piece(model_id, name, offset)

    def disconnect(self, timeout: float) -> None:
        """Send no more, and wait up to ``timeout`` seconds for what is under way."""
        if self._holder is not None:
            self._holder.close(timeout)

    def ping(self) -> int:
        """Answer as ``accept`` does that has written nothing."""
        return -1


def start(address: RelayAddress, spec: "BackendSpec", job: "JobId") -> Any:
    """Make the run's relay on this node, or take the one that exists. Does not wait for it."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(Relay).options(
        name=address.name,
        namespace=address.namespace,
        get_if_exists=True,
        num_cpus=0,
        scheduling_strategy=here,
    )
    return actor.remote(spec, job)


def find(address: RelayAddress) -> Any:
    """The run's relay, or None where there is none."""
    import ray

    try:
        return ray.get_actor(address.name, namespace=address.namespace)
    except ValueError:
        return None


def hand_over(relay: Any, batch: Batch) -> "Future[int]":
    """Give a batch to the relay, in pieces if it is large. Does not wait.

    Returns:
        A future of ``accept``'s answer. It may never be answered once Ray was shut down.
    """
    if sum(record.size() for record in batch.records) <= PIECE_BYTES:
        return relay.accept.remote(batch).future()  # type: ignore[no-any-return]  # no hints in Ray
    data = pickle.dumps(batch)
    pieces = [data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]
    for index, piece in enumerate(pieces):
        answer = relay.accept_piece.remote(batch.process, index, len(pieces), piece)
    return answer.future()  # type: ignore[no-any-return]  # likewise


def ask(relay: Any, method: str, *arguments: Any) -> Any:
    """Call a method of the relay and wait for its answer.

    Raises:
        BackendError: It does not answer, or says so.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayActorError

    try:
        return ray.get(getattr(relay, method).remote(*arguments), timeout=ASK_S)
    except (GetTimeoutError, RayActorError) as error:
        raise BackendError(f"the run's relay does not answer: {error}") from error


def answers(relay: Any, method: str, *arguments: Any) -> bool:
    """Call a method of the relay. Returns whether it was done."""
    try:
        ask(relay, method, *arguments)
    except Exception:  # it died, or its cluster is gone
        return False
    return True


def name_of(relay: Any) -> str:
    """What tells one relay from the next one under the same address."""
    return str(relay._actor_id.hex())  # Ray has no public name for it


def end(relay: Any) -> None:
    """Kill a relay that does not answer: while it lives, nobody else may send."""
    import ray

    ray.kill(relay)


def is_loss(error: BaseException) -> bool:
    """Whether an answer's error says that the relay is gone, not that it could not write."""
    from ray.exceptions import RayError, RayTaskError

    return isinstance(error, RayError) and not isinstance(error, RayTaskError)
