"""The arithmetic of quantized hyperparameters."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_synapse.config import grids

QUICK = settings(max_examples=200, deadline=None)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def short_bounds(draw):
    """Bounds of up to six digits, as people write them."""
    low, high = sorted(
        draw(st.lists(st.integers(-99_999, 99_999), min_size=2, max_size=2, unique=True))
    )
    exponent = draw(st.integers(-9, 6))
    return float(f"{low}e{exponent}"), float(f"{high}e{exponent}")


def exact(number):
    """The decimal number that is written, not the binary one next to it."""
    return Fraction(repr(number))


@pytest.mark.parametrize(
    ("low", "high", "q"),
    [
        (0.0001, 0.01, 0.0001),
        (0, 1, 0.1),
        (0.0, 1.0, 0.1),
        (0, 10, 1.0),
        (0, 9, 0.1),
        (1, 10, 0.1),
        (1, 11, 1.0),
        (0.5, 1, 0.01),
        (-1, 1, 0.1),
        (-0.3, 0, 0.01),
        (100, 300, 10.0),
        (100, 1100, 100.0),
        (5, 500, 1.0),
        (0.25, 0.75, 0.01),
        (1e-9, 1e-8, 1e-10),
        (1e9, 2e9, 1e8),
        (0, 1e300, 1e299),
    ],
)
def test_the_default_q_is_a_power_of_ten_that_leaves_ten_steps(low, high, q):
    assert grids.default_q(low, high) == q


@pytest.mark.parametrize(
    ("low", "high"), [(1 / 3, 2 / 3), (0, math.pi), (-math.pi, math.e), (1e-300, 1), (0, 5e-324)]
)
def test_bounds_that_no_sensible_power_of_ten_divides_have_no_default(low, high):
    assert grids.default_q(low, high) is None


@QUICK
@given(short_bounds())
def test_a_default_q_is_the_largest_that_keeps_its_promise(bounds):
    low, high = bounds
    q = grids.default_q(low, high)
    assert q is not None

    def fits(step):
        multiples = all((exact(each) / step).denominator == 1 for each in bounds)
        return multiples and (exact(high) - exact(low)) / step >= 10

    step = exact(q)
    assert set(str(step.numerator * step.denominator)) <= {"0", "1"}
    assert fits(step)
    assert not fits(step * 10)
    assert grids.divides(q, low)
    assert grids.divides(q, high)


@QUICK
@given(FINITE, FINITE)
def test_a_default_q_divides_both_bounds_whatever_they_are(one, other):
    low, high = min(one, other), max(one, other)
    if low == high or not math.isfinite(high - low):
        return
    q = grids.default_q(low, high)
    assert q is None or (q > 0 and grids.divides(q, low) and grids.divides(q, high))


@pytest.mark.parametrize(
    ("sd", "q"),
    [
        (1, 0.1),
        (2, 0.1),
        (9.99, 0.1),
        (10, 1.0),
        (0.5, 0.01),
        (0.1, 0.01),
        (100, 10.0),
        (3e-9, 1e-10),
    ],
)
def test_the_default_q_of_a_normal_one_is_the_power_of_ten_at_or_below_a_tenth_of_sd(sd, q):
    assert grids.default_q_of_normal(sd) == q


@QUICK
@given(st.floats(1e-300, 1e300))
def test_a_tenth_of_sd_is_between_its_default_q_and_ten_times_that(sd):
    q = exact(grids.default_q_of_normal(sd))
    assert q <= exact(sd) / 10 < 10 * q


@pytest.mark.parametrize(
    ("low", "high", "q"),
    [
        (0, math.pi, math.pi / 10),
        (-math.pi, 0, math.pi / 10),
        (1 / 3, 2 / 3, 1 / 30),
        (-1 / 3, 1 / 3, 1 / 15),
        (math.pi, 2 * math.pi, math.pi / 10),
        (math.pi, 100 * math.pi, math.pi),
    ],
)
def test_a_q_is_suggested_where_the_bounds_have_a_simple_ratio(low, high, q):
    assert grids.suggested_q(low, high) == pytest.approx(q, rel=1e-12)


@pytest.mark.parametrize(("low", "high"), [(1, math.pi), (1e-300, 1e300), (5e-324, 1)])
def test_no_q_is_suggested_where_they_have_not(low, high):
    assert grids.suggested_q(low, high) is None


@pytest.mark.parametrize(("low", "high"), [(0, 5e-324), (0, 1e-323), (-5e-324, 0)])
def test_a_suggested_q_is_never_zero(low, high):
    assert grids.suggested_q(low, high) is None


@QUICK
@given(
    st.one_of(
        st.tuples(FINITE, FINITE),
        st.tuples(FINITE, st.fractions(-10, 10, max_denominator=50)).map(
            lambda pair: (pair[0], float(pair[0]) * float(pair[1]))
        ),
        FINITE.map(lambda bound: (0.0, bound)),
    )
)
def test_a_suggested_q_is_always_one_that_is_allowed(bounds):
    low, high = sorted(bounds)
    if low == high or not math.isfinite(high - low) or high - low < 1e-300:
        return
    q = grids.suggested_q(low, high)
    if q is not None:
        assert q > 0
        assert grids.divides(q, low)
        assert grids.divides(q, high)
        assert (high - low) / q >= 10 - 1e-6


@pytest.mark.parametrize(
    ("q", "bound"),
    [(0.1, 0.3), (0.1, 0), (0.1, -0.7), (0.0001, 0.01), (0.3, 0.9), (3, 9), (1e-4, 1e4), (2.5, 10)],
)
def test_a_q_divides_its_multiples_in_spite_of_the_noise_of_floats(q, bound):
    assert grids.divides(q, bound)


@pytest.mark.parametrize(
    ("q", "bound"),
    [
        (0.3, 1),
        (0.1, 0.35),
        (2, 9),
        (1e-4, 0.00015),
        (0.1, 0.10001),
        (2.0, 1.0),
        (1e-300, 1),
        (1e-20, 1),
    ],
)
def test_a_q_does_not_divide_what_is_between_its_multiples_or_too_far_from_it(q, bound):
    assert not grids.divides(q, bound)


def test_a_bound_that_is_almost_a_multiple_of_a_fine_q_is_none():
    assert grids.divides(1e-6, 1_000)
    assert not grids.divides(1e-6, 1_000.0000005)


def test_a_value_of_the_grid_has_no_noise():
    assert 3 * 0.1 != 0.3
    assert grids.grid_value(3, 0.1) == 0.3
    assert grids.grid_value(7, 0.0001) == 0.0007
    assert grids.grid_value(-3, 0.1) == -0.3
    assert grids.grid_value(0, 0.1) == 0
    assert grids.grid_value(4, 2) == 8
    assert isinstance(grids.grid_value(4, 2), float)


@QUICK
@given(st.integers(-(10**6), 10**6), st.integers(1, 999), st.integers(-9, 6))
def test_a_value_of_the_grid_is_the_decimal_product(index, digits, exponent):
    q = float(f"{digits}e{exponent}")
    assert grids.grid_value(index, q) == float(index * exact(q))


@pytest.mark.parametrize(
    ("low", "high", "q", "indices"),
    [
        (0, 1, 0.1, (0, 10)),
        (0.3, 0.7, 0.1, (3, 7)),
        (-0.7, 0.3, 0.1, (-7, 3)),
        (1, 10, 3, (1, 3)),
        (0.05, 0.95, 0.1, (1, 9)),
        (0.0001, 0.01, 0.0001, (1, 100)),
        (5, 5.5, 1, (5, 5)),
        (0.2, 0.8, 1, (1, 0)),
    ],
)
def test_the_first_and_the_last_multiple_are_within_the_bounds(low, high, q, indices):
    assert grids.first_and_last(low, high, q) == indices


@QUICK
@given(st.integers(-(10**6), 10**6), st.integers(0, 10**6), st.integers(1, 999), st.integers(-9, 6))
def test_bounds_on_the_grid_are_its_first_and_last_value(first, count, digits, exponent):
    q, last = float(f"{digits}e{exponent}"), first + count
    low, high = grids.grid_value(first, q), grids.grid_value(last, q)
    assert grids.first_and_last(low, high, q) == (first, last)
