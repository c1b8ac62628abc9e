"""What the platform asks for: how it is read, and what is said of what is wrong with it."""

import copy
import json
import math
import sys

import pytest
import ray
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_synapse.config.faults import Faults
from ray_synapse.config.params import FIELDS, Params, is_old_form, is_whole, read_params
from ray_synapse.errors import ConfigError
from ray_synapse.names import encode_name
from tests.config.test_hyperparameters import GARBAGE

BASE = {"name": "my_model", "dataset": 123}
TRAINING = {**BASE, "hyperparameter": {"epochs": 10}}
SPACE = [{"name": "lr", "type": "uniform", "min": 0, "max": 1}]
CONFIG = {"metric": "accuracy", "mode": "max"}
TUNING = {**BASE, "is_tune": True, "hyperparameters": SPACE, "tune_config": CONFIG}
NEEDS_FIXED = "hyperparameter is required when is_tune=False"
NEEDS_SPACE = "hyperparameters is required when is_tune=True"
NEEDS_CONFIG = "tune_config is required when is_tune=True"


def whole(params, action="train"):
    return {"action": action, "params": params}


def without(params, *names):
    return {key: value for key, value in params.items() if key not in names}


def read(value):
    faults = Faults()
    params = read_params(value, faults)
    faults.raise_if_any()
    return params


def faults_of(value):
    with pytest.raises(ConfigError) as caught:
        read(value)
    return list(caught.value.faults)


def fault_of(value):
    (fault,) = faults_of(value)
    return fault


def test_a_training_has_its_hyperparameter_as_it_was_given():
    found = read(whole({**TRAINING, "checkpoint": None, "is_tune": False}))
    assert found == Params(name="my_model", dataset=123, hyperparameter={"epochs": 10})


def test_a_tuning_has_its_list_and_its_tune_config_as_they_were_given():
    given_resources = {"checkpoint": 7, "num_cpus": 2, "num_gpus": 0.5}
    assert read(whole({**TUNING, **given_resources})) == Params(
        name="my_model",
        dataset=123,
        checkpoint=7,
        is_tune=True,
        num_cpus=2.0,
        num_gpus=0.5,
        hyperparameters=SPACE,
        tune_config=CONFIG,
    )


@pytest.mark.parametrize("params", [TRAINING, TUNING], ids=["training", "tuning"])
def test_the_params_alone_are_as_good_as_the_whole_object(params):
    assert read(params) == read(whole(params)) == read({"params": params})


def test_what_else_the_platform_writes_beside_action_and_params_is_passed_over():
    assert read({**whole(TRAINING), "agent": 4, "num_cpus": "x", "debug": None}) == read(TRAINING)


@pytest.mark.parametrize("params", [TRAINING, TUNING], ids=["training", "tuning"])
def test_null_is_as_good_as_not_given(params):
    assert read({**dict.fromkeys(FIELDS), **params}) == read(params)
    assert read({"action": None, "params": params}) == read(params)


def test_a_param_called_params_is_for_the_plugin_where_a_name_is_beside_it():
    assert read({**TRAINING, "params": {"a": 1}}).extras == {"params": {"a": 1}}


def test_every_unknown_param_is_for_the_plugin():
    extras = {"image_size": 64, "resume": None, "augment": [{"flip": True}]}
    assert read({**TRAINING, **extras}).extras == extras
    assert read({**TUNING, **extras}).extras == extras


def test_what_is_done_with_the_result_does_not_change_what_was_given():
    for params in ({**TRAINING, "extra": [[1]], "hyperparameter": {"a": {"b": [1]}}}, TUNING):
        before = copy.deepcopy(params)
        found = read(params)
        found.extras.get("extra", [[]])[0].append(2)
        if found.hyperparameter is not None:
            found.hyperparameter["a"]["b"].append(2)
        else:
            found.hyperparameters[0]["min"] = 5
            found.tune_config["mode"] = "min"
        assert params == before


