"""Every type of hyperparameter with every searcher that is installed with the tests."""

import math
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from ray.tune.experiment import Experiment
from ray.tune.search import sample

from ray_synapse.errors import ConfigError
from ray_synapse.tuning.search_space import as_param_space, create_param_space
from ray_synapse.tuning.searchers.codec import SEEN_AS
from ray_synapse.tuning.searchers.create import create_searcher
from ray_synapse.tuning.searchers.table import RULES

SEARCHERS = ("basicvariantgenerator", "hyperopt", "optuna", "bayesopt")
ADVANCED = SEARCHERS[1:]

ENTRIES: dict[str, dict[str, Any]] = {
    "uniform": {"min": -1, "max": 3},
    "quniform": {"min": 0, "max": 0.3, "q": 0.1},
    "loguniform": {"min": 1e-6, "max": 1, "base": 10},
    "qloguniform": {"min": 0.1, "max": 0.7, "base": 10, "q": 0.1},
    "randn": {"mean": 5, "sd": 2},
    "qrandn": {"mean": 0, "sd": 1, "q": 0.1},
    "randint": {"min": 1, "max": 5},
    "qrandint": {"min": 2, "max": 10, "q": 2},
    "lograndint": {"min": 1, "max": 9, "base": 2},
    "qlograndint": {"min": 2, "max": 8, "base": 2, "q": 2},
    "choice": {"options": ["a", 1, True, None, [1, 2], {"x": 1}]},
    "grid_search": {"options": ["a", 1, None]},
}
RANDOM = {  # options with which all suggestions of these tests are random ones
    "hyperopt": {"n_initial_points": 1_000},
    "bayesopt": {"random_search_steps": 1_000},
}
REFUSED = {
    **{("grid_search", name): "grid_search" for name in ADVANCED},
    **{(type_, name): type_ for type_ in ("randn", "qrandn") for name in ("optuna", "bayesopt")},
}


def entry(type_: str, name: str = "x", **fields: Any) -> dict[str, Any]:
    return {"name": name, "type": type_, **(fields or ENTRIES[type_])}


def nothing(config: dict[str, Any]) -> None:
    """A trainable that is never run."""


def started(tune_config: dict[str, Any], space: Any) -> Any:
    """The searcher as Tune has it before the first trial."""
    searcher = create_searcher(tune_config, space)
    param_space = as_param_space(space)
    if hasattr(searcher, "add_configurations"):
        samples = tune_config.get("num_samples", 1)
        folder = tempfile.gettempdir()  # nothing is written there
        experiment = Experiment(
            "x", nothing, config=param_space, num_samples=samples, storage_path=folder
        )
        searcher.add_configurations([experiment])
    else:
        metric, mode = tune_config.get("metric", "score"), tune_config.get("mode", "max")
        assert searcher.set_search_properties(metric, mode, param_space)
    return searcher


def driven(
    searcher: Any, count: int, score: Callable[[Any], float] | None = None, first: int = 0
) -> list[Any]:
    """Some configs in a row, each with its result told before the next one."""
    configs: list[Any] = []
    for number in range(first, first + count):
        if hasattr(searcher, "next_trial"):
            trial = searcher.next_trial()
            if trial is None:
                break
            trial_id, config = trial.trial_id, trial.config
        else:
            trial_id, config = f"t{number}", searcher.suggest(f"t{number}")
        configs.append(config)
        value = math.sin(number) if score is None else score(config)
        searcher.on_trial_complete(trial_id, {"score": value, "training_iteration": 1})
    return configs


def configs_of(
    name: str, space: Any, count: int = 30, *, points: Any = None, seed: int | None = 1, **more: Any
) -> list[Any]:
    """What a searcher suggests."""
    part = {"name": name, "points_to_evaluate": points, "options": more}
    tune_config = {"metric": "score", "mode": "max", "num_samples": count, "search_alg": part}
    return driven(started({**tune_config, "seed": seed}, space), count)


def check_value(value: Any, type_: str, fields: dict[str, Any]) -> None:
    if "options" in fields:
        assert any(type(value) is type(each) and value == each for each in fields["options"])
        return
    assert type(value) is (int if "randint" in type_ else float)
    assert math.isfinite(value)
    if "min" in fields:
        excluded = type_ in ("randint", "lograndint")
        assert fields["min"] <= value <= fields["max"] - excluded
    if "q" in fields:  # the very number that one writes, not 0.30000000000000004
        assert value == float(f"{round(value / fields['q']) * fields['q']:.10g}")


