"""What a searcher sees of a search space, and the way back.

Every searcher converts Tune's domains in its own way, and each loses something: one drops ``q``,
another the upper bound, a third turns a list among the options into a tuple. All of them get a
few plain domains right, so that is what they see: a quantized hyperparameter is the integer index
on its grid (on the log scale where it was), an option is its number in the list.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray import cloudpickle, tune

from ray_synapse.config.faults import is_json
from ray_synapse.config.grids import first_and_last, grid_value
from ray_synapse.config.kinds import KINDS
from ray_synapse.tuning.leaves import Leaf, Path, filled, read_space
from ray_synapse.values import as_number

# What a searcher sees of each type: one of Tune's own domains that it must handle itself.
SEEN_AS = {
    "uniform": "uniform",
    "quniform": "randint",
    "loguniform": "loguniform",
    "qloguniform": "lograndint",
    "randn": "randn",
    "qrandn": "randn",
    "randint": "randint",
    "qrandint": "randint",
    "lograndint": "lograndint",
    "qlograndint": "lograndint",
    "choice": "choice",
}


@dataclass(frozen=True)
class Seen:
    """How one hyperparameter is seen.

    Attributes:
        leaf: The hyperparameter.
        name: What the searcher calls it.
        low: The least value (index, for a grid); 0 for options.
        high: The greatest, itself included.
    """

    leaf: Leaf
    name: str
    low: float
    high: float

    @property
    def domain(self) -> Any:
        """The domain that the searcher gets; None if there is only one value."""
        if self.low == self.high:
            return None
        match SEEN_AS[self.leaf.type]:
            case "choice":
                # As texts: Ax takes numbers for an order.
                return tune.choice([str(i) for i in range(len(self.leaf.fields["options"]))])
            case "randn":
                return tune.randn(self.leaf.fields["mean"], self.leaf.fields["sd"])
            case "randint" | "lograndint" as kind:
                return getattr(tune, kind)(self.low, int(self.high) + 1)
            case kind:
                return getattr(tune, kind)(self.low, self.high)

    def encode(self, value: Any) -> Any:
        """The searcher's value for a valid one of ours."""
        if self.leaf.type == "choice":
            return str(index_of(value, self.leaf.fields["options"]))
        if "q" in self.leaf.fields and self.leaf.type != "qrandn":
            return round(value / self.leaf.fields["q"])
        return value

    def nearest(self, number: Any) -> Any:
        """The value next to any number; not for options."""
        in_steps = "q" in self.leaf.fields and self.leaf.type != "qrandn"
        return self.decode(number / self.leaf.fields["q"] if in_steps else number)

    def decode(self, value: Any) -> Any:
        """Our value for what the searcher suggests, in Python's types and within the bounds."""
        kind = SEEN_AS[self.leaf.type]
        if kind == "randn":
            q = self.leaf.fields.get("q")
            return float(value) if q is None else grid_value(round(float(value) / q), q)
        value = min(max(float(value), self.low), self.high)
        if kind in ("uniform", "loguniform"):
            return value
        index = round(value)
        if kind == "choice":
            return self.leaf.fields["options"][index]
        q = self.leaf.fields.get("q")
        if q is None:
            return index
        return index * int(q) if KINDS[self.leaf.type].integer else grid_value(index, q)


class Codec:
    """Between a search space and what a searcher sees of it.

    Attributes:
        domains: What the searcher sees: one level, no constants.
    """

    def __init__(self, space: Mapping[str, Any]) -> None:
        leaves = {leaf.path: leaf for leaf in read_space(space) if leaf.is_searched}
        self._space = filled(space, lambda path: leaves[path].domain)
        self._seen = _all_seen(leaves.values())
        domains = {each.name: each.domain for each in self._seen.values()}
        self.domains = {name: domain for name, domain in domains.items() if domain is not None}

    def is_same_as(self, other: "Codec") -> bool:
        """Whether both are of the same hyperparameters, within the same ranges."""
        return self._form() == other._form()

    def _form(self) -> list[tuple[Any, ...]]:
        return [
            (path, each.leaf.type, {name: _form(value) for name, value in each.leaf.fields.items()})
            for path, each in self._seen.items()
        ]

    def encode(self, point: Mapping[Path, Any]) -> dict[str, Any]:
        """A checked point, value by path, as the searcher takes it."""
        seen = [each for each in self._seen.values() if each.name in self.domains]
        return {each.name: each.encode(point[each.leaf.path]) for each in seen}

    def decode(self, suggestion: Mapping[str, Any]) -> dict[str, Any]:
        """A suggestion as the config of a trial (without the constants, which Tune adds)."""
        values = {
            path: each.decode(suggestion.get(each.name, each.low))
            for path, each in self._seen.items()
        }
        config = filled(self._space, values.__getitem__)
        assert isinstance(config, dict)
        return config

    def mend(self, config: dict[str, Any]) -> None:
        """Put what a config has of these hyperparameters on its grid and within its bounds."""
        for (*parents, key), each in self._seen.items():
            branch: Any = config
            for parent in parents:
                branch = branch.get(parent, {}) if isinstance(branch, Mapping) else {}
            if key in branch and each.leaf.type != "choice":
                branch[key] = each.nearest(branch[key])

    def __reduce__(self) -> tuple[Any, ...]:
        # Searchers save themselves with pickle, which cannot carry functions among the options.
        return _restored, (cloudpickle.dumps(self._space),)


def _restored(space: bytes) -> Codec:
    return Codec(cloudpickle.loads(space))


def index_of(value: Any, options: Sequence[Any]) -> int | None:
    """Where the value is among the options; None if nowhere.

    1, 1.0 and true are three values; but where there is only 1, 1.0 means it.
    """
    form = _form(value)
    for index, option in enumerate(options):
        if option is value or (is_json(option) and _form(option) == form):
            return index
    number = as_number(value)
    for index, option in enumerate(options):
        if number is not None and as_number(option) == number:
            return index
        if not is_json(option) and _is_equal(option, value):
            return index
    return None


def _form(value: Any) -> str:
    """What two equal values have in common, also when one of them was pickled."""
    return json.dumps(value, sort_keys=True) if is_json(value) else type(value).__qualname__


def _is_equal(option: Any, value: Any) -> bool:
    try:
        return bool(option == value)
    except Exception:  # arrays, which compare item by item
        return False


def _all_seen(leaves: Iterable[Leaf]) -> dict[Path, Seen]:
    seen: dict[Path, Seen] = {}
    taken: set[str] = set()
    for leaf in leaves:
        name = leaf.name.replace("/", ".")  # some searchers do not take a slash
        while name in taken:
            name += "_"
        taken.add(name)
        seen[leaf.path] = Seen(leaf, name, *_range(leaf))
    return seen


def _range(leaf: Leaf) -> tuple[float, float]:
    fields, kind = leaf.fields, SEEN_AS[leaf.type]
    if kind == "choice":
        return 0, len(fields["options"]) - 1
    if kind == "randn":
        return float("-inf"), float("inf")
    if "q" in fields:
        return first_and_last(fields["min"], fields["max"], fields["q"])
    return fields["min"], leaf.last