def test_an_object_of_python_reaches_the_plugin_as_itself():
    tool = object()
    found = read({**TRAINING, "tool": tool, "hyperparameter": {"tool": tool}})
    assert found.extras["tool"] is tool
    assert found.hyperparameter["tool"] is tool


def test_the_name_is_encoded():
    assert (
        read({**TRAINING, "name": " experiment:v1,batch:32 "}).name
        == "experiment%3Av1%2Cbatch%3A32"
    )


@pytest.mark.parametrize("name", ["", " \t", "a\nb", "x" * 201])
def test_a_name_that_no_run_can_have_is_said_once_to_be_the_name(name):
    fault = fault_of({**TRAINING, "name": name})
    assert fault.startswith("name: a run's name ")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (2024, 'name: is 2024: write a text, "2024"'),
        (["a"], 'name: is ["a"]: write a text'),
        (10**5_000, "name: is a number of about 5001 digits: write a text"),
    ],
    ids=["number", "list", "huge"],
)
def test_a_name_that_is_no_text_is_a_fault(name, said):
    assert fault_of({**TRAINING, "name": name}) == said


def test_a_name_and_a_dataset_are_required():
    first, second = faults_of(without(TRAINING, "name", "dataset"))
    assert first == 'name is required: write a text, e.g. "name": "my_model"'
    assert second == 'dataset is required: write its id, e.g. "dataset": 123'


@pytest.mark.parametrize(("value", "kept"), [(0, 0), (3.0, 3), (2**40, 2**40)])
def test_an_id_is_a_whole_number(value, kept):
    found = read({**TRAINING, "dataset": value, "checkpoint": value})
    assert (found.dataset, found.checkpoint) == (kept, kept)
    assert type(found.dataset) is type(found.checkpoint) is int


@pytest.mark.parametrize("field", ["dataset", "checkpoint"])
@pytest.mark.parametrize(
    "value", [True, -1, 1.5, "12", [1], {}, math.nan, math.inf, 10**400], ids=repr
)
def test_an_id_that_is_none_is_a_fault(field, value):
    fault = fault_of({**TRAINING, field: value})
    assert fault.startswith(f"{field}: is ")
    assert "a whole number of at least 0" in fault
    assert fault.endswith("without quotes") == isinstance(value, str)


@pytest.mark.parametrize(
    ("value", "params", "said"),
    [
        ("true", TUNING, 'is_tune: is "true": write true, without quotes'),
        ("False", TRAINING, 'is_tune: is "False": write false, without quotes'),
        (1, TUNING, "is_tune: is 1: write true"),
        (0, TRAINING, "is_tune: is 0: write false"),
        ([], TUNING, "is_tune: is []: write true or false"),
        ([], TRAINING, "is_tune: is []: write true or false"),
    ],
)
def test_an_is_tune_that_is_no_bool_is_one_fault_and_the_rest_is_read_as_it_was_meant(
    value, params, said
):
    assert fault_of({**params, "is_tune": value}) == said


@pytest.mark.parametrize("field", ["num_cpus", "num_gpus"])
@pytest.mark.parametrize("value", [0, 0.0001, 0.5, 1, 1.0, 4])
def test_a_share_of_cpus_or_gpus_may_be_whole_or_a_fraction(field, value):
    found = getattr(read({**TUNING, "num_cpus": 1, "num_gpus": 1, field: value}), field)
    assert found == value
    assert type(found) is float


def test_more_than_one_cpu_may_be_a_fraction_and_more_than_one_gpu_may_not():
    assert read({**TUNING, "num_cpus": 1.5}).num_cpus == 1.5
    fault = fault_of({**TUNING, "num_gpus": 1.5})
    assert fault == "num_gpus: is 1.5: write a whole number, or a fraction up to 1"


