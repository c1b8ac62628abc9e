"""A searcher from JSON: names, seeds, options, libraries."""

from importlib import metadata
from typing import Any

import pytest
from pytest_mock import MockerFixture

from ray_synapse.errors import ConfigError, LibraryError
from ray_synapse.tuning.search_space import create_param_space
from ray_synapse.tuning.searchers.create import create_searcher
from ray_synapse.tuning.searchers.table import RULES
from tests.tuning.searchers.test_table import ADVANCED, SEARCHERS, driven, entry, started

SPACE = [entry("uniform", "u"), entry("lograndint", "n"), entry("choice", "c")]
NATIVE_SEEDS = {
    "basicvariantgenerator": "random_state",
    "hyperopt": "random_state_seed",
    "optuna": "seed",
    "bayesopt": "seed",
}


def made(name: str, options: Any = None, **fields: Any) -> Any:
    return create_searcher({"search_alg": {"name": name, "options": options}, **fields}, SPACE)


def first_five(name: str, options: Any = None, **fields: Any) -> list[Any]:
    part = {"name": name, "options": options}
    return driven(started({"num_samples": 5, "search_alg": part, **fields}, SPACE), 5)


def fault_of(name: str, options: Any, **fields: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        made(name, options, **fields)
    (fault,) = caught.value.faults
    assert f'search_alg "{name}"' in fault
    return fault


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *[(each, "BasicVariantGenerator") for each in ("random", "Variant_Generator", None)],
        *[(each, "HyperOptSearch") for each in ("hyperopt", "HyperOptSearch", "HYPEROPT")],
        *[(each, "OptunaSearch") for each in ("optuna", "OptunaSearch", "optunasearch")],
        *[(each, "BayesOptSearch") for each in ("bayesopt", "BayesOptSearch", "bayesOptSearch")],
    ],
)
def test_names_are_taken_in_any_case_as_text_or_in_an_object(name: Any, kind: str) -> None:
    for part in (name, {"name": name}):
        assert type(create_searcher({"search_alg": part}, SPACE)).__name__ == kind


def test_without_a_name_the_searcher_is_tunes_own() -> None:
    assert type(create_searcher({}, SPACE)).__name__ == "BasicVariantGenerator"


def test_an_unknown_name_lists_the_known_ones_nearest_first() -> None:
    with pytest.raises(ConfigError, match=r'no "optunna": did you mean \'optuna\'\?'):
        create_searcher({"search_alg": "optunna"}, SPACE)


@pytest.mark.parametrize("name", SEARCHERS)
def test_the_same_seed_gives_the_same_first_suggestions(name: str) -> None:
    seeded = first_five(name, seed=7)
    assert first_five(name, seed=7) == seeded
    assert first_five(name, {"seed": 7}) == seeded
    assert first_five(name, {NATIVE_SEEDS[name]: 7}) == seeded
    assert first_five(name, {"seed": 7}, seed=7) == seeded
    assert first_five(name, seed=8) != seeded
    assert first_five(name, {"seed": 8}) != seeded


@pytest.mark.parametrize("name", SEARCHERS)
def test_seed_zero_is_a_seed(name: str) -> None:
    assert first_five(name, seed=0) == first_five(name, {"seed": 0})


@pytest.mark.parametrize("name", SEARCHERS)
def test_without_a_seed_two_searchers_differ(name: str) -> None:
    assert first_five(name) != first_five(name)


@pytest.mark.parametrize("name", SEARCHERS)
def test_two_seeds_that_differ_are_refused(name: str) -> None:
    for option in ("seed", NATIVE_SEEDS[name]):
        fault = fault_of(name, {option: 8}, seed=7)
        assert f"`{option}` in its options is 8" in fault
        assert "`seed` in tune_config is 7" in fault


@pytest.mark.parametrize("name", ["basicvariantgenerator", "hyperopt"])
def test_two_seeds_within_the_options_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="seed"):
        made(name, {"seed": 1, NATIVE_SEEDS[name]: 2})


