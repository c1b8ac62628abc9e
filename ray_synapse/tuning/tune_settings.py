"""What Tune was told, read from where Tune keeps it: no public name gives it to a callback."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ray_synapse.tuning import loop


@dataclass(frozen=True)
class TuneSettings:
    """The settings of the sweep that is being set up; None or empty for what was not found.

    Attributes:
        metric: The metric that is optimized; of several the first.
        mode: Its direction, ``"min"`` or ``"max"``.
        source: Where the metric was set, for messages.
        quiet: Whether Tune prints nothing by itself (``verbose=0``).
        callbacks: All callbacks of the sweep.
        param_space: The search space, with Tune's own domains.
        objectives: All metrics with their modes, of a searcher that optimizes several; else empty.
        is_restored: Whether the sweep goes on with what an earlier one has left.
    """

    metric: str | None = None
    mode: str | None = None
    source: str = "TuneConfig"
    quiet: bool = False
    callbacks: Sequence[Any] = ()
    param_space: Mapping[str, Any] = field(default_factory=dict)
    objectives: Mapping[str, str | None] = field(default_factory=dict)
    is_restored: bool = False

    def towards(self, metric: str | None) -> "TuneSettings":
        """The same, with the one of several objectives that the user has chosen."""
        if metric is None or metric not in self.objectives:
            return self
        return replace(self, metric=metric, mode=self.objectives[metric])


def look() -> TuneSettings:
    """Find the settings in the frames of the callers. Never raises: Ray may change any of it."""
    try:
        return _look()
    except Exception:
        return TuneSettings()


def _look() -> TuneSettings:
    callbacks: Sequence[Any] = ()
    for frame in loop.frames():
        variables = frame.f_locals
        owner = variables.get("self")
        if not callbacks and type(owner).__name__ == "CallbackList":
            callbacks = list(getattr(owner, "_callbacks", ()))
        if loop.is_tune_run(frame):
            found = _from_run(variables, callbacks)
            return replace(found, is_restored=bool(variables["runner"].resumed))
    return TuneSettings(callbacks=callbacks)


def _from_run(variables: dict[str, Any], callbacks: Sequence[Any]) -> TuneSettings:
    verbosity = variables.get("air_verbosity")
    if verbosity is None:
        verbosity = variables.get("verbose")
    quiet = verbosity is not None and int(verbosity) == 0
    search_alg = variables.get("search_alg")
    sources = (
        ("TuneConfig", variables.get("metric"), variables.get("mode")),
        ("the scheduler", *_metric_and_mode(variables.get("scheduler"))),
        ("the searcher", *_metric_and_mode(getattr(search_alg, "searcher", search_alg))),
    )
    space = variables.get("config")
    space = space if isinstance(space, Mapping) else {}
    for source, metric, mode in sources:
        if isinstance(metric, (list, tuple)) and metric:
            objectives = _objectives(metric, mode)
            first, direction = next(iter(objectives.items()))
            return TuneSettings(first, direction, source, quiet, callbacks, space, objectives)
        if isinstance(metric, str) and metric != "_metric":  # Tune's own stand-in for "not set"
            return TuneSettings(metric, _text(mode), source, quiet, callbacks, space)
    mode = next((mode for _, _, mode in sources if mode), None)
    return TuneSettings(None, _text(mode), "TuneConfig", quiet, callbacks, space)


def _objectives(metrics: Sequence[Any], modes: Any) -> dict[str, str | None]:
    each = list(modes) if isinstance(modes, (list, tuple)) else [modes] * len(metrics)
    each += [None] * (len(metrics) - len(each))
    return {str(metric): _text(mode) for metric, mode in zip(metrics, each, strict=False)}


def _metric_and_mode(algorithm: Any) -> tuple[Any, Any]:
    metric = getattr(algorithm, "_metric", None) or getattr(algorithm, "metric", None)
    return metric, getattr(algorithm, "_mode", None) or getattr(algorithm, "mode", None)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
