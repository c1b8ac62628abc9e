"""The JSON of a job: how it is read from a file, and changed by ``path=value``."""

import contextlib
import copy
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_synapse.config.job_file import load, overridden
from ray_synapse.errors import ConfigError

SPACE = [
    {"name": "lr", "type": "uniform", "min": 0, "max": 1},
    {"name": "model/width", "type": "choice", "options": [16, 32]},
]
PARAMS = {
    "name": "my_job",
    "dataset": 123,
    "checkpoint": None,
    "hyperparameters": SPACE,
    "tune_config": {"num_samples": 10, "scheduler": {"name": "fifo"}},
}
WHOLE = {"action": "train", "params": PARAMS}
LONG = pytest.param("9" * 5_000, id="long")  # more digits than Python reads, and than a name has


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "job.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def fault_of(source):
    with pytest.raises(ConfigError) as caught:
        load(source)
    (fault,) = caught.value.faults
    return fault


@contextlib.contextmanager
def as_user_without_rights(path):
    """Root may read everything, so that it has to be somebody else."""
    if os.geteuid():
        os.chmod(path, 0)
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


# Reading


@pytest.mark.parametrize("content", [json.dumps(WHOLE), "[1, 2]", "5", ' \n{"a": "ä"}\n'])
def test_a_file_gives_what_is_in_it(write, content):
    assert load(write(content)) == json.loads(content)


def test_a_byte_order_mark_is_passed_over(write):
    assert load(write(b'\xef\xbb\xbf{"a": 1}')) == {"a": 1}


@pytest.mark.parametrize("content", ['{"a": [1, "ä"]}', '{"a": 1,}', ""])
def test_standard_input_is_read_as_a_file_is(write, content):
    script = (
        "from ray_synapse.config.job_file import load\n"
        "try: print(ascii(load('-')))\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=content.encode(), capture_output=True, check=True
    )
    path = write(content)
    try:
        expected = ascii(load(path))
    except ConfigError as error:
        expected = str(error).replace(path, "standard input")
    assert done.stdout.decode().strip() == expected


def test_a_closed_standard_input_is_a_fault():
    script = "from ray_synapse.config.job_file import load; load('-')"
    command = f'exec {sys.executable} -c "{script}" <&-'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert "ConfigError: standard input: is closed: give a file" in done.stderr


def test_a_missing_file_is_named_with_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fault = fault_of("jbo.json")
    assert fault.startswith("jbo.json: there is no such file: check the path")
    assert str(tmp_path / "jbo.json") in fault


def test_a_folder_is_told_to_be_one(tmp_path):
    assert fault_of(str(tmp_path)) == f"{tmp_path}: is a folder: give a file"


def test_a_file_that_the_user_may_not_read_is_told_so(write):
    path = write("{}")
    with as_user_without_rights(path):
        assert fault_of(path).startswith(f"{path}: this user may not read it")


@pytest.mark.parametrize("path", ["{file}/job.json", LONG, "job\x00.json"])
def test_a_path_that_cannot_be_is_our_error(write, path):
    assert fault_of(path.format(file=write("{}")))


def test_a_path_cannot_steer_the_terminal():
    assert "\x1b" not in fault_of("\x1b[2J.json")


@pytest.mark.parametrize("content", ["", " \n\t", b"\xef\xbb\xbf"])
def test_an_empty_file_is_told_what_to_write(write, content):
    path = write(content)
    assert fault_of(path).startswith(f'{path}: is empty: write an object, e.g. {{"action": "train"')


@pytest.mark.parametrize(
    ("content", "byte"), [('{"a": "ä"}'.encode("latin-1"), 8), ("{}".encode("utf-16"), 1)]
)
def test_a_file_in_another_encoding_is_told_to_be_saved_as_utf_8(write, content, byte):
    path = write(content)
    assert fault_of(path) == f"{path}: is no text in UTF-8 (its byte {byte}): save it as UTF-8"


@pytest.mark.parametrize(
    ("content", "line", "column", "around"),
    [
        ('{\n  "a": 1\n  "b": 2\n}', 3, 3, '"b": 2'),
        ('{"a": 1,,}', 1, 9, '{"a": 1,,}'),
        ("{'a': 1}", 1, 2, "{'a': 1}"),
        ('{"a": True}', 1, 7, '{"a": True}'),
        ('{"a": [1,\n\n', 3, 1, "the line is empty"),
        ("{} {}", 1, 4, "{} {}"),
        pytest.param('{"a": "' + "x" * 50 + '" 1}', 1, 60, "x" * 38 + '" 1}', id="long"),
    ],
)
def test_bad_json_is_named_by_line_and_column_and_shown(write, content, line, column, around):
    path = write(content)
    fault = fault_of(path)
    assert fault.startswith(f"{path}, line {line}, column {column}: ")
    assert fault.endswith(f": correct it there or just before: {around}")


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_a_constant_that_is_no_json_is_refused(write, constant):
    path = write(f'{{"params": {{"lr": {constant}}}}}')
    assert fault_of(path) == (
        f"{path}: has {constant}, which is no JSON: write null or a finite number"
    )


