"""A searcher from JSON."""

import importlib
from collections.abc import Mapping
from typing import Any

from ray_synapse.config.faults import Faults, shown
from ray_synapse.config.sweep import MAX_SEED, Part, Sweep, parse_sweep
from ray_synapse.errors import ConfigError
from ray_synapse.tuning.leaves import read_space
from ray_synapse.tuning.options import (
    Limit,
    build,
    check_options,
    metric_and_mode_of,
    parameters_of,
)
from ray_synapse.tuning.search_space import as_param_space
from ray_synapse.tuning.searchers.basic import (
    BasicVariantGenerator,
    keep_tune_from_denying_the_limit,
    nested_point,
)
from ray_synapse.tuning.searchers.codec import SEEN_AS, Codec
from ray_synapse.tuning.searchers.points import Point, check_points
from ray_synapse.tuning.searchers.table import RULES, Rule

# Of options that the libraries take as they are, and that then lead to nothing.
LIMITS: dict[str, Limit] = {
    "n_initial_points": (lambda value: value >= 1, "a whole number, at least 1"),
    "random_search_steps": (lambda value: value >= 1, "a whole number, at least 1"),
    "gamma": (lambda value: 0 < value < 1, "a number between 0 and 1"),
    "budget": (lambda value: value >= 1, "a whole number, at least 1"),
    "parallel_num": (lambda value: value >= 1, "a whole number, at least 1"),
}
_SPACE_ARGUMENTS = ("space", "dim_dict", "ax_client")


def create_searcher(tune_config: Any, space: Any) -> Any:
    """The searcher that ``tune_config`` asks for, ready for ``tune.TuneConfig(search_alg=...)``.

    Args:
        tune_config: The platform's JSON object. Its ``search_alg`` is a name in any case of letters
            (``basicvariantgenerator`` by default, ``hyperoptsearch``, ``optunasearch``,
            ``bayesoptsearch``, ``axsearch``, or one of Ray's own), or an object with ``name``,
            ``points_to_evaluate`` and ``options``. ``metric``, ``mode``, ``seed`` and
            ``max_concurrent_trials`` are taken from ``tune_config``, and from nowhere else.
        space: The JSON list of hyperparameters, or a Tune ``param_space``. The Tuner must get
            the same one.

    Returns:
        A Tune searcher. It suggests values of every hyperparameter on its grid and within its
        bounds, and starts with ``points_to_evaluate``, exactly as they are given.

    Raises:
        ConfigError: For anything in the JSON that is wrong, or that this searcher would drop,
            ignore or search on another scale; with what to change.
        LibraryError: If its library is missing or does not work; with the line for pip.
    """
    return searcher_for(parse_sweep(tune_config), as_param_space(space))


def searcher_for(sweep: Sweep, space: Mapping[str, Any]) -> Any:
    """The searcher of a sweep that was checked, for a Tune search space."""
    part = sweep.search_alg
    where = f"search_alg {shown(part.name)}"
    if part.kind == "basic":
        points = check_points(part.points, space, partial=True)
        return _basic(where, sweep, [nested_point(point, space) for point in points])
    rule = RULES[part.kind]
    points = _checked(where, rule, part, space)
    _check_libraries(where, rule, space)
    return _advanced(where, rule, sweep, space, points)


def _checked(where: str, rule: Rule, part: Part, space: Mapping[str, Any]) -> list[Point]:
    """The points; what the searcher does not take is refused with them."""
    faults = Faults()
    leaves = [leaf for leaf in read_space(space) if leaf.is_searched]
    for leaf in leaves:
        if leaf.type not in rule.types:
            others = [name for name, other in RULES.items() if leaf.type in other.types]
            faults.add(
                where,
                f"does not take hyperparameter '{leaf.name}' of type {_said(leaf.type)}: it takes "
                f"{', '.join(rule.types)}; {' and '.join((*others, 'basicvariantgenerator'))} "
                f"{'take' if others else 'takes'} {_said(leaf.type)}",
            )
    try:
        points = check_points(part.points, space, partial=False)
    except ConfigError as error:
        faults.include(error)
    faults.raise_if_any()
    if not Codec(space).domains:
        raise ConfigError(
            f"{where}: nothing in the search space has more than one value: leave search_alg out"
        )
    return points


