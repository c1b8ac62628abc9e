"""Tune's search spaces and their JSON form."""

from collections.abc import Mapping
from typing import Any

from ray.tune.search import sample

from ray_synapse.values import Wire, flatten, to_wire

LOG_BASE = 10  # Tune keeps none: it does not change the distribution


def describe_param_space(space: Mapping[str, Any]) -> list[dict[str, Wire]]:
    """The JSON form of a native search space, so that it is recorded with the run.

    Args:
        space: A Tune ``param_space``. Nested keys are joined with ``/``.

    Returns:
        One object for each hyperparameter: ``name``, ``type`` (the name of Tune's function) and
        what that type needs. A constant is a ``choice`` of one; what has no JSON form
        (``sample_from``, a domain of somebody else) has the type ``other`` and its ``text``.
    """
    return [{"name": name, **_describe(value)} for name, value in _leaves(space)]


def _leaves(space: Mapping[str, Any]) -> list[tuple[str, Any]]:
    leaves = []
    for name, value in flatten(space).items():
        if name.rpartition("/")[2] == "grid_search" and isinstance(value, list):
            leaves.append((name.rpartition("/")[0], {"grid_search": value}))
        else:
            leaves.append((name, value))
    return leaves


def _describe(value: Any) -> dict[str, Wire]:
    if isinstance(value, Mapping) and set(value) == {"grid_search"}:
        return {"type": "grid_search", "options": to_wire(value["grid_search"])}
    if not isinstance(value, sample.Domain):
        return {"type": "choice", "options": [to_wire(value)]}
    if isinstance(value, sample.Categorical):
        return {"type": "choice", "options": to_wire(list(value.categories))}
    if isinstance(value, (sample.Float, sample.Integer)):
        return _describe_number(value)
    return {"type": "other", "text": to_wire(getattr(value, "func", value))}


def _describe_number(domain: Any) -> dict[str, Wire]:
    sampler, parts = domain.get_sampler(), {}
    is_int = isinstance(domain, sample.Integer)
    prefix = ""
    if isinstance(sampler, sample.Quantized):
        prefix, parts = "q", {"q": to_wire(sampler.q)}
        sampler = sampler.get_sampler()
    if isinstance(sampler, sample.Normal):
        mean, sd = to_wire(sampler.mean), to_wire(sampler.sd)
        return {"type": f"{prefix}randn", "mean": mean, "sd": sd, **parts}
    log = isinstance(sampler, sample.LogUniform)
    kind = f"{prefix}{'log' if log else ''}{'randint' if is_int else 'uniform'}"
    # A quantized integer domain includes its upper bound; Tune keeps the next integer for it.
    bounds = {"min": to_wire(domain.lower), "max": to_wire(domain.upper)}
    return {"type": kind, **bounds, **({"base": LOG_BASE} if log else {}), **parts}
