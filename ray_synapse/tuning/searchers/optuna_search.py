"""Tree-structured Parzen estimators and more, by optuna."""

from ray.tune.search import optuna

from ray_synapse.tuning.searchers.exact import ExactSearch


class OptunaSearch(ExactSearch, optuna.OptunaSearch):  # type: ignore[misc]
    """Ray's searcher, on the exact search space."""
