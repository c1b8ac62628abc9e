"""Gradient-free optimization by nevergrad."""

import sys
from typing import Any

from ray.tune.search import nevergrad

from ray_synapse.config.faults import shown
from ray_synapse.errors import ConfigError
from ray_synapse.tuning.searchers.exact import ExactSearch

EXAMPLES = "e.g. OnePlusOne, CMA, PSO, TwoPointsDE"


class NevergradSearch(ExactSearch, nevergrad.NevergradSearch):  # type: ignore[misc]  # Ray has no full hints
    """Ray's searcher, on the exact search space; the optimizer is a name from its registry."""

    def __init__(
        self,
        optimizer: Any = "OnePlusOne",
        optimizer_kwargs: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(_registered(optimizer), optimizer_kwargs, **arguments)

    def after_setup(self) -> None:
        """Seed the optimizer, which has its random state in its search space."""
        if self._given_seed is not None:
            self._nevergrad_opt.parametrization.random_state.seed(self._given_seed)

    def on_failed(self, trial_id: str) -> None:
        """Tell of it as very bad: some optimizers go on only when they know of each trial."""
        self._nevergrad_opt.tell(self._live_trial_mapping[trial_id], sys.float_info.max)


def _registered(optimizer: Any) -> Any:
    from nevergrad import optimizers  # it is there where this class is used

    if not isinstance(optimizer, str):
        return optimizer
    if optimizer not in optimizers.registry:
        raise ConfigError(
            f"search_alg nevergrad: there is no `optimizer` {shown(optimizer)}: write a name from "
            f"nevergrad's registry, {EXAMPLES}"
        )
    found = optimizers.registry[optimizer]
    if optimizer.startswith("NG") or found.recast or found.no_parallelization:
        raise ConfigError(
            f"search_alg nevergrad: `optimizer` {shown(optimizer)} can wait for the result of one "
            f"trial before it suggests another, and Tune would wait with it: write {EXAMPLES}"
        )
    return found
