"""Schedulers from JSON, without a cluster."""

import pytest
from ray import cloudpickle, tune
from ray.tune import schedulers

from ray_synapse import ConfigError, LibraryError, create_scheduler
from ray_synapse.config.sweep import SCHEDULERS

LR = {"name": "lr", "type": "loguniform", "min": 1e-4, "max": 1, "base": 10}
EPOCHS = {"name": "epochs", "type": "randint", "min": 1, "max": 21}
SPACE = [LR]


def created(name, space=SPACE, **options):
    config = {"metric": "acc", "mode": "max", "scheduler": {"name": name, "options": options}}
    if name in ("bohb", "hb_bohb"):
        config["search_alg"] = "bohb"
    return create_scheduler(config, space)


def fault(name, space=SPACE, **options):
    with pytest.raises(ConfigError) as caught:
        created(name, space, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("fifo", schedulers.FIFOScheduler, {}),
        ("FIFO", schedulers.FIFOScheduler, {}),
        ("hyperband", schedulers.HyperBandScheduler, {"max_t": 9}),
        ("asha", schedulers.AsyncHyperBandScheduler, {}),
        ("async_hyperband", schedulers.AsyncHyperBandScheduler, {}),
        ("AsyncHyperBand", schedulers.AsyncHyperBandScheduler, {}),
        ("median", schedulers.MedianStoppingRule, {}),
        ("median_stopping_rule", schedulers.MedianStoppingRule, {}),
        ("medianstopping", schedulers.MedianStoppingRule, {}),
        ("pbt", schedulers.PopulationBasedTraining, {"hyperparam_mutations": [LR]}),
        ("bohb", schedulers.HyperBandForBOHB, {}),
        ("hb_bohb", schedulers.HyperBandForBOHB, {}),
        ("resource_changing", schedulers.ResourceChangingScheduler, {}),
    ],
)
def test_each_name_in_any_case_gives_rays_scheduler(name, kind, options):
    scheduler = created(name, **options)
    assert isinstance(scheduler, kind)
    assert type(scheduler).__name__ == kind.__name__


def test_every_name_of_rays_own_factory_is_known():
    assert set(schedulers.SCHEDULER_IMPORT) <= set(SCHEDULERS)


def test_none_given_is_fifo():
    assert type(create_scheduler({}, SPACE)) is schedulers.FIFOScheduler


def test_options_reach_the_scheduler_in_their_types():
    scheduler = created("asha", max_t=20.0, grace_period=2, reduction_factor=3)
    assert (scheduler._max_t, type(scheduler._max_t)) == (20, int)
    assert scheduler._reduction_factor == 3
    pbt = created("pbt", hyperparam_mutations=[LR], perturbation_factors=[1.5, 0.5])
    assert pbt._perturbation_factors == (1.5, 0.5)


def test_metric_and_mode_are_left_to_tune_config():
    assert created("asha")._metric is None
    text = fault("asha", metric="loss", mode="min")
    assert '`metric` is "loss" in its options: tune_config has it ("acc")' in text
    assert '`mode` is "min" in its options: tune_config has it ("max")' in text


def test_an_unknown_scheduler_lists_the_names_nearest_first():
    text = fault("hyperbnd")
    assert "there is no \"hyperbnd\": did you mean 'hyperband'? (hyperband, " in text
    assert all(name in text for name in SCHEDULERS)


def test_an_unknown_option_lists_the_valid_ones_with_their_defaults():
    text = fault("asha", max_tt=10)
    assert "there is no option \"max_tt\": did you mean 'max_t'" in text
    for each in ("max_t=100", "grace_period=1", 'time_attr="training_iteration"', "brackets=1"):
        assert each in text
    assert "metric" not in text.replace("metric and", "")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("asha", {"max_t": "100"}, 'option `max_t` is "100": write a whole number'),
        ("asha", {"max_t": 1.5}, "option `max_t` is 1.5: write a whole number"),
        ("asha", {"max_t": True}, "option `max_t` is true: write a whole number"),
        ("asha", {"time_attr": 1}, "option `time_attr` is 1: write a text"),
        ("asha", {"reduction_factor": "4"}, 'option `reduction_factor` is "4": write a number'),
        ("median", {"hard_stop": 1}, "option `hard_stop` is 1: write true or false"),
        ("asha", {"max_t": 0}, "option `max_t` is 0: write a whole number, at least 1"),
        ("hyperband", {"max_t": 9, "reduction_factor": 1}, "is 1: write a number over 1"),
        ("asha", {"brackets": 10**9}, "write a whole number from 1 to 100"),
        ("pbt", {"hyperparam_mutations": [LR], "quantile_fraction": 0.9}, "from 0 to 0.5"),
        ("pbt", {"hyperparam_mutations": [LR], "perturbation_factors": [1]}, "two numbers"),
        ("pbt", {"hyperparam_mutations": [LR], "custom_explore_fn": "f"}, "`custom_explore_fn`"),
        ("resource_changing", {"base_scheduler": 5}, "option `base_scheduler` is 5"),
        ("asha", {"max_t": float("nan")}, "option `max_t` is nan: write a whole number"),
    ],
)
def test_an_option_of_a_wrong_type_is_refused(name, options, said):
    assert said in fault(name, **options)


