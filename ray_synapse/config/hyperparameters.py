"""The JSON list of hyperparameters, checked."""

from collections.abc import Mapping
from typing import Any

from ray_synapse.config.entry import Entry, name_of
from ray_synapse.config.faults import Faults, shown
from ray_synapse.config.kinds import Hyperparameter
from ray_synapse.errors import ConfigError


def parse_hyperparameters(value: Any) -> list[Hyperparameter]:
    """Check the whole list.

    Args:
        value: What came as JSON: a list of objects.

    Raises:
        ConfigError: With every fault of every entry.
    """
    if (fault := _fault_of_form(value)) is not None:
        raise ConfigError(f"hyperparameters: {fault}")
    faults = Faults()
    parsed = [Entry(entry, index, faults).parse() for index, entry in enumerate(value)]
    _check_names([(name_of(each), index) for index, each in enumerate(value)], faults)
    faults.raise_if_any()
    return [each for each in parsed if each is not None]


def _fault_of_form(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return (
            "must be a list of objects with `name` and `type`, not an object. For a training with "
            "fixed values use `hyperparameter` (without s) and is_tune=false"
        )
    if not isinstance(value, (list, tuple)):
        return f"is {shown(value)}: write a list of objects, each with `name` and `type`"
    return None if value else "the list is empty: write at least one hyperparameter"


def _check_names(names: list[tuple[str | None, int]], faults: Faults) -> None:
    """No name twice, and none that is another's parent (``model`` beside ``model/lr``)."""
    first: dict[str, int] = {}
    for name, index in names:
        if name is None:
            continue
        if name in first:
            both = f"entries {first[name]} and {index}, counted from 0"
            faults.add(f"hyperparameter '{name}'", f"`name` is there twice ({both}): rename one")
        first.setdefault(name, index)
    for name in first:
        parts = name.split("/")
        for end in range(1, len(parts)):
            if (parent := "/".join(parts[:end])) in first:
                faults.add(
                    f"hyperparameter '{name}'",
                    f"`name` puts it inside of '{parent}', which is a hyperparameter itself: "
                    "rename one",
                )
