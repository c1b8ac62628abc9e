"""Any Python value to what JSON can carry."""

import collections
import dataclasses
import enum
import functools
import json
import math
import types
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_synapse.values import (
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_TEXT_CHARS,
    as_number,
    dumps,
    flatten,
    is_finite,
    to_wire,
)


class Color(enum.Enum):
    RED = "red"
    NESTED = ("a", 1)
    BROKEN = math.nan


class Level(enum.IntEnum):
    HIGH = 3


class Flags(enum.Flag):
    A = 1
    B = 2


class Word(str):
    __slots__ = ()


class Whole(int):
    pass


@dataclasses.dataclass
class Layer:
    width: int
    rate: float = math.nan


@dataclasses.dataclass
class Net:
    layers: list[Layer]
    name: str = "net"


class Point(NamedTuple):
    x: int
    y: float


class SilentRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class Raising(collections.UserDict[str, int]):
    def __iter__(self) -> Iterator[str]:
        raise OSError("gone")


class NoClass:
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("a proxy of nothing")


def named(config: dict[str, Any]) -> None:
    """A function, as a config may hold one."""


def on_the_wire(value: Any) -> Any:
    """What the other side reads."""
    text = dumps(to_wire(value))
    text.encode("utf-8")
    return json.loads(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (0, 0),
        (-7, -7),
        (2**70, 2**70),
        (0.5, 0.5),
        (math.nan, None),
        (math.inf, None),
        (-math.inf, None),
        ("text", "text"),
        ("größe", "größe"),
        (Decimal("0.25"), 0.25),
        (Decimal("NaN"), None),
        (Decimal("-Infinity"), None),
        (Decimal("1e400"), None),
        (Fraction(1, 4), 0.25),
        (Path("/a/b"), "/a/b"),
        (PurePosixPath("x"), "x"),
        (PureWindowsPath("c:\\x"), "c:\\x"),
        (Color.RED, "red"),
        (Color.NESTED, ["a", 1]),
        (Color.BROKEN, None),
        (Level.HIGH, 3),
        (Flags.A | Flags.B, 3),
        (Word("word"), "word"),
        (Whole(5), 5),
        (Layer(3), {"width": 3, "rate": None}),
        (
            Net([Layer(1, 0.5)]),
            {"layers": [{"width": 1, "rate": 0.5}], "name": "net"},
        ),
        (Point(1, math.inf), [1, None]),
        ([1, [2, (3,)]], [1, [2, [3]]]),
        ({1}, [1]),
        (frozenset(("a",)), ["a"]),
        ({"a": {"b": [math.nan]}}, {"a": {"b": [None]}}),
        ({1: "int", None: "none", 0.5: "half"}, {"1": "int", "None": "none", "0.5": "half"}),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (date(2024, 1, 2), "2024-01-02"),
        (datetime(2024, 1, 2, 3, tzinfo=timezone.utc), "2024-01-02T03:00:00+00:00"),
        (time(3, 4), "03:04:00"),
        (timedelta(minutes=1), 60.0),
        (b"12345", "<5 bytes>"),
        (bytearray(2000), "<2,000 bytes>"),
        (1 + 2j, "(1+2j)"),
        (range(3), "range(0, 3)"),
        ([], []),
        ({}, {}),
        ("", ""),
    ],
    ids=repr,
)
def test_a_value_becomes_its_plain_form(value: Any, expected: Any) -> None:
    wire = on_the_wire(value)
    assert wire == expected
    assert type(wire) is type(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.float64("nan"), None),
        (np.float16("inf"), None),
        (np.int64(3), 3),
        (np.uint8(255), 255),
        (np.bool_(True), True),
        (np.str_("text"), "text"),
        (np.array(7), 7),
        (np.array([1, 2]), [1, 2]),
        (np.array([[0.5, np.nan]]), [[0.5, None]]),
        (np.array(["a", None], dtype=object), ["a", None]),
        (np.datetime64("2024-01-02"), "2024-01-02"),
        (np.datetime64("NaT", "ns"), None),
        (np.zeros((100, 100)), "<ndarray of shape (100, 100)>"),
        (np.complex64(1), "(1+0j)"),
        ({np.int64(3): np.float32(1)}, {"3": 1.0}),
    ],
    ids=repr,
)
def test_a_numpy_value_becomes_pythons(value: Any, expected: Any) -> None:
    wire = on_the_wire(value)
    assert wire == expected
    assert type(wire) is type(expected)


