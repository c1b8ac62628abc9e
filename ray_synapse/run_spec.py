"""The values that a run is made from, and what a sweep leaves with it."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ray_synapse.backend.protocol import BackendSpec, JobId
from ray_synapse.delivery.relay import RelayAddress
from ray_synapse.settings import Mode, Upload


class Sweep(Protocol):
    """What the logging callback leaves with its run, for the end of the run."""

    trials: Sequence[Any]
    metric: str | None
    mode: Mode | None
    is_restored: bool  # an earlier process, or an earlier fit(), has begun it
    is_concluded: bool  # `finish` has done its part

    @property
    def told_failed(self) -> Container[str]:
        """The trials of which a message says that they failed, and why."""

    @property
    def is_cut_off(self) -> bool:
        """Whether it did not come to its own end."""

    @property
    def error(self) -> str:
        """What came out of ``fit()``; empty if nothing did."""

    def goes_on(self) -> bool:
        """Whether Tune is still at it, on another thread."""

    def stop(self, timeout: float) -> None:
        """Send the last table, within the timeout in seconds."""


@dataclass(frozen=True)
class RunSpec:
    """A run as it crosses to another process."""

    name: str
    job_id: JobId
    backend: BackendSpec
    relay: RelayAddress
    metric: str | None
    mode: Mode | None
    upload: Upload
    is_tune: bool
    num_samples: int | None
    trial: str | None = None  # the trial that it was pickled in
