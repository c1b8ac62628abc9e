"""points_to_evaluate: tried first, as they are written, or refused."""

import copy
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from ray import tune

from ray_synapse.errors import ConfigError
from ray_synapse.tuning.search_space import create_param_space
from ray_synapse.tuning.searchers.create import create_searcher
from ray_synapse.tuning.searchers.points import check_points
from tests.tuning.searchers.test_table import ADVANCED, SEARCHERS, configs_of, driven, started

OPTIONS = ["a", 1, True, None, [1, 2], {"x": 1}, 0, False, 2.5, [], {}]
SPACE = [
    {"name": "u", "type": "uniform", "min": 0, "max": 1},
    {"name": "lu", "type": "loguniform", "min": 1e-5, "max": 1e-1, "base": 10},
    {"name": "qu", "type": "quniform", "min": 0, "max": 0.7, "q": 0.1},
    {"name": "ri", "type": "randint", "min": 1, "max": 4},
    {"name": "m/lri", "type": "lograndint", "min": 1, "max": 9, "base": 2},
    {"name": "m/deep/qlu", "type": "qloguniform", "min": 1e-3, "max": 1e-1, "base": 10},
    {"name": "m/deep/qri", "type": "qrandint", "min": 2, "max": 10, "q": 2},
    {"name": "m/qlri", "type": "qlograndint", "min": 2, "max": 8, "base": 2, "q": 2},
    {"name": "c", "type": "choice", "options": OPTIONS},
]


def point(choice: Any = "a", **values: Any) -> dict[str, Any]:
    deep = {"qlu": 0.005, "qri": 10}
    nested = {"lri": 8, "deep": deep, "qlri": 8}
    return {
        "u": 0.123456789012345,
        "lu": 0.0012345678901,
        "qu": 0.3,
        "ri": 3,
        "m": nested,
        "c": choice,
        **values,
    }


def is_same(first: Any, second: Any) -> bool:
    """Equal, and of the same types all the way down: True is not 1."""
    if isinstance(first, dict) and isinstance(second, dict):
        return set(first) == set(second) and all(is_same(first[key], second[key]) for key in first)
    return type(first) is type(second) and bool(first == second)


def fault_in(value: Any, *, space: Any = None, partial: bool = False) -> str:
    with pytest.raises(ConfigError) as caught:
        check_points(value, space or create_param_space(SPACE), partial=partial)
    (fault,) = caught.value.faults
    return fault


@pytest.mark.parametrize("name", SEARCHERS)
def test_points_come_first_in_order_and_exactly(name: str) -> None:
    points = [point(choice) for choice in OPTIONS]
    points += [point(u=0, lu=1e-5, qu=0, ri=1), point(u=1, lu=0.1, qu=0.7), point(qu=0.6)]
    given = copy.deepcopy(points)
    configs = configs_of(name, SPACE, len(points) + 1, points=given)
    assert given == points
    wanted = [{**each, "u": float(each["u"]), "qu": float(each["qu"])} for each in points]
    for config, each in zip(configs, wanted, strict=False):
        assert is_same(config, each)
    assert len(configs) == len(points) + 1


@pytest.mark.parametrize("name", SEARCHERS)
def test_points_are_exact_also_while_their_trials_run_at_once(name: str) -> None:
    points = [point(choice, u=0.1) for choice in OPTIONS]
    tune_config = {"num_samples": 20, "search_alg": {"name": name, "points_to_evaluate": points}}
    searcher = started(tune_config, SPACE)
    if name in ADVANCED:
        configs = [searcher.suggest(str(number)) for number in range(len(points))]
    else:
        configs = [searcher.next_trial().config for _ in points]
    assert all(map(is_same, configs, points))


@pytest.mark.parametrize("name", SEARCHERS)
def test_a_point_that_is_there_twice_is_tried_twice(name: str) -> None:
    points = [point(), point(), point(u=0.5), point()]
    assert configs_of(name, SPACE, 4, points=points) == points


@pytest.mark.parametrize("name", SEARCHERS)
def test_flat_names_and_nested_ones_are_the_same_point(name: str) -> None:
    flat = point()
    for key in ("lri", "qlri"):
        flat[f"m/{key}"] = flat["m"][key]
    flat |= {"m/deep/qlu": 0.005, "m/deep/qri": 10}
    half = {**flat, "m": {"deep": flat["m"]["deep"]}}
    del flat["m"]
    for key in ("m/deep/qlu", "m/deep/qri"):
        del half[key]
    assert configs_of(name, SPACE, 2, points=[flat, half]) == [point(), point()]


@pytest.mark.parametrize("name", SEARCHERS)
def test_a_single_object_is_a_list_of_one(name: str) -> None:
    assert is_same(configs_of(name, SPACE, 1, points=point([1, 2]))[0], point([1, 2]))