def test_a_torch_value_becomes_pythons() -> None:
    torch = pytest.importorskip("torch")
    assert on_the_wire(torch.tensor(0.5)) == 0.5
    assert on_the_wire(torch.tensor(0.5, requires_grad=True)) == 0.5
    assert on_the_wire(torch.tensor(0.5, dtype=torch.bfloat16)) == 0.5
    assert on_the_wire(torch.tensor(float("nan"))) is None
    assert on_the_wire(torch.tensor(True)) is True
    assert type(on_the_wire(torch.tensor(3))) is int
    assert on_the_wire(torch.tensor([1, 2])) == [1, 2]
    assert on_the_wire(torch.zeros(50, 50)) == "<Tensor of shape (50, 50)>"
    assert on_the_wire(torch.float32) == "torch.float32"
    assert isinstance(on_the_wire(torch.empty((), device="meta")), str)
    assert isinstance(on_the_wire(torch.nn.Linear(1, 1)), str)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (named, "named"),
        (lambda config: 0, "<lambda>"),
        (functools.partial(named, {}), "functools.partial"),
        (Layer, "Layer"),
        (len, "builtins.len"),
        (math.sqrt, "math.sqrt"),
        ([].append, "append"),
    ],
    ids=repr,
)
def test_a_callable_is_given_by_its_name(value: Any, name: str) -> None:
    wire = on_the_wire(value)
    assert wire.endswith(name)
    assert " at 0x" not in wire  # which would differ in every process


@pytest.mark.parametrize(
    "value",
    [
        SilentRepr(),
        [SilentRepr()],
        {"a": SilentRepr()},
        Raising({"a": 1}),
        Decimal("sNaN"),
        Fraction(10**400),
        Whole(10**5000),
        10**5000,
        np.array([SilentRepr()], dtype=object),
        types.SimpleNamespace(shape=()),
        types.SimpleNamespace(shape=("a",), tolist=list),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_refuses_is_still_something_on_the_wire(value: Any) -> None:
    assert on_the_wire(value) is not None


def test_a_proxy_of_nothing_is_still_something_on_the_wire() -> None:
    assert on_the_wire([NoClass(), 1])[1] == 1


def test_one_bad_item_does_not_take_its_neighbours_along() -> None:
    wire = on_the_wire({"lr": 0.1, "bad": SilentRepr(), "width": 3})
    assert (wire["lr"], wire["width"]) == (0.1, 3)
    assert "SilentRepr" in wire["bad"]


def test_a_cyclic_value_ends() -> None:
    cycle: list[Any] = [1]
    cycle.append(cycle)
    wide: dict[str, Any] = {"x": 1}
    wide.update(a=wide, b=[wide, wide])
    assert "…" in dumps(to_wire(cycle))
    assert "…" in dumps(to_wire(wide))


def test_a_text_of_10_mb_is_cut_and_says_so() -> None:
    wire = on_the_wire("x" * 10_000_000)
    assert len(wire) <= MAX_TEXT_CHARS
    assert wire.startswith("xxx")
    assert wire.endswith("x… (10,000,000 characters)")
    nested = dumps(to_wire({"x" * 10_000_000: ["y" * 10_000_000]}))
    assert len(nested) < 3 * MAX_TEXT_CHARS


def test_a_text_of_the_greatest_length_is_whole() -> None:
    assert to_wire("x" * MAX_TEXT_CHARS) == "x" * MAX_TEXT_CHARS
    assert to_wire("x" * 1_000, max_chars=30) == "xxxxxxxxxxxx… (1,000 characters)"[-30:]


def test_a_long_list_or_dict_is_cut_and_says_by_how_much() -> None:
    assert on_the_wire(list(range(MAX_ITEMS))) == list(range(MAX_ITEMS))
    wire = on_the_wire(list(range(MAX_ITEMS + 1_234)))
    assert wire[:-1] == list(range(len(wire) - 1))
    assert wire[-1] == f"… {MAX_ITEMS + 1_234 - (len(wire) - 1):,} more"
    keyed = on_the_wire({str(key): 0 for key in range(MAX_ITEMS + 1_234)})
    assert keyed["…"] == f"{MAX_ITEMS + 1_234 - (len(keyed) - 1):,} more"


def test_a_huge_nested_value_stays_small() -> None:
    value: Any = list(range(MAX_ITEMS))
    for _ in range(4):
        value = [value] * MAX_ITEMS
    assert len(dumps(to_wire(value))) < 1_000_000


def test_a_deep_value_is_cut() -> None:
    value: Any = "bottom"
    for _ in range(MAX_DEPTH + 5):
        value = [value]
    text = dumps(to_wire(value))
    assert "…" in text
    assert "bottom" not in text


def test_an_integer_is_no_float_on_the_wire() -> None:
    for value in (3, np.int32(3), Level.HIGH, Whole(3)):
        assert dumps(to_wire(value)) == "3"
    assert dumps(to_wire(3.0)) == "3.0"


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "x\udcff", "😀", "\u2028"])
def test_a_text_that_a_database_refuses_is_made_readable(text: str) -> None:
    for value in (text, {text: text}):
        assert "\x00" not in json.dumps(on_the_wire(value), ensure_ascii=False)
        assert "\\u0000" not in dumps(to_wire(value))


