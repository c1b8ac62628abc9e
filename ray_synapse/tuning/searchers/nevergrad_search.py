"""Gradient-free optimization by nevergrad."""

from typing import Any

from ray.tune.search import nevergrad

from ray_synapse.config.faults import shown
from ray_synapse.errors import ConfigError
from ray_synapse.tuning.searchers.exact import ExactSearch

DEFAULT_BUDGET = 100  # trials: NGOpt chooses its method by their number, which may be exceeded


class NevergradSearch(ExactSearch, nevergrad.NevergradSearch):  # type: ignore[misc]
    """Ray's searcher, on the exact search space; the optimizer may be a name from its registry."""

    def __init__(
        self,
        optimizer: Any = "NGOpt",
        optimizer_kwargs: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> None:
        optimizer_kwargs = {"budget": DEFAULT_BUDGET, **(optimizer_kwargs or {})}
        super().__init__(_registered(optimizer), optimizer_kwargs, **arguments)

    def after_setup(self) -> None:
        """Seed the optimizer, which has its random state in its search space."""
        if self._given_seed is not None:
            self._nevergrad_opt.parametrization.random_state.seed(self._given_seed)


def _registered(optimizer: Any) -> Any:
    from nevergrad import optimizers  # it is there where this class is used

    if not isinstance(optimizer, str):
        return optimizer
    if optimizer not in optimizers.registry:
        raise ConfigError(
            f"search_alg nevergrad: there is no `optimizer` {shown(optimizer)}: write a name from "
            "nevergrad's registry, e.g. NGOpt, CMA, PSO, OnePlusOne"
        )
    return optimizers.registry[optimizer]