@pytest.mark.parametrize("name", SEARCHERS)
def test_numbers_come_in_the_type_of_the_hyperparameter(name: str) -> None:
    odd = point(ri=3.0, qu=Decimal("0.3"), u=np.float32(0.5))
    odd["m"]["lri"] = np.int64(8)
    assert is_same(configs_of(name, SPACE, 1, points=odd)[0], point(u=0.5))


@pytest.mark.parametrize("name", SEARCHERS)
@pytest.mark.parametrize("none", [None, [], ()])
def test_no_points_are_no_points(none: Any, name: str) -> None:
    assert configs_of(name, SPACE, 3, points=none) == configs_of(name, SPACE, 3)


@pytest.mark.parametrize("name", SEARCHERS)
def test_points_of_a_native_space_reach_into_its_lists(name: str) -> None:
    space = {"layers": [tune.choice([[8], [16]]), 5, {"n": tune.randint(0, 9)}], "fixed": 1}
    wanted = [[16], 5, {"n": 7}]
    for given in ({"layers": wanted}, {"layers/0": [16], "layers/2/n": 7, "fixed": 1}):
        (config,) = configs_of(name, space, 1, points=[given])
        assert is_same(config["layers"], wanted)
        assert all(map(is_same, config["layers"], wanted))


@pytest.mark.parametrize("name", SEARCHERS)
def test_an_option_may_be_a_function(name: str) -> None:
    functions = [lambda: 1, lambda: 2, [lambda: 3]]
    space = {"f": tune.choice(functions), "x": tune.uniform(0, 1)}
    points = [{"f": each, "x": 0.5} for each in functions[:2]]
    configs = configs_of(name, space, 2, points=points)
    assert [config["f"]() for config in configs] == [1, 2]


@pytest.mark.parametrize("name", ["basicvariantgenerator", "hyperopt"])
def test_points_of_normal_hyperparameters_are_exact(name: str) -> None:
    space = [
        {"name": "n", "type": "randn", "mean": 0, "sd": 1},
        {"name": "qn", "type": "qrandn", "mean": 0, "sd": 1, "q": 0.1},
    ]
    points = [{"n": 0.123456789, "qn": 0.3}, {"n": -7.5, "qn": -0.7}]
    assert configs_of(name, space, 2, points=points) == points


def test_a_partial_point_is_filled_up_by_the_basic_searcher() -> None:
    (config,) = configs_of("random", SPACE, 1, points={"c": [1, 2], "m/deep": {"qri": 4}})
    assert config["c"] == [1, 2]
    assert config["m"]["deep"]["qri"] == 4
    assert set(config["m"]) == set(point()["m"])
    assert 0 <= config["u"] <= 1


def test_a_point_fixes_its_part_of_the_grid() -> None:
    space = [
        {"name": "g", "type": "grid_search", "options": [1, [2], {"a": 3}]},
        {"name": "u", "type": "uniform", "min": 0, "max": 1},
    ]
    points = [{"g": {"a": 3}, "u": 0.5}, {"u": 0.25}, {"g": [2]}]
    configs = driven(
        started(
            {"num_samples": 4, "search_alg": {"points_to_evaluate": points, "name": "random"}},
            space,
        ),
        99,
    )
    assert configs[0] == {"g": {"a": 3}, "u": 0.5}
    assert configs[1:4] == [{"g": each, "u": 0.25} for each in (1, [2], {"a": 3})]
    assert configs[4]["g"] == [2]
    assert [config["g"] for config in configs[5:]] == [1, [2], {"a": 3}]


