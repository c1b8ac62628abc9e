"""Random and grid search, Tune's own."""

import logging
from typing import Any

import pytest
from ray import tune

from ray_synapse.tuning.searchers.basic import (
    BasicVariantGenerator,
    keep_tune_from_denying_the_limit,
    nested_point,
)
from tests.tuning.searchers.test_table import configs_of, entry, started

WARNING = "`max_concurrent_trials` will be ignored because {} is given"


def test_a_point_is_nested_as_the_space_is() -> None:
    unset = tune.uniform(0, 1)
    space = {
        "a": tune.choice([1, 2]),
        "b": {"c": tune.choice([None]), "d": {"e": tune.choice(["x"])}, "f": unset},
        "constant": 5,
        "list": [tune.randint(0, 9), "kept"],
    }
    point = {("a",): 1, ("b", "c"): None, ("b", "d", "e"): "x", ("list", 0): 3}
    nested = nested_point(point, space)
    assert nested == {
        "a": 1,
        "b": {"c": None, "d": {"e": "x"}, "f": unset},
        "list": [3, "kept"],
    }


def test_the_searcher_itself_holds_the_limit_of_concurrent_trials() -> None:
    searcher = started({"num_samples": 5, "max_concurrent_trials": 2}, [entry("uniform", "u")])
    first, second = searcher.next_trial(), searcher.next_trial()
    assert searcher.next_trial() is None
    assert not searcher.is_finished()
    searcher.on_trial_complete(first.trial_id)
    third = searcher.next_trial()
    assert third is not None
    assert searcher.next_trial() is None
    assert len({first.trial_id, second.trial_id, third.trial_id}) == 3


def test_without_a_limit_all_trials_may_run_at_once() -> None:
    searcher = started({"num_samples": 5}, [entry("uniform", "u")])
    assert all(searcher.next_trial() is not None for _ in range(5))
    assert searcher.next_trial() is None


@pytest.mark.parametrize("options", [[[1], [2, [3]]], [{"a": [1]}, {}], [[], None]])
def test_what_the_trial_gets_is_the_option_itself(options: list[Any]) -> None:
    points = [{"c": each} for each in options]
    part = {"name": "random", "points_to_evaluate": points}
    searcher = started(
        {"num_samples": 2, "search_alg": part}, [entry("choice", "c", options=options)]
    )
    for option in options:
        trial = searcher.next_trial()
        assert trial.config == {"c": option}
        assert type(trial.config["c"]) is type(option)


def test_a_point_does_not_change_the_constants() -> None:
    space = {"c": tune.choice([[1], [2]]), "deep": {"fixed": [1, 2], "u": tune.uniform(0, 1)}}
    (config,) = configs_of("random", space, 1, points={"c": [2], "deep": {"u": 0.5}})
    assert config == {"c": [2], "deep": {"fixed": [1, 2], "u": 0.5}}


def test_tunes_warning_that_the_limit_is_ignored_is_dropped_for_ours_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    keep_tune_from_denying_the_limit()
    search_alg: Any = BasicVariantGenerator(max_concurrent=2)
    logger = logging.getLogger("ray.tune.tune")
    logger.addHandler(caplog.handler)
    try:
        logger.warning(WARNING.format("a searcher"))
        logger.warning("something else")
        search_alg = "somebody else's"
        logger.warning(WARNING.format(search_alg))
    finally:
        logger.removeHandler(caplog.handler)
    said = set(caplog.messages)
    assert said == {"something else", WARNING.format("somebody else's")}


def test_the_filter_is_there_once_however_many_searchers_there_are() -> None:
    logger = logging.getLogger("ray.tune.tune")
    keep_tune_from_denying_the_limit()
    before = len(logger.filters)
    keep_tune_from_denying_the_limit()
    assert len(logger.filters) == before
