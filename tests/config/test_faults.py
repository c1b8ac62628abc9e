"""How a fault of the JSON is found and said."""

import math

import pytest

from ray_synapse.config.faults import (
    MAX_SHOWN_CHARS,
    Faults,
    did_you_mean,
    is_json,
    nearest_first,
    shown,
)
from ray_synapse.errors import ConfigError, SynapseError


def test_without_a_fault_nothing_is_raised():
    faults = Faults()
    faults.raise_if_any()
    assert len(faults) == 0


def test_one_fault_is_the_whole_message():
    faults = Faults()
    faults.add("hyperparameter 'lr'", "`min` is missing")
    with pytest.raises(ConfigError) as caught:
        faults.raise_if_any()
    assert caught.value.faults == ("hyperparameter 'lr': `min` is missing",)
    assert str(caught.value) == "hyperparameter 'lr': `min` is missing"


def test_all_faults_come_in_one_error_in_their_order_and_counted():
    faults = Faults()
    faults.add("a", "one")
    faults.add("", "two")
    faults.include(ConfigError("b: three", "c: four"))
    assert len(faults) == 4
    with pytest.raises(ConfigError) as caught:
        faults.raise_if_any()
    assert caught.value.faults == ("a: one", "two", "b: three", "c: four")
    assert str(caught.value).splitlines() == [
        "4 faults:",
        "  - a: one",
        "  - two",
        "  - b: three",
        "  - c: four",
    ]


def test_the_error_is_a_value_error_and_one_of_the_package():
    assert issubclass(ConfigError, ValueError)
    assert issubclass(ConfigError, SynapseError)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (-1.5, "-1.5"),
        (0.0001, "0.0001"),
        ("x", '"x"'),
        ("", '""'),
        ([], "[]"),
        ({}, "{}"),
        ([1, "a", None], '[1,"a",null]'),
        ({"a": {"b": 1}}, '{"a":{"b":1}}'),
    ],
)
def test_a_wrong_value_is_shown_as_json_writes_it(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")]
)
def test_a_number_that_json_does_not_have_is_shown_all_the_same(value, text):
    assert shown(value).casefold().startswith(text)


@pytest.mark.parametrize(
    "value",
    ["x" * 1_000, list(range(1_000)), {str(index): index for index in range(1_000)}],
    ids=["text", "list", "object"],
)
def test_a_long_value_is_cut_to_its_beginning(value):
    text = shown(value)
    assert len(text) <= MAX_SHOWN_CHARS
    assert text[:5] in ('"xxxx', "[0,1,", '{"0":')


@pytest.mark.parametrize("value", [10**5_000, -(10**5_000), [10**5_000]], ids=["+", "-", "list"])
def test_an_integer_longer_than_python_writes_is_shown_too(value):
    assert 0 < len(shown(value)) <= MAX_SHOWN_CHARS


def test_a_large_number_is_not_cut_to_another_one():
    assert shown(10**400) == "a number of about 401 digits"


def test_objects_that_are_no_json_are_shown_without_an_error():
    loop = []
    loop.append(loop)
    for value in (object(), loop, b"bytes", {1, 2}, len):
        assert 0 < len(shown(value)) <= MAX_SHOWN_CHARS


@pytest.mark.parametrize(
    ("name", "known", "nearest"),
    [
        ("unifrom", ["randn", "quniform", "uniform"], "uniform"),
        ("UNIFORM", ["quniform", "uniform"], "uniform"),
        ("ashaa", ["fifo", "hyperband", "asha"], "asha"),
        ("hyper", ["optuna", "hyperopt"], "hyperopt"),
        ("metrc", ["mode", "metric"], "metric"),
    ],
)
def test_the_known_name_that_looks_most_like_it_is_first(name, known, nearest):
    names = nearest_first(name, known)
    assert names[0] == nearest
    assert sorted(names) == sorted(known)
    assert did_you_mean(name, known).startswith(f"did you mean '{nearest}'? (")


def test_names_that_are_equally_far_stay_in_their_order():
    assert nearest_first("zzz", ["b", "a", "c"]) == ["b", "a", "c"]


def test_all_known_names_are_listed_also_if_none_is_near():
    assert did_you_mean("zzz", ["b", "a"]) == "allowed: b, a"
    assert did_you_mean("", ["b", "a"]) == "allowed: b, a"
    assert did_you_mean("ab", ["ab", "xy"]) == "did you mean 'ab'? (ab, xy)"


def test_with_no_known_name_it_says_so():
    assert did_you_mean("x", []) == "there is none to choose from"


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -1.5, 10**300, "ä", [], {}, [[{"a": [None]}]], (1, 2), {"": {"x": 1}}],
)
def test_what_json_carries_is_json(value):
    assert is_json(value)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        [1, [-math.inf]],
        {"a": math.nan},
        {1: 2},
        [{"a": {None: 1}}],
        ({True: 1},),
        {1, 2},
        b"x",
        object(),
        1j,
    ],
    ids=repr,
)
def test_what_json_cannot_carry_as_it_is_is_not_json(value):
    assert not is_json(value)


def test_a_value_that_contains_itself_or_is_too_deep_is_not_json():
    loop = []
    loop.append(loop)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert not is_json(loop)
    assert not is_json(deep)
