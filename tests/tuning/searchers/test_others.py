"""The searchers that are not in the usual tests: `.ci/searchers` runs these for each of them."""

import time

import pytest
from ray import tune

from ray_synapse import ConfigError, LibraryError, create_param_space, create_searcher
from ray_synapse import create_tune_config as tune_config_of
from ray_synapse.tuning.searchers.table import RULES
from tests.sweeps import QUIET

OTHERS = ("ax", "bohb", "nevergrad", "zoopt")
TRIALS = 12
GOAL = {"metric": "score", "mode": "max", "num_samples": TRIALS, "seed": 7}


def either(low, high, name, **more):
    return {"name": name, "min": low, "max": high, **more}


# A hyperparameter of each type, with a point, and what its values must be.
TYPES = {
    "uniform": (either(0, 1, "a"), 0.123456789, lambda v: 0 <= v <= 1),
    "quniform": (either(0, 0.3, "a", q=0.1), 0.3, lambda v: v in (0, 0.1, 0.2, 0.3)),
    "loguniform": (either(1e-5, 0.1, "a", base=10), 0.0012345, lambda v: 1e-5 <= v <= 0.1),
    "qloguniform": (
        either(0.001, 0.005, "a", base=10, q=0.001),
        0.003,
        lambda v: v in (0.001, 0.002, 0.003, 0.004, 0.005),
    ),
    "randint": (either(1, 4, "a"), 3, lambda v: v in (1, 2, 3)),
    "qrandint": (either(2, 6, "a", q=2), 6, lambda v: v in (2, 4, 6)),
    "lograndint": (either(1, 9, "a", base=2), 8, lambda v: v in range(1, 9)),
    "qlograndint": (either(2, 8, "a", base=2, q=2), 8, lambda v: v in (2, 4, 6, 8)),
    "choice": (
        {"name": "a", "options": ["x", 1, True, None, [1, 2], {"y": 1}]},
        [1, 2],
        lambda v: v in ["x", 1, True, None, [1, 2], {"y": 1}],
    ),
    "randn": ({"name": "a", "mean": 0, "sd": 1}, 0.5, None),
    "qrandn": ({"name": "a", "mean": 0, "sd": 1}, 0.5, None),
    "grid_search": ({"name": "a", "options": [1, 2]}, 1, None),
}
X = {"name": "net/x", "type": "uniform", "min": -1, "max": 1}


@pytest.fixture(params=OTHERS)
def name(request):
    try:
        RULES[request.param].library.check(request.param)
    except LibraryError as error:
        pytest.skip(str(error).partition(".")[0])
    return request.param


def driven(name, space, points=None, trials=TRIALS):
    """The configs of a searcher that is driven as Tune does it; some trials fail, some give NaN."""
    search_alg = {"name": name, "points_to_evaluate": points}
    searcher = create_searcher({**GOAL, "search_alg": search_alg}, space)
    assert searcher.set_search_properties("score", "max", create_param_space(space))
    configs = []
    for index in range(trials):
        config = searcher.suggest(str(index))
        if config == "FINISHED":
            break
        configs.append(config)
        score = float("nan") if index % 5 == 4 else -abs(config["net"]["x"])
        if index % 5 == 2:
            searcher.on_trial_complete(str(index), None, error=True)
        else:
            searcher.on_trial_complete(str(index), {"score": score, "training_iteration": 1})
    return configs


@pytest.mark.parametrize("kind", TYPES)
def test_each_type_is_searched_as_it_is_meant_or_refused(name, kind):
    entry, point, is_right = TYPES[kind]
    space = [X, {**entry, "type": kind}]
    if kind not in RULES[name].types:
        with pytest.raises(ConfigError, match=f"'a' of type {kind}"):
            create_searcher({**GOAL, "search_alg": name}, space)
        return
    configs = driven(name, space, {"net/x": 0.25, "a": point})
    assert configs[0] == {"net": {"x": 0.25}, "a": point}
    assert len(configs) >= (TRIALS if name != "zoopt" else 5)
    for config in configs:
        assert is_right(config["a"]), config
        assert -1 <= config["net"]["x"] <= 1
        assert type(config["a"]).__module__ == "builtins"


def test_all_points_come_first_one_after_the_other(name):
    points = [{"net/x": 0.1}, {"net/x": 0.25}, {"net/x": -0.5}]
    configs = driven(name, [X], points, trials=5)
    assert [config["net"]["x"] for config in configs[:3]] == [0.1, 0.25, -0.5]


def test_the_same_seed_gives_the_same_first_suggestions(name):
    space = [X, {"name": "y", "type": "uniform", "min": 0, "max": 1}]
    first, again = driven(name, space, trials=3), driven(name, space, trials=3)
    assert first == again
    assert len({config["y"] for config in first}) > 1


@pytest.mark.parametrize("optimizer", ["NGOpt", "Cobyla", "OnePlusOn"])
def test_an_optimizer_that_would_make_tune_wait_or_is_none_is_refused(optimizer):
    pytest.importorskip("nevergrad")
    search_alg = {"name": "nevergrad", "options": {"optimizer": optimizer}}
    with pytest.raises(ConfigError, match=f'`optimizer` "{optimizer}"'):
        create_searcher({**GOAL, "search_alg": search_alg}, [X])


@pytest.mark.ray
def test_a_sweep_keeps_its_limit_and_ends(cluster, tmp_path, name):
    def score(config):
        start = time.time()
        time.sleep(0.3)
        tune.report({"score": -abs(config["net"]["x"]), "ran": [start, time.time()]})

    config = {**GOAL, "num_samples": 6, "max_concurrent_trials": 2, "search_alg": name}
    space = [X, {"name": "y", "type": "quniform", "min": 0, "max": 1}]
    if name == "bohb":
        config["scheduler"] = {"name": "bohb", "options": {"max_t": 3}}
    grid = tune.Tuner(
        tune.with_resources(score, {"cpu": 0.4}),
        param_space=create_param_space(space),
        tune_config=tune_config_of(config, space),
        run_config=tune.RunConfig(storage_path=str(tmp_path), **QUIET),
    ).fit()
    assert (len(grid), grid.num_errors) == (6, 0)
    spans = [result.metrics["ran"] for result in grid]
    assert max(sum(start <= at < end for start, end in spans) for at, _ in spans) <= 2
