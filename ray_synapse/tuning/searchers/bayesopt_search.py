"""Bayesian optimization by bayesian-optimization 2 and 3 (Ray's own searcher is for 1.x)."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune.search import Searcher, sample

from ray_synapse.tuning.leaves import Leaf, read_space
from ray_synapse.tuning.searchers import bayes_model
from ray_synapse.tuning.searchers.bayes_axes import Axis
from ray_synapse.tuning.searchers.bayes_model import Observation
from ray_synapse.tuning.searchers.exact import ExactSearch


class BayesModelSearch(Searcher):  # type: ignore[misc]  # Ray has no full hints
    """A Gaussian process over the plain domains of a ``Codec``."""

    def __init__(
        self,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        seed: int | None = None,
        random_search_steps: int = 10,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        self._metric: str | None = metric
        self._mode: str | None = mode
        self._first = list(points_to_evaluate or [])
        self._random_search_steps = random_search_steps
        self._random = np.random.RandomState(seed)
        self._axes: dict[str, Axis] = {}
        self._trying: dict[str, bayes_model.Point] = {}
        self._tried: list[Observation] = []

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Take over what Tune knows; called by Tune before the first trial."""
        if self._axes:
            return False
        self._axes = {leaf.name: _axis(leaf) for leaf in read_space(config)}
        self._metric = metric or self._metric
        self._mode = mode or self._mode
        return True

    def suggest(self, trial_id: str) -> bayes_model.Point:
        """The next point: those to evaluate first, some at random, then those of the model."""
        trying = [Observation(point, None) for point in self._trying.values()]
        if self._first:
            first = self._first.pop(0)
            point: bayes_model.Point = {
                name: int(first[name]) if axis.is_whole else first[name]
                for name, axis in self._axes.items()
            }
        elif len(self._tried) + len(trying) < self._random_search_steps:
            point = bayes_model.random_point(self._axes, self._random)
        else:
            point = bayes_model.suggest(self._axes, [*self._tried, *trying], self._random)
        self._trying[trial_id] = point
        return point

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Note what came of a point."""
        point = self._trying.pop(trial_id, None)
        if point is None:
            return
        target = None if result is None else float(result[self.metric])
        if target is not None and self._mode == "min":
            target = -target
        self._tried.append(Observation(point, target))

    def save(self, checkpoint_path: str) -> None:
        """Write all that it learned; Tune does it regularly."""
        Path(checkpoint_path).write_bytes(pickle.dumps(self.__dict__))

    def restore(self, checkpoint_path: str) -> None:
        """Go on from what ``save`` wrote."""
        self.__dict__.update(pickle.loads(Path(checkpoint_path).read_bytes()))


class BayesOptSearch(ExactSearch, BayesModelSearch):
    """The searcher of the factory, on the exact search space."""


def _axis(leaf: Leaf) -> Axis:
    if isinstance(leaf.domain, sample.Categorical):
        return Axis(0, len(leaf.domain.categories) - 1, "choice")
    return Axis(leaf.fields["min"], leaf.last, leaf.type)
