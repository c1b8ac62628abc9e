"""Bayesian optimization by Ax."""

from ray.tune.search import ax

from ray_synapse.tuning.searchers.exact import ExactSearch


class AxSearch(ExactSearch, ax.AxSearch):  # type: ignore[misc]  # Ray has no full hints
    """Ray's searcher, on the exact search space."""

    def on_failed(self, trial_id: str) -> None:
        """Ax only goes on when it knows how each trial ended."""
        self._ax.log_trial_failure(self._live_trial_mapping[trial_id])