@pytest.mark.parametrize("text", ["\ud800", "x\udcff"])
def test_json_text_can_always_be_written_as_utf8(text: str) -> None:
    """Also what did not come through to_wire, such as the name of a column."""
    dumps({text: [text]}).encode("utf-8")


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.decimals()
    | st.fractions()
    | st.complex_numbers()
    | st.dates()
    | st.datetimes()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.sampled_from([*Color, *Level, named, Layer, NotImplemented, ..., object()])
    | st.floats(width=32).map(np.float32)
    | st.integers(-(2**63), 2**63 - 1).map(np.int64)
    | st.lists(st.floats(), max_size=5).map(np.array)
    | st.builds(Layer, st.integers(), st.floats())
    | st.builds(SilentRepr)
)
KEYS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS | st.tuples(KEYS, KEYS), inner, max_size=5)
        | st.builds(types.SimpleNamespace, a=inner)
        | st.frozensets(KEYS, max_size=4)
    ),
    max_leaves=15,
)


@settings(deadline=None, max_examples=300)
@given(ANYTHING)
def test_whatever_it_is_the_result_is_valid_json(value: Any) -> None:
    text = json.dumps(to_wire(value), allow_nan=False)
    assert json.loads(text) == json.loads(dumps(to_wire(value)))


@settings(deadline=None)
@given(ANYTHING)
def test_what_is_on_the_wire_once_stays_the_same_on_the_wire(value: Any) -> None:
    once = to_wire(value)
    assert dumps(to_wire(once)) == dumps(once)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0),
        (0.0, 0.0),
        (np.float32(0.5), 0.5),
        (np.int64(2), 2),
        (np.array(2.5), 2.5),
        (Decimal("0.5"), 0.5),
        (Fraction(1, 2), 0.5),
        (Level.HIGH, 3),
        (math.inf, math.inf),
        (True, None),
        (np.bool_(True), None),
        ("1", None),
        (None, None),
        ([1], None),
        (np.array([1]), None),
        (1j, None),
        (Layer(1), None),
    ],
    ids=repr,
)
def test_a_number_is_told_from_what_is_none(value: Any, number: Any) -> None:
    assert as_number(value) == number
    assert type(as_number(value)) is type(number)


def test_nan_stays_a_number_so_that_it_can_be_told_from_nothing() -> None:
    number = as_number(np.float32("nan"))
    assert number is not None
    assert math.isnan(number)


def test_a_torch_scalar_is_a_number() -> None:
    torch = pytest.importorskip("torch")
    assert as_number(torch.tensor(0.5, requires_grad=True)) == 0.5
    assert as_number(torch.tensor([0.5])) is None
    assert as_number(torch.tensor(True)) is None
    assert as_number(torch.empty((), device="meta")) is None


@pytest.mark.parametrize(
    ("value", "finite"),
    [
        *((value, True) for value in (1, 0.0, np.float32(1), Decimal(2))),
        *((value, False) for value in (math.nan, math.inf, None, "1", True, Decimal("NaN"))),
    ],
    ids=repr,
)
def test_only_a_finite_number_is_finite(value: Any, finite: bool) -> None:
    assert is_finite(value) is finite


@pytest.mark.parametrize(
    "value", [Decimal("sNaN"), Fraction(10**400), 10**400, -(10**400)], ids=lambda v: str(v)[:9]
)
def test_a_number_that_no_float_can_hold_does_not_raise(value: Any) -> None:
    as_number(value)
    assert isinstance(is_finite(value), bool)


def test_nested_mappings_are_joined_with_slashes() -> None:
    nested = {"a": 1, "b": {"c": {"d": 2}, "e": 3}, 4: {5: 6}}
    assert flatten(nested) == {"a": 1, "b/c/d": 2, "b/e": 3, "4/5": 6}
    assert list(flatten(nested)) == ["a", "b/c/d", "b/e", "4/5"]


def test_flattening_keeps_an_empty_mapping_and_what_is_in_lists() -> None:
    assert flatten({"a": {}, "b": [{"c": 1}]}) == {"a": {}, "b": [{"c": 1}]}
    assert flatten({}) == {}


def test_flattening_a_mapping_that_holds_itself_ends() -> None:
    cycle: dict[str, Any] = {"x": 1}
    cycle["self"] = cycle
    flat = flatten(cycle)
    assert flat["x"] == flat["self/x"] == 1
    assert len(flat) < 2 * MAX_DEPTH + 5