@pytest.mark.parametrize("name", SEARCHERS)
@pytest.mark.parametrize("type_", ENTRIES)
def test_every_type_is_searched_in_its_bounds_and_on_its_grid_or_refused(
    type_: str, name: str
) -> None:
    space = [entry(type_, "x")]
    if (type_, name) in REFUSED:
        with pytest.raises(ConfigError) as caught:
            create_searcher({"metric": "score", "mode": "max", "search_alg": name}, space)
        (fault,) = caught.value.faults
        assert f"'x' of type {type_}" in fault
        assert f'"{name}"' in fault
        assert all(each in fault for each in RULES[name].types)
        others = [other for other, rule in RULES.items() if type_ in rule.types]
        assert ("; basicvariantgenerator takes grid_search" in fault) == (type_ == "grid_search")
        assert all(each in fault.partition(";")[2] for each in others)
        return
    configs = configs_of(name, space, **({"random_search_steps": 20} if name == "bayesopt" else {}))
    assert len(configs) == 30
    for config in configs:
        assert set(config) == {"x"}
        check_value(config["x"], type_, ENTRIES[type_])
    assert len({repr(config["x"]) for config in configs}) > 1


@pytest.mark.parametrize("name", ADVANCED)
def test_all_types_that_a_searcher_takes_work_together(name: str) -> None:
    types = RULES[name].types
    space = [entry(type_, f"deep/{type_}") for type_ in types]
    for config in configs_of(name, space, 14):
        assert set(config["deep"]) == set(types)
        for type_ in types:
            check_value(config["deep"][type_], type_, ENTRIES[type_])


def test_the_basic_searcher_tries_the_whole_grid_for_each_sample() -> None:
    space = [entry("grid_search", "g"), entry("uniform", "x")]
    searcher = started({"num_samples": 2}, space)
    configs = driven(searcher, 100)
    assert [config["g"] for config in configs] == ["a", 1, None] * 2
    assert len({config["x"] for config in configs}) == 6


def test_every_fault_of_the_space_is_in_the_one_error() -> None:
    space = [entry("grid_search", "g"), entry("randn", "n"), entry("uniform", "u")]
    points = [{"g": "a", "n": 0.5, "u": 99}]
    with pytest.raises(ConfigError) as caught:
        create_searcher({"search_alg": {"name": "optuna", "points_to_evaluate": points}}, space)
    assert len(caught.value.faults) == 3
    assert all(f"'{name}'" in str(caught.value) for name in "gnu")


@pytest.mark.parametrize("name", SEARCHERS)
@pytest.mark.parametrize(
    ("type_", "fields", "middle"),
    [
        ("loguniform", {"min": 1e-6, "max": 1, "base": 10}, 1e-3),
        ("lograndint", {"min": 1, "max": 1_000_000, "base": 10}, 1_000),
        ("qloguniform", {"min": 1e-6, "max": 1, "base": 10, "q": 1e-6}, 1e-3),
        ("qlograndint", {"min": 1, "max": 1_000_000, "base": 10, "q": 1}, 1_000),
        ("uniform", {"min": 0, "max": 1}, 0.5),
        ("randint", {"min": 0, "max": 1_000}, 500),
    ],
)
def test_the_first_suggestions_spread_on_the_scale_that_was_asked_for(
    name: str, type_: str, fields: dict[str, Any], middle: float
) -> None:
    part = {"name": name, "options": RANDOM.get(name, {})}
    searcher = started(
        {"num_samples": 100, "seed": 3, "search_alg": part}, [entry(type_, **fields)]
    )
    # equal results: without knowing better every searcher goes on at random
    values = [config["x"] for config in driven(searcher, 100, lambda _: 1.0)]
    assert 30 <= sum(value < middle for value in values) <= 70


@pytest.mark.parametrize("name", SEARCHERS)
@pytest.mark.parametrize("q", [1, 2])
@pytest.mark.parametrize("type_", ["qrandint", "qlograndint"])
def test_a_quantized_integer_takes_all_values_from_min_to_max(
    type_: str, q: int, name: str
) -> None:
    if name == SEARCHERS[0] and not hasattr(sample.Quantized, "_grid_index"):
        pytest.skip("this Ray itself draws no max where q is 2")
    base = {"base": 2} if "log" in type_ else {}
    space = [entry(type_, min=2, max=6, q=q, **base)]
    values = [config["x"] for config in configs_of(name, space, 100, **RANDOM.get(name, {}))]
    assert sorted(set(values)) == list(range(2, 7, q))


@pytest.mark.parametrize("name", SEARCHERS)
@pytest.mark.parametrize("type_", ["randint", "lograndint"])
def test_an_integer_takes_all_values_but_its_max(type_: str, name: str) -> None:
    base = {"base": 2} if "log" in type_ else {}
    space = [entry(type_, min=2, max=6, **base)]
    values = [config["x"] for config in configs_of(name, space, 100, **RANDOM.get(name, {}))]
    assert sorted(set(values)) == [2, 3, 4, 5]


@pytest.mark.parametrize("name", ADVANCED)
def test_every_rule_says_of_each_type_whether_it_is_taken(name: str) -> None:
    types: Sequence[str] = RULES[name].types
    assert set(types) <= set(SEEN_AS)
    assert {type_ for type_ in ENTRIES if (type_, name) not in REFUSED} == set(types)


@pytest.mark.parametrize("name", SEARCHERS)
def test_a_native_search_space_is_searched_as_the_json_one(name: str) -> None:
    space = [entry("loguniform", "deep/lr"), entry("qrandint", "n")]
    assert configs_of(name, space, 5) == configs_of(name, create_param_space(space), 5)
