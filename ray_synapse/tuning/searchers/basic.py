"""Random and grid search, Tune's own."""

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.search import basic_variant

from ray_synapse.tuning.leaves import Path

_IGNORED = "`max_concurrent_trials` will be ignored"  # as Tune says, and not true of this searcher
MAX_FRAMES = 10  # from the logger up to tune.run


class BasicVariantGenerator(basic_variant.BasicVariantGenerator):  # type: ignore[misc]  # Ray has no full hints
    """Ray's searcher, with points that have lists or objects as options."""

    def next_trial(self) -> Trial | None:
        """The next trial, or None."""
        trial = super().next_trial()
        if trial is not None:
            trial.config = _opened(trial.config)
            trial.evaluated_params = _opened(trial.evaluated_params)
        return trial


class _Sealed:
    """An option that is a list or an object: Tune would look inside for hyperparameters."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return bool((other.value if isinstance(other, _Sealed) else other) == self.value)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:  # a part of the trial's name
        return repr(self.value)


def nested_point(point: Mapping[Path, Any]) -> dict[str, Any]:
    """A checked point in the form that the basic searcher takes: nested as the space is."""
    nested: dict[Any, Any] = {}
    for (*parents, key), value in point.items():
        branch = nested
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[key] = _Sealed(value) if isinstance(value, (dict, list, tuple)) else value
    return nested


def _opened(config: Any) -> Any:
    if isinstance(config, _Sealed):
        return config.value
    if type(config) is dict:
        return {key: _opened(value) for key, value in config.items()}
    return config


class _LimitHolds(logging.Filter):
    """Drops Tune's warning that the limit of concurrent trials is ignored, where it is not."""

    def filter(self, record: logging.LogRecord) -> bool:
        return _IGNORED not in record.getMessage() or not _is_about_ours()


def _is_about_ours() -> bool:
    frame = sys._getframe()
    for _ in range(MAX_FRAMES):
        if frame.f_back is None:
            break
        frame = frame.f_back
        if isinstance(frame.f_locals.get("search_alg"), BasicVariantGenerator):
            return True
    return False


def basic_search(
    points: Sequence[Mapping[Path, Any]], max_concurrent: int | None, options: Mapping[str, Any]
) -> BasicVariantGenerator:
    """The searcher; it holds the limit of concurrent trials itself, since Tune does not."""
    logger = logging.getLogger("ray.tune.tune")
    if not any(isinstance(each, _LimitHolds) for each in logger.filters):
        logger.addFilter(_LimitHolds())
    return BasicVariantGenerator(
        points_to_evaluate=[nested_point(point) for point in points],
        max_concurrent=max_concurrent or 0,
        **options,
    )