def test_all_wrong_options_come_in_one_error():
    text = fault("asha", max_t="a", grace="b", brackets=1.5)
    assert text.startswith("3 faults:")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (
            "asha",
            {"max_t": 1, "grace_period": 5},
            "is 5, and max_t is 1: it must be at most",
        ),
        ("pbt_replay", {}, "it needs the option policy_file"),
    ],
)
def test_what_the_scheduler_itself_refuses_is_said_with_its_name(name, options, said):
    text = fault(name, **options)
    assert text.startswith(f'scheduler "{name}": ')
    assert said in text


@pytest.mark.parametrize(
    ("space", "max_t"),
    [
        ([LR, EPOCHS], 20),
        ([{**EPOCHS, "name": "max_epochs", "type": "qrandint", "min": 5, "max": 15}], 15),
        ([{"name": "num_epochs", "type": "choice", "options": [5, 30, 10]}], 30),
        ([{"name": "train/iterations", "type": "grid_search", "options": [7, 9]}], 9),
        ({"training_iteration": 12, "lr": tune.uniform(0, 1)}, 12),
        ({"epochs": tune.uniform(1, 10.9)}, 10),
        ({"iterations": 5, "epochs": tune.lograndint(1, 8)}, 7),
    ],
)
@pytest.mark.parametrize("name", ["hyperband", "asha", "bohb"])
def test_without_max_t_it_is_the_upper_bound_of_the_epochs_and_that_is_said(
    name, space, max_t, capsys
):
    scheduler = created(name, space)
    assert (scheduler._max_t if name == "asha" else scheduler._max_t_attr) == max_t
    said = capsys.readouterr().err
    assert f'scheduler "{name}": max_t is {max_t}, the largest value of ' in said


@pytest.mark.parametrize(
    "space",
    [SPACE, {"epochs": "many"}, {"epochs": tune.randn(3, 1)}, {"epochs": tune.randint(0, 1)}],
)
def test_hyperband_needs_max_t_where_nothing_says_how_long_a_trial_is(space):
    text = fault("hyperband", space)
    assert "it needs the option `max_t`" in text
    assert "epochs, max_epochs, num_epochs, iterations, training_iteration" in text


def test_asha_takes_rays_default_then_and_says_so(capsys):
    assert created("asha")._max_t == 100
    assert 'scheduler "asha": max_t is Ray\'s default, 100 iterations' in capsys.readouterr().err


def test_epochs_are_no_limit_where_time_is_not_counted_in_them():
    assert "max_t" in fault("hyperband", [EPOCHS], time_attr="time_total_s")


def test_a_max_t_that_is_given_is_taken_without_a_word(capsys):
    assert created("hyperband", [EPOCHS], max_t=50)._max_t_attr == 50
    assert capsys.readouterr().err == ""


def test_pbt_mutates_what_the_same_json_says_as_the_search_space():
    options = [LR, {"name": "m/opt", "type": "choice", "options": ["a", "b"]}]
    mutations = created("pbt", options, hyperparam_mutations=options)._hyperparam_mutations
    assert (mutations["lr"].lower, mutations["lr"].upper) == (1e-4, 1)
    assert mutations["m"]["opt"] == ["a", "b"]  # a list: Ray multiplies all else