@pytest.mark.parametrize("name", SEARCHERS)
@pytest.mark.parametrize("seed", [-1, "7", 1.5, True, [1]])
def test_a_seed_is_a_whole_number_from_0(seed: Any, name: str) -> None:
    for option in ("seed", NATIVE_SEEDS[name]):
        with pytest.raises(ConfigError):
            made(name, {option: seed})
    with pytest.raises(ConfigError):
        made(name, seed=seed)


@pytest.mark.parametrize("name", ADVANCED)
def test_a_seed_that_is_too_large_for_the_library_is_refused_at_once(name: str) -> None:
    for option in ("seed", NATIVE_SEEDS[name]):
        with pytest.raises(ConfigError):
            made(name, {option: 2**40})


@pytest.mark.parametrize("name", SEARCHERS)
def test_metric_and_mode_have_their_place_in_tune_config(name: str) -> None:
    fault = fault_of(name, {"metric": "loss"}, metric="accuracy", mode="max")
    assert '`metric` is "loss" in its options' in fault
    assert 'tune_config has it ("accuracy")' in fault
    fault = fault_of(name, {"mode": "min"}, metric="accuracy", mode="max")
    assert '`mode` is "min" in its options' in fault
    assert 'tune_config has it ("max")' in fault


@pytest.mark.parametrize("name", SEARCHERS)
@pytest.mark.parametrize(
    ("option", "place"),
    [
        ("max_concurrent", "write `max_concurrent_trials` in tune_config"),
        ("points_to_evaluate", "write it beside `options`, not inside"),
        ("space", "the search space comes from the hyperparameters"),
    ],
)
def test_a_misplaced_option_is_told_its_place(option: str, place: str, name: str) -> None:
    fault = fault_of(name, {option: 3})
    assert f"`{option}` is 3 in its options" in fault
    assert place in fault


@pytest.mark.parametrize(
    ("name", "option", "said"),
    [
        ("hyperopt", "gama", ("did you mean 'gamma'?", "gamma=0.25", "n_initial_points=20")),
        ("optuna", "sed", ("did you mean 'seed'?", "seed=null", "storage=null")),
        ("bayesopt", "random_steps", ("did you mean 'random_search_steps'?", "=10", "seed=null")),
        ("random", "constant_grid", ("'constant_grid_search'?", "constant_grid_search=false")),
        ("optuna", "zzz", ("seed=null", "sampler=null")),
    ],
)
def test_an_unknown_option_lists_the_known_ones_with_their_defaults(
    name: str, option: str, said: tuple[str, ...]
) -> None:
    fault = fault_of(name, {option: 1})
    assert f'there is no option "{option}"' in fault
    for each in said:
        assert each in fault
    for elsewhere in ("metric=", "mode=", "points_to_evaluate=", "max_concurrent="):
        assert elsewhere not in fault


@pytest.mark.parametrize(
    ("name", "option", "value", "wanted"),
    [
        ("hyperopt", "gamma", "0.3", "a number"),
        ("hyperopt", "n_initial_points", 2.5, "a whole number"),
        ("hyperopt", "n_initial_points", True, "a whole number"),
        ("optuna", "study_name", 5, "a text"),
        ("bayesopt", "random_search_steps", "ten", "a whole number"),
        ("random", "constant_grid_search", 1, "true or false"),
        ("random", "random_state", "abc", "a whole number"),
    ],
)
def test_an_option_of_a_wrong_type_says_what_to_write(
    name: str, option: str, value: Any, wanted: str
) -> None:
    fault = fault_of(name, {option: value})
    assert option in fault
    assert wanted in fault


def test_what_the_searcher_itself_does_not_take_is_an_error_of_the_json() -> None:
    assert "`random_search_steps` is 0" in fault_of("bayesopt", {"random_search_steps": 0})
    assert "BaseSampler" in fault_of("optuna", {"sampler": "tpe"})


