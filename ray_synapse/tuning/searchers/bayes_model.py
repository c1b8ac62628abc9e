"""The model behind the ``bayesopt`` searcher, by the library bayesian-optimization 2 and 3.

Everything happens in the unit cube: a Gaussian process with one length scale knows nothing of
hyperparameters that go from 1e-5 to 1e-1 beside others that go from 16 to 512.
"""

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
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

try:
    from bayes_opt.parameter import BayesParameter, CategoricalParameter
except ImportError:  # before release 3 there were only floats
    HAS_TYPES = False
else:
    HAS_TYPES = True
MAX_OBSERVATIONS = 300  # in the model: fitting takes their number cubed, here about a second
KAPPA = 1.5  # how far uncertainty counts: best of 1.0, 1.5 and 2.6 in benchmarks/searchers.py
MAX_TRIES = 200  # for a random point that nobody has yet
MAX_LISTED = 10_000  # points of a search space that are all looked at when these tries fail
MAX_TARGET = 1e150  # of a result: its square is still a number
MAX_WORSE = 10.0  # interquartile ranges below the median: whatever is worse is as bad
MAX_BETTER = 1e6  # the same above: keeps the model's numbers in order

Floats = NDArray[np.float64]
Point = Mapping[str, float | int]


@dataclass(frozen=True)
class Axis:
    """One hyperparameter and its place in the unit interval.

    Attributes:
        low: The least value; for options 0.
        high: The greatest value, itself included.
        kind: ``uniform``, ``loguniform``, ``randint``, ``lograndint`` or ``choice``.
    """

    low: float
    high: float
    kind: str

    @property
    def is_whole(self) -> bool:
        """Whether its values are integers."""
        return self.kind not in ("uniform", "loguniform")

    @property
    def is_log(self) -> bool:
        """Whether it is searched on the log scale."""
        return self.kind.startswith("log")

    def to_unit(self, value: Any) -> Any:
        """Where a value lies: 0 to 1. An integer lies in the middle of its interval."""
        first, last = self._ends()
        if self.is_whole:
            here = (self._scaled(value) + self._scaled(value + 1)) / 2
        else:
            here = self._scaled(value)
        return (here - first) / (last - first)

    def from_unit(self, unit: Any) -> Any:
        """The value at a place; integers have intervals as wide as Tune's chance for each."""
        first, last = self._ends()
        here = first + np.asarray(unit, dtype=float) * (last - first)
        value = np.exp(here) if self.is_log else here
        return np.clip(np.floor(value) if self.is_whole else value, self.low, self.high)

    def snapped(self, unit: Any) -> Any:
        """The place of the nearest value that there is."""
        return self.to_unit(self.from_unit(unit)) if self.is_whole else unit

    def _ends(self) -> tuple[float, float]:
        return self._scaled(self.low), self._scaled(self.high + (1 if self.is_whole else 0))

    def _scaled(self, value: Any) -> Any:
        return np.log(value) if self.is_log else value


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
    return {name: _plain(axis, axis.from_unit(random.uniform())) for name, axis in axes.items()}


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
            pbounds={name: _bounds(name, axis) for name, axis in axes.items()},
            random_state=random,
            verbose=0,
        )
        for values, target in _merged(observations).items():
            units = {
                name: _place(axis, value)
                for (name, axis), value in zip(axes.items(), values, strict=True)
            }
            optimizer.register(params=units, target=target)
        raw = optimizer.suggest()
    return {name: _value(axis, raw[name]) for name, axis in axes.items()}


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


def _bounds(name: str, axis: Axis) -> Any:
    if axis.kind == "choice":
        return OptionParameter(name, [str(index) for index in range(int(axis.high) + 1)])
    if axis.is_whole and HAS_TYPES:
        return GridParameter(name, axis)
    return (0.0, 1.0)


def _place(axis: Axis, value: float) -> Any:
    return str(int(value)) if axis.kind == "choice" else float(axis.to_unit(value))


def _value(axis: Axis, raw: Any) -> float | int:
    return int(raw) if axis.kind == "choice" else _plain(axis, axis.from_unit(raw))


def _plain(axis: Axis, value: Any) -> float | int:
    return int(value) if axis.is_whole else float(value)


if HAS_TYPES:

    class OptionParameter(CategoricalParameter):  # type: ignore[misc]  # it is not looked into
        """One of some options."""

        # With anything else than continuous parameters the library looks for the best point by
        # differential evolution, point by point: seconds. Else it takes the best of 10,000 random
        # points and follows the gradient, which is zero here: a tenth of a second, and as good.
        is_continuous = True

    class GridParameter(BayesParameter):  # type: ignore[misc]  # it is not looked into
        """An integer on the library's side: the model sees the middle of each one's interval.

        The library's own ``IntParameter`` is not within the unit interval, and knows no log scale.
        """

        def __init__(self, name: str, axis: Axis) -> None:
            super().__init__(name, np.array([0.0, 1.0]))
            self._axis = axis

        is_continuous = True  # see OptionParameter

        @property
        def dim(self) -> int:
            """The number of columns that it takes."""
            return 1

        def to_float(self, value: Any) -> float:
            """The column's number."""
            return float(value)

        def to_param(self, value: Any) -> float:
            """The number of the column."""
            return float(np.squeeze(self._axis.snapped(value)))

        def kernel_transform(self, value: Floats) -> Floats:
            """What the model sees."""
            return np.asarray(self._axis.snapped(value))
