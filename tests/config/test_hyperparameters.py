"""The JSON list of hyperparameters: what becomes of an entry, and all that can be wrong with it."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_synapse.config.hyperparameters import parse_hyperparameters
from ray_synapse.config.kinds import KINDS, Hyperparameter
from ray_synapse.errors import ConfigError

# Anything that may come instead of JSON: nested, of wrong types, NaN, and huge.
GARBAGE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**53, 2**53 + 1, -(2**63), 10**308, 10**400, -(10**4_000)])
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=3)
    | st.decimals(allow_nan=True),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=6) | st.integers() | st.none(), inner, max_size=4)
    ),
    max_leaves=8,
)
BOUNDS = {"min": 1, "max": 10}
NEEDED = {"min": 1, "max": 10, "base": 10, "mean": 0, "sd": 1, "options": [1, 2]}


def entry(kind, name="lr", **fields):
    return {"name": name, "type": kind, **fields}


def valid(kind, **changes):
    """An entry with all that its type needs; a field that is None is left out."""
    fields = {name: NEEDED[name] for name in KINDS[kind].needs} | changes
    return entry(kind, **{name: value for name, value in fields.items() if value is not None})


def faults_of(value):
    with pytest.raises(ConfigError) as caught:
        parse_hyperparameters(value)
    return list(caught.value.faults)


def is_sound(error):
    """An error of ours says something, in texts."""
    assert error.faults
    assert all(isinstance(each, str) and each for each in error.faults)


def fault_of(one):
    (fault,) = faults_of([one])
    return fault


def parsed(one):
    (found,) = parse_hyperparameters([one])
    return found


def test_the_twelve_types_are_those_of_the_platform():
    bounds, log, normal, options = (
        ("min", "max"),
        ("min", "max", "base"),
        ("mean", "sd"),
        ("options",),
    )
    assert {name: (kind.needs, "q" in kind.fields) for name, kind in KINDS.items()} == {
        "uniform": (bounds, False),
        "quniform": (bounds, True),
        "loguniform": (log, False),
        "qloguniform": (log, True),
        "randn": (normal, False),
        "qrandn": (normal, True),
        "randint": (bounds, False),
        "qrandint": (bounds, True),
        "lograndint": (log, False),
        "qlograndint": (log, True),
        "choice": (options, False),
        "grid_search": (options, False),
    }


@pytest.mark.parametrize(
    ("given_entry", "fields"),
    [
        (entry("uniform", min=0, max=1), {"min": 0.0, "max": 1.0}),
        (entry("quniform", min=0, max=1, q=0.5), {"min": 0.0, "max": 1.0, "q": 0.5}),
        (entry("loguniform", min=1, max=2, base=2), {"min": 1.0, "max": 2.0, "base": 2.0}),
        (entry("randn", mean=-1, sd=2), {"mean": -1.0, "sd": 2.0}),
        (entry("qrandn", mean=-1, sd=2, q=1), {"mean": -1.0, "sd": 2.0, "q": 1.0}),
        (entry("randint", min=1.0, max=3), {"min": 1, "max": 3}),
        (entry("qrandint", min=2, max=8.0, q=2.0), {"min": 2, "max": 8, "q": 2}),
        (entry("lograndint", min=1, max=8, base=1.5), {"min": 1, "max": 8, "base": 1.5}),
        (entry("choice", options=(1, "a", None)), {"options": [1, "a", None]}),
        (entry("grid_search", options=[[1], {"a": True}]), {"options": [[1], {"a": True}]}),
        (entry("uniform", min=np.float32(0.5), max=np.int64(2)), {"min": 0.5, "max": 2.0}),
        (entry("randint", min=np.int64(1), max=Decimal(3)), {"min": 1, "max": 3}),
        (entry("uniform", min=Decimal("0.1"), max=Fraction(1, 2)), {"min": 0.1, "max": 0.5}),
    ],
    ids=lambda each: each.get("type", "") if isinstance(each, dict) else None,
)
def test_a_valid_entry_has_its_values_in_the_type_that_they_have_in_tune(given_entry, fields):
    found = parsed(given_entry)
    assert found == Hyperparameter("lr", given_entry["type"], fields)
    assert {name: type(each) for name, each in found.fields.items()} == {
        name: type(each) for name, each in fields.items()
    }


@pytest.mark.parametrize(
    ("given_entry", "q"),
    [
        (entry("quniform", min=0.0001, max=0.01), 0.0001),
        (entry("quniform", min=0, max=1), 0.1),
        (entry("quniform", min=-0.5, max=0.5), 0.1),
        (entry("qloguniform", min=0.0001, max=0.01, base=10), 0.0001),
        (entry("qloguniform", min=1, max=1000, base=10), 1.0),
        (entry("qrandint", min=10, max=1000), 1),
        (entry("qlograndint", min=10, max=1000, base=10), 1),
        (entry("qrandn", mean=0, sd=1), 0.1),
        (entry("qrandn", mean=5, sd=0.25), 0.01),
        (entry("qrandn", mean=0, sd=99), 1.0),
    ],
)
def test_a_q_that_is_left_out_is_filled_in(given_entry, q):
    found = parsed(given_entry).fields["q"]
    assert found == q
    assert type(found) is type(q)


def test_the_order_of_the_list_is_kept():
    names = ["c", "a/b", "a/a", "b"]
    found = parse_hyperparameters([valid("uniform", name=each) for each in names])
    assert [each.name for each in found] == names


def test_the_list_that_was_given_is_not_changed():
    options = [1, 2]
    given_list = [valid("quniform"), valid("choice", options=options, name="c")]
    before = [dict(each) for each in given_list]
    found = parse_hyperparameters(given_list)
    found[1].fields["options"].append(3)
    assert given_list == before
    assert options == [1, 2]


@pytest.mark.parametrize("value", [{}, {"name": "lr", "type": "uniform"}, {"lr": 0.1}])
def test_an_object_instead_of_the_list_says_what_the_platform_says(value):
    (fault,) = faults_of(value)
    assert fault.startswith("hyperparameters: must be a list of objects")
    assert "not an object" in fault
    assert "use `hyperparameter` (without s) and is_tune=false" in fault


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, "null"), (5, "5"), ("lr", '"lr"'), (True, "true"), (math.nan, "nan")],
)
def test_what_is_not_a_list_is_told(value, written):
    (fault,) = faults_of(value)
    assert fault.startswith(f"hyperparameters: is {written}: write a list of objects")


@pytest.mark.parametrize("value", [[], ()])
def test_an_empty_list_is_told(value):
    assert faults_of(value) == [
        "hyperparameters: the list is empty: write at least one hyperparameter"
    ]


@pytest.mark.parametrize(
    ("value", "written"), [(None, "null"), (5, "5"), ("lr", '"lr"'), ([], "[]"), (True, "true")]
)
def test_an_entry_that_is_no_object_is_told_with_its_index(value, written):
    (fault,) = faults_of([valid("uniform"), value])
    assert fault == f"hyperparameters[1]: is {written}: write an object with `name` and `type`"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (None, "`name` is null: write a text"),
        (5, "`name` is 5: write a text"),
        (["a"], '`name` is ["a"]: write a text'),
        ("", '`name` is "": neither it nor a part between / may be empty'),
        ("/", '`name` is "/": neither'),
        ("/a", '`name` is "/a": neither'),
        ("a/", '`name` is "a/": neither'),
        ("a//b", '`name` is "a//b": neither'),
    ],
)
def test_a_wrong_name_is_told(name, text):
    (fault,) = faults_of([valid("uniform") | {"name": name}])
    where = f"hyperparameter '{name}'" if name and isinstance(name, str) else "hyperparameters[0]"
    assert fault.startswith(f"{where}: {text}")


def test_a_missing_name_or_type_is_told():
    (fault,) = faults_of([{"type": "uniform", "min": 0, "max": 1}])
    assert fault.startswith("hyperparameters[0]: `name` is missing")
    (fault,) = faults_of([{"name": "lr", "min": 0, "max": 1}])
    assert fault == f"hyperparameter 'lr': `type` is missing: write one of {', '.join(KINDS)}"
    assert len(faults_of([{}])) == 2


@pytest.mark.parametrize(
    ("kind", "nearest"),
    [
        ("unifrom", "uniform"),
        ("Uniform", "uniform"),
        ("QUNIFORM", "quniform"),
        ("log_uniform", "loguniform"),
        ("normal", None),
        ("int", None),
        ("randi", "randint"),
        ("choices", "choice"),
        ("grid", "grid_search"),
        ("", None),
        ("zzz", None),
    ],
)
def test_an_unknown_type_is_told_with_the_nearest_and_all_that_there_are(kind, nearest):
    fault = fault_of(entry(kind, **BOUNDS))
    assert fault.startswith(f"hyperparameter 'lr': `type` is \"{kind}\": ")
    assert all(each in fault for each in KINDS)
    if nearest:
        assert f"did you mean '{nearest}'?" in fault


@pytest.mark.parametrize(
    ("kind", "written"), [(None, "null"), (5, "5"), (["uniform"], '["uniform"]'), ({}, "{}")]
)
def test_a_type_that_is_no_text_is_told_with_all_that_there_are(kind, written):
    fault = fault_of(entry(kind, **BOUNDS))
    assert fault.startswith(f"hyperparameter 'lr': `type` is {written}: write one of uniform, ")
    assert all(each in fault for each in KINDS)


@pytest.mark.parametrize(
    ("kind", "missing"), [(name, field) for name, kind in KINDS.items() for field in kind.needs]
)
def test_a_missing_field_is_told_with_all_that_the_type_needs(kind, missing):
    fault = fault_of(valid(kind, **{missing: None}))
    needs = ", ".join(KINDS[kind].needs)
    assert fault == f"hyperparameter 'lr': `{missing}` is missing: {kind} needs {needs}"


@pytest.mark.parametrize("kind", ["choice", "grid_search"])
def test_values_instead_of_options_is_told_once(kind):
    fault = fault_of(entry(kind, values=[1]))
    assert fault == f"hyperparameter 'lr': `values` is not a field of {kind}: write `options`"


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if "min" in kind.needs])
def test_lower_and_upper_instead_of_min_and_max_are_told_once_each(kind):
    base = {"base": 10} if "base" in KINDS[kind].needs else {}
    assert faults_of([entry(kind, lower=1, upper=10, **base)]) == [
        f"hyperparameter 'lr': `lower` is not a field of {kind}: write `min`",
        f"hyperparameter 'lr': `upper` is not a field of {kind}: write `max`",
    ]


def test_another_name_for_a_field_that_is_there_or_of_another_type_is_left_out():
    fault = fault_of(valid("uniform", lower=0))
    assert '"lower" is not a field of uniform: leave it out' in fault
    fault = fault_of(valid("choice", lower=0))
    assert '"lower" is not a field of choice: leave it out' in fault


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("uniform", "base"),
        ("uniform", "q"),
        ("uniform", "step"),
        ("randint", "q"),
        ("loguniform", "q"),
        ("lograndint", "q"),
        ("randn", "q"),
        ("randn", "min"),
        ("choice", "q"),
        ("grid_search", "default"),
        ("quniform", "Q"),
        ("uniform", ""),
    ],
)
def test_a_field_that_the_type_does_not_have_is_told_with_those_that_it_has(kind, field):
    fault = fault_of(valid(kind) | {field: 3})
    start = f"hyperparameter 'lr': \"{field}\" is not a field of {kind}: "
    assert fault.startswith((f"{start}leave it out; allowed", f"{start}did you mean '"))
    assert all(each in fault for each in KINDS[kind].fields)


def test_a_field_that_is_no_text_is_told():
    assert "7 is not a field of uniform" in fault_of(valid("uniform") | {7: 1})
    assert "null is not a field of uniform" in fault_of(valid("uniform") | {None: 1})


NUMBERS = [
    (name, field) for name, kind in KINDS.items() for field in kind.fields if field != "options"
]


@pytest.mark.parametrize(("kind", "field"), NUMBERS)
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "is true"),
        (False, "is false"),
        ("5", 'is "5": write a number without quotes'),
        ("", 'is "": write a number'),
        ([5], "is [5]: write a number"),
        ({}, "is {}: write a number"),
        (math.nan, "is nan: write a finite number"),
        (math.inf, "is inf: write a finite number"),
        (-math.inf, "is -inf: write a finite number"),
        (10**400, "write a finite number that a float can hold"),
    ],
    ids=["true", "false", "text", "empty", "list", "object", "nan", "inf", "-inf", "400"],
)
def test_what_is_not_a_finite_number_is_told_once_for_every_field(kind, field, value, text):
    fault = fault_of(valid(kind, **{field: value}))
    assert fault.startswith(f"hyperparameter 'lr': `{field}` is ")
    assert text in fault
    assert "write a" in fault


def test_an_integer_longer_than_python_writes_is_a_fault_like_any_other():
    for kind, field in NUMBERS:
        fault = fault_of(valid(kind, **{field: 10**5_000}))
        assert fault.startswith(f"hyperparameter 'lr': `{field}` is ")
    assert "`options`" in fault_of(entry("choice", options=[10**5_000]))
    assert "`type` is" in fault_of(entry(10**5_000))
    assert "is not a field" in fault_of(valid("uniform") | {10**5_000: 1})


@pytest.mark.parametrize(("kind", "field"), NUMBERS)
def test_null_is_not_a_number_either(kind, field):
    fault = fault_of(valid(kind) | {field: None})
    assert fault == f"hyperparameter 'lr': `{field}` is null: write a number"


@pytest.mark.parametrize(("kind", "field"), [each for each in NUMBERS if each[1] in ("min", "max")])
def test_min_must_be_less_than_max(kind, field):
    for low, high in ((5, 5), (6, 5)):
        fault = fault_of(valid(kind, min=low, max=high))
        assert fault == (
            f"hyperparameter 'lr': `min` is {low}, `max` is {high}: `min` must be less than `max`"
        )


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.log])
def test_the_bounds_of_a_log_type_must_be_over_zero(kind):
    for low in (0, -1):
        fault = fault_of(valid(kind, min=low))
        assert fault.startswith(f"hyperparameter 'lr': `min` is {low}: it must be over 0")
        assert f"{kind} searches its logarithm" in fault
    low, high = faults_of([valid(kind, min=-2, max=-1)])
    assert "`min` is -2: it must be over 0" in low
    assert "`max` is -1: it must be over 0" in high


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.log])
@pytest.mark.parametrize("base", [1, 0, -10, 0.5])
def test_base_must_be_over_one(kind, base):
    assert fault_of(valid(kind, base=base)) == (
        f"hyperparameter 'lr': `base` is {base}: it must be over 1"
    )


@pytest.mark.parametrize("kind", ["randn", "qrandn"])
@pytest.mark.parametrize("sd", [0, -1, -0.5])
def test_sd_must_be_over_zero(kind, sd):
    assert fault_of(valid(kind, sd=sd)) == f"hyperparameter 'lr': `sd` is {sd}: it must be over 0"


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.quantized])
@pytest.mark.parametrize("q", [0, -1])
def test_q_must_be_over_zero(kind, q):
    assert fault_of(valid(kind, q=q)) == f"hyperparameter 'lr': `q` is {q}: it must be over 0"


@pytest.mark.parametrize(
    ("given_entry", "field", "bound"),
    [
        (entry("quniform", min=0, max=1, q=0.3), "max", 1),
        (entry("quniform", min=0.05, max=1, q=0.1), "min", 0.05),
        (entry("quniform", min=-0.5, max=1, q=1), "min", -0.5),
        (entry("qloguniform", min=0.0001, max=0.01, base=10, q=0.001), "min", 0.0001),
        (entry("qrandint", min=1, max=10, q=2), "min", 1),
        (entry("qrandint", min=0, max=10, q=3), "max", 10),
        (entry("qrandint", min=-1, max=10, q=5), "min", -1),
        (entry("qlograndint", min=3, max=10, base=2, q=3), "max", 10),
        (entry("qrandint", min=0, max=10**12, q=7), "max", 10**12),
    ],
)
def test_q_must_divide_both_bounds(given_entry, field, bound):
    assert fault_of(given_entry) == (
        f"hyperparameter 'lr': `q` is {given_entry['q']}, which does not divide `{field}` "
        f"({bound}): both bounds must be multiples of q"
    )


def test_a_q_that_divides_no_bound_is_told_for_both():
    low, high = faults_of([entry("quniform", min=0.25, max=1, q=0.4)])
    assert "`min` (0.25)" in low
    assert "`max` (1)" in high


def test_bounds_that_no_power_of_ten_divides_are_told_with_a_q_that_works():
    one = entry("quniform", min=0, max=math.pi)
    fault = fault_of(one)
    assert fault.startswith(
        "hyperparameter 'lr': `q` is missing, and no power of ten of a sensible size divides both"
    )
    assert f"`max` ({math.pi!r})" in fault
    suggested = float(fault.split('"q": ')[1])
    assert suggested == math.pi / 10
    assert parsed(one | {"q": suggested}).fields["q"] == suggested


def test_bounds_without_any_q_are_told_to_be_rounded():
    fault = fault_of(entry("quniform", min=1, max=math.pi))
    assert "`q` is missing" in fault
    assert "round the bounds to a few digits" in fault


@settings(max_examples=300, deadline=None)
@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9) | st.fractions(-9, 9, max_denominator=9))
def test_every_q_that_is_suggested_is_taken(one, other):
    other = one * float(other) if isinstance(other, Fraction) else other
    low, high = sorted((one, other))
    for spec in (valid("quniform", min=low, max=high), valid("qloguniform", min=low, max=high)):
        try:
            parse_hyperparameters([spec])
        except ConfigError as error:
            if len(error.faults) == 1 and '"q": ' in str(error):
                suggested = float(str(error).split('"q": ')[1])
                if suggested or high - low > 1e-300:  # see the next test for smaller ones
                    assert parsed(spec | {"q": suggested}).fields["q"] == suggested


def test_the_smallest_numbers_have_no_q_of_zero():
    for one in (entry("qrandn", mean=0, sd=5e-324), entry("quniform", min=0, max=5e-324)):
        fault = fault_of(one)
        assert fault.startswith("hyperparameter 'lr': ")
        assert '"q": 0.0' not in fault


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.integer])
def test_integer_types_need_whole_numbers_a_float_can_tell_apart(kind):
    assert fault_of(valid(kind, min=1.5)) == (
        f"hyperparameter 'lr': `min` is 1.5: {kind} needs a whole number"
    )
    fault = fault_of(valid(kind, max=10**12 + 1))
    assert "`max` is 1000000000001" in fault
    assert "1,000,000,000,000" in fault
    assert parsed(valid(kind, max=10**12)).fields["max"] == 10**12


def test_a_q_that_is_not_whole_is_told_for_integer_types():
    assert fault_of(valid("qrandint", q=0.5)) == (
        "hyperparameter 'lr': `q` is 0.5: qrandint needs a whole number"
    )


def test_numbers_that_overflow_together_are_told():
    fault = fault_of(entry("uniform", min=-1.7e308, max=1.7e308))
    assert "`max` - `min` is more than a number can hold" in fault
    fault = fault_of(entry("randn", mean=1.7e308, sd=1e307))
    assert "its numbers lead to more than a number can hold" in fault


def test_a_q_too_fine_for_a_normal_one_is_told():
    fault = fault_of(entry("qrandn", mean=0, sd=1, q=1e-20))
    assert fault.startswith("hyperparameter 'lr': `q` is 1e-20: it must be over")


@pytest.mark.parametrize("kind", ["choice", "grid_search"])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([], "`options` is empty: write at least one value"),
        ((), "`options` is empty: write at least one value"),
        (None, "`options` is null: write a list of values"),
        ("abc", '`options` is "abc": write a list of values'),
        (5, "`options` is 5: write a list of values"),
        ({"a": 1}, '`options` is {"a":1}: write a list of values'),
        ([1, math.nan], "`options` has nan, which JSON cannot carry"),
        ([[math.inf]], "`options` has [inf], which JSON cannot carry"),
        ([{1: 2}], "which JSON cannot carry"),
        ([b"x"], "which JSON cannot carry"),
    ],
)
def test_wrong_options_are_told(kind, value, text):
    fault = fault_of(entry(kind, options=value))
    assert fault.startswith("hyperparameter 'lr': `options` ")
    assert text in fault


def test_options_may_be_any_json():
    options = [None, True, 0, -1.5, "", "ä", [], {}, [1, [2]], {"a": {"b": None}}, 1, 1]
    assert parsed(entry("choice", options=options)).fields["options"] == options


def test_a_name_may_be_there_only_once():
    (fault,) = faults_of([valid("uniform"), valid("choice", name="b"), valid("randint")])
    assert fault.startswith("hyperparameter 'lr': `name` is there twice (entries 0 and 2")


def test_every_repetition_of_a_name_is_told():
    faults = faults_of([valid("uniform")] * 3)
    assert ["entries 0 and 1" in faults[0], "entries 0 and 2" in faults[1]] == [True, True]
    assert len(faults) == 2


@pytest.mark.parametrize(
    ("names", "inner", "outer"),
    [
        (["a", "a/b"], "a/b", "a"),
        (["a/b", "a"], "a/b", "a"),
        (["a/b/c/d", "a/b"], "a/b/c/d", "a/b"),
    ],
)
def test_a_name_may_not_be_inside_of_another(names, inner, outer):
    (fault,) = faults_of([valid("uniform", name=each) for each in names])
    assert fault.startswith(f"hyperparameter '{inner}': `name` puts it inside of '{outer}'")
    assert "rename one" in fault


def test_names_that_only_start_alike_are_no_conflict():
    names = ["a", "ab", "ab2/c", "b/a", "b/a2", "A"]
    assert len(parse_hyperparameters([valid("uniform", name=each) for each in names])) == 6


@pytest.mark.parametrize("key", ["grid_search", "eval"])
def test_a_key_that_tune_takes_for_its_own_is_told(key):
    """Tune reads ``{"grid_search": ...}`` and ``{"eval": ...}`` itself: no trial would start."""
    for name in (key, f"model/{key}"):
        assert fault_of(valid("uniform", name=name)).startswith(f"hyperparameter '{name}': `name` ")


@pytest.mark.parametrize("kind", ["choice", "grid_search"])
@pytest.mark.parametrize(
    "option", [{"eval": "1 + 1"}, {"x": [{"eval": "1 + 1"}]}, {"grid_search": [1, 2]}]
)
def test_an_option_that_tune_would_run_or_expand_is_told(kind, option):
    """Tune evaluates ``{"eval": text}`` as Python: JSON must not be able to run code."""
    assert fault_of(entry(kind, options=[option])).startswith("hyperparameter 'lr': `options` ")


def test_all_faults_of_a_list_come_in_one_error():
    faults = faults_of(
        [
            5,
            entry("unifrom", name="a"),
            entry("uniform", name="b", min=True, max=math.nan, step=1),
            entry("choice", name="c", values=[]),
            entry("loguniform", name="d", min=0, max=1),
            entry("quniform", name="e", min=0, max=1, q=0.3),
            valid("uniform", name="b"),
            valid("uniform", name="c/x"),
        ]
    )
    wheres = [fault.split(": ")[0] for fault in faults]
    assert sorted(wheres) == sorted(
        [
            "hyperparameters[0]",
            "hyperparameter 'a'",
            *["hyperparameter 'b'"] * 4,  # min, max, step, and twice
            *["hyperparameter 'c'"] * 2,  # values, which are empty
            *["hyperparameter 'd'"] * 2,  # base, min
            "hyperparameter 'e'",
            "hyperparameter 'c/x'",
        ]
    )


def test_the_error_is_a_value_error_that_lists_its_faults():
    with pytest.raises(ValueError, match="3 faults:") as caught:
        parse_hyperparameters([entry("uniform", min=1)] * 2)
    assert isinstance(caught.value, ConfigError)
    assert len(caught.value.faults) == 3  # two without max, and the name


FIELD_NAMES = ("min", "max", "base", "q", "mean", "sd", "options", "values", "lower", "upper")
NUMBERISH = st.integers(-3, 30) | st.floats() | st.sampled_from([0.1, 0.01, 1e-4, 10, "1", True])
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["a", "b", "a/b", "a/b/c", ""]) | st.text(max_size=6) | GARBAGE,
        "type": st.sampled_from([*KINDS]) | GARBAGE,
        **dict.fromkeys(FIELD_NAMES, NUMBERISH | GARBAGE),
    },
)
ALMOST = st.sampled_from([*KINDS]).flatmap(
    lambda kind: st.fixed_dictionaries(
        {
            "name": st.text(min_size=1, max_size=4),
            "type": st.just(kind),
            **{
                field: st.lists(GARBAGE, min_size=1, max_size=3)
                if field == "options"
                else NUMBERISH
                for field in KINDS[kind].needs
            },
        },
        optional={"q": NUMBERISH} if KINDS[kind].quantized else {},
    )
)
ANYTHING = GARBAGE | st.lists(ENTRIES | ALMOST | GARBAGE, max_size=4) | st.lists(ALMOST, max_size=3)


@settings(max_examples=500, deadline=None)
@given(ANYTHING)
def test_anything_is_a_list_of_hyperparameters_or_our_error(value):
    try:
        found = parse_hyperparameters(value)
    except ConfigError as error:
        is_sound(error)
        return
    assert len(found) == len(value) > 0
    for each in found:
        assert set(each.fields) == set(KINDS[each.type].fields)


def test_the_values_of_an_entry_whose_type_is_misspelt_are_looked_at_too():
    faults = faults_of([entry("unifrom", min="x", max=1), entry("zzz", name="b", min="x")])
    assert [fault.split(": ")[1] for fault in faults] == [
        '`type` is "unifrom"',
        '`min` is "x"',
        '`type` is "zzz"',
    ]
