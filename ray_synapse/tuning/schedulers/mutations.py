"""What pbt and pb2 may change while trials run, from the JSON of search spaces."""

from collections.abc import Callable, Mapping
from typing import Any

from ray_synapse.config.faults import did_you_mean, shown
from ray_synapse.console import say
from ray_synapse.errors import ConfigError
from ray_synapse.tuning.leaves import Leaf, filled, read_space
from ray_synapse.tuning.search_space import as_param_space
from ray_synapse.tuning.searchers.codec import Codec

EXAMPLE = '[{"name": "lr", "type": "uniform", "min": 0.001, "max": 0.1}]'


def as_mutations(value: Any, space: Mapping[str, Any]) -> Any:
    """``hyperparam_mutations`` of pbt: a list of hyperparameters in Ray's form.

    A choice becomes the list of its options: Ray only steps to the next one in a list, and
    multiplies anything else.

    Raises:
        ConfigError: If the list is wrong, or has what pbt cannot change.
    """
    mutations = _read(value, space)
    if isinstance(value, Mapping):
        return value
    leaves = {leaf.path: leaf for leaf in read_space(mutations)}
    for leaf in leaves.values():
        if leaf.type == "grid_search":
            raise ConfigError(
                f"hyperparameter '{leaf.name}': pbt cannot change a grid_search: write a choice "
                "with the same options"
            )
    return filled(
        mutations,
        lambda path: leaves[path].fields.get("options", leaves[path].domain),
    )


class KeepsBounds:
    """An explore function of pbt that keeps what it multiplies within bounds and on grids.

    Args:
        mutations: The JSON list of hyperparameters that pbt changes.
        then: An explore function of the caller, which has the last word.
    """

    def __init__(self, mutations: Any, then: Callable[[Any], Any] | None = None) -> None:
        self._codec = Codec(as_param_space(mutations))
        self._then = then

    def __call__(self, config: dict[str, Any]) -> Any:
        """The config of a trial that goes on."""
        self._codec.mend(config)
        return config if self._then is None else self._then(config)


def as_bounds(value: Any, space: Mapping[str, Any]) -> Any:
    """``hyperparam_bounds`` of pb2: a list of uniform hyperparameters as pairs of bounds.

    Raises:
        ConfigError: If the list is wrong, or has what pb2 does not search as it is meant.
    """
    domains = _read(value, space)
    if isinstance(value, Mapping):
        return value
    leaves = {leaf.path: leaf for leaf in read_space(domains)}
    faults = [
        f"hyperparameter '{leaf.name}': pb2 searches between two bounds, evenly: write the type "
        f"uniform instead of {leaf.type}"
        for leaf in leaves.values()
        if leaf.type != "uniform"
    ]
    if faults:
        raise ConfigError(*faults)
    return filled(domains, lambda path: [leaves[path].fields[end] for end in ("min", "max")])


def _read(value: Any, space: Mapping[str, Any]) -> Mapping[str, Any]:
    """The hyperparameters; a name that the search space does not have is told: Ray takes it."""
    if not isinstance(value, (Mapping, list, tuple)):
        raise ConfigError(f"it is {shown(value)}: write a list of hyperparameters, e.g. {EXAMPLE}")
    changed = as_param_space(value)
    known = {leaf.path: leaf.name for leaf in read_space(space)}
    for leaf in read_space(changed):
        if leaf.type == "constant" and not _is_native(leaf):
            raise ConfigError(
                f"'{leaf.name}' is {shown(leaf.domain)}: write a list of hyperparameters, "
                f"e.g. {EXAMPLE}"
            )
        if leaf.path not in known:
            hint = did_you_mean(leaf.name, known.values())
            say(
                f"'{leaf.name}' is changed while trials run, but the search space does not have "
                f"it: {hint}"
            )
    return changed


def _is_native(leaf: Leaf) -> bool:
    """Whether Ray takes it beside its domains: lists of options, pairs of bounds, functions."""
    return isinstance(leaf.domain, (list, tuple)) or callable(leaf.domain)