def test_pbt_stays_within_bounds_and_on_grids():
    mutations = [
        {"name": "a", "type": "uniform", "min": 0.9, "max": 1},
        {"name": "m/q", "type": "qrandint", "min": 16, "max": 64, "q": 16},
        {"name": "n", "type": "randint", "min": 1, "max": 4},
        {"name": "f", "type": "quniform", "min": 0, "max": 0.3, "q": 0.1},
        {"name": "o", "type": "choice", "options": ["x", "y"]},
    ]
    explore = created("pbt", mutations, hyperparam_mutations=mutations)._custom_explore_fn
    explore = cloudpickle.loads(cloudpickle.dumps(explore))
    config = {"a": 1.2, "m": {"q": 76.8, "other": 77}, "n": 4, "f": 0.24, "o": "x", "p": 9.9}
    assert explore(config) == {
        "a": 1.0,
        "m": {"q": 64, "other": 77},
        "n": 3,
        "f": 0.2,
        "o": "x",
        "p": 9.9,
    }


def test_an_explore_function_of_the_caller_has_the_last_word():
    scheduler = created("pbt", hyperparam_mutations=[LR], custom_explore_fn=lambda each: {"lr": 5})
    assert scheduler._custom_explore_fn({"lr": 0.1}) == {"lr": 5}


@pytest.mark.parametrize(
    ("name", "option"), [("pbt", "hyperparam_mutations"), ("pb2", "hyperparam_bounds")]
)
def test_population_based_training_without_what_it_may_change_says_what_to_write(name, option):
    pytest.importorskip("sklearn")
    try:
        text = fault(name)
    except LibraryError as error:  # older Rays need GPy for pb2
        pytest.skip(str(error))
    assert f"it needs the option {option}: the list of hyperparameters" in text
    assert '[{"name": "lr", "type": "uniform"' in text


def test_pbt_takes_rays_own_form_too():
    native = {"lr": [0.1, 0.2], "x": tune.uniform(0, 1)}
    assert created("pbt", hyperparam_mutations=native)._hyperparam_mutations == native


@pytest.mark.parametrize(
    ("mutations", "said"),
    [
        ([{"name": "lr", "type": "unifrom"}], "did you mean 'uniform'"),
        ([{"name": "lr", "type": "grid_search", "options": [1, 2]}], "write a choice"),
        ("lr", 'it is "lr": write a list of hyperparameters, e.g. [{"name": "lr"'),
        ({"lr": {"type": "uniform", "min": 0}}, "'lr/type' is \"uniform\": write a list of"),
    ],
)
def test_a_wrong_mutation_is_an_error_that_names_its_place(mutations, said):
    text = fault("pbt", hyperparam_mutations=mutations)
    assert text.startswith('scheduler "pbt", `hyperparam_mutations`: ')
    assert said in text


def test_a_mutation_outside_of_the_search_space_is_told(capsys):
    created("pbt", hyperparam_mutations=[{**LR, "name": "lrr"}])
    assert "the search space does not have it: did you mean 'lr'?" in capsys.readouterr().err


def test_pb2_takes_uniform_hyperparameters_as_its_bounds():
    pytest.importorskip("sklearn")
    uniform = {"name": "m/lr", "type": "uniform", "min": 0, "max": 1}
    try:
        scheduler = created("pb2", [uniform], hyperparam_bounds=[uniform])
    except LibraryError as error:  # older Rays need GPy
        pytest.skip(str(error))
    assert scheduler._hyperparam_bounds == {"m": {"lr": [0, 1]}}
    assert "write the type uniform instead of loguniform" in fault("pb2", hyperparam_bounds=[LR])


def test_pb2_without_its_library_says_what_to_install(mocker):
    mocker.patch("importlib.metadata.version", return_value="0.1")
    with pytest.raises(LibraryError, match=r'pip install --upgrade "scikit-learn>=1\.3"'):
        created("pb2", hyperparam_bounds=[LR])


@pytest.mark.parametrize("scheduler", ["pbt", "pb2", "pbt_replay"])
def test_a_searcher_under_population_based_training_is_refused(scheduler):
    config = {"scheduler": scheduler, "search_alg": "optunasearch"}
    with pytest.raises(ConfigError, match='does not work with `search_alg` "optunasearch"'):
        create_scheduler(config, SPACE)


@pytest.mark.parametrize("search_alg", [None, "hyperopt"])
def test_bohb_without_its_searcher_is_refused(search_alg):
    config = {"scheduler": "bohb", "search_alg": search_alg}
    with pytest.raises(ConfigError, match='needs `search_alg` "bohb"'):
        create_scheduler(config, SPACE)


def test_a_resource_changing_scheduler_has_a_scheduler_in_json_too():
    inner = created("resource_changing", base_scheduler={"name": "asha", "options": {"max_t": 5}})
    assert inner._base_scheduler._max_t == 5
    assert "hyperband" in fault("resource_changing", base_scheduler="hyperbnd")