@pytest.mark.parametrize("number", ["1e999", "-1e999", LONG])
def test_a_number_that_python_cannot_hold_is_refused(write, number):
    assert "write a smaller one" in fault_of(write(f'{{"a": [{number}]}}'))


def test_a_key_that_is_there_twice_is_named_with_its_object(write):
    path = write('{"a": {"lr": 1, "x": {"lr": 1}, "lr": 2, "wd": 1, "wd": 1, "wd": 2}}')
    fault = fault_of(path)
    assert fault.startswith(f'{path}: has "lr", "wd" twice in the object {{"lr":2,')
    assert fault.endswith(": leave one out")


def test_json_that_is_nested_too_deeply_is_our_error(write):
    assert "nested too deeply" in fault_of(write("[" * 100_000))


def once(pairs):
    if len(dict(pairs)) < len(pairs):
        raise ValueError
    return dict(pairs)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=30) | st.text('{}[]":,a1.e- \n', max_size=30))
def test_any_content_is_json_or_our_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        expected = json.loads(path.read_text("utf-8-sig"), object_pairs_hook=once)
        json.dumps(expected, allow_nan=False)
    except ValueError:
        with pytest.raises(ConfigError) as caught:
            load(str(path))
        assert str(caught.value).startswith(str(path))
    else:
        assert load(str(path)) == expected


# Changing


def changed(*assignments, job=PARAMS):
    return overridden(job, assignments)


def change_faults(*assignments, job=PARAMS):
    with pytest.raises(ConfigError) as caught:
        overridden(job, assignments)
    return list(caught.value.faults)


