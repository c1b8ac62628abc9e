"""``points_to_evaluate``, checked against the search space."""

import math
from collections.abc import Mapping
from typing import Any

from ray_synapse.config.faults import Faults, did_you_mean, shown
from ray_synapse.config.grids import divides, grid_value
from ray_synapse.config.kinds import KINDS
from ray_synapse.errors import ConfigError
from ray_synapse.tuning.leaves import Leaf, Path, read_space
from ray_synapse.tuning.searchers.codec import index_of
from ray_synapse.values import as_number, is_finite

Point = dict[Path, Any]


def check_points(points: Any, space: Mapping[str, Any], *, partial: bool) -> list[Point]:
    """The points, value by path of the hyperparameter.

    Args:
        points: A list of objects, or one object. Nested as the search space is, or with ``/``.
        space: The Tune search space.
        partial: Whether hyperparameters may be left out.

    Raises:
        ConfigError: With every fault of every point.
    """
    if points is None:
        return []
    if isinstance(points, Mapping):
        points = [points]
    if not isinstance(points, (list, tuple)):
        raise ConfigError(f"points_to_evaluate: is {shown(points)}: write a list of objects")
    found = read_space(space)
    leaves = {leaf.name: leaf for leaf in found}
    if len(leaves) < len(found):
        raise ConfigError("points_to_evaluate: two hyperparameters have the same name: rename one")
    faults = Faults()
    checked = [
        _check(point, f"points_to_evaluate[{index}]", leaves, partial, faults)
        for index, point in enumerate(points)
    ]
    faults.raise_if_any()
    return checked


def _check(
    point: Any, where: str, leaves: Mapping[str, Leaf], partial: bool, faults: Faults
) -> Point:
    if not isinstance(point, Mapping):
        faults.add(
            where, f"is {shown(point)}: write an object with a value for each hyperparameter"
        )
        return {}
    values: dict[str, Any] = {}
    _collect(point, "", leaves, values)
    checked: Point = {}
    for name, value in values.items():
        leaf = leaves.get(name)
        if leaf is None:
            faults.add(where, f"'{name}' is not in the search space: {did_you_mean(name, leaves)}")
        elif (fault := fault_of(value, leaf)) is not None:
            faults.add(where, f"'{name}' is {shown(value)}: {fault}")
        elif leaf.is_searched:
            checked[leaf.path] = _in_type(value, leaf)
    missing = [
        leaf.name for leaf in leaves.values() if leaf.is_searched and leaf.name not in values
    ]
    if missing and not partial:
        faults.add(
            where, f"lacks {', '.join(missing)}: this searcher needs a value for each, add it"
        )
    return checked


def _collect(node: Any, prefix: str, leaves: Mapping[str, Leaf], values: dict[str, Any]) -> None:
    """Looks inside of objects and lists where the search space does."""
    items = node.items() if isinstance(node, Mapping) else enumerate(node)
    for key, value in items:
        name = f"{prefix}{key}"
        is_branch = isinstance(value, (Mapping, list, tuple)) and name not in leaves
        if is_branch and any(each.startswith(f"{name}/") for each in leaves):
            _collect(value, f"{name}/", leaves, values)
        else:
            values[name] = value


def fault_of(value: Any, leaf: Leaf) -> str | None:
    """What is wrong with a value for a hyperparameter, as the second half of a sentence."""
    if leaf.type == "other":
        return "this hyperparameter computes its value: leave it out"
    if "options" in leaf.fields:
        if index_of(value, leaf.fields["options"]) is not None:
            return None
        options = ", ".join(map(shown, leaf.fields["options"][:20]))
        return f"the search space only has {options}"
    number = as_number(value)
    if number is None or not is_finite(number):
        return "write a finite number"
    kind = KINDS[leaf.type]
    if kind.integer and number != int(number):
        return "write a whole number"
    return _fault_of_bounds(number, leaf) or _fault_of_grid(number, leaf)


def _fault_of_bounds(number: float, leaf: Leaf) -> str | None:
    fields = leaf.fields
    if "min" not in fields:
        return None
    high = leaf.last
    slack = 1e-9 * abs(high - fields["min"]) if "q" in fields else 0  # 0.30000000000000004
    if fields["min"] - slack <= number <= high + slack:
        return None
    return f"it must be from {fields['min']!r} to {high!r}"


def _fault_of_grid(number: float, leaf: Leaf) -> str | None:
    q = leaf.fields.get("q")
    if q is None or (number % q == 0 if KINDS[leaf.type].integer else divides(q, number)):
        return None
    near = math.floor(number / q) * q
    near = min(max(near, leaf.fields.get("min", near)), leaf.fields.get("max", near))
    return f"it must be a multiple of q ({q!r}), e.g. {near:.10g}"


def _in_type(value: Any, leaf: Leaf) -> Any:
    """The value as the trial gets it: an option as it is written there, numbers in their type."""
    if "options" in leaf.fields:
        index = index_of(value, leaf.fields["options"])
        assert index is not None
        return leaf.fields["options"][index]
    number = as_number(value)
    assert number is not None
    if KINDS[leaf.type].integer:
        return int(number)
    q = leaf.fields.get("q")
    return float(number) if q is None else grid_value(round(number / q), q)
