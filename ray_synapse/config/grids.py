"""The arithmetic of quantized hyperparameters: which q fits, and the values of its grid."""

import math
from decimal import Decimal
from fractions import Fraction

MIN_STEPS = 10  # of a default q between the bounds (the platform's rule)
MAX_STEPS = 10**9  # of a default q up to a bound: Tune compares to 9 digits, a finer grid is none
MAX_INDEX = 2**53  # from here on a float cannot tell a grid value from its neighbour
MAX_DENOMINATOR = 1_000  # of the ratio of two bounds, for a q that can be suggested


def divides(q: float, bound: float) -> bool:
    """Whether the bound is a multiple of q, as exactly as floats can say."""
    index = bound / q
    if not math.isfinite(index) or abs(index) > MAX_INDEX:
        return False
    nearest = round(index)
    return math.isclose(index, nearest) and abs(index - nearest) <= 1e-6


def default_q(low: float, high: float) -> float | None:
    """The largest power of ten that divides both bounds and leaves at least ten steps.

    Returns:
        E.g. 0.0001 for 0.0001..0.01 and 0.1 for 0..1; None if no sensible power of ten divides
        both (1/3, pi).
    """
    first, last = Decimal(repr(low)), Decimal(repr(high))
    exponent = min(_last_digit(each) for each in (first, last) if each)
    while (last - first).scaleb(-exponent) < MIN_STEPS:
        exponent -= 1
    if max(abs(first), abs(last)).scaleb(-exponent) > MAX_STEPS:
        return None
    return float(Decimal(1).scaleb(exponent)) or None


def default_q_of_normal(sd: float) -> float:
    """The power of ten at or below a tenth of the standard deviation."""
    return float(Decimal(1).scaleb((Decimal(repr(sd)) / 10).adjusted()))


def suggested_q(low: float, high: float) -> float | None:
    """A q that divides both bounds in at least ten steps, if their ratio is a simple one."""
    if low == 0 or high == 0:
        return (high - low) / MIN_STEPS or None
    if not math.isfinite(high / low):
        return None
    ratio = Fraction(high / low).limit_denominator(MAX_DENOMINATOR)
    unit = abs(low) / ratio.denominator
    steps = round((high - low) / unit)
    q = unit / math.ceil(MIN_STEPS / steps) if steps else 0.0
    if not q or max(abs(low), abs(high)) / q > MAX_STEPS:
        return None
    return q if divides(q, low) and divides(q, high) else None


def first_and_last(low: float, high: float, q: float) -> tuple[int, int]:
    """The indices of the first and the last multiple of q within the bounds."""
    return math.ceil(low / q - 1e-6), math.floor(high / q + 1e-6)


def grid_value(index: int, q: float) -> float:
    """The grid's value without the noise of a float product: 3 x 0.1 is 0.3."""
    return float(Decimal(repr(q)) * index)


def _last_digit(number: Decimal) -> int:
    """The exponent of the last digit that is not zero: -4 for 0.0001, 2 for 300."""
    exponent = number.normalize().as_tuple().exponent
    assert isinstance(exponent, int)  # text for NaN and infinities only
    return exponent
