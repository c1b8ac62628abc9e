"""The searcher bayesopt."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from ray_synapse.tuning.searchers.bayesopt_search import BayesOptSearch
from tests.tuning.searchers.test_table import driven, entry, started

LINE = [entry("uniform", "x", min=0, max=1)]


def searcher(space: Any = None, mode: str = "max", seed: int = 1, **options: Any) -> BayesOptSearch:
    part = {"name": "bayesopt", "options": options}
    settings = {"metric": "score", "mode": mode, "seed": seed, "search_alg": part}
    made = started(settings, space or LINE)
    assert isinstance(made, BayesOptSearch)
    return made


def valley(config: Any) -> float:
    return float((config["x"] - 0.3) ** 2)


@pytest.mark.parametrize(
    ("mode", "score"), [("min", valley), ("max", lambda config: -valley(config))]
)
def test_the_direction_of_the_metric_is_honoured(mode: str, score: Callable[[Any], float]) -> None:
    configs = driven(searcher(mode=mode), 20, score)
    best = sorted(abs(config["x"] - 0.3) for config in configs[10:])
    assert best[0] < 0.02
    assert best[len(best) // 2] < 0.15


def test_mode_and_metric_come_from_tune_if_the_json_has_none() -> None:
    from ray_synapse.tuning.search_space import create_param_space
    from ray_synapse.tuning.searchers.create import create_searcher

    made = create_searcher({"search_alg": "bayesopt", "seed": 1}, LINE)
    assert made.set_search_properties("score", "min", create_param_space(LINE))
    assert driven(made, 14, valley) == driven(searcher(mode="min"), 14, valley)


def test_a_hyperparameter_on_the_log_scale_is_found_on_it() -> None:
    space = [entry("loguniform", "x", min=1e-6, max=1, base=10)]
    configs = driven(searcher(space), 18, lambda config: -abs(math.log10(config["x"]) + 4))
    assert min(abs(math.log10(config["x"]) + 4) for config in configs[10:]) < 0.2


def test_the_best_option_and_the_best_integer_are_found() -> None:
    space = [
        entry("choice", "c", options=[None, "a", [1], True]),
        entry("randint", "n", min=0, max=30),
    ]

    def score(config: Any) -> float:
        return 5.0 * (config["c"] == [1]) - abs(config["n"] - 20) / 5

    best = max(driven(searcher(space), 25, score), key=score)
    assert best["c"] == [1]
    assert abs(best["n"] - 20) <= 2


def test_results_that_are_not_numbers_do_not_poison_the_search() -> None:
    made = searcher(mode="min")
    xs = []
    for number in range(24):
        x = made.suggest(str(number))["x"]
        assert 0 <= x <= 1
        assert x not in xs
        xs.append(x)
        value = math.nan if x > 0.6 else valley({"x": x})
        made.on_trial_complete(str(number), {"score": value, "training_iteration": 1})
    assert min(abs(x - 0.3) for x in xs[10:]) < 0.03


def test_only_failures_leave_a_random_search() -> None:
    made = searcher()
    xs = []
    for number in range(15):
        xs.append(made.suggest(str(number))["x"])
        made.on_trial_complete(str(number), None, error=True)
    assert len(set(xs)) == 15
    assert min(xs) < 0.3
    assert max(xs) > 0.7


def test_a_point_that_failed_is_not_tried_again() -> None:
    space = [entry("choice", "c", options=list(range(4))), entry("qrandint", "n", min=1, max=2)]
    made = searcher(space, random_search_steps=2)
    configs = []
    for number in range(8):
        config = made.suggest(str(number))
        assert config not in configs
        configs.append(config)
        failed = number % 2 == 1
        result = None if failed else {"score": float(config["c"]), "training_iteration": 1}
        made.on_trial_complete(str(number), result, error=failed)
    assert made.suggest("again") in configs  # all were tried: it goes on all the same


@pytest.mark.parametrize("before", [0, 12])
def test_trials_at_once_get_different_points(before: int) -> None:
    space = [entry("randint", "n", min=0, max=40)]
    made = searcher(space, random_search_steps=5)
    done = {config["n"] for config in driven(made, before, lambda config: config["n"])}
    at_once = [made.suggest(f"at once {number}")["n"] for number in range(6)]
    assert len({*at_once, *done}) == 6 + len(done)


def test_the_random_steps_come_first_and_points_count_among_them() -> None:
    points = [{"x": 0.1}, {"x": 0.2}]
    part: dict[str, Any] = {"name": "bayesopt", "options": {"random_search_steps": 4}}
    settings = {"metric": "score", "mode": "min", "seed": 1, "search_alg": part}
    plain = driven(started(settings, LINE), 4, valley)
    with_points = driven(
        started({**settings, "search_alg": {**part, "points_to_evaluate": points}}, LINE), 8, valley
    )
    assert with_points[:2] == points
    assert with_points[2:4] == plain[:2]
    assert with_points[4] != plain[2]


def test_equal_results_leave_a_random_search() -> None:
    configs = driven(searcher(), 20, lambda _: 0.5)
    assert len({config["x"] for config in configs}) == 20


def test_a_searcher_that_is_set_up_twice_keeps_its_search_space() -> None:
    from ray_synapse.tuning.search_space import create_param_space

    made = searcher()
    assert not made.set_search_properties("score", "max", create_param_space(LINE))
    assert 0 <= made.suggest("0")["x"] <= 1