@pytest.mark.parametrize("field", ["num_cpus", "num_gpus"])
@pytest.mark.parametrize("value", [True, -1, "2", [1], math.nan, math.inf, 10**400], ids=repr)
def test_a_share_that_is_no_finite_number_of_at_least_0_is_a_fault(field, value):
    fault = fault_of({**TUNING, field: value})
    assert fault.startswith(f"{field}: is ")
    assert "write a number of at least 0" in fault


@pytest.mark.parametrize("field", ["num_cpus", "num_gpus"])
def test_a_share_below_what_ray_counts_is_a_fault(field):
    assert "at least 0.0001" in fault_of({**TUNING, field: 0.00009})
    ray.remote(**{field: 0.0001})(read)  # Ray's own limit
    with pytest.raises(ValueError, match=r"0\.0001"):
        ray.remote(**{field: 0.00009})(read)


@pytest.mark.parametrize("value", [5, "train", [TRAINING], None, True], ids=repr)
def test_what_is_no_object_is_one_fault_with_an_example(value):
    fault = fault_of(value)
    assert "is no job: write an object" in fault
    assert '"action": "train"' in fault


@pytest.mark.parametrize("action", ["trian", "test", 5, ["train"], ""])
def test_another_action_is_a_fault_beside_those_of_the_params(action):
    first, second = faults_of(whole({**TRAINING, "dataset": "x"}, action))
    assert first == f'action: is {json.dumps(action)}: write "train"'
    assert second.startswith("dataset: ")


def test_an_object_without_params_is_told_of_the_key_that_looks_like_it():
    assert fault_of({"action": "train", "parms": TRAINING}) == (
        'params is required: write "params": {...} (there is `parms`: did you mean it?)'
    )
    assert fault_of({"action": "train", "agent": 4}) == 'params is required: write "params": {...}'


def test_params_that_lie_beside_the_action_are_told_to_lie_within_params():
    fault = fault_of({"action": "train", **TRAINING})
    assert fault.endswith('write "params": {...} around name, dataset, hyperparameter')


@pytest.mark.parametrize("params", [5, "x", [TRAINING]])
def test_params_that_are_no_object_are_a_fault(params):
    assert fault_of(whole(params)).startswith("params: is ")


def test_a_key_that_is_no_text_is_a_fault():
    assert fault_of({**TRAINING, 5: 1}) == "params: has the key 5: write a text as key"


# Training


def test_a_training_without_hyperparameter_is_refused_in_the_words_of_the_platform():
    assert fault_of(BASE) == f'{NEEDS_FIXED}: write "hyperparameter": {{"epochs": 10}}'


@pytest.mark.parametrize("value", [5, "adam", True])
def test_a_hyperparameter_that_is_no_object_is_a_fault(value):
    fault = fault_of({**BASE, "hyperparameter": value})
    assert fault.startswith("hyperparameter: is ")
    assert "write an object" in fault
    assert "to tune" not in fault


def test_a_list_for_hyperparameter_is_told_both_ways_out():
    fault = fault_of({**BASE, "hyperparameter": SPACE})
    assert fault.startswith("hyperparameter: is [")
    assert 'write an object, e.g. "hyperparameter": {"epochs": 10}' in fault
    assert 'to tune, write "is_tune": true, and the list as `hyperparameters`' in fault


@pytest.mark.parametrize("entry", [{}, {"epochs": 3, "nested": {"a": [1]}}])
def test_a_list_of_one_object_is_taken_as_the_hyperparameter_of_a_training(entry):
    found = read({**BASE, "hyperparameters": [entry]})
    assert (found.hyperparameter, found.hyperparameters) == (entry, None)


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ({"epochs": 3}, "call it `hyperparameter`, without s"),
        ([{}, {}], 'to tune, write "is_tune": true'),
        ([], 'write "hyperparameter": {"epochs": 10} in its place'),
        ([5], 'write "hyperparameter": {"epochs": 10} in its place'),
        ("x", 'write "hyperparameter": {"epochs": 10} in its place'),
    ],
    ids=["object", "longer", "empty", "no object", "text"],
)
def test_any_other_hyperparameters_in_a_training_are_told_what_to_write(value, advice):
    fault = fault_of({**BASE, "hyperparameters": value})
    assert fault.startswith(f"{NEEDS_FIXED}: `hyperparameters` is ")
    assert fault.endswith(advice)