def change_fault(assignment, job=PARAMS):
    (fault,) = change_faults(assignment, job=job)
    return fault


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ('"4"', "4"),
        ('{"a": [1]}', {"a": [1]}),
        ("my_job", "my_job"),
        ("True", "True"),
        ("", ""),
        ("a=b", "a=b"),
        ("NaN", "NaN"),
        ("[draft] x", "[draft] x"),
        ("007", "007"),
        pytest.param("[" * 100_000, "[" * 100_000, id="deep"),
    ],
)
def test_a_value_is_json_if_it_can_be_and_else_a_text(text, value):
    found = changed(f"name={text}")["name"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("path", ["tune_config.num_samples", "params.tune_config.num_samples"])
def test_a_path_goes_from_the_params_of_the_whole_object(path):
    expected = copy.deepcopy(WHOLE)
    expected["params"]["tune_config"]["num_samples"] = 4
    assert changed(f"{path}=4", job=WHOLE) == expected


def test_a_path_goes_from_the_params_where_they_are_all():
    found = changed("tune_config.num_samples=4", "dataset=5")
    assert found == {
        **PARAMS,
        "dataset": 5,
        "tune_config": {"num_samples": 4, "scheduler": {"name": "fifo"}},
    }


@pytest.mark.parametrize("job", [PARAMS, WHOLE], ids=["params", "whole"])
def test_the_given_job_stays_as_it_is(job):
    before = copy.deepcopy(job)
    changed("hyperparameters.lr.max=5", "tune_config.a.b=1", "dataset=1", "name=x", job=job)
    changed("hyperparameters.1.options.0=5", job=job)
    assert job == before


def test_without_assignments_it_is_the_same_job():
    assert changed() == PARAMS
    assert overridden([5], []) == [5]


def test_objects_that_are_missing_on_the_way_are_made():
    found = changed("hyperparameter.optimizer.name=adam", job={"name": "x", "hyperparameter": None})
    assert found == {"name": "x", "hyperparameter": {"optimizer": {"name": "adam"}}}
    assert changed("name=x", job={"action": "train"}) == {
        "action": "train",
        "params": {"name": "x"},
    }


def test_a_number_is_an_index_where_a_list_is_and_a_key_where_an_object_is():
    assert changed("hyperparameters.1.options.0=8")["hyperparameters"][1]["options"] == [8, 32]
    assert changed("extra.0=8")["extra"] == {"0": 8}


@pytest.mark.parametrize("path", ["hyperparameters.lr", "hyperparameters.0"])
def test_an_entry_of_a_list_goes_by_its_name_or_its_index(path):
    assert changed(f"{path}.max=5")["hyperparameters"] == [{**SPACE[0], "max": 5}, SPACE[1]]
    assert changed(f"{path}=5")["hyperparameters"] == [5, SPACE[1]]


def test_a_name_with_a_slash_is_one_part_of_a_path():
    found = changed("hyperparameters.model/width.options=[1]")
    assert found["hyperparameters"][1]["options"] == [1]


def test_a_later_assignment_sees_what_an_earlier_one_made():
    found = changed('hyperparameters=[{"name": "wd"}]', "hyperparameters.wd.min=1")
    assert found["hyperparameters"] == [{"name": "wd", "min": 1}]


def test_blanks_around_the_path_are_passed_over():
    assert changed(" dataset =5")["dataset"] == 5


def test_a_name_that_no_entry_has_is_told_the_names_that_there_are():
    assert change_fault("hyperparameters.lrr.max=5") == (
        '--set hyperparameters.lrr.max: `hyperparameters` has no entry with the name "lrr": '
        "did you mean 'lr'? (lr, model/width)"
    )


@pytest.mark.parametrize("part", ["2", "-1", LONG, "x"])
def test_an_index_that_is_not_there_is_told_which_are(part):
    fault = change_fault(f"hyperparameters.1.options.{part}=5")
    assert "`hyperparameters.1.options` is a list: write an index from 0 to 1" in fault


def test_an_empty_list_has_nothing_to_step_into():
    assert "`a` is an empty list" in change_fault("a.0=1", job={"name": "x", "a": []})


@pytest.mark.parametrize("path", ["dataset.x", "name.0", "hyperparameters.lr.max.y.z"])
def test_a_step_into_what_is_neither_object_nor_list_is_told_what_to_set(path):
    fault = change_fault(f"{path}=1")
    assert "neither an object nor a list: set `" in fault
    assert fault.startswith(f"--set {path}: ")


@pytest.mark.parametrize("job", [PARAMS, WHOLE], ids=["params", "whole"])
@pytest.mark.parametrize("text", ["=1", "a..b=1", ".a=1", "a.=1", " =1"])
def test_an_empty_part_is_a_fault(job, text):
    assert "a part of the path is empty: write path=value" in change_fault(text, job)


def test_the_params_are_not_replaced_as_a_whole():
    assert "are set one by one" in change_fault("params={}", WHOLE)


def test_an_assignment_without_an_equals_sign_is_told_the_form():
    fault = change_fault("num_samples")
    assert fault == (
        "--set num_samples: has no `=`: write path=value, e.g. tune_config.num_samples=4"
    )


@pytest.mark.parametrize("path", ["action", "params.action", "action.x"])
def test_the_action_cannot_be_set(path):
    assert "action is none of the params" in change_fault(f"{path}=tune", WHOLE)


def test_the_action_cannot_be_set_where_there_are_only_params_either():
    assert "action is none of the params" in change_fault("action=tune")


def test_a_leading_params_is_for_the_whole_object_only():
    assert "leave out `params.`" in change_fault("params.name=x")


def test_a_param_called_params_can_be_set_where_it_is():
    job = {"name": "x", "params": {"a": 1}}
    assert changed("params.a=2", job=job) == {"name": "x", "params": {"a": 2}}


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "1e999", LONG])
def test_a_value_that_would_be_refused_in_the_file_is_refused(text):
    assert change_fault(f"x={text}").startswith("--set x: its value has ")


@pytest.mark.parametrize(
    "job", [5, [PARAMS], None, {"params": 5}, {"action": "train", "params": []}]
)
def test_a_job_without_params_to_set_in_is_a_fault(job):
    assert "write an object in the JSON itself" in change_fault("name=x", job)


def test_all_faults_of_all_assignments_come_at_once():
    faults = change_faults("a", "dataset.x=1", "dataset=5", "hyperparameters.9=1", "action=tune")
    assert [fault.split(":")[0] for fault in faults] == [
        "--set a",
        "--set dataset.x",
        "--set hyperparameters.9",
        "--set action",
    ]


def test_a_job_that_is_nested_as_deeply_as_json_is_read_can_be_changed(write):
    job = load(write('{"name": "x", "a": ' + "[" * 800 + "]" * 800 + "}"))
    assert changed("name=y", "a.0.0=1", job=job) == {"name": "y", "a": [[1]]}


JSON = st.recursive(
    st.none() | st.integers() | st.text("ab0", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["action", "params", "name", "a", "0", ""]), inner)
    ),
    max_leaves=10,
)
PATH = st.lists(st.sampled_from(["action", "params", "name", "a", "0", "1", ""]), max_size=4)
SETTING = st.builds(lambda path, value: f"{'.'.join(path)}={value}", PATH, st.text(max_size=3))


@settings(max_examples=300, deadline=None)
@given(JSON, st.lists(SETTING | st.text(max_size=4), max_size=3))
def test_any_assignments_change_a_copy_or_are_our_error(job, assignments):
    before = copy.deepcopy(job)
    with contextlib.suppress(ConfigError):
        found = overridden(job, assignments)
        assert isinstance(found, type(job))
        if isinstance(job, dict):
            assert found.get("action") == job.get("action")
    assert job == before
