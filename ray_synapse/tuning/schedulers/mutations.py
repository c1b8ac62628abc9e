"""What pbt and pb2 may change while trials run, from the JSON of search spaces."""

from collections.abc import Mapping
from typing import Any

from ray_synapse.console import say
from ray_synapse.errors import ConfigError
from ray_synapse.tuning.leaves import Leaf, read_space
from ray_synapse.tuning.search_space import as_param_space


def as_mutations(value: Any, space: Mapping[str, Any]) -> Any:
    """``hyperparam_mutations`` of pbt: a list of hyperparameters as Tune's domains.

    Raises:
        ConfigError: If the list is wrong, or has what pbt cannot change.
    """
    if isinstance(value, Mapping):
        return value  # Ray's own form, which only Python code can give
    mutations = as_param_space(value)
    for leaf in read_space(mutations):
        if leaf.type == "grid_search":
            raise ConfigError(
                f"hyperparameter '{leaf.name}': pbt cannot change a grid_search: write a choice "
                "with the same options"
            )
    _tell_of_others(mutations, space)
    return mutations


def as_bounds(value: Any, space: Mapping[str, Any]) -> Any:
    """``hyperparam_bounds`` of pb2: a list of uniform hyperparameters as pairs of bounds.

    Raises:
        ConfigError: If the list is wrong, or has what pb2 does not search as it is meant.
    """
    if isinstance(value, Mapping):
        return value
    domains = as_param_space(value)
    faults = [
        f"hyperparameter '{leaf.name}': pb2 searches between two bounds, evenly: write the type "
        f"uniform instead of {leaf.type}"
        for leaf in read_space(domains)
        if leaf.type != "uniform"
    ]
    if faults:
        raise ConfigError(*faults)
    _tell_of_others(domains, space)
    return _bounds(domains)


def _bounds(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _bounds(each) for key, each in node.items()}
    return [node.lower, node.upper]


def _tell_of_others(changed: Mapping[str, Any], space: Mapping[str, Any]) -> None:
    """Ray takes a misspelt name as a hyperparameter of its own."""
    known = {leaf.path for leaf in read_space(space)}
    others: list[Leaf] = [leaf for leaf in read_space(changed) if leaf.path not in known]
    for leaf in others:
        say(f"'{leaf.name}' is changed while trials run, but is not in the search space")