def _check_libraries(where: str, rule: Rule, space: Mapping[str, Any]) -> None:
    rule.library.check(where)
    for leaf in read_space(space):
        if (library := rule.libraries.get(SEEN_AS.get(leaf.type, ""))) is not None:
            library.check(f"{where}, for the {leaf.type} '{leaf.name}',")


def _said(type_: str) -> str:
    return "sample_from (a function)" if type_ == "other" else type_


def _basic(where: str, sweep: Sweep, points: list[Any]) -> Any:
    known = parameters_of(BasicVariantGenerator)
    options, _ = _options(where, sweep, dict(known), "random_state")
    keep_tune_from_denying_the_limit()
    limit = {"max_concurrent": sweep.max_concurrent_trials or 0}  # Tune holds it for others only
    return build(where, BasicVariantGenerator, {"points_to_evaluate": points, **limit, **options})


def _advanced(
    where: str, rule: Rule, sweep: Sweep, space: Mapping[str, Any], points: list[Point]
) -> Any:
    ours = _imported(f"{__package__}.{rule.made_by}")
    known = parameters_of(ours, *([_imported(rule.more)] if rule.more else []))
    options, seed = _options(where, sweep, known, rule.seed)
    options = {**rule.defaults, **_from_sweep(sweep, known), **options}
    codec = Codec(space)
    encoded = [codec.encode(point) for point in points]
    arguments = {"points_to_evaluate": encoded} if encoded else {}
    searcher = build(where, ours, {**options, **arguments, **_metric_and_mode(sweep)})
    searcher.prepare(codec, encoded, seed=seed, limit=sweep.max_concurrent_trials)
    return searcher


def _options(
    where: str, sweep: Sweep, known: dict[str, Any], seed_argument: str | None
) -> tuple[dict[str, Any], int | None]:
    """The options, checked, with the seed under the name that the searcher has for it; the seed."""
    given = dict(sweep.search_alg.options)
    seed = _seed(where, sweep, given, seed_argument)
    elsewhere = {
        **metric_and_mode_of(sweep),
        "max_concurrent": "write `max_concurrent_trials` in tune_config",
        "points_to_evaluate": "write it beside `options`, not inside",
        **dict.fromkeys(_SPACE_ARGUMENTS, "the search space comes from the hyperparameters"),
    }
    checked = check_options(where, given, known, elsewhere, LIMITS)
    if seed is not None and seed_argument is not None:
        checked[seed_argument] = seed
    return checked, seed


def _seed(where: str, sweep: Sweep, given: dict[str, Any], argument: str | None) -> int | None:
    """The one seed that there may be: of tune_config, or of the options by either name."""
    found = {} if sweep.seed is None else {"`seed` in tune_config": sweep.seed}
    for name in ("seed", argument or "seed"):
        if given.get(name) is not None and not hasattr(given[name], "random"):  # a generator
            found[f"`{name}` in its options"] = given.pop(name)
    for place, value in found.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not 0 <= value <= MAX_SEED:
            raise ConfigError(
                f"{where}: {place} is {shown(value)}: write a whole number from 0 to {MAX_SEED}"
            )
    if len(set(found.values())) > 1:
        listed = " and ".join(f"{place} is {value}" for place, value in found.items())
        raise ConfigError(f"{where}: {listed}: leave one of them out")
    return next(iter(found.values()), None)


def _from_sweep(sweep: Sweep, known: Mapping[str, Any]) -> dict[str, Any]:
    """What some searchers want to know of the sweep in advance."""
    values: dict[str, Any] = {}
    if "budget" in known and sweep.num_samples > 0:
        values["budget"] = sweep.num_samples
    if "parallel_num" in known and sweep.max_concurrent_trials:
        values["parallel_num"] = sweep.max_concurrent_trials
    return values


def _metric_and_mode(sweep: Sweep) -> dict[str, Any]:
    given = {"metric": sweep.metric, "mode": sweep.mode}
    return {name: value for name, value in given.items() if value is not None}


def _imported(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