def test_what_a_training_does_not_use_is_noted_and_no_fault():
    params = {**TRAINING, "num_cpus": 2, "num_gpus": 0.5, "tune_config": CONFIG}
    found = read(params)
    assert found.notes == (
        "num_cpus is for tuning: a training runs in this process",
        "num_gpus is for tuning: a training runs in this process",
        "tune_config is not used, since is_tune is false",
    )
    assert found.tune_config is None


def test_nothing_is_noted_where_nothing_is_unused():
    assert read({**TRAINING, "num_cpus": 0, "num_gpus": None, "tune_config": None}).notes == ()
    assert read({**TUNING, "num_cpus": 2, "num_gpus": 1}).notes == ()


# Tuning


def test_a_tuning_without_both_is_refused_in_the_words_of_the_platform():
    first, second = faults_of({**BASE, "is_tune": True})
    assert first.startswith(f'{NEEDS_SPACE}: write "hyperparameters": [')
    assert second.startswith(f'{NEEDS_CONFIG}: write "tune_config": {{')


def test_an_empty_list_is_left_to_the_check_of_the_search_space():
    assert read({**TUNING, "hyperparameters": []}).hyperparameters == []


def test_entries_and_tune_config_are_not_looked_at_here():
    found = read({**TUNING, "hyperparameters": [5, {"type": "x"}], "tune_config": {"metrc": 1}})
    assert found.hyperparameters == [5, {"type": "x"}]
    assert found.tune_config == {"metrc": 1}


@pytest.mark.parametrize("value", [{"lr": 0.1}, 5, "x"])
def test_hyperparameters_that_are_no_list_are_a_fault(value):
    fault = fault_of({**TUNING, "hyperparameters": value})
    assert fault.startswith("hyperparameters: is ")
    assert 'write a list, e.g. "hyperparameters": [' in fault
    assert ("and the object as `hyperparameter`" in fault) == isinstance(value, dict)


def test_a_list_that_is_called_hyperparameter_is_told_to_be_renamed():
    fault = fault_of({**without(TUNING, "hyperparameters"), "hyperparameter": SPACE})
    assert (
        fault == f"{NEEDS_SPACE}: `hyperparameter` is a list, so call it `hyperparameters`, with s"
    )


def test_the_fixed_values_of_a_training_in_a_tuning_are_told_both_ways_out():
    fault = fault_of({**without(TUNING, "hyperparameters"), "hyperparameter": {"lr": 0.1}})
    assert fault.startswith(
        f"{NEEDS_SPACE}: `hyperparameter` is for the fixed values of a training"
    )
    assert '"hyperparameters": [' in fault
    assert '"is_tune": false' in fault


@pytest.mark.parametrize("value", [5, "x", [CONFIG]])
def test_a_tune_config_that_is_no_object_is_a_fault(value):
    assert fault_of({**TUNING, "tune_config": value}).startswith("tune_config: is ")


@pytest.mark.parametrize(
    ("is_tune", "extra"), [(False, "hyperparameters"), (True, "hyperparameter")]
)
def test_both_of_them_are_a_fault_that_says_which_one_to_leave_out(is_tune, extra):
    params = {**TUNING, "hyperparameter": {}, "is_tune": is_tune}
    assert fault_of(params) == (
        "`hyperparameter` and `hyperparameters` are both given: "
        f"leave out `{extra}`, since is_tune is {str(is_tune).lower()}"
    )


# Misspelled


