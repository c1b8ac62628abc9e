"""A native search space, read: its hyperparameters, wherever in it they are."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ray.tune.search import sample

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Leaf:
    """One hyperparameter or constant of a search space.

    Attributes:
        path: The keys and list indices that lead to it.
        type: One of the twelve types, ``"constant"``, or ``"other"`` for what has no JSON form.
        domain: What is there in the search space.
        fields: What the JSON form of its type has (``min``, ``max``, ``q``, ``options``, ...).
    """

    path: Path
    type: str
    domain: Any
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The keys joined with ``/``, as Tune does."""
        return "/".join(map(str, self.path))

    @property
    def last(self) -> Any:
        """The greatest value; None where there are no bounds."""
        if self.type in ("randint", "lograndint"):  # whose max is not taken
            return self.fields["max"] - 1
        return self.fields.get("max")

    @property
    def is_searched(self) -> bool:
        """Whether it takes more than the one value of a constant."""
        return self.type != "constant"


def read_space(space: Mapping[str, Any]) -> list[Leaf]:
    """All hyperparameters and constants of a Tune search space, in its order."""
    return list(_leaves(space, ()))


def filled(
    space: Any, value_of: Callable[[Path], Any], path: Path = (), *, whole: bool = False
) -> Any:
    """A search space with a value in the place of each hyperparameter.

    Only what holds hyperparameters comes back: branches of constants are left out of objects,
    since Tune merges them in; a list comes back ``whole``, with all that is in it, since Tune
    replaces lists.
    """
    if path and not _is_branch(space):
        return value_of(path)
    if isinstance(space, Mapping):
        return {
            key: filled(each, value_of, (*path, key), whole=whole) if _holds_search(each) else each
            for key, each in space.items()
            if whole or _holds_search(each)
        }
    return [
        filled(each, value_of, (*path, index), whole=True) if _holds_search(each) else each
        for index, each in enumerate(space)
    ]


def _leaves(node: Any, path: Path) -> Iterator[Leaf]:
    if not path or _is_branch(node):
        items = node.items() if isinstance(node, Mapping) else enumerate(node)
        for key, each in items:
            yield from _leaves(each, (*path, key))
    else:
        yield _leaf(path, node)


def _is_branch(node: Any) -> bool:
    """Whether to look inside: lists without a hyperparameter are constants as a whole."""
    if isinstance(node, Mapping):
        return bool(node) and not _is_grid(node)
    return isinstance(node, (list, tuple)) and _holds_search(node)


def _holds_search(node: Any) -> bool:
    if isinstance(node, sample.Domain) or _is_grid(node):
        return True
    if isinstance(node, Mapping):
        return any(map(_holds_search, node.values()))
    return isinstance(node, (list, tuple)) and any(map(_holds_search, node))


def _is_grid(node: Any) -> bool:
    is_grid = isinstance(node, Mapping) and set(node) == {"grid_search"}
    return is_grid and isinstance(node["grid_search"], (list, tuple))


def _leaf(path: Path, node: Any) -> Leaf:
    if _is_grid(node):
        return Leaf(path, "grid_search", node, {"options": list(node["grid_search"])})
    if not isinstance(node, sample.Domain):
        return Leaf(path, "constant", node, {"options": [node]})
    if isinstance(node, sample.Categorical):
        if _holds_search(node.categories):  # a search space within an option
            return Leaf(path, "other", node)
        return Leaf(path, "choice", node, {"options": list(node.categories)})
    if isinstance(node, (sample.Float, sample.Integer)):
        return _number(path, node)
    return Leaf(path, "other", node)


def _number(path: Path, domain: Any) -> Leaf:
    sampler = domain.get_sampler()
    is_int, prefix, q = isinstance(domain, sample.Integer), "", {}
    if isinstance(sampler, sample.Quantized):
        prefix, q = "q", {"q": sampler.q}
        sampler = sampler.get_sampler()
    if isinstance(sampler, sample.Normal):
        if domain.lower > float("-inf") or domain.upper < float("inf"):
            return Leaf(path, "other", domain)  # a normal distribution that is cut off
        return Leaf(path, f"{prefix}randn", domain, {"mean": sampler.mean, "sd": sampler.sd, **q})
    log = isinstance(sampler, sample.LogUniform)
    high = domain.upper
    if is_int and q and q["q"] == 1:
        high -= 1  # Tune excludes the upper bound of a quantized integer for q = 1, and only then
    kind = f"{prefix}{'log' if log else ''}{'randint' if is_int else 'uniform'}"
    return Leaf(path, kind, domain, {"min": domain.lower, "max": high, **q})
