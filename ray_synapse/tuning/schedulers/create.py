"""A scheduler from JSON."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    pb2,
)

from ray_synapse.config.faults import shown
from ray_synapse.config.sweep import Part, Sweep, parse_sweep
from ray_synapse.console import say
from ray_synapse.errors import ConfigError
from ray_synapse.tuning.leaves import Leaf, read_space
from ray_synapse.tuning.libraries import Library
from ray_synapse.tuning.options import (
    Limit,
    build,
    check_options,
    metric_and_mode_of,
    parameters_of,
)
from ray_synapse.tuning.schedulers import pausing
from ray_synapse.tuning.schedulers.mutations import EXAMPLE, KeepsBounds, as_bounds, as_mutations
from ray_synapse.tuning.search_space import as_param_space
from ray_synapse.values import as_number, is_finite

CLASSES: dict[str, Callable[[], Any]] = {
    "fifo": lambda: FIFOScheduler,
    "asha": lambda: AsyncHyperBandScheduler,
    "hyperband": lambda: pausing.HyperBandScheduler,
    "bohb": lambda: pausing.HyperBandForBOHB,
    "median": lambda: pausing.MedianStoppingRule,
    "pbt": lambda: pausing.PopulationBasedTraining,
    "pb2": lambda: pausing.PB2,
    "pbt_replay": lambda: pausing.PopulationBasedTrainingReplay,
    "resource_changing": lambda: pausing.ResourceChangingScheduler,
}
# Of options that Ray takes as they are, or refuses without their names.
LIMITS: dict[str, Limit] = {
    "max_t": (lambda value: value >= 1, "a whole number, at least 1"),
    "grace_period": (lambda value: value > 0, "a number over 0"),
    "reduction_factor": (lambda value: value > 1, "a number over 1"),
    "brackets": (lambda value: 1 <= value <= 100, "a whole number from 1 to 100"),
    "min_samples_required": (lambda value: value >= 1, "a whole number, at least 1"),
    "perturbation_interval": (lambda value: value > 0, "a number over 0"),
    "burn_in_period": (lambda value: value >= 0, "a number, at least 0"),
    "quantile_fraction": (lambda value: 0 <= value <= 0.5, "a number from 0 to 0.5"),
    "resample_probability": (lambda value: 0 <= value <= 1, "a number from 0 to 1"),
    "perturbation_factors": (
        lambda value: len(value) == 2 and all(is_finite(each) for each in value),
        "a list of two numbers, e.g. [1.2, 0.8]",
    ),
}
LENGTHS = ("epochs", "max_epochs", "num_epochs", "iterations", "training_iteration")


def create_scheduler(tune_config: Any, space: Any) -> Any:
    """The scheduler that ``tune_config`` asks for, ready for ``tune.TuneConfig(scheduler=...)``.

    It has no ``metric`` and ``mode``: Tune gives it those of the ``TuneConfig``, and refuses a
    scheduler with its own.

    Args:
        tune_config: The platform's JSON object. Its ``scheduler`` is a name in any case of letters
            (``fifo`` by default, ``hyperband``, ``asha``, ``median``, ``pbt``, ``pb2``, ``bohb``,
            or one of Ray's own), or an object with ``name`` and ``options``. Options are those of
            Ray's class; ``hyperparam_mutations`` (pbt) and ``hyperparam_bounds`` (pb2) are lists
            of hyperparameters as the search space is.
        space: The JSON list of hyperparameters, or a Tune ``param_space``. Where hyperband, bohb
            or asha have no ``max_t``, it is the largest value of a hyperparameter called epochs,
            max_epochs, num_epochs, iterations or training_iteration.

    Raises:
        ConfigError: For an unknown scheduler or option, a wrong value, or a searcher that does not
            work with it; with what to change.
        LibraryError: If its library is missing; with the line for pip.
    """
    return scheduler_for(parse_sweep(tune_config), as_param_space(space))


def scheduler_for(sweep: Sweep, space: Mapping[str, Any]) -> Any:
    """The scheduler of a sweep that was checked, for a Tune search space."""
    return _created(sweep.scheduler, sweep, space)


def _created(part: Part, sweep: Sweep, space: Mapping[str, Any]) -> Any:
    where = f"scheduler {shown(part.name)}"
    if part.kind == "pb2":
        _check_libraries_of_pb2(where)
    constructor = CLASSES[part.kind]()
    known = parameters_of(constructor)
    given = _converted(where, part, sweep, space)
    options = check_options(where, given, known, metric_and_mode_of(sweep), LIMITS)
    if part.kind in ("hyperband", "bohb", "asha"):
        options = _with_max_t(where, part.kind, options, known, space)
    if options.get("grace_period", 0) > options.get("max_t", math.inf):
        raise ConfigError(
            f"{where}: option `grace_period` is {options['grace_period']}, and max_t is "
            f"{options['max_t']}: it must be at most max_t"
        )
    return build(where, constructor, options)


def _check_libraries_of_pb2(where: str) -> None:
    Library("sklearn", "scikit-learn>=1.3").check(where)
    if hasattr(pb2, "GPy"):  # as in Rays before it was replaced by scikit-learn
        Library("GPy", "GPy>=1.13").check(where)


def _converted(where: str, part: Part, sweep: Sweep, space: Mapping[str, Any]) -> dict[str, Any]:
    """The options, those in JSON of ours made into what Ray takes."""
    options = dict(part.options)
    if part.kind == "pbt":
        given = options.get("hyperparam_mutations")
        explore = options.get("custom_explore_fn")
        if explore is None or given is not None:
            _change(options, "hyperparam_mutations", where, lambda each: as_mutations(each, space))
        if isinstance(given, (list, tuple)) and (explore is None or callable(explore)):
            options["custom_explore_fn"] = KeepsBounds(given, explore)
    if part.kind == "pb2":
        _change(options, "hyperparam_bounds", where, lambda each: as_bounds(each, space))
    base = options.get("base_scheduler")
    if part.kind == "resource_changing" and isinstance(base, (str, Mapping)):
        inner = parse_sweep({"scheduler": base, "search_alg": sweep.search_alg.name}).scheduler
        options["base_scheduler"] = _created(inner, sweep, space)
    return options


def _change(options: dict[str, Any], name: str, where: str, change: Callable[[Any], Any]) -> None:
    if options.get(name) is None:
        raise ConfigError(
            f"{where}: it needs the option {name}: the list of hyperparameters that it may change "
            f"while trials run, e.g. {EXAMPLE}"
        )
    try:
        options[name] = change(options[name])
    except ConfigError as error:
        raise ConfigError(*(f"{where}, `{name}`: {each}" for each in error.faults)) from error


def _with_max_t(
    where: str,
    kind: str,
    options: dict[str, Any],
    known: Mapping[str, inspect.Parameter],
    space: Mapping[str, Any],
) -> dict[str, Any]:
    if "max_t" in options:
        return options
    default = known["max_t"].default
    counts = options.get("time_attr", "training_iteration") == "training_iteration"
    leaf, length = _length(space) if counts else (None, 0)
    if leaf is not None:
        say(f"{where}: max_t is {length}, the largest value of '{leaf.name}'")
        return {**options, "max_t": length}
    if kind == "hyperband":
        raise ConfigError(
            f"{where}: it needs the option `max_t`, the iterations after which a trial is done: it "
            f"is not given, and the search space has no {', '.join(LENGTHS)} to take it from"
        )
    say(f"{where}: max_t is Ray's default, {default} iterations; the option max_t changes it")
    return options


def _length(space: Mapping[str, Any]) -> tuple[Leaf | None, int]:
    """The hyperparameter that says how long a trial is, and its upper bound."""
    leaves = read_space(space)
    for name in LENGTHS:
        for leaf in leaves:
            if leaf.path[-1] == name and (bound := _upper_bound(leaf)) is not None:
                return leaf, bound
    return None, 0


def _upper_bound(leaf: Leaf) -> int | None:
    values = leaf.fields.get("options", [leaf.last])
    numbers = [each for each in map(as_number, values) if each is not None and is_finite(each)]
    if not numbers:
        return None
    bound = math.floor(max(numbers))
    return bound if bound >= 1 else None
