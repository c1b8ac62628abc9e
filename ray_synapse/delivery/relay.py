"""The one actor through which the processes of a run write, while Ray runs.

It sits on the driver's node and takes no CPU. It is a plain actor, not an async one, because only
those keep the order of the calls of a process. It belongs to the driver and ends with it.
"""

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ray_synapse.backend.protocol import Batch
from ray_synapse.delivery.pending import MAX_BATCH_BYTES

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ray_synapse.backend.protocol import BackendSpec, JobId

NAMESPACE = "ray_synapse"

# Ray keeps an argument of 100 KB or more in the memory of the caller, where it dies with a trial
# that is killed; a smaller one travels with the call. This leaves room for what goes with it.
PIECE_BYTES = MAX_BATCH_BYTES


@dataclass(frozen=True)
class RelayAddress:
    """By what a process finds the relay of its run."""

    name: str
    namespace: str = NAMESPACE


class Relay:
    """Writes what the processes of one run hand to it. Runs as a Ray actor."""

    def __init__(self, spec: "BackendSpec", job: "JobId") -> None:
        self._backend = spec.open()
        self._job = job
        self._parts: dict[str, list[bytes]] = {}  # of one batch a process: they come in order

    def accept(self, batch: Batch) -> int:
        """Write a batch. Returns the highest number of that process that is now written."""
        return self._backend.write(self._job, batch)

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


def is_loss(error: BaseException) -> bool:
    """Whether an answer's error says that the relay is gone, not that it could not write."""
    from ray.exceptions import RayError, RayTaskError

    return isinstance(error, RayError) and not isinstance(error, RayTaskError)