def test_an_option_reaches_the_searcher() -> None:
    assert made("hyperopt", {"gamma": 0.5}).algo.keywords["gamma"] == 0.5
    assert made("random", {"constant_grid_search": True})._constant_grid_search is True


def test_all_wrong_options_come_in_one_error() -> None:
    with pytest.raises(ConfigError) as caught:
        made("hyperopt", {"gama": 1, "gamma": "x", "metric": "loss"})
    assert len(caught.value.faults) == 3


def test_a_space_without_a_choice_is_nothing_for_a_searcher() -> None:
    space = [entry("choice", "c", options=[1]), entry("randint", "n", min=1, max=2)]
    for name in ADVANCED:
        with pytest.raises(
            ConfigError, match="nothing in the search space has more than one value"
        ):
            create_searcher({"search_alg": name}, space)
    assert driven(started({}, space), 1) == [{"c": 1, "n": 1}]


def test_making_a_searcher_changes_nothing_that_it_was_given() -> None:
    options = {"seed": 3, "gamma": 0.5}
    tune_config = {"search_alg": {"name": "hyperopt", "options": options}}
    native = create_param_space(SPACE)
    keys = list(native)
    create_searcher(tune_config, native)
    assert options == {"seed": 3, "gamma": 0.5}
    assert list(native) == keys


@pytest.mark.parametrize(
    ("name", "pip"),
    [
        ("ax", 'pip install --upgrade "ax-platform'),
        ("nevergrad", 'pip install --upgrade "nevergrad'),
        ("zoopt", 'pip install --upgrade "zoopt'),
        ("bohb", 'pip install --upgrade "hpbandster'),
        ("hebo", 'pip install --upgrade "HEBO'),
    ],
)
def test_a_searcher_whose_library_is_not_here_names_the_line_for_pip(name: str, pip: str) -> None:
    distribution = pip.rpartition('"')[2]
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        pass
    else:
        pytest.skip(f"{distribution} is installed")
    space = [entry("uniform", "u")]
    with pytest.raises(LibraryError, match="which is not installed") as caught:
        create_searcher({"search_alg": name}, space)
    assert isinstance(caught.value, ImportError)
    assert pip in str(caught.value)
    assert f'search_alg "{name}" needs {distribution}' in str(caught.value)


@pytest.mark.parametrize("name", ADVANCED)
def test_a_library_that_is_too_old_is_told_with_the_line_for_pip(
    name: str, mocker: MockerFixture
) -> None:
    mocker.patch("importlib.metadata.version", return_value="0.0.1")
    with pytest.raises(LibraryError, match=r"does not work with .* 0\.0\.1") as caught:
        made(name)
    assert f'pip install --upgrade "{RULES[name].library.requirement}"' in str(caught.value)


@pytest.mark.parametrize("name", ADVANCED)
def test_a_library_that_is_missing_is_told_with_the_line_for_pip(
    name: str, mocker: MockerFixture
) -> None:
    mocker.patch("importlib.metadata.version", side_effect=metadata.PackageNotFoundError)
    mocker.patch.dict("sys.modules", {RULES[name].library.module: None})
    with pytest.raises(LibraryError, match=f'search_alg "{name}" needs .*not installed') as caught:
        made(name)
    assert f'pip install --upgrade "{RULES[name].library.requirement}"' in str(caught.value)


def test_bayesopt_needs_a_newer_release_for_options_only(mocker: MockerFixture) -> None:
    mocker.patch("importlib.metadata.version", return_value="2.0.4")
    create_searcher({"search_alg": "bayesopt"}, [entry("uniform", "u"), entry("qrandint", "n")])
    with pytest.raises(LibraryError, match=r"for the choice 'c'.*bayesian-optimization>=3\.0"):
        made("bayesopt")


def test_the_space_is_checked_before_the_library() -> None:
    with pytest.raises(ConfigError, match="grid_search"):
        create_searcher({"search_alg": "hebo"}, [entry("grid_search", "g")])
