"""Tree-structured Parzen estimators, by hyperopt."""

from ray.tune.search import hyperopt

from ray_synapse.tuning.searchers.exact import ExactSearch


class HyperOptSearch(ExactSearch, hyperopt.HyperOptSearch):  # type: ignore[misc]  # Ray has no full hints
    """Ray's searcher, on the exact search space."""
