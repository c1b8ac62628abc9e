"""Bayesian optimization with HyperBand, by hpbandster."""

from ray.tune.search import bohb

from ray_synapse.tuning.searchers.exact import ExactSearch


class TuneBOHB(ExactSearch, bohb.TuneBOHB):  # type: ignore[misc]
    """Ray's searcher, on the exact search space."""