@pytest.mark.parametrize(
    ("params", "missing", "written"),
    [
        (TRAINING, "hyperparameter", "hyperparametrs"),
        (TRAINING, "hyperparameter", "hyper_params"),
        (TRAINING, "dataset", "dataset_id"),
        (TRAINING, "name", "nmae"),
        (TUNING, "hyperparameters", "HyperParameters"),
        (TUNING, "tune_config", "tuneConfig"),
        (TUNING, "tune_config", "TUNE_CONFIG"),
    ],
)
def test_a_required_field_that_is_missing_is_told_of_the_key_that_looks_like_it(
    params, missing, written
):
    fault = fault_of({**without(params, missing), written: params[missing]})
    assert fault.startswith(f"{missing} is required")
    assert fault.endswith(f" (there is `{written}`: did you mean it?)")


def test_a_misspelled_is_tune_is_told_where_a_training_gets_a_search_space():
    fault = fault_of({**without(TUNING, "is_tune"), "is_tuned": True, "hyperparameters": SPACE * 2})
    assert fault.endswith("(there is `is_tuned`: did you mean it?)")


@pytest.mark.parametrize("other", ["model", "params_of_mine", "config", "tuner", "hyper"])
def test_a_key_that_is_not_really_near_is_not_taken_for_a_misspelled_one(other):
    for fault in faults_of({other: 1, "is_tune": True}):
        assert "did you mean" not in fault


# The old form


def test_the_old_form_reads_as_the_new_one():
    old = whole({**BASE, "hyperparameter": SPACE, "tune_config": CONFIG}, "tune")
    assert read(old) == read(whole(TUNING))
    assert read(whole({**old["params"], "is_tune": True}, "tune")) == read(whole(TUNING))


def test_the_old_action_takes_the_new_key_too():
    assert read(whole(without(TUNING, "is_tune"), "tune")) == read(whole(TUNING))


def test_the_old_action_with_both_keys_is_told_to_leave_out_the_old_one():
    fault = fault_of(whole({**TUNING, "hyperparameter": SPACE}, "tune"))
    assert "leave out `hyperparameter`" in fault


def test_the_old_action_does_not_train():
    params = {**TUNING, "is_tune": False, "hyperparameters": SPACE * 2}
    fault = fault_of(whole(params, "tune"))
    assert fault == 'is_tune: is false: write true to tune, or "train" as action to train'


def test_the_old_action_with_fixed_values_lacks_its_search_space():
    fault = fault_of(whole({**TRAINING, "tune_config": CONFIG}, "tune"))
    assert fault.startswith(NEEDS_SPACE)


@pytest.mark.parametrize(
    ("value", "is_old"),
    [
        (whole(TUNING, "tune"), True),
        ({"action": "tune"}, True),
        (whole(TUNING), False),
        (TUNING, False),
        ({"params": TUNING}, False),
        (["action"], False),
        ("tune", False),
    ],
    ids=["old", "without params", "new", "params", "no action", "list", "text"],
)
def test_only_the_action_tune_is_the_old_form(value, is_old):
    assert is_old_form(value) is is_old


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"action": "train"}, True),
        ({"action": None, "name": "x"}, True),
        ({"params": {}}, True),
        ({"params": {}, "name": "x"}, False),
        ({"name": "x"}, False),
        ({}, False),
        (["action"], False),
    ],
    ids=repr,
)
def test_the_whole_object_has_an_action_or_params_and_no_name(value, expected):
    assert is_whole(value) is expected


# All at once


def test_all_faults_come_at_once():
    faults = faults_of(
        whole(
            {
                "name": " ",
                "dataset": "12",
                "checkpoint": -1,
                "is_tune": "true",
                "num_cpus": -1,
                "num_gpus": 1.5,
                "hyperparameter": SPACE,
                "tune_config": [],
            },
            "trian",
        )
    )
    starts = ("action:", "is_tune:", "name:", "dataset:", "checkpoint:", "num_cpus:", "num_gpus:")
    starts += (NEEDS_SPACE, "tune_config:")
    assert len(faults) == len(starts)
    for start in starts:
        assert sum(fault.startswith(start) for fault in faults) == 1


