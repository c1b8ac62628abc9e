"""Search spaces: from JSON to Tune, and back."""

from collections.abc import Mapping
from typing import Any

from ray import tune
from ray.tune.search import sample

from ray_synapse.config.faults import is_json, shown
from ray_synapse.config.hyperparameters import parse_hyperparameters
from ray_synapse.config.kinds import KINDS, Hyperparameter
from ray_synapse.errors import ConfigError
from ray_synapse.tuning.leaves import Leaf, read_space
from ray_synapse.values import Wire, to_wire

LOG_BASE = 10  # given back for every log type: Tune keeps none, it does not change the distribution


def create_param_space(hyperparameters: Any) -> dict[str, Any]:
    """A Tune search space from the platform's JSON list of hyperparameters.

    Each entry has a ``name``, a ``type``, and what that type needs:

    * ``uniform``, ``randint``: ``min``, ``max``. As in Tune, ``randint`` never gives ``max``.
    * ``loguniform``, ``lograndint``: also ``base``, which must be over 1 and changes nothing.
    * ``quniform``, ``qloguniform``, ``qrandint``, ``qlograndint``: also ``q``, which may be left
      out. ``max`` is among the values (for whole numbers with q = 1 that is Tune's
      ``qrandint(min, max + 1, 1)``: for this q alone Tune excludes the upper bound).
    * ``randn``, ``qrandn``: ``mean``, ``sd``; ``qrandn`` also ``q``, which may be left out.
    * ``choice``, ``grid_search``: ``options``.

    ``q`` must divide both bounds. Without ``q`` it is 1 for the integer types; for the float types
    the largest power of ten that divides both bounds and leaves at least ten steps (0.0001 for
    0.0001..0.01, 0.1 for 0..1); for ``qrandn`` the power of ten at or below ``sd`` / 10.

    Args:
        hyperparameters: The list. A ``/`` in a name makes nested objects: ``model/lr`` is found by
            the trial as ``config["model"]["lr"]``.

    Returns:
        A ``param_space`` for ``tune.Tuner``, with Tune's own domains.

    Raises:
        ConfigError: With every fault of the list, each with what to write instead.
    """
    space: dict[str, Any] = {}
    for each in parse_hyperparameters(hyperparameters):
        *parents, key = each.name.split("/")
        branch = space
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[key] = _domain(each)
    return space


def as_param_space(space: Any) -> dict[str, Any]:
    """The Tune search space for either form: the JSON list, or a Tune search space as it is.

    Raises:
        ConfigError: If it is neither, or the list is wrong.
    """
    if isinstance(space, Mapping):
        return dict(space)
    if isinstance(space, (list, tuple)):
        return create_param_space(space)
    raise ConfigError(
        f"search space: is {shown(space)}: write the JSON list of hyperparameters or a Tune "
        "param_space (a dict)"
    )


def describe_param_space(space: Mapping[str, Any]) -> list[dict[str, Wire]]:
    """The JSON form of a native search space, so that it is recorded with the run.

    Of what ``create_param_space`` made, it gives back the same entries, with ``q`` filled in, up to
    the ``base`` of the log types, which Tune does not keep (it is given as 10). Nested entries
    with a common parent stand together.

    Args:
        space: A Tune ``param_space``. Nested keys are joined with ``/``.

    Returns:
        One object for each hyperparameter: ``name``, ``type`` (the name of Tune's function) and
        what that type needs. A constant is a ``choice`` of one; what has no JSON form
        (``sample_from``, a domain of somebody else) has the type ``other`` and its ``text``.

    Raises:
        ConfigError: If it is no mapping.
    """
    if not isinstance(space, Mapping):
        raise ConfigError(f"search space: is {shown(space)}: give a Tune param_space (a dict)")
    return [{"name": each.name, **_json_form(each)} for each in read_space(space)]


def _domain(each: Hyperparameter) -> Any:
    fields = each.fields
    if each.type in ("choice", "grid_search"):
        return getattr(tune, each.type)(fields["options"])
    if each.type in ("randn", "qrandn"):
        q = (fields["q"],) if "q" in fields else ()
        return getattr(tune, each.type)(fields["mean"], fields["sd"], *q)
    low, high = fields["min"], fields["max"]
    if "q" not in fields:
        return getattr(tune, each.type)(low, high)
    if KINDS[each.type].integer and fields["q"] == 1:
        high += 1  # for q = 1, and only then, Tune excludes the upper bound
    return getattr(tune, each.type)(low, high, fields["q"])


def _json_form(leaf: Leaf) -> dict[str, Wire]:
    if leaf.type == "other":
        is_function = isinstance(leaf.domain, sample.Function)
        return {
            "type": "other",
            "text": to_wire(leaf.domain.func if is_function else leaf.domain),
        }
    form: dict[str, Wire] = {"type": "choice" if leaf.type == "constant" else leaf.type}
    form.update({name: _json(value) for name, value in leaf.fields.items()})
    if leaf.type in KINDS and KINDS[leaf.type].log:
        form["base"] = LOG_BASE
    return form


def _json(value: Any) -> Wire:
    """The value as it is where JSON can carry it, however long; else what comes nearest to it."""
    if is_json(value):
        return value  # type: ignore[no-any-return]  # it was just looked at
    return [_json(each) for each in value] if isinstance(value, (list, tuple)) else to_wire(value)
