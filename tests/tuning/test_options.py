"""Options from JSON, checked against the constructor that takes them."""

import re
from typing import Any

import pytest

from ray_synapse.errors import ConfigError
from ray_synapse.tuning.options import build, check_options, parameters_of


class Made:
    def __init__(
        self,
        needed: int,
        number: float = 0.5,
        whole: int | None = None,
        flag: bool = False,
        text: str = "a",
        either: int | str = 1,
        bounds: tuple[int, ...] = (1, 2),
        items: list[int] | None = None,
        table: dict[str, int] | None = None,
        thing: object = object(),
        free=None,
        **more: Any,
    ) -> None:
        self.given = {"needed": needed, "number": number, "whole": whole, "bounds": bounds}
        if number < 0:
            raise AssertionError("`number` must not be negative")
        if whole == 13:
            raise ValueError
        if whole == 14:
            raise ConfigError("said already")


KNOWN = parameters_of(Made)


def check(options: dict[str, Any], **elsewhere: str) -> dict[str, Any]:
    return check_options("searcher x", options, KNOWN, elsewhere)


def faults_of(options: dict[str, Any], **elsewhere: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        check(options, **elsewhere)
    return caught.value.faults


def test_the_named_parameters_are_known_those_of_the_first_class_first() -> None:
    def other(extra: int = 1, number: str = "theirs", *args: Any, **kwargs: Any) -> None: ...

    known = parameters_of(Made, other)
    assert list(known)[:3] == ["needed", "number", "whole"]
    assert list(known)[-1] == "extra"
    assert known["number"].default == 0.5
    assert not {"more", "args", "kwargs", "self"} & set(known)


def test_options_with_their_place_elsewhere_are_not_listed_as_valid_ones() -> None:
    (fault,) = faults_of({"numbr": 1}, text="there", flag="there")
    assert "number=0.5" in fault
    assert not re.search(r"\b(text|flag)\b", fault)


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("number", 3, 3),
        ("number", 0.25, 0.25),
        ("whole", 3, 3),
        ("whole", 3.0, 3),
        ("whole", None, None),
        ("flag", True, True),
        ("text", "b", "b"),
        ("either", "b", "b"),
        ("either", 2, 2),
        ("bounds", [3, 4], (3, 4)),
        ("bounds", (3, 4), (3, 4)),
        ("items", [1], [1]),
        ("table", {"a": 1}, {"a": 1}),
        ("thing", "anything", "anything"),
        ("free", {"any": "thing"}, {"any": "thing"}),
    ],
)
def test_a_fitting_option_comes_in_the_type_of_its_parameter(
    option: str, value: Any, wanted: Any
) -> None:
    checked = check({option: value})[option]
    assert checked == wanted
    assert type(checked) is type(wanted)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("number", "0.5", 'option `number` is "0.5": write a number'),
        ("number", True, "option `number` is true: write a number"),
        ("number", None, "option `number` is null: write a number"),
        ("whole", 2.5, "option `whole` is 2.5: write a whole number"),
        ("whole", "3", 'option `whole` is "3": write a whole number'),
        ("whole", False, "option `whole` is false: write a whole number"),
        ("whole", float("nan"), "option `whole` is nan: write a whole number"),
        ("whole", float("inf"), "option `whole` is inf: write a whole number"),
        ("flag", 1, "option `flag` is 1: write true or false"),
        ("flag", "yes", 'option `flag` is "yes": write true or false'),
        ("text", 5, "option `text` is 5: write a text"),
        ("either", [1], "option `either` is [1]: write a whole number or a text"),
        ("bounds", 3, "option `bounds` is 3: write a list"),
        ("items", "abc", 'option `items` is "abc": write a list'),
        ("table", [1], "option `table` is [1]: write an object"),
    ],
)
def test_an_option_of_a_wrong_type_says_what_to_write(option: str, value: Any, said: str) -> None:
    assert faults_of({option: value}) == (f"searcher x: {said}",)


def test_an_unknown_option_lists_all_with_their_defaults_nearest_first() -> None:
    (fault,) = faults_of({"numbr": 1})
    assert (
        "searcher x: there is no option \"numbr\": did you mean 'number'? It has number=0.5"
        in fault
    )
    for each in (
        *("needed (needed)", "whole=null", "flag=false", 'text="a"', "bounds=[1,2]"),
        *("thing=object", "free=null"),
    ):
        assert each in fault


def test_an_option_like_no_other_gets_the_list_without_a_guess() -> None:
    (fault,) = faults_of({"zzz": 1})
    assert "did you mean" not in fault
    assert "It has " in fault


def test_what_has_no_options_says_so() -> None:
    with pytest.raises(ConfigError, match='there is no option "x": It has none'):
        check_options("fifo", {"x": 1}, {}, {})


def test_an_option_with_its_place_elsewhere_is_told_it_with_its_value() -> None:
    assert faults_of({"metric": "loss"}, metric="tune_config has it") == (
        'searcher x: `metric` is "loss" in its options: tune_config has it',
    )


def test_all_that_is_wrong_comes_at_once() -> None:
    assert len(faults_of({"numbr": 1, "whole": "x", "flag": 2, "metric": 1}, metric="there")) == 4


def test_no_options_are_fine() -> None:
    assert check({}) == {}


def test_building_gives_the_object() -> None:
    made = build("searcher x", Made, {"needed": 1, "bounds": (3, 4)})
    assert made.given == {"needed": 1, "number": 0.5, "whole": None, "bounds": (3, 4)}


def test_a_needed_option_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match="searcher x: it needs the option needed"):
        build("searcher x", Made, {"number": 1.0})


def test_what_the_constructor_raises_is_an_error_of_the_json() -> None:
    with pytest.raises(ConfigError, match="searcher x: `number` must not be negative") as caught:
        build("searcher x", Made, {"needed": 1, "number": -1.0})
    assert isinstance(caught.value.__cause__, AssertionError)


def test_an_error_without_words_is_named_by_its_type() -> None:
    with pytest.raises(ConfigError, match=r"searcher x: ValueError\(\)"):
        build("searcher x", Made, {"needed": 1, "whole": 13})


def test_our_own_error_is_passed_on_as_it_is() -> None:
    with pytest.raises(ConfigError) as caught:
        build("searcher x", Made, {"needed": 1, "whole": 14})
    assert str(caught.value) == "said already"
