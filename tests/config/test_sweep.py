"""The JSON object ``tune_config``: all that is allowed in it, and what is said of the rest."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.schedulers import SCHEDULER_IMPORT
from ray.tune.search import SEARCH_ALG_IMPORT

from ray_synapse.config.sweep import (
    FIELDS,
    MAX_SEED,
    SCHEDULERS,
    SEARCHERS,
    Part,
    Sweep,
    parse_sweep,
)
from ray_synapse.errors import ConfigError
from tests.config.test_hyperparameters import GARBAGE, is_sound

BASIC = Part("basic", "basicvariantgenerator")
FIFO = Part("fifo", "fifo")


def faults_of(tune_config, **kwargs):
    with pytest.raises(ConfigError) as caught:
        parse_sweep(tune_config, **kwargs)
    return list(caught.value.faults)


def fault_of(tune_config):
    (fault,) = faults_of(tune_config)
    return fault


def test_an_empty_object_is_the_default_of_everything():
    assert parse_sweep({}) == Sweep(
        search_alg=BASIC,
        scheduler=FIFO,
        metric=None,
        mode=None,
        num_samples=1,
        max_concurrent_trials=None,
        time_budget_s=None,
        reuse_actors=False,
        seed=None,
    )


def test_null_is_as_good_as_not_given():
    assert parse_sweep(dict.fromkeys(FIELDS)) == parse_sweep({})
    nulls = {"name": None, "options": None}
    both = {"search_alg": {**nulls, "points_to_evaluate": None}, "scheduler": nulls}
    assert parse_sweep(both) == parse_sweep({})


def test_every_field_is_kept():
    sweep = parse_sweep(
        {
            "metric": "accuracy",
            "mode": "max",
            "num_samples": 12,
            "max_concurrent_trials": 3,
            "search_alg": {
                "name": "OptunaSearch",
                "points_to_evaluate": [{"lr": 1}],
                "options": {"sampler": "tpe"},
            },
            "scheduler": {"name": "ASHA", "options": {"max_t": 5}},
            "time_budget_s": 60.5,
            "reuse_actors": True,
            "seed": 7,
        },
        complete=True,
    )
    assert sweep == Sweep(
        search_alg=Part("optuna", "OptunaSearch", {"sampler": "tpe"}, [{"lr": 1}]),
        scheduler=Part("asha", "ASHA", {"max_t": 5}),
        metric="accuracy",
        mode="max",
        num_samples=12,
        max_concurrent_trials=3,
        time_budget_s=60.5,
        reuse_actors=True,
        seed=7,
    )


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("metric", "accuracy", "accuracy"),
        ("metric", "val/acc uracy", "val/acc uracy"),
        ("mode", "max", "max"),
        ("mode", "min", "min"),
        ("num_samples", 1, 1),
        ("num_samples", 10_000, 10_000),
        ("num_samples", 5.0, 5),
        ("num_samples", -1, -1),
        ("max_concurrent_trials", 1, 1),
        ("max_concurrent_trials", 4.0, 4),
        ("time_budget_s", 0.5, 0.5),
        ("time_budget_s", 60, 60),
        ("reuse_actors", True, True),
        ("reuse_actors", False, False),
        ("seed", 0, 0),
        ("seed", MAX_SEED, MAX_SEED),
    ],
)
def test_an_allowed_value_is_kept_in_its_type(field, value, kept):
    found = getattr(parse_sweep({field: value}), field)
    assert found == kept
    assert type(found) is type(kept)


WHOLE = "write a whole number, at least 1"


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        *(
            ("metric", value, "write the name under which trials report it")
            for value in ("", "  ", 5, True, [], {})
        ),
        *(
            ("mode", value, 'write "max" or "min"')
            for value in ("", "MAX", "maximum", 1, True, [], {})
        ),
        *(
            ("num_samples", value, f"{WHOLE}, or -1 for no end")
            for value in (0, -2, 1.5, True, "3", [], {}, math.nan, math.inf, -math.inf)
        ),
        *(
            ("max_concurrent_trials", value, WHOLE)
            for value in (0, -1, 2.5, False, "3", [], math.nan, math.inf)
        ),
        *(
            ("time_budget_s", value, "write a number of seconds over 0")
            for value in (0, -0.5, True, "60", [], {}, math.nan, math.inf)
        ),
        *(("reuse_actors", value, "write true or false") for value in (0, 1, "true", [], {})),
        *(
            ("seed", value, "write a whole number, at least 0 and at most 4294967295")
            for value in (-1, 2**32, 0.5, True, "1", [], math.nan)
        ),
    ],
    ids=lambda each: str(each)[:24],
)
def test_a_wrong_value_is_told_with_its_field_and_what_to_write(field, value, text):
    written = {True: "true", False: "false"}.get(value) if isinstance(value, bool) else None
    if written is None:
        written = f'"{value}"' if isinstance(value, str) else str(value)[:50]
    fault = fault_of({field: value})
    assert fault.startswith(f"tune_config: `{field}` is {written}")
    assert text in fault


@pytest.mark.parametrize(
    ("value", "written"), [(None, "null"), (5, "5"), ("asha", '"asha"'), ([], "[]"), (True, "true")]
)
def test_what_is_not_an_object_is_told_with_an_example(value, written):
    fault = fault_of(value)
    assert fault.startswith(f"tune_config: is {written}: write an object")
    assert '{"metric": "accuracy", "mode": "max"' in fault


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("metrc", "metric"),
        ("Mode", "mode"),
        ("num_sample", "num_samples"),
        ("max_concurrent", "max_concurrent_trials"),
        ("searchalg", "search_alg"),
        ("schedular", "scheduler"),
        ("time_budget", "time_budget_s"),
        ("reuse_actor", "reuse_actors"),
        ("sed", "seed"),
    ],
)
def test_an_unknown_field_is_told_with_the_nearest_and_all_that_there_are(wrong, right):
    fault = fault_of({wrong: 1})
    assert fault.startswith(f"tune_config: \"{wrong}\" is not a field: did you mean '{right}'?")
    assert all(field in fault for field in FIELDS)


def test_a_field_that_is_like_no_other_is_told_with_all_that_there_are():
    assert fault_of({"zzz": 1}) == (
        'tune_config: "zzz" is not a field: allowed: metric, mode, num_samples, '
        "max_concurrent_trials, search_alg, scheduler, time_budget_s, reuse_actors, seed"
    )
    assert fault_of({1: 1}).startswith("tune_config: 1 is not a field: allowed: metric")


def test_metric_and_mode_must_be_there_only_where_all_is_complete():
    parse_sweep({"num_samples": 3})
    parse_sweep({"metric": "a", "mode": "min"}, complete=True)
    for missing in ({}, {"metric": None, "mode": None}):
        first, second = faults_of(missing, complete=True)
        assert first.startswith("tune_config: `metric` is missing")
        assert second.startswith("tune_config: `mode` is missing")


def test_a_wrong_mode_is_not_missing_as_well():
    assert len(faults_of({"metric": "a", "mode": "x"}, complete=True)) == 1


@pytest.mark.parametrize("name", SEARCHERS)
@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
def test_a_searcher_is_known_in_any_case_as_text_or_object(name, change):
    called = change(name)
    part = Part(SEARCHERS[name], called)
    assert parse_sweep({"search_alg": called}).search_alg == part
    assert parse_sweep({"search_alg": {"name": called}}).search_alg == part


@pytest.mark.parametrize("name", [each for each in SCHEDULERS if SCHEDULERS[each] != "bohb"])
@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
def test_a_scheduler_is_known_in_any_case_as_text_or_object(name, change):
    called = change(name)
    part = Part(SCHEDULERS[name], called)
    assert parse_sweep({"scheduler": called}).scheduler == part
    assert parse_sweep({"scheduler": {"name": called}}).scheduler == part


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("basicvariantgenerator", "basic"),
        ("bayesoptsearch", "bayesopt"),
        ("hyperoptsearch", "hyperopt"),
        ("optunasearch", "optuna"),
        ("axsearch", "ax"),
        ("random", "basic"),
        ("bayesopt", "bayesopt"),
        ("hyperopt", "hyperopt"),
        ("optuna", "optuna"),
        ("ax", "ax"),
        ("bohb", "bohb"),
        ("nevergrad", "nevergrad"),
        ("hebo", "hebo"),
        ("zoopt", "zoopt"),
    ],
)
def test_the_names_of_the_platform_and_of_ray_are_the_searchers_they_say(name, kind):
    assert parse_sweep({"search_alg": name}).search_alg.kind == kind


@pytest.mark.parametrize("name", ["fifo", "hyperband", "asha", "median", "pbt", "pb2"])
def test_the_names_of_the_platform_are_the_schedulers_they_say(name):
    assert parse_sweep({"scheduler": name}).scheduler.kind == name


def test_every_name_of_ray_itself_is_known():
    assert set(SEARCH_ALG_IMPORT) <= set(SEARCHERS)
    assert set(SCHEDULER_IMPORT) <= set(SCHEDULERS)


@pytest.mark.parametrize("role", ["search_alg", "scheduler"])
class TestAPart:
    def test_without_a_name_is_the_default_with_its_options(self, role):
        part = getattr(parse_sweep({role: {"options": {"a": 1}}}), role)
        default = BASIC if role == "search_alg" else FIFO
        assert part == Part(default.kind, default.name, {"a": 1})

    @pytest.mark.parametrize(
        ("value", "written"), [(5, "5"), (True, "true"), (["asha"], '["asha"]')]
    )
    def test_that_is_neither_text_nor_object_is_told(self, role, value, written):
        fault = fault_of({role: value})
        assert f"`{role}` is {written}: write a name, or an object with" in fault
        assert "options" in fault

    @pytest.mark.parametrize(("value", "written"), [(5, "5"), (["x"], '["x"]'), (True, "true")])
    def test_with_a_name_that_is_no_text_is_told_with_all_names(self, role, value, written):
        fault = fault_of({role: {"name": value}})
        assert fault.startswith(f"{role}: `name` is {written}: ")
        assert all(each in fault for each in (SEARCHERS if role == "search_alg" else SCHEDULERS))

    @pytest.mark.parametrize(
        ("value", "written"), [(5, "5"), ([], "[]"), ("a", '"a"'), ({1: 2}, "{")]
    )
    def test_with_options_that_are_no_object_is_told(self, role, value, written):
        fault = fault_of({role: {"options": value}})
        assert fault.startswith(f"{role}: `options` is {written}")
        assert "write an object" in fault

    def test_with_an_unknown_key_is_told_with_the_nearest(self, role):
        fault = fault_of({role: {"nam": "fifo"}})
        assert fault.startswith(f"{role}: \"nam\" is not a field: did you mean 'name'? (name, ")
        assert "options" in fault

    @pytest.mark.parametrize("name", ["zzz", "", " "])
    def test_that_is_unknown_is_told_with_all_names(self, role, name):
        fault = fault_of({role: name})
        assert fault.startswith(f'{role}: there is no "{name}": ')
        assert all(each in fault for each in (SEARCHERS if role == "search_alg" else SCHEDULERS))


@pytest.mark.parametrize(
    ("role", "wrong", "right"),
    [
        ("search_alg", "hyperot", "hyperopt"),
        ("search_alg", "Optunna", "optuna"),
        ("search_alg", "bayes", "bayesopt"),
        ("search_alg", "basic", "basicvariantgenerator"),
        ("scheduler", "ashaa", "asha"),
        ("scheduler", "HyperBnd", "hyperband"),
        ("scheduler", "medain", "median"),
        ("scheduler", "pbt2", "pbt"),
    ],
)
def test_a_misspelt_name_is_told_with_the_nearest(role, wrong, right):
    for value in (wrong, {"name": wrong}):
        fault = fault_of({role: value})
        assert fault.startswith(f"{role}: there is no \"{wrong}\": did you mean '{right}'? (")


def test_only_a_searcher_takes_points():
    points = [{"a": 1}]
    sweep = parse_sweep({"search_alg": {"name": "optuna", "points_to_evaluate": points}})
    assert sweep.search_alg.points == points
    fault = fault_of({"scheduler": {"name": "asha", "points_to_evaluate": points}})
    assert fault.startswith('scheduler: "points_to_evaluate" is not a field: ')


@pytest.mark.parametrize("scheduler", ["pbt", "PB2", "pbt_replay"])
@pytest.mark.parametrize("search_alg", ["optuna", "HyperOptSearch", "bayesopt", "bohb"])
def test_a_scheduler_that_chooses_configs_itself_is_not_paired_with_a_searcher(
    scheduler, search_alg
):
    fault = fault_of({"scheduler": scheduler, "search_alg": search_alg})
    assert fault.startswith(f'tune_config: `scheduler` "{scheduler}"')
    assert f'`search_alg` "{search_alg}"' in fault
    assert "leave `search_alg` out" in fault


@pytest.mark.parametrize("scheduler", ["pbt", "pb2", "pbt_replay"])
@pytest.mark.parametrize("search_alg", [None, "random", "BasicVariantGenerator"])
def test_a_scheduler_that_chooses_configs_itself_goes_with_the_basic_searcher(
    scheduler, search_alg
):
    sweep = parse_sweep({"scheduler": scheduler, "search_alg": search_alg})
    assert (sweep.scheduler.kind, sweep.search_alg.kind) == (scheduler, "basic")


@pytest.mark.parametrize("scheduler", ["bohb", "HB_BOHB"])
@pytest.mark.parametrize("search_alg", [None, "optuna", "random"])
def test_bohb_needs_its_searcher(scheduler, search_alg):
    fault = fault_of({"scheduler": scheduler, "search_alg": search_alg})
    assert fault.startswith(f'tune_config: `scheduler` "{scheduler}" needs `search_alg` "bohb"')
    assert "take the scheduler hyperband" in fault


@pytest.mark.parametrize("scheduler", ["bohb", "hb_bohb", "fifo", "asha"])
def test_the_searcher_of_bohb_is_not_refused(scheduler):
    sweep = parse_sweep({"scheduler": scheduler, "search_alg": "bohb"})
    assert sweep.search_alg.kind == "bohb"
    assert sweep.scheduler.kind == SCHEDULERS[scheduler]


def test_all_faults_come_in_one_error():
    faults = faults_of(
        {
            "metric": "",
            "mode": "best",
            "num_samples": 0,
            "max_concurrent_trials": 0,
            "search_alg": {"name": "optunna", "options": []},
            "scheduler": "ashaa",
            "time_budget_s": -1,
            "reuse_actors": "no",
            "seed": -1,
            "metrics": "a",
        }
    )
    assert len(faults) == 11
    for part in (
        *("`metric`", "`mode`", "`num_samples`", "`max_concurrent_trials`", "`time_budget_s`"),
        *("`reuse_actors`", "`seed`", '"optunna"', "`options`", '"ashaa"', '"metrics"'),
    ):
        assert sum(part in fault for fault in faults) == 1


def test_a_pair_fault_comes_together_with_the_others():
    faults = faults_of({"scheduler": "pbt", "search_alg": "optuna", "num_samples": 0})
    assert len(faults) == 2


def test_an_integer_longer_than_python_writes_is_a_fault_like_any_other():
    for field in ("num_samples", "max_concurrent_trials", "time_budget_s", "seed", "mode"):
        assert f"`{field}` is " in fault_of({field: 10**5_000})


PLAUSIBLE = st.one_of(
    st.sampled_from([*SEARCHERS, *SCHEDULERS, "max", "min", "ASHA", "OptunaSearch"]),
    st.integers(-2, 5),
    st.booleans(),
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from([*SEARCHERS, *SCHEDULERS]) | GARBAGE,
            "options": st.dictionaries(st.text(max_size=3), GARBAGE, max_size=2) | GARBAGE,
            "points_to_evaluate": GARBAGE,
        },
    ),
)
KEYS = st.sampled_from(FIELDS) | st.text(max_size=8) | st.none() | st.integers()


@settings(max_examples=400, deadline=None)
@given(
    st.dictionaries(KEYS, PLAUSIBLE | GARBAGE, max_size=8)
    | st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, PLAUSIBLE | GARBAGE))
    | GARBAGE,
    st.booleans(),
)
def test_anything_is_a_sweep_or_our_error(tune_config, complete):
    try:
        sweep = parse_sweep(tune_config, complete=complete)
    except ConfigError as error:
        is_sound(error)
        return
    assert isinstance(sweep, Sweep)
    assert sweep.num_samples == -1 or sweep.num_samples >= 1
    assert sweep.mode in (None, "max", "min")
    assert not complete or (sweep.metric and sweep.mode)