WRONG: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"uu": 0.5}, ("'uu' is not in the search space", "did you mean 'u'")),
    ({"m/dep/qri": 4}, ("'m/dep/qri'", "did you mean 'm/deep/qri'")),
    ({"c/x": 1}, ("'c/x' is not in the search space",)),
    ({"u": 1.5}, ("'u' is 1.5", "from 0.0 to 1.0")),
    ({"u": -1e-9}, ("'u' is -1e-09", "from 0.0 to 1.0")),
    ({"lu": 0.2}, ("'lu' is 0.2", "from 1e-05 to 0.1")),
    ({"qu": 0.8}, ("'qu' is 0.8", "from 0.0 to 0.7")),
    ({"qu": 0.25}, ("'qu' is 0.25", "multiple of q (0.1)", "e.g. 0.2")),
    ({"ri": 4}, ("'ri' is 4", "from 1 to 3")),
    ({"ri": 0}, ("'ri' is 0", "from 1 to 3")),
    ({"ri": 1.5}, ("'ri' is 1.5", "whole number")),
    ({"ri": "3"}, ("'ri' is \"3\"", "number")),
    ({"ri": True}, ("'ri' is true", "number")),
    ({"u": None}, ("'u' is null", "number")),
    ({"u": float("nan")}, ("'u' is nan", "finite number")),
    ({"u": float("inf")}, ("'u' is inf", "finite number")),
    ({"u": [0.5]}, ("'u' is [0.5]", "number")),
    ({"c": "b"}, ("'c' is \"b\"", "only has", '"a"', "null", "[1,2]")),
    ({"c": [2, 1]}, ("'c' is [2,1]", "only has")),
    ({"c": "1"}, ("'c' is \"1\"", "only has")),
    ({"m/lri": 9}, ("'m/lri' is 9", "from 1 to 8")),
    ({"m/deep/qri": 3}, ("'m/deep/qri' is 3", "multiple of q (2)", "e.g. 2")),
    ({"m/deep/qri": 12}, ("'m/deep/qri' is 12", "from 2 to 10")),
    ({"m/qlri": 10}, ("'m/qlri' is 10", "from 2 to 8")),
    ({"m/deep/qlu": 0.0055}, ("'m/deep/qlu' is 0.0055", "multiple of q")),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG)
def test_a_wrong_value_is_named_with_what_is_allowed(
    wrong: dict[str, Any], said: tuple[str, ...]
) -> None:
    fault = fault_in([{}, wrong], partial=True)
    assert fault.startswith("points_to_evaluate[1]: ")
    for each in said:
        assert each in fault


@pytest.mark.parametrize("name", SEARCHERS)
def test_every_searcher_refuses_wrong_points_when_it_is_made(name: str) -> None:
    points = [point(u=2), point(ri=9, c="z"), "x", point(unknown=1)]
    part = {"name": name, "points_to_evaluate": points}
    with pytest.raises(ConfigError) as caught:
        create_searcher({"search_alg": part}, SPACE)
    assert len(caught.value.faults) == 5
    for index in range(4):
        assert f"points_to_evaluate[{index}]" in str(caught.value)


@pytest.mark.parametrize("name", ADVANCED)
def test_a_point_must_be_whole_for_all_but_the_basic_searcher(name: str) -> None:
    part = {"name": name, "points_to_evaluate": [{"u": 0.5, "m": {"lri": 1}}]}
    with pytest.raises(ConfigError, match=r"lacks lu, qu, ri, .*this searcher needs a value") as e:
        create_searcher({"search_alg": part}, SPACE)
    for missing in ("m/deep/qlu", "m/deep/qri", "m/qlri", "c"):
        assert missing in str(e.value)
    assert "m/lri" not in str(e.value)


@pytest.mark.parametrize("wrong", ["u", 5, True, {1, 2}])
def test_points_that_are_no_list_are_refused(wrong: Any) -> None:
    fault = fault_in(wrong)
    assert fault.startswith("points_to_evaluate: is ")
    assert "write a list of objects" in fault


@pytest.mark.parametrize("wrong", ["u", None, 5, [0.5]])
def test_a_point_that_is_no_object_is_refused(wrong: Any) -> None:
    fault = fault_in([wrong], partial=True)
    assert fault.startswith("points_to_evaluate[0]: is ")
    assert "write an object" in fault


def test_constants_may_be_repeated_but_not_changed() -> None:
    space = {"u": tune.uniform(0, 1), "fixed": {"epochs": 3}, "list": [1, 2]}
    (checked,) = check_points(
        [{"u": 1, "fixed": {"epochs": 3}, "list": [1, 2]}], space, partial=False
    )
    assert checked == {("u",): 1.0}
    assert "only has 3" in fault_in([{"u": 1, "fixed": {"epochs": 4}}], space=space)


def test_a_hyperparameter_that_is_computed_takes_no_value() -> None:
    space = {"u": tune.uniform(0, 1), "f": tune.sample_from(lambda spec: 1)}
    assert "'f' is 1: this hyperparameter computes its value" in fault_in(
        [{"f": 1}], space=space, partial=True
    )


def test_a_value_within_rounding_of_a_bound_on_the_grid_is_on_it() -> None:
    (checked,) = check_points([{"qu": 0.1 + 0.2}], create_param_space(SPACE), partial=True)
    assert checked[("qu",)] == pytest.approx(0.3)


@pytest.mark.parametrize("name", SEARCHERS)
def test_a_value_with_the_noise_of_floats_becomes_the_value_of_the_grid(name: str) -> None:
    space = [{"name": "qu", "type": "quniform", "min": 0, "max": 0.3, "q": 0.1}]
    assert configs_of(name, space, 1, points=[{"qu": 0.1 + 0.2}]) == [{"qu": 0.3}]
