"""The model behind the ``bayesopt`` searcher, by the library bayesian-optimization 2 and 3."""

import contextlib
import io
import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bayes_opt
import numpy as np
from threadpoolctl import threadpool_limits

from ray_synapse.tuning.searchers.bayes_axes import Axis

MAX_OBSERVATIONS = 300  # in the model: fitting takes their number cubed, here about a second
KAPPA = 1.5  # how far uncertainty counts: best of 1.0, 1.5 and 2.6 in benchmarks/searchers.py
MAX_TRIES = 200  # for a random point that nobody has yet
MAX_LISTED = 10_000  # points of a search space that are all looked at when these tries fail
MAX_TARGET = 1e150  # of a result: its square is still a number
MAX_WORSE = 10.0  # interquartile ranges below the median: whatever is worse is as bad
MAX_BETTER = 1e6  # the same above: keeps the model's numbers in order

Point = Mapping[str, float | int]


@dataclass(frozen=True)
class Observation:
    """A point and what came of it: its target (to be maximized), or None if nothing (yet)."""

    point: Point
    target: float | None


def suggest(
    axes: Mapping[str, Axis], observations: Sequence[Observation], random: np.random.RandomState
) -> Point:
    """The point that promises most.

    Args:
        axes: The search space.
        observations: All points so far: also those that are being tried, or that failed. For the
            model these are average points (a "constant liar"): it does not go there again, and
            does not learn that they are bad.
        random: Where all chance comes from.

    Returns:
        A point that is none of the observed ones, as long as there is another.
    """
    taken = {tuple(each.point.values()) for each in observations}
    telling = _tamed(_most_telling(observations))
    if len({each.target for each in telling} - {None}) > 1:  # equal targets say nothing
        point = _suggested(axes, telling, random)
        if tuple(point.values()) not in taken:
            return point
    return _another(axes, taken, random)


def random_point(axes: Mapping[str, Axis], random: np.random.RandomState) -> Point:
    """A point as Tune's own sampling would draw it."""
    return {name: axis.drawn(random) for name, axis in axes.items()}


def _another(
    axes: Mapping[str, Axis], taken: set[tuple[Any, ...]], random: np.random.RandomState
) -> Point:
    """A random point that is not taken, if there is one."""
    for _ in range(MAX_TRIES):
        point = random_point(axes, random)
        if tuple(point.values()) not in taken:
            return point
    size = math.prod(
        axis.high - axis.low + 1 if axis.is_whole else math.inf for axis in axes.values()
    )
    if size <= MAX_LISTED:
        ranges = [range(int(axis.low), int(axis.high) + 1) for axis in axes.values()]
        free = [values for values in itertools.product(*ranges) if values not in taken]
        if free:
            return dict(zip(axes, free[random.randint(len(free))], strict=True))
    return point


def _suggested(
    axes: Mapping[str, Axis], observations: Sequence[Observation], random: np.random.RandomState
) -> Point:
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        threadpool_limits(1),  # beside busy trials, threads that wait for each other take seconds
    ):
        warnings.simplefilter("ignore")  # that types are experimental, that a kernel's fit ended
        optimizer = bayes_opt.BayesianOptimization(
            f=None,
            acquisition_function=bayes_opt.acquisition.UpperConfidenceBound(kappa=KAPPA),
            pbounds={name: axis.bounds(name) for name, axis in axes.items()},
            random_state=random,
            verbose=0,
        )
        for values, target in _merged(observations).items():
            units = {
                name: axis.place(value)
                for (name, axis), value in zip(axes.items(), values, strict=True)
            }
            optimizer.register(params=units, target=target)
        raw = optimizer.suggest()
    return {name: axis.value(raw[name]) for name, axis in axes.items()}


def _most_telling(observations: Sequence[Observation]) -> Sequence[Observation]:
    """The best third and the newest of the rest, where there are too many."""
    if len(observations) <= MAX_OBSERVATIONS:
        return observations
    valued = [each for each in observations if each.target is not None]
    best = sorted(valued, key=lambda each: each.target or 0.0)[-MAX_OBSERVATIONS // 3 :]
    kept = {id(each) for each in best}
    rest = [each for each in observations if id(each) not in kept]
    return [*best, *rest[-(MAX_OBSERVATIONS - len(best)) :]]


def _tamed(observations: Sequence[Observation]) -> Sequence[Observation]:
    """The targets on one scale: one that diverged is bad, and not all that the model sees."""
    targets = [each.target for each in observations if each.target is not None]
    if not targets:
        return observations
    clipped = np.clip(targets, -MAX_TARGET, MAX_TARGET)
    low, middle, high = np.percentile(clipped, [25, 50, 75])
    scale = (high - low) or np.ptp(clipped) or 1.0

    def tamed(target: float) -> float:
        scaled = (np.clip(target, -MAX_TARGET, MAX_TARGET) - middle) / scale
        return float(np.clip(scaled, -MAX_WORSE, MAX_BETTER))

    return [
        each if each.target is None else Observation(each.point, tamed(each.target))
        for each in observations
    ]


def _merged(observations: Sequence[Observation]) -> dict[tuple[float, ...], float]:
    """One target for each point: the mean of what was seen there, else the mean of all."""
    lie = float(np.mean([each.target for each in observations if each.target is not None]))
    seen: dict[tuple[float, ...], list[float]] = {}
    for each in observations:
        targets = seen.setdefault(tuple(each.point.values()), [])
        if each.target is not None:
            targets.append(each.target)
    return {values: float(np.mean(targets or [lie])) for values, targets in seen.items()}
