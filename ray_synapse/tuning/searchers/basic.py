"""Random and grid search, Tune's own."""

import logging
import sys
from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.search import basic_variant

from ray_synapse.config.grids import grid_value
from ray_synapse.config.kinds import KINDS
from ray_synapse.tuning.leaves import Leaf, Path, filled, read_space

_IGNORED = "`max_concurrent_trials` will be ignored"  # as Tune says, and not true of this searcher
MAX_FRAMES = 10  # from the logger up to tune.run


class BasicVariantGenerator(basic_variant.BasicVariantGenerator):  # type: ignore[misc]  # Ray has no full hints
    """Ray's searcher, with values on their grids, and with lists and objects as points."""

    _leaves: list[Leaf] = []  # noqa: RUF012  # replaced as a whole, never changed

    def add_configurations(self, experiments: Any) -> None:
        """Take over what to run; called by Tune before the first trial."""
        super().add_configurations(experiments)
        (experiment,) = experiments if isinstance(experiments, list) else (experiments,)
        space = experiment.spec.get("config") or {}
        self._leaves = [leaf for leaf in read_space(space) if leaf.is_searched]

    def next_trial(self) -> Trial | None:
        """The next trial, or None."""
        trial = super().next_trial()
        for leaf in self._leaves if trial is not None else ():
            *parents, key = leaf.path
            branch = trial.config
            for parent in parents:
                branch = branch[parent]
            branch[key] = _exact(branch[key], leaf)
            if leaf.name in trial.evaluated_params:
                trial.evaluated_params[leaf.name] = branch[key]
        return trial


def _exact(value: Any, leaf: Leaf) -> Any:
    """A value without the noise of floats (0.30000000000000004); an option as it was given."""
    if isinstance(value, _Sealed):
        return value.value
    if "q" in leaf.fields and not KINDS[leaf.type].integer:
        return grid_value(round(value / leaf.fields["q"]), leaf.fields["q"])
    return value


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


def nested_point(point: Mapping[Path, Any], space: Mapping[str, Any]) -> Any:
    """A checked point in the form that Tune takes: as the search space, with what is not set."""
    leaves = {leaf.path: leaf for leaf in read_space(space)}

    def value_of(path: Path) -> Any:
        value = point.get(path, leaves[path].domain)
        is_set = path in point and isinstance(value, (dict, list, tuple))
        return _Sealed(value) if is_set else value

    return filled(space, value_of)


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


def keep_tune_from_denying_the_limit() -> None:
    """Tune says that `max_concurrent_trials` is ignored for its basic searcher: not for ours."""
    logger = logging.getLogger("ray.tune.tune")
    if not any(isinstance(each, _LimitHolds) for each in logger.filters):
        logger.addFilter(_LimitHolds())
