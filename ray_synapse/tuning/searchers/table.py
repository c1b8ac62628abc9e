"""The searchers of the factory, and what each of them takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ray_synapse.tuning.libraries import Library
from ray_synapse.tuning.searchers.codec import SEEN_AS

_NUMBERS = ("uniform", "loguniform", "randint", "lograndint")


@dataclass(frozen=True)
class Rule:
    """What is to be known of one searcher.

    Attributes:
        made_by: Our class, as ``module:class`` below this package.
        library: The library that it needs.
        sees: The plain domains that it searches as they are meant (the values of ``SEEN_AS``).
        seed: Its own argument for the seed; None if it has none.
        libraries: A newer library that some of the domains need.
        more: Where else its options go, as ``module:class`` of the library.
        defaults: Options that differ from Ray's default, or that Ray has no default for.
    """

    made_by: str
    library: Library
    sees: tuple[str, ...]
    seed: str | None = None
    libraries: Mapping[str, Library] = field(default_factory=dict)
    more: str | None = None
    defaults: Mapping[str, object] = field(default_factory=dict)

    @property
    def types(self) -> list[str]:
        """The types of hyperparameters that it takes."""
        return [type_ for type_, seen in SEEN_AS.items() if seen in self.sees]


# The ranges of releases are those that work with Ray 2.60; see .ci/searchers for those outside of
# the usual tests.
RULES = {
    "hyperopt": Rule(
        "hyperopt_search:HyperOptSearch",
        Library("hyperopt", "hyperopt>=0.2.7"),
        (*_NUMBERS, "randn", "choice"),
        seed="random_state_seed",
    ),
    "optuna": Rule(
        "optuna_search:OptunaSearch",
        Library("optuna", "optuna>=4.0"),
        (*_NUMBERS, "choice"),
        seed="seed",
    ),
    "bayesopt": Rule(
        "bayesopt_search:BayesOptSearch",
        Library("bayes_opt", "bayesian-optimization>=2.0"),
        (*_NUMBERS, "choice"),
        seed="seed",
        libraries={"choice": Library("bayes_opt.parameter", "bayesian-optimization>=3.0")},
    ),
    "ax": Rule(
        "ax_search:AxSearch",
        Library("ax.service.ax_client", "ax-platform>=1.0,<1.3"),
        (*_NUMBERS, "choice"),
        seed="random_seed",
        more="ax.service.ax_client:AxClient",
        defaults={"verbose_logging": False},
    ),
    "bohb": Rule(
        "bohb_search:TuneBOHB",
        Library(
            "hpbandster.optimizers.config_generators.bohb",
            "hpbandster>=0.7.4",
            also=' "ConfigSpace>=1.2"',
        ),
        (*_NUMBERS, "choice"),
        seed="seed",
    ),
    "nevergrad": Rule(
        "nevergrad_search:NevergradSearch",
        Library(
            "nevergrad",
            "nevergrad>=1.0.12",
            note="It needs an environment of its own, since it pins bayesian-optimization to a "
            "release before 2.0. ",
        ),
        (*_NUMBERS, "choice"),
    ),
    "zoopt": Rule(
        "zoopt_search:ZOOptSearch",
        Library("zoopt", "zoopt>=0.4.2"),
        ("uniform", "randint", "choice"),
    ),
    "hebo": Rule(
        "hebo_search:HEBOSearch",
        Library(
            "hebo",
            "HEBO>=0.3.6",
            note="It needs an environment of its own, with numpy before 1.25. ",
        ),
        (*_NUMBERS, "choice"),
        seed="random_state_seed",
    ),
}
