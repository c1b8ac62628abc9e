"""The way out of one process: to the run's relay while Ray runs, else straight to the backend."""

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray_synapse import console
from ray_synapse.backend.protocol import Backend, BackendSpec, Counts, JobId, Record
from ray_synapse.delivery import relay
from ray_synapse.delivery.fetch import Model, fetch_by_relay
from ray_synapse.delivery.link import RelayLink
from ray_synapse.delivery.pump import Pump
from ray_synapse.delivery.synapse import SynapseBackend
from ray_synapse.errors import BackendError

if TYPE_CHECKING:
    from ray_synapse.backend.http import Credentials
    from ray_synapse.delivery.courier import Courier

LARGE_RECORD_WAIT_S = 0.5  # until it has surely left a process that may be killed right after


class Channel(Pump):
    """Hands the records of this process to the run's relay, or writes them itself without one.

    Records keep their order, and none is forgotten before it is known to be written. Past a limit
    new ones are dropped, and counted. No method waits for Ray; ``put`` waits for a disk only when
    there is no relay, and for up to half a second after a record of more than 64 KB.

    Args:
        spec: The backend.
        job: The run's job.
        address: Where the run's relay is to be found.
        owns_relay: Whether this process makes the relay when there is none.
    """

    def __init__(
        self, spec: BackendSpec, job: JobId, address: relay.RelayAddress, *, owns_relay: bool
    ) -> None:
        super().__init__(spec, job, address, owns_relay=owns_relay)
        this = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _after_fork(this))

    def put(
        self,
        event: str,
        data: str,
        *,
        file: str | None = None,
        step: str | None = None,
        level: str | None = None,
    ) -> None:
        """Send a record on its way. Never raises; the arguments are those of ``Record``."""
        now = datetime.now(timezone.utc).isoformat(timespec="microseconds")
        record = Record(0, event, now, data, file, step, level)
        with self._lock:
            if self._courier is not None and self._courier.is_closed:
                console.say_once(
                    f"job {self._job}: what is logged after the end of the run stays on this disk; "
                    f"`ray-synapse sync {self._job}` sends it"
                )
            if not self._pending.add(record):
                console.say_once(
                    f"job {self._job}: too many records wait to be written, new ones are dropped "
                    f"and counted. Is {self._spec.describe()} writable and its disk not full?"
                )
            seq, is_large = self._pending.last, record.size() > relay.PIECE_BYTES
            if not self._gathering:
                self._pump() if is_large or event != "metric" else self._pump_or_buffer()
            by_relay = self._link.relay is not None
        if by_relay and is_large:
            self._wait_for(seq, LARGE_RECORD_WAIT_S)

    @contextmanager
    def buffered(self) -> Iterator[None]:
        """Let metrics of this block that follow each other within 20 ms go together to the relay.

        For the code of a trial, which Tune ends only after a report or its return: ``push`` sends
        what is left before each of them, and so does the end of the block.
        """
        self._may_buffer = True
        try:
            yield
        finally:
            self._may_buffer = False
            self.push()

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Send what is put in this block together at its end: a call each costs far more."""
        with self._lock:
            self._gathering = True
            try:
                yield
            finally:
                self._gathering = False
                self._pump()

    @property
    def backend(self) -> Backend:
        """The backend as this process has opened it."""
        return self._backend

    @property
    def courier(self) -> "Courier | None":
        """What delivers the records from here; None where that is not needed, or another's."""
        return self._courier

    def deliver(self, credentials: "Credentials") -> None:
        """Have what is logged delivered to its server. Not for a backend that is none."""
        from ray_synapse.delivery.courier import Courier  # late: a trial needs no HTTP client

        with self._lock:
            before = self._courier
            if before is not None and before.serves(credentials):
                return
            if before is not None:
                before.close(at_once=True)
            if isinstance(self._backend, SynapseBackend):
                self._courier = Courier(self._backend, credentials, self._look_after)
                self._pump()

    def fetch_model(self, model_id: int | str) -> Model:
        """A model of the run's server, by this process if it delivers, else by the relay."""
        if self._courier is not None:
            return self._courier.fetch_model(model_id)
        with self._lock:
            self._refresh_link()
            found = self._link.relay
        if found is None:
            raise BackendError(
                f"model {model_id!r} cannot be fetched here: this process is not connected to "
                f"{self._spec.describe()}. Call get_model in the script, and hand its path on."
            )
        return fetch_by_relay(partial(relay.ask, found), Path(self._spec.home), model_id)

    def open_relay(self) -> None:
        """Make sure of the relay, where this process makes it: somebody else will ask for it."""
        with self._lock:
            self._link.needed = True
            if self._link.owned:
                self._refresh_link()

    def own_relay(self) -> None:
        """Make the relay from now on, if one is needed."""
        with self._lock:
            self._link.own()
            self._refresh_link()

    def inherit(self, other: "Channel", address: relay.RelayAddress) -> None:
        """Take over the relay and its address from another channel, which gets that ``address``."""
        with self._lock, other._lock:
            other._take_back()
            self._link.inherit(other._link, address)
            self._refresh_link()

    def close_relay(self) -> None:
        """Let the relay end: it does once it has written what it was handed."""
        with self._lock:
            self._take_back()
            self._link.close()
            if self._courier is not None:
                self._courier.follow(None)  # it must not be ended in the middle of a request

    def flush(self, timeout: float) -> bool:
        """Wait until everything put so far is written.

        A relay that does not answer in time (it hangs, or could not start yet) is given up: this
        process then writes by itself.

        Args:
            timeout: The longest wait, in seconds; as long again after giving up a relay.

        Returns:
            Whether nothing of it is left waiting.
        """
        with self._lock:
            self._retry_at = 0.0
            seq = self._pending.last
        if self._wait_for(seq, timeout):
            return True
        with self._lock:
            hanging = self._link.relay
            if hanging is None:
                return False
            if self._courier is not None:
                with suppress(Exception):  # its cluster is gone
                    relay.end(hanging)
            self._lose_relay()
        return self._wait_for(seq, timeout)

    def count_dropped(self, number: int) -> None:
        """Count records that were dropped before they came here."""
        with self._lock:
            self._pending.count_dropped(number)

    def counts(self) -> dict[str, Counts]:
        """What became of the records of each process of the run, as far as it is known here."""
        with self._lock:
            self._drain()
            own = {self._pending.process: self._pending.counts()}
            claim = self._pending.claim()
        try:
            if not self._spec.reachable():
                return own
            self._backend.write(self._job, claim)  # now it knows what this process counts itself
            return self._backend.counts(self._job)
        except BackendError:
            return own


def _after_fork(reference: "weakref.ref[Channel]") -> None:
    """A forked child is a process of its own: it must use neither the numbers nor the database."""
    channel = reference()
    if channel is not None:
        _left_behind.append(channel.__dict__.copy())  # closing them here would harm the parent
        channel._start()
        channel._courier = None
        link = channel._link
        channel._link = RelayLink(link.spec, link.job, link.address, owned=False, forked=True)


_left_behind: list[dict[str, Any]] = []
