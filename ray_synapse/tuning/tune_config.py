"""The whole ``tune_config``: from JSON to Tune."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from ray import tune

from ray_synapse.config.faults import Faults
from ray_synapse.config.sweep import Sweep, parse_sweep
from ray_synapse.console import say
from ray_synapse.errors import ConfigError
from ray_synapse.tuning.leaves import read_space
from ray_synapse.tuning.schedulers.create import scheduler_for
from ray_synapse.tuning.search_space import as_param_space
from ray_synapse.tuning.searchers.create import searcher_for


def create_tune_config(tune_config: Any, space: Any) -> tune.TuneConfig:
    """The platform's JSON object ``tune_config`` as a ``tune.TuneConfig``.

    When ``grid_search`` entries multiply ``num_samples``, one line on stderr says how many trials
    there will be.

    Args:
        tune_config: An object with ``metric`` and ``mode`` (``"max"`` or ``"min"``), and optionally
            ``num_samples`` (1 by default; -1 for no end), ``max_concurrent_trials``,
            ``search_alg`` (see ``create_searcher``), ``scheduler`` (see ``create_scheduler``),
            ``time_budget_s`` (seconds), ``reuse_actors`` and ``seed``.
        space: The JSON list of hyperparameters, or a Tune ``param_space``. The Tuner must get
            the same one.

    Raises:
        ConfigError: With every fault, each with what to write instead.
        LibraryError: If a searcher's or scheduler's library is missing; with the line for pip.
    """
    faults = Faults()
    sweep = _noted(faults, lambda: parse_sweep(tune_config, complete=True))
    param_space = _noted(faults, lambda: as_param_space(space))
    if sweep is None or param_space is None:
        faults.raise_if_any()
    searcher = _noted(faults, lambda: searcher_for(sweep, param_space))
    scheduler = _noted(faults, lambda: scheduler_for(sweep, param_space))
    faults.raise_if_any()
    _tell_number_of_trials(sweep, param_space)
    _tell_points_left_out(sweep)
    return tune.TuneConfig(
        metric=sweep.metric,
        mode=sweep.mode,
        search_alg=searcher,
        scheduler=scheduler,
        num_samples=sweep.num_samples,
        max_concurrent_trials=sweep.max_concurrent_trials,
        time_budget_s=sweep.time_budget_s,
        reuse_actors=sweep.reuse_actors,
    )


def _noted(faults: Faults, make: Callable[[], Any]) -> Any:
    """What it makes, or None with its faults noted."""
    try:
        return make()
    except ConfigError as error:
        faults.include(error)
        return None


def grid_size(space: Mapping[str, Any]) -> int:
    """How many combinations the ``grid_search`` entries of a Tune search space have; 1 for none."""
    grids = [leaf for leaf in read_space(space) if leaf.type == "grid_search"]
    return math.prod(len(leaf.fields["options"]) for leaf in grids)


def _tell_number_of_trials(sweep: Sweep, space: Mapping[str, Any]) -> None:
    size = grid_size(space)
    if size <= 1 or sweep.num_samples == 1:
        return
    if sweep.num_samples == -1:
        say(f"the grid of {size} combinations is repeated until a stop or the time budget")
        return
    total = f"{sweep.num_samples} samples of a grid of {size} are {sweep.num_samples * size} trials"
    points = " (fewer, where points_to_evaluate set them)" if sweep.search_alg.points else ""
    say(f"{total}{points}; num_samples=1 runs each combination once")


def _tell_points_left_out(sweep: Sweep) -> None:
    points = sweep.search_alg.points
    number = len(points) if isinstance(points, (list, tuple)) else 1
    if 0 < sweep.num_samples < number:
        say(
            f"there are {number} points_to_evaluate, and num_samples is {sweep.num_samples}: raise "
            "it, so that all of them run"
        )
