"""Heteroscedastic evolutionary Bayesian optimization, by HEBO."""

from ray.tune.search import hebo

from ray_synapse.tuning.searchers.exact import ExactSearch


class HEBOSearch(ExactSearch, hebo.HEBOSearch):  # type: ignore[misc]  # Ray has no full hints
    """Ray's searcher, on the exact search space."""
