"""Tree-structured Parzen estimators and more, by optuna."""

from typing import Any

from optuna import logging
from ray.tune.search import optuna

from ray_synapse.tuning.searchers.exact import ExactSearch


class OptunaSearch(ExactSearch, optuna.OptunaSearch):  # type: ignore[misc]  # Ray has no full hints
    """Ray's searcher, on the exact search space."""

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Take over what Tune knows, without optuna's line that it made a study in memory."""
        verbosity = logging.get_verbosity()
        logging.set_verbosity(max(verbosity, logging.WARNING))
        try:
            return super().set_search_properties(metric, mode, config, **spec)
        finally:
            logging.set_verbosity(verbosity)
