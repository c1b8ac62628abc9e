"""What our searchers have over Ray's."""

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from ray import cloudpickle, tune

from ray_synapse.errors import ConfigError
from ray_synapse.tuning.search_space import create_param_space
from ray_synapse.tuning.searchers.create import create_searcher
from tests.tuning.searchers.test_table import ADVANCED, driven, entry, started

SPACE = [
    entry("uniform", "u"),
    entry("quniform", "deep/q"),
    entry("lograndint", "n"),
    entry("choice", "c"),
]
SETTINGS = {"metric": "score", "mode": "max", "seed": 5}


@pytest.mark.parametrize("name", ADVANCED)
@pytest.mark.parametrize(
    "other",
    [
        [*SPACE, entry("uniform", "more")],
        SPACE[1:],
        [entry("uniform", "u", min=0, max=9), *SPACE[1:]],
        [*SPACE[:-1], entry("choice", "c", options=[1, 2])],
        [*SPACE[:-1], entry("choice", "c", options=["f", "e", "d", "c", "b", "a"])],
        [SPACE[0], entry("quniform", "deep/q", min=0, max=3, q=1), *SPACE[2:]],
    ],
)
def test_another_search_space_than_it_was_made_for_is_refused(other: Any, name: str) -> None:
    searcher = create_searcher({"search_alg": name}, SPACE)
    with pytest.raises(ConfigError, match="not the search space that its search_alg was made for"):
        searcher.set_search_properties("score", "max", create_param_space(other))


@pytest.mark.parametrize("name", ADVANCED)
def test_the_same_search_space_in_another_form_is_taken(name: str) -> None:
    searcher = create_searcher({"search_alg": name}, SPACE)
    space = {**create_param_space(SPACE), "a_constant": [1, 2]}
    assert searcher.set_search_properties("score", "max", create_param_space(SPACE))
    searcher = create_searcher({"search_alg": name}, space)
    assert searcher.set_search_properties(
        "score", "max", cloudpickle.loads(cloudpickle.dumps(space))
    )


def optuna_states(searcher: Any) -> list[optuna.trial.TrialState]:
    return [trial.state for trial in searcher._ot_study.trials]


@pytest.mark.parametrize(
    ("result", "error"),
    [
        ({"score": math.nan, "training_iteration": 1}, False),
        ({"score": math.inf, "training_iteration": 1}, False),
        ({"score": -math.inf, "training_iteration": 1}, False),
        ({"score": None, "training_iteration": 1}, False),
        ({"score": "0.5", "training_iteration": 1}, False),
        ({"training_iteration": 1}, False),
        ({}, False),
        (None, False),
        (None, True),
        ({"score": 1.0, "training_iteration": 1}, True),
    ],
)
def test_a_trial_without_a_finite_metric_counts_as_failed(result: Any, error: bool) -> None:
    searcher = started({**SETTINGS, "search_alg": "optuna"}, SPACE)
    driven(searcher, 1)
    searcher.suggest("bad")
    searcher.on_trial_complete("bad", result, error=error)
    driven(searcher, 1, first=1)
    states = optuna.trial.TrialState
    assert optuna_states(searcher) == [states.COMPLETE, states.FAIL, states.COMPLETE]


@pytest.mark.parametrize("name", ADVANCED)
def test_a_searcher_goes_on_after_failures_of_every_kind(name: str) -> None:
    searcher = started({**SETTINGS, "search_alg": name}, SPACE)
    ends: list[Any] = [None, {}, {"score": math.nan}, {"loss": 1}, {"score": 1}, {"score": 2}] * 4
    for number, result in enumerate(ends):
        assert 1 <= searcher.suggest(str(number))["n"] <= 8
        if result:
            result = {**result, "training_iteration": 1}
            if "score" in result:
                searcher.on_trial_result(str(number), result)
        searcher.on_trial_complete(str(number), result, error=result is None)


@pytest.mark.parametrize("name", ADVANCED)
def test_a_searcher_survives_pickle_with_functions_among_the_options(name: str) -> None:
    space = {"f": tune.choice([lambda: 1, lambda: 2]), "u": tune.uniform(0, 1)}
    searcher = started({**SETTINGS, "search_alg": name}, space)
    driven(searcher, 3, lambda config: config["u"])
    copied = cloudpickle.loads(cloudpickle.dumps(searcher))
    ours, theirs = searcher.suggest("next"), copied.suggest("next")
    assert ours["u"] == theirs["u"]
    assert ours["f"]() == theirs["f"]()


@pytest.mark.parametrize("name", ADVANCED)
def test_a_searcher_survives_pickle_before_its_first_trial(name: str) -> None:
    searcher = cloudpickle.loads(
        cloudpickle.dumps(create_searcher({**SETTINGS, "search_alg": name}, SPACE))
    )
    assert searcher.set_search_properties("score", "max", create_param_space(SPACE))
    wanted = driven(started({**SETTINGS, "search_alg": name}, SPACE), 3)
    assert driven(searcher, 3) == wanted


@pytest.mark.parametrize("is_started", [True, False])
@pytest.mark.parametrize("name", ADVANCED)
def test_what_was_saved_goes_on_in_a_fresh_searcher(
    name: str, is_started: bool, tmp_path: Path
) -> None:
    points = [{"u": 0.5, "deep": {"q": 0.3}, "n": 8, "c": [1, 2]}] * 14
    space = {**create_param_space(SPACE), "f": tune.choice([lambda: 1, lambda: 2])}
    points = [{**point, "f": space["f"].categories[1]} for point in points]
    part = {"name": name, "points_to_evaluate": points[:3]}
    searcher = started({**SETTINGS, "search_alg": part}, space)
    driven(searcher, 2)  # one point is still to come
    searcher.save(str(tmp_path / "saved"))
    make = started if is_started else create_searcher
    fresh = make({**SETTINGS, "seed": 99, "search_alg": name}, space)
    fresh.restore(str(tmp_path / "saved"))
    for number in range(2, 14):
        ours, theirs = searcher.suggest(str(number)), fresh.suggest(str(number))
        assert ours.pop("f")() == theirs.pop("f")()
        assert ours == theirs
        if number == 2:
            assert ours["deep"] == {"q": 0.3}
        result = {"score": math.sin(number), "training_iteration": 1}
        for each in (searcher, fresh):
            each.on_trial_complete(str(number), result)


@pytest.mark.parametrize("name", ADVANCED)
def test_a_trial_may_end_that_was_never_suggested_or_ended_before(name: str) -> None:
    searcher = started({**SETTINGS, "search_alg": name}, SPACE)
    driven(searcher, 1)
    searcher.on_trial_complete("t0", {"score": 1.0, "training_iteration": 2})
    assert searcher.suggest("next")
