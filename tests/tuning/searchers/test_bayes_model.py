"""The model behind bayesopt."""

import math
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_synapse.tuning.searchers.bayes_model import (
    MAX_OBSERVATIONS,
    Axis,
    Observation,
    Point,
    random_point,
    suggest,
)

AXES = {
    "u": Axis(-2.0, 3.0, "uniform"),
    "lu": Axis(1e-5, 1e-1, "loguniform"),
    "ri": Axis(1, 9, "randint"),
    "lri": Axis(1, 100, "lograndint"),
    "c": Axis(0, 2, "choice"),
}
BIT = {"c": Axis(0, 2, "choice")}
LINE = {"x": Axis(0.0, 1.0, "uniform")}


def rng(seed: int = 0) -> np.random.RandomState:
    return np.random.RandomState(seed)


def key(point: Point) -> tuple[Any, ...]:
    return tuple(point.values())


def check(point: Point, axes: dict[str, Axis]) -> None:
    assert set(point) == set(axes)
    for name, value in point.items():
        axis = axes[name]
        assert type(value) is (int if axis.is_whole else float)
        assert math.isfinite(value)
        assert axis.low <= value <= axis.high


def seen(axes: dict[str, Axis], count: int, targets: Any, seed: int = 1) -> list[Observation]:
    random = rng(seed)
    points = [random_point(axes, random) for _ in range(count)]
    return [Observation(each, targets(number, each)) for number, each in enumerate(points)]


@given(st.integers(1, 1000), st.integers(0, 5000), st.data())
def test_an_integer_comes_back_from_its_place(low: int, width: int, data: st.DataObject) -> None:
    value = data.draw(st.integers(low, low + width))
    for kind in ("randint", "lograndint", "choice"):
        axis = Axis(low, low + width, kind)
        unit = axis.to_unit(value)
        assert 0 < unit < 1
        assert axis.from_unit(unit) == value


