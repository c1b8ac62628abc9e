"""What Tune was told, read from where Tune keeps it: no public name gives it to a callback."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

MAX_FRAMES = 30  # between a callback's setup and tune.run there are three


@dataclass(frozen=True)
class TuneSettings:
    """The settings of the sweep that is being set up; None or empty for what was not found.

    Attributes:
        metric: The metric that is optimized.
        mode: ``"min"`` or ``"max"``.
        source: Where the metric was set, for messages.
        quiet: Whether Tune prints nothing by itself (``verbose=0``).
        callbacks: All callbacks of the sweep.
        param_space: The search space, with Tune's own domains.
    """

    metric: str | None = None
    mode: str | None = None
    source: str = "TuneConfig"
    quiet: bool = False
    callbacks: Sequence[Any] = ()
    param_space: Mapping[str, Any] = field(default_factory=dict)


def look() -> TuneSettings:
    """Find the settings in the frames of the callers. Never raises: Ray may change any of it."""
    try:
        return _look(sys._getframe(1))
    except Exception:
        return TuneSettings()


def is_interrupted() -> bool:
    """Whether the sweep that is just ending was interrupted by a signal (Ctrl-C). Never raises."""
    try:
        frame: FrameType | None = sys._getframe(1)
        for _ in range(MAX_FRAMES):
            if frame is None:
                break
            if _is_tune_run(frame):
                return bool(frame.f_locals["experiment_interrupted_event"].is_set())
            frame = frame.f_back
    except Exception:
        pass
    return False


def _is_tune_run(frame: FrameType) -> bool:
    return frame.f_code.co_name == "run" and frame.f_globals.get("__name__") == "ray.tune.tune"


def _look(frame: FrameType | None) -> TuneSettings:
    callbacks: Sequence[Any] = ()
    for _ in range(MAX_FRAMES):
        if frame is None:
            break
        variables = frame.f_locals
        owner = variables.get("self")
        if not callbacks and type(owner).__name__ == "CallbackList":
            callbacks = list(getattr(owner, "_callbacks", ()))
        if _is_tune_run(frame):
            return _from_run(variables, callbacks)
        frame = frame.f_back
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
        if isinstance(metric, str) and metric != "_metric":  # Tune's own stand-in for "not set"
            return TuneSettings(metric, _text(mode), source, quiet, callbacks, space)
    mode = next((mode for _, _, mode in sources if mode), None)
    return TuneSettings(None, _text(mode), "TuneConfig", quiet, callbacks, space)


def _metric_and_mode(algorithm: Any) -> tuple[Any, Any]:
    metric = getattr(algorithm, "_metric", None) or getattr(algorithm, "metric", None)
    return metric, getattr(algorithm, "_mode", None) or getattr(algorithm, "mode", None)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
