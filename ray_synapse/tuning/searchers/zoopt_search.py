"""Derivative-free optimization by ZOOpt."""

import math
from typing import Any

from ray.tune.search import zoopt

from ray_synapse.tuning.searchers.exact import ExactSearch


class ZOOptSearch(ExactSearch, zoopt.ZOOptSearch):  # type: ignore[misc]  # Ray has no full hints
    """Ray's searcher, on the exact search space."""

    def after_setup(self) -> None:
        """Seed ZOOpt's random state, which is global, and mend the points that Ray gave it."""
        if self._given_seed is not None:
            from zoopt.utils.zoo_global import gl  # there is one where this class is used

            gl.set_seed(self._given_seed)
        for point in self.optimizer._parameter.get_init_samples() or ():
            point.set_x(list(point.get_x()))  # a tuple, which it later wants to change

    def suggest(self, trial_id: str) -> Any:
        """The next config, or None for "not now"."""
        if self._points:
            self.optimizer._best_solution = None  # once it has one, it drops the points left
        suggestion = super().suggest(trial_id)
        if suggestion is None and not self._live_trial_mapping and not self.optimizer.semaphore:
            # It waits for the last trial of its first round, which was already there: one at a time
            # it would wait for ever.
            self.optimizer.semaphore = 1
            suggestion = super().suggest(trial_id)
        return suggestion

    def on_failed(self, trial_id: str) -> None:
        """ZOOpt only goes on when it has a value for each trial of its first round."""
        self.optimizer.complete(self.solution_dict[str(trial_id)], math.inf)
