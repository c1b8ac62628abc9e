"""Bayesian optimization with HyperBand, by hpbandster."""

from typing import Any

from ray.tune.search import bohb

from ray_synapse.tuning.searchers.exact import ExactSearch


class TuneBOHB(ExactSearch, bohb.TuneBOHB):  # type: ignore[misc]  # Ray has no full hints
    """Ray's searcher, on the exact search space."""

    def prepare(self, *arguments: Any, limit: int | None = None, **more: Any) -> None:
        """Give it the limit as its own: it does not count paused trials, whose places it fills."""
        super().prepare(*arguments, **more)
        if limit is not None:
            self.set_max_concurrency(limit)
