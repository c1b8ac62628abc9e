"""What trials ask for, held against what the nodes of a cluster have. Values in, sentences out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ray_synapse.formats import size_of

TOLERANCE = 5e-5  # Ray counts in steps of 0.0001: half of one, for fractions that are added up
SHOWN = 4  # names or kinds of bundles in a sentence: more is not read
FIRST = ("CPU", "GPU", "memory")  # of what a trial asks for, in this order; the rest by name
IN_BYTES = {"memory": "memory", "object_store_memory": "object store memory"}

Resources = Mapping[str, float]


class Cluster(NamedTuple):
    """What the living nodes have, each in all, and what is free of it, summed up."""

    nodes: Sequence[Resources]
    free: Resources


class Request(NamedTuple):
    """What a trial asks for: bundles, each of which goes to one node."""

    bundles: Sequence[Resources]
    strategy: str


def request_of(factory: Any) -> Request:
    """What Tune's ``PlacementGroupFactory`` asks for."""
    return Request(factory.bundles, factory.strategy)


def asked(request: Request) -> str:
    """The request in words: ``1 CPU and 0.5 GPU``, or ``1 CPU + 3 x {2 CPU} (SPREAD)``."""
    kinds = _kinds(request.bundles)
    if len(request.bundles) == 1:
        return amounts(kinds[0][0])
    texts = [f"{count} x {{{amounts(bundle)}}}" for bundle, count in kinds[:SHOWN]]
    if len(kinds) > SHOWN:
        texts.append("...")
    return f"{' + '.join(texts)} ({request.strategy})"


def amounts(resources: Resources, names: Iterable[str] | None = None) -> str:
    """How much there is of each, or of each of the names (also where that is nothing)."""
    names = set(resources if names is None else names)
    known = [name for name in FIRST if name in names]
    order = [*known, *sorted(names.difference(known))]
    texts = [_amount(name, resources.get(name, 0)) for name in order[:SHOWN]]
    if len(order) > SHOWN:
        texts.append("...")
    return " and ".join(filter(None, (", ".join(texts[:-1]), *texts[-1:])))


def holdings(cluster: Cluster, requests: Iterable[Request]) -> str:
    """What the cluster has, and what is free, of all that the requests name."""
    names = {name for request in requests for bundle in request.bundles for name in bundle}
    names = names or {"CPU"}
    total = amounts(_sum(cluster.nodes), names)
    return f"{total} on {nodes_text(len(cluster.nodes))}; {amounts(cluster.free, names)} free"


def nodes_text(count: int) -> str:
    """``1 node`` or ``3 nodes``."""
    return "1 node" if count == 1 else f"{count} nodes"


def has_room(request: Request, free: Resources) -> bool:
    """Whether what is free, over all nodes, would do."""
    return _fits(_sum(request.bundles), free)


def shortage(request: Request, nodes: Sequence[Resources]) -> str | None:
    """Why these nodes can never give what is asked for, even when all is free; None if they can.

    Only what is certain: how bundles of several kinds would have to be packed is not tried out.
    """
    bundles, strategy = request
    for bundle, _ in _kinds(bundles):
        if not any(_fits(bundle, node) for node in nodes):
            which = "" if len(bundles) == 1 else f"{{{amounts(bundle)}}} fits on no node: "
            return which + _closest(bundle, nodes)
    if len(bundles) == 1:
        return None
    if strategy == "STRICT_PACK":
        whole = _sum(bundles)
        if any(_fits(whole, node) for node in nodes):
            return None
        return f"STRICT_PACK wants {amounts(whole)} on one node: {_closest(whole, nodes)}"
    if strategy == "STRICT_SPREAD":
        return _too_few_nodes(bundles, nodes)
    return _too_little_in_all(bundles, nodes)


def _too_few_nodes(bundles: Sequence[Resources], nodes: Sequence[Resources]) -> str | None:
    wanted = "STRICT_SPREAD wants a node for each bundle"
    for bundle, count in _kinds(bundles):
        able = sum(_fits(bundle, node) for node in nodes)
        if able < count:
            return f"{wanted}: {{{amounts(bundle)}}} fits on {nodes_text(able)}, not on {count}"
    able = sum(any(_fits(bundle, node) for bundle in bundles) for node in nodes)
    if able < len(bundles):
        return f"{wanted}: {nodes_text(able)} for {len(bundles)} bundles"
    return None


def _too_little_in_all(bundles: Sequence[Resources], nodes: Sequence[Resources]) -> str | None:
    whole, total = _sum(bundles), _sum(nodes)
    if not _fits(whole, total):
        together = f"{amounts(whole)} in all"
        return f"that is {together}: the cluster has {amounts(total, whole)}"
    for bundle, count in _kinds(bundles):
        room = sum(_times(bundle, node) for node in nodes)
        if room < count:
            return f"{{{amounts(bundle)}}} fits {room} times on its nodes, not {count} times"
    return None


def _closest(wanted: Resources, nodes: Sequence[Resources]) -> str:
    def share(node: Resources) -> float:
        return sum(min(node.get(name, 0) / value, 1) for name, value in wanted.items())

    which = "the only node" if len(nodes) == 1 else f"the closest of {len(nodes)} nodes"
    return f"{which} has {amounts(max(nodes, key=share), wanted)}"


def _kinds(bundles: Sequence[Resources]) -> list[tuple[Resources, int]]:
    """Equal bundles together, with their number, in the order in which they are asked for."""
    found: dict[frozenset[tuple[str, float]], int] = {}
    for bundle in bundles:
        key = frozenset(bundle.items())
        found[key] = found.get(key, 0) + 1
    return [(dict(key), count) for key, count in found.items()]


def _fits(wanted: Resources, there: Resources) -> bool:
    return all(value <= there.get(name, 0) + TOLERANCE for name, value in wanted.items())


def _times(bundle: Resources, node: Resources) -> int:
    """How often the bundle fits on an empty node."""
    rooms = ((node.get(name, 0) + TOLERANCE) // value for name, value in bundle.items() if value)
    return int(min(rooms, default=0))


def _sum(several: Iterable[Resources]) -> dict[str, float]:
    total: dict[str, float] = {}
    for each in several:
        for name, value in each.items():
            total[name] = total.get(name, 0) + value
    return total


def _amount(name: str, value: float) -> str:
    if name in IN_BYTES:
        return f"{size_of(value)} of {IN_BYTES[name]}"
    return f"{round(value, 4):g} {name}"
