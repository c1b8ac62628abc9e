"""Derivative-free optimization by ZOOpt."""

import math

from ray.tune.search import zoopt

from ray_synapse.tuning.searchers.exact import ExactSearch


class ZOOptSearch(ExactSearch, zoopt.ZOOptSearch):  # type: ignore[misc]
    """Ray's searcher, on the exact search space."""

    def seed_now(self) -> None:
        """Seed ZOOpt's random state, which is global."""
        if self._seed is not None:
            from zoopt.utils.zoo_global import gl  # there is one where this class is used

            gl.set_seed(self._seed)

    def on_failed(self, trial_id: str) -> None:
        """ZOOpt only goes on when it has a value for each trial of its first round."""
        self.optimizer.complete(self.solution_dict[str(trial_id)], math.inf)