def is_complete(params):
    if params.is_tune:
        has_mode = isinstance(params.hyperparameters, list) and isinstance(params.tune_config, dict)
        has_mode = has_mode and params.hyperparameter is None
    else:
        has_mode = isinstance(params.hyperparameter, dict)
        has_mode = has_mode and params.hyperparameters is None and params.tune_config is None
    return has_mode and encode_name(params.name) == params.name and type(params.dataset) is int


PLAUSIBLE = {
    "name": st.sampled_from(["my_model", "a:b", " ", 5]),
    "dataset": st.sampled_from([123, 0, 3.0, "1"]),
    "checkpoint": st.sampled_from([None, 7, -1]),
    "is_tune": st.sampled_from([True, False, "true", None]),
    "num_cpus": st.sampled_from([None, 0, 1, 1.5, "1"]),
    "num_gpus": st.sampled_from([None, 0, 0.5, 1.5]),
    "hyperparameter": st.sampled_from([None, {"epochs": 1}, SPACE]),
    "hyperparameters": st.sampled_from([None, SPACE, [{}, {}], [], {}]),
    "tune_config": st.sampled_from([None, CONFIG, []]),
}
SOME = st.fixed_dictionaries({}, optional={k: v | GARBAGE for k, v in PLAUSIBLE.items()})
# Half of these are right: both outcomes must be met.
LIKELY = st.fixed_dictionaries(
    {"name": PLAUSIBLE["name"], "dataset": PLAUSIBLE["dataset"]},
    optional={k: v for k, v in PLAUSIBLE.items() if k not in ("name", "dataset")},
)
ODD = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8) | st.integers(), GARBAGE)
PARAMS = SOME | LIKELY | ODD | GARBAGE
ACTION = st.sampled_from(["train", "tune", "trian", None]) | GARBAGE
WHOLE = st.fixed_dictionaries({}, optional={"action": ACTION, "params": PARAMS, "agent": GARBAGE})


@settings(max_examples=500, deadline=None)
@given(PARAMS | WHOLE)
def test_anything_gives_complete_params_or_a_fault_and_stays_as_it_is(value):
    before, faults = repr_of(value), Faults()
    params = read_params(value, faults)
    assert isinstance(params, Params)
    assert len(faults) or is_complete(params)
    assert all(isinstance(key, str) and key not in FIELDS for key in params.extras)
    assert repr_of(value) == before
    is_old_form(value)


def repr_of(value):
    """Equal for equal values, also those that hold NaN or digits that Python does not write."""
    if isinstance(value, dict):
        return [(repr_of(key), repr_of(each)) for key, each in value.items()]
    if isinstance(value, (list, tuple)):
        return [repr_of(each) for each in value]
    return hex(value) if type(value) is int else repr(value)


def test_a_value_that_is_nested_beyond_what_python_follows_is_read_all_the_same():
    deep = {}
    for _ in range(100_000):
        deep = {"a": deep}
    assert read({**BASE, "hyperparameter": deep}).hyperparameter["a"] is deep["a"]
    assert fault_of({**BASE, "hyperparameter": [deep]}).startswith("hyperparameter: is ")


def test_a_value_at_the_edge_of_what_python_follows_is_read_all_the_same():
    value = [1]
    for _ in range(sys.getrecursionlimit()):
        value = [value]
        assert "extra" in read({**TRAINING, "extra": value}).extras


def test_a_param_that_looks_like_one_of_the_platforms_goes_to_the_plugin_and_is_told() -> None:
    faults = Faults()
    params = read_params({**TRAINING, "num_gpu": 1}, faults)
    assert not len(faults)
    assert params.extras == {"num_gpu": 1}
    assert params.notes == ("`num_gpu` goes to the plugin; num_gpus is not given",)


@pytest.mark.parametrize("shares", [{"num_cpus": 0}, {"num_cpus": 0, "num_gpus": 0}])
def test_a_trial_asks_for_something(shares):
    with pytest.raises(ConfigError, match=r"num_cpus: is 0: write at least 0.0001"):
        read({**TUNING, **shares})
