"""What Tune itself tells of a sweep that is over, in plain values that any process can read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray_synapse.values import Wire, as_number, flatten, to_wire


@dataclass(frozen=True)
class Told:
    """What Tune tells of one trial, in plain values.

    Attributes:
        config: Its flattened hyperparameters as they go over the wire; None if Tune names none.
        metrics: All of its last result by flattened name; None for what is no number.
        earlier: The numbers of what is not in its last result, but was in one before.
    """

    trial_id: str
    failed: bool = False
    config: Mapping[str, Wire] | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    earlier: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Tuned:
    """What Tune tells of a whole sweep; metric and mode as far as Tune itself was given them."""

    trials: Sequence[Told]
    metric: str | None = None
    mode: str | None = None


def tuned(grid: Iterable[Any]) -> Tuned:
    """Read a ``ResultGrid``, or any results."""
    analysis = getattr(grid, "_experiment_analysis", None)  # no public name has its metric
    goal = (getattr(analysis, "default_metric", None), getattr(analysis, "default_mode", None))
    return Tuned([_told(result) for result in grid], *goal)


def _told(result: Any) -> Told:
    last = flatten({k: v for k, v in (result.metrics or {}).items() if k != "config"})
    metrics = {k: v if isinstance(v, bool) else as_number(v) for k, v in last.items()}
    config = getattr(result, "config", None)
    frame = getattr(result, "metrics_dataframe", None)
    earlier = {} if frame is None else {k: frame[k] for k in frame if k not in last}
    return Told(
        str(result.metrics["trial_id"]),
        result.error is not None,
        None if config is None else {k: to_wire(v) for k, v in flatten(config).items()},
        metrics,
        {k: [n for n in map(as_number, v) if n is not None] for k, v in earlier.items()},
    )
