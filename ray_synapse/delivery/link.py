"""A process's connection to the relay of its run, through every coming and going of Ray."""

import time
from typing import Any

from ray_synapse import console
from ray_synapse.backend.protocol import BackendSpec, JobId
from ray_synapse.delivery import cluster, relay
from ray_synapse.delivery.relay import RelayAddress

FIND_RELAY_S = 5.0  # between two looks for a relay that was not there: each asks the cluster


class RelayLink:
    """Finds the relay, or makes it; knows when it is gone.

    Args:
        spec: The backend that a relay made here writes to.
        job: The run's job.
        address: Where the run's relay is to be found.
        owned: Whether this process makes the relay when there is none.
        forked: Whether this is a forked child, which cannot use Ray.
    """

    def __init__(
        self,
        spec: BackendSpec,
        job: JobId,
        address: relay.RelayAddress,
        *,
        owned: bool,
        forked: bool,
    ) -> None:
        self.spec, self.job, self.address = spec, job, address
        self.owned = owned
        self.needed = False  # other processes have the run; for its own one the owner starts none
        self._forked, self._closed = forked, False
        self._session: str | None = None  # the connection to Ray that the relay belongs to
        self._relay: Any = None
        self._lost: set[str] = set()  # relays of this session that died, or do not answer
        self._find_at = 0.0

    @property
    def relay(self) -> Any:
        """The relay's handle, or None."""
        return self._relay

    def refresh(self) -> bool:
        """Look where Ray is now. Returns whether what was handed over before is in doubt."""
        session = None if self._forked else cluster.session()
        changed = session != self._session
        if changed:
            self._session, self._relay, self._find_at = session, None, 0.0
            self._lost.clear()
        if session is not None and self._relay is None:
            self._look()
        return changed

    def own(self) -> None:
        """Make the relay from now on."""
        if not self.owned:
            self.owned, self._closed, self._find_at = True, False, 0.0

    def lose(self) -> None:
        """The relay died or does not answer: do without it, until there is another one."""
        if self._relay is not None:
            self._lost.add(relay.name_of(self._relay))
        self._relay, self._find_at = None, time.monotonic() + FIND_RELAY_S

    def inherit(self, other: "RelayLink", address: RelayAddress) -> None:
        """Take another link's relay and address over, to write to the job of this one from now on.

        Its own handle is needed: one that was got by name does not keep an actor alive. A relay
        that has died is made again at the next look.

        Args:
            other: The other link, which has no relay then.
            address: Its address from now on.
        """
        self.address, other.address = other.address, address
        self.needed = self.needed or other.needed
        if other.relay is not None and relay.answers(other.relay, "serve", self.spec, self.job):
            self._session, self._relay = other._session, other.relay
        other.close()

    def close(self) -> None:
        """Let the relay end: it does once it has written what it was handed."""
        self.owned, self._closed, self._relay = False, True, None

    def _look(self) -> None:
        now = time.monotonic()
        if self._closed or now < self._find_at:
            return
        if not (self.needed if self.owned else cluster.in_worker()):
            return
        self._find_at = now + FIND_RELAY_S
        try:
            if self.owned:
                found = relay.start(self.address, self.spec, self.job)
            else:
                found = relay.find(self.address)
        except Exception as error:  # the cluster goes away, or refuses the actor
            console.say_once(f"job {self.job}: writing without a relay ({error})")
            return
        if found is not None and relay.name_of(found) not in self._lost:
            self._relay = found