@given(st.floats(0, 1))
def test_a_float_comes_back_from_its_place(part: float) -> None:
    for axis in (AXES["u"], AXES["lu"]):
        value = axis.low + part * (axis.high - axis.low)
        assert axis.from_unit(axis.to_unit(value)) == pytest.approx(value, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("axis", AXES.values(), ids=list(AXES))
def test_the_ends_of_the_interval_are_the_bounds(axis: Axis) -> None:
    assert axis.from_unit(0.0) == pytest.approx(axis.low)
    assert axis.from_unit(1.0) == pytest.approx(axis.high)
    for unit in (-0.5, -1e-12, 1.0 + 1e-12, 7.0):
        assert axis.low <= axis.from_unit(unit) <= axis.high


@pytest.mark.parametrize("kind", ["randint", "choice"])
def test_integers_have_equal_chances(kind: str) -> None:
    axis = Axis(3, 7, kind)
    values = Counter(axis.from_unit((np.arange(5_000) + 0.5) / 5_000).tolist())
    assert values == {3: 1000, 4: 1000, 5: 1000, 6: 1000, 7: 1000}


def test_integers_on_the_log_scale_have_the_chances_that_tune_gives_them() -> None:
    axis = Axis(1, 7, "lograndint")
    values = Counter(axis.from_unit((np.arange(3_000) + 0.5) / 3_000).tolist())
    for value in range(1, 8):
        assert values[value] == pytest.approx(3_000 * math.log2((value + 1) / value) / 3, abs=2)


def test_the_middle_of_a_log_axis_is_the_geometric_mean() -> None:
    assert AXES["lu"].from_unit(0.5) == pytest.approx(1e-3)
    assert AXES["u"].from_unit(0.5) == pytest.approx(0.5)


def test_snapping_goes_to_the_place_of_a_value_that_there_is() -> None:
    axis = AXES["ri"]
    units = np.linspace(0, 1, 50)
    snapped = axis.snapped(units)
    assert (axis.from_unit(snapped) == axis.from_unit(units)).all()
    assert len(set(np.round(snapped, 9))) == 9
    assert AXES["u"].snapped(0.123) == 0.123


def test_random_points_are_in_bounds_and_in_pythons_types() -> None:
    random = rng()
    for _ in range(100):
        check(random_point(AXES, random), AXES)


TARGETS = {
    "different": lambda number, point: float(point["u"]),
    "equal": lambda number, point: 1.0,
    "one": lambda number, point: 2.0 if number == 3 else None,
    "none": lambda number, point: None,
    "with failures": lambda number, point: None if number % 3 else float(number),
    "huge": lambda number, point: 1e200 * point["u"],
    "as large as floats are": lambda number, point: 1.7e308 * (-1) ** number,
    "tiny": lambda number, point: 1e-300 * number,
    "with an outlier": lambda number, point: 1e30 if number == 5 else float(number),
    "nearly equal": lambda number, point: 1e15 + number % 2,
}


@pytest.mark.parametrize("targets", TARGETS.values(), ids=list(TARGETS))
@pytest.mark.parametrize("count", [1, 15])
def test_suggestions_are_finite_and_in_bounds_whatever_came_of_the_others(
    targets: Any, count: int
) -> None:
    observations = seen(AXES, count, targets)
    random = rng()
    for _ in range(2):
        point = suggest(AXES, observations, random)
        check(point, AXES)
        assert key(point) not in {key(each.point) for each in observations}
        observations.append(Observation(point, None))


def test_the_same_random_state_gives_the_same_point() -> None:
    observations = seen(AXES, 12, TARGETS["different"])
    assert suggest(AXES, observations, rng(3)) == suggest(AXES, observations, rng(3))


def test_the_order_of_targets_is_followed_to_the_maximum() -> None:
    observations = [Observation({"x": x}, -((x - 0.7) ** 2)) for x in np.linspace(0, 1, 8)]
    random = rng()
    for _ in range(4):
        point = suggest(LINE, observations, random)
        observations.append(Observation(point, -((point["x"] - 0.7) ** 2)))
    assert point["x"] == pytest.approx(0.7, abs=0.1)


def test_nothing_is_looked_at_twice_while_there_is_something_else() -> None:
    axes = {name: Axis(0, 2, "choice") for name in "ab"} | {"n": Axis(1, 2, "randint")}
    for targets in (TARGETS["none"], TARGETS["equal"], lambda n, point: float(sum(point.values()))):
        observations: list[Observation] = []
        random = rng()
        for number in range(18):
            point = suggest(axes, observations, random)
            assert key(point) not in {key(each.point) for each in observations}
            observations.append(Observation(point, targets(number, point)))


@pytest.mark.parametrize("axis", [Axis(1, 200, "lograndint"), Axis(0, 299, "randint")])
@pytest.mark.parametrize("target", [None, 1.0])
def test_the_last_value_that_is_left_is_found(axis: Axis, target: float | None) -> None:
    taken = [Observation({"n": n}, target) for n in range(int(axis.low), int(axis.high))]
    for seed in range(5):
        assert suggest({"n": axis}, taken, rng(seed)) == {"n": axis.high}


def test_a_space_that_is_used_up_still_gives_points() -> None:
    observations = [Observation({"c": option}, float(option)) for option in range(3)]
    random = rng()
    for _ in range(5):
        point = suggest(BIT, observations, random)
        check(point, BIT)
        observations.append(Observation(point, float(point["c"])))


def test_points_that_are_being_tried_are_kept_away_from() -> None:
    observations = seen(LINE, 10, lambda number, point: -((point["x"] - 0.5) ** 2))
    random = rng()
    points = []
    for _ in range(5):
        points.append(suggest(LINE, observations, random))
        observations.append(Observation(points[-1], None))
    assert len({key(point) for point in points}) == 5


def test_one_point_with_two_results_counts_with_their_mean() -> None:
    noisy = [Observation({"c": 0}, value) for value in (0.0, 10.0)]
    random = rng()
    point = suggest(BIT, [*noisy, Observation({"c": 1}, 4.0)], random)
    assert point == {"c": 2}


def test_many_observations_are_thinned_out_and_the_best_ones_kept() -> None:
    def target(number: int, point: Point) -> float:
        return -((float(point["x"]) - 0.7) ** 2)

    best = [Observation({"x": 0.7 + step / 100}, -((step / 100) ** 2)) for step in range(-3, 4)]
    observations = [*best, *seen(LINE, MAX_OBSERVATIONS + 50, target)]
    began = time.process_time()
    point = suggest(LINE, observations, rng())
    # 1 s on one core. Where numpy's threads wait for each other it takes half a minute, and
    # Tune stands still meanwhile.
    assert time.process_time() - began < 6
    check(point, LINE)
    assert key(point) not in {key(each.point) for each in observations}
    assert point["x"] == pytest.approx(0.7, abs=0.2)
