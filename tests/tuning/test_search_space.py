"""Search spaces: from JSON to Tune, and back."""

import json
import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray import tune
from ray.tune.search import sample

from ray_synapse.config import grids
from ray_synapse.config.kinds import KINDS
from ray_synapse.errors import ConfigError
from ray_synapse.tuning.search_space import (
    LOG_BASE,
    as_param_space,
    create_param_space,
    describe_param_space,
)
from tests.config.test_hyperparameters import ANYTHING, is_sound

# Older Rays round to the grid after sampling, and lose its last value on the way.
EXACT_GRID = pytest.mark.skipif(
    not hasattr(sample.Quantized, "_grid_index"), reason="this Ray samples grids in another way"
)
PROPERTY = settings(max_examples=150, deadline=None)


def entry(kind, name="x", **fields):
    return {"name": name, "type": kind, **fields}


def domain_of(kind, **fields):
    return create_param_space([entry(kind, **fields)])["x"]


def facts(domain):
    """All that makes a domain what it is."""
    if isinstance(domain, dict):
        return domain
    sampler = domain.get_sampler()
    found = [type(domain), type(sampler), getattr(sampler, "q", None)]
    if isinstance(sampler, sample.Quantized):
        sampler = sampler.get_sampler()
        found.append(type(sampler))
    for owner, name in (
        *((domain, name) for name in ("lower", "upper", "categories")),
        *((sampler, name) for name in ("mean", "sd")),
    ):
        found.append((name, getattr(owner, name, None)))
    return found


def drawn(domain, count=2_000):
    return list(domain.sample(size=count, random_state=1))


LOG = {"min": 0.0001, "max": 0.01, "base": 10}
TWELVE = [
    (entry("uniform", min=-1, max=2.5), tune.uniform(-1, 2.5)),
    (entry("quniform", min=0, max=1, q=0.25), tune.quniform(0, 1, 0.25)),
    (entry("loguniform", **LOG), tune.loguniform(0.0001, 0.01)),
    (entry("qloguniform", **LOG, q=0.0001), tune.qloguniform(0.0001, 0.01, 0.0001)),
    (entry("randn", mean=-1, sd=2), tune.randn(-1, 2)),
    (entry("qrandn", mean=-1, sd=2, q=0.5), tune.qrandn(-1, 2, 0.5)),
    (entry("randint", min=-3, max=9), tune.randint(-3, 9)),
    (entry("qrandint", min=2, max=10, q=2), tune.qrandint(2, 10, 2)),
    (entry("lograndint", min=1, max=9, base=2), tune.lograndint(1, 9)),
    (entry("qlograndint", min=5, max=20, base=2, q=5), tune.qlograndint(5, 20, 5)),
    (entry("choice", options=["x", 1, None]), tune.choice(["x", 1, None])),
    (entry("grid_search", options=["x", 1, None]), tune.grid_search(["x", 1, None])),
]


@pytest.mark.parametrize(
    ("one", "native"),
    TWELVE,
    ids=list(KINDS),
)
def test_each_of_the_twelve_types_is_the_domain_an_expert_would_write(one, native):
    space = create_param_space([one])
    assert list(space) == ["x"]
    assert facts(space["x"]) == facts(native)


def test_the_table_above_has_all_types():
    assert [one["type"] for one, _ in TWELVE] == list(KINDS)


@pytest.mark.parametrize(
    ("one", "native"),
    [
        (entry("quniform", min=0.0001, max=0.01), tune.quniform(0.0001, 0.01, 0.0001)),
        (entry("quniform", min=0, max=1), tune.quniform(0, 1, 0.1)),
        (entry("qloguniform", **LOG), tune.qloguniform(0.0001, 0.01, 0.0001)),
        (entry("qrandint", min=1, max=10), tune.qrandint(1, 11, 1)),
        (entry("qrandint", min=1, max=10, q=1), tune.qrandint(1, 11, 1)),
        (entry("qlograndint", min=1, max=10, base=10), tune.qlograndint(1, 11, 1)),
        (entry("qrandn", mean=0, sd=1), tune.qrandn(0, 1, 0.1)),
        (entry("qrandn", mean=0, sd=25), tune.qrandn(0, 25, 1.0)),
    ],
)
def test_without_q_the_documented_one_is_taken(one, native):
    assert facts(create_param_space([one])["x"]) == facts(native)


def test_base_changes_nothing():
    for kind in ("loguniform", "qloguniform", "lograndint", "qlograndint"):
        bounds = {"min": 1, "max": 100}
        two, ten = (domain_of(kind, **bounds, base=base) for base in (2, 10))
        assert facts(two) == facts(ten)
        assert drawn(two, 50) == drawn(ten, 50)


@pytest.mark.parametrize(("one", "native"), TWELVE, ids=list(KINDS))
def test_no_warning_of_ray_reaches_the_user(one, native):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        space = create_param_space([one])
        describe_param_space(space)
        if not isinstance(space["x"], dict):
            space["x"].sample()


def test_whole_numbers_of_float_types_are_floats_and_of_integer_types_integers():
    domain = domain_of("uniform", min=0, max=1)
    assert (type(domain.lower), type(domain.upper)) == (float, float)
    domain = domain_of("qrandint", min=2.0, max=8.0, q=2.0)
    assert [type(each) for each in (domain.lower, domain.upper, domain.sampler.q)] == [int] * 3


@pytest.mark.parametrize("fields", [{}, {"q": 1}])
def test_max_is_among_the_values_for_q_1(fields):
    assert set(drawn(domain_of("qrandint", min=1, max=5, **fields))) == {1, 2, 3, 4, 5}
    log = domain_of("qlograndint", min=1, max=5, base=10, **fields)
    assert set(drawn(log)) == {1, 2, 3, 4, 5}


@EXACT_GRID
def test_max_is_among_the_values_for_a_larger_q():
    assert set(drawn(domain_of("qrandint", min=-4, max=8, q=4))) == {-4, 0, 4, 8}
    assert set(drawn(domain_of("qlograndint", min=5, max=20, base=10, q=5))) == {5, 10, 15, 20}
    assert set(drawn(domain_of("qrandint", min=0, max=10, q=10))) == {0, 10}


@EXACT_GRID
def test_max_is_among_the_values_of_quantized_floats():
    assert max(drawn(domain_of("quniform", min=0, max=0.7, q=0.1))) == pytest.approx(0.7)
    values = drawn(domain_of("qloguniform", min=0.1, max=0.7, base=10, q=0.1))
    assert sorted({round(each, 9) for each in values}) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]


def test_max_is_not_among_the_values_of_integers_that_are_not_quantized():
    assert set(drawn(domain_of("randint", min=1, max=4))) == {1, 2, 3}
    assert set(drawn(domain_of("lograndint", min=1, max=4, base=10))) == {1, 2, 3}


def test_each_option_comes():
    assert set(drawn(domain_of("choice", options=["a", "b", 3]))) == {"a", "b", 3}


def test_names_with_slashes_become_nested_objects():
    space = create_param_space(
        [
            entry("uniform", "model/lr", min=0, max=1),
            entry("choice", "seed", options=[1]),
            entry("grid_search", "model/net/width", options=[8, 16]),
            entry("randint", "model/net/depth", min=1, max=3),
        ]
    )
    assert list(space) == ["model", "seed"]
    assert list(space["model"]) == ["lr", "net"]
    assert facts(space["model"]["lr"]) == facts(tune.uniform(0, 1))
    assert space["model"]["net"]["width"] == {"grid_search": [8, 16]}
    assert facts(space["model"]["net"]["depth"]) == facts(tune.randint(1, 3))


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ({"lr": 0.1}, ["use `hyperparameter`", "is_tune=false"]),
        ([], ["the list is empty"]),
        ("lr", ['is "lr"', "write a list"]),
        ([entry("uniform")], ["2 faults", "'x'", "`min` is missing", "`max` is missing"]),
        ([entry("choice", options=[1])] * 2, ["'x'", "`name` is there twice"]),
        (
            [entry("choice", "a", options=[1]), entry("choice", "a/b", options=[1])],
            ["'a/b'", "inside of 'a'"],
        ),
    ],
)
def test_a_wrong_list_is_our_error(value, texts):
    with pytest.raises(ConfigError) as caught:
        create_param_space(value)
    assert isinstance(caught.value, ValueError)
    assert all(text in str(caught.value) for text in texts)


def test_either_form_is_taken_as_a_space():
    native = {"x": tune.uniform(0, 1), "y": 5}
    taken = as_param_space(native)
    assert taken == native
    assert taken is not native
    made = as_param_space([entry("uniform", min=0, max=1)])
    assert facts(made["x"]) == facts(native["x"])


@pytest.mark.parametrize(("value", "written"), [(None, "null"), (5, "5"), ("lr", '"lr"')])
def test_what_is_no_search_space_in_either_form_is_told(value, written):
    with pytest.raises(ConfigError) as caught:
        as_param_space(value)
    text = str(caught.value)
    assert text.startswith(f"search space: is {written}: write the JSON list of hyperparameters")
    assert "param_space" in text


def test_a_wrong_list_of_either_form_is_our_error_too():
    with pytest.raises(ConfigError, match="the list is empty"):
        as_param_space([])


def test_every_domain_of_tune_has_its_json_form():
    space = {
        "a": tune.uniform(0, 1),
        "b": tune.quniform(0, 1, 0.1),
        "c": tune.loguniform(1e-4, 1e-2),
        "d": tune.qloguniform(1e-4, 1e-2, 1e-4),
        "e": tune.randn(0, 2),
        "f": tune.qrandn(0, 2, 0.5),
        "g": tune.randint(1, 9),
        "h": tune.lograndint(1, 9),
        "i": tune.choice(["x", 1, None]),
        "j": tune.grid_search([1, 2]),
        "deep": {"k": tune.grid_search(["y"]), "l": 5},
    }
    assert describe_param_space(space) == [
        {"name": "a", "type": "uniform", "min": 0, "max": 1},
        {"name": "b", "type": "quniform", "min": 0, "max": 1, "q": 0.1},
        {"name": "c", "type": "loguniform", "min": 1e-4, "max": 1e-2, "base": 10},
        {"name": "d", "type": "qloguniform", "min": 1e-4, "max": 1e-2, "base": 10, "q": 1e-4},
        {"name": "e", "type": "randn", "mean": 0, "sd": 2},
        {"name": "f", "type": "qrandn", "mean": 0, "sd": 2, "q": 0.5},
        {"name": "g", "type": "randint", "min": 1, "max": 9},
        {"name": "h", "type": "lograndint", "min": 1, "max": 9, "base": 10},
        {"name": "i", "type": "choice", "options": ["x", 1, None]},
        {"name": "j", "type": "grid_search", "options": [1, 2]},
        {"name": "deep/k", "type": "grid_search", "options": ["y"]},
        {"name": "deep/l", "type": "choice", "options": [5]},
    ]


def test_quantized_integers_give_back_the_bounds_they_were_made_from():
    space = {"q": tune.qrandint(1, 10, 3), "ql": tune.qlograndint(1, 16, 5)}
    assert describe_param_space(space) == [
        {"name": "q", "type": "qrandint", "min": 1, "max": 10, "q": 3},
        {"name": "ql", "type": "qlograndint", "min": 1, "max": 16, "base": 10, "q": 5},
    ]


def test_what_has_no_json_form_is_named_as_such():
    def pick(spec):
        return 1

    (entry,) = describe_param_space({"x": tune.sample_from(pick)})
    assert (entry["name"], entry["type"]) == ("x", "other")
    assert "pick" in entry["text"]


@pytest.mark.parametrize(("one", "native"), TWELVE, ids=list(KINDS))
def test_each_of_the_twelve_types_is_described_as_it_was_written(one, native):
    base = {"base": LOG_BASE} if KINDS[one["type"]].log else {}
    assert describe_param_space({"x": native}) == [{**one, **base}]
    assert describe_param_space(create_param_space([one])) == [{**one, **base}]


def test_a_native_quantized_integer_with_q_1_is_described_with_the_last_value_that_comes():
    space = {"q": tune.qrandint(1, 10, 1), "ql": tune.qlograndint(1, 10, 1)}
    assert describe_param_space(space) == [
        {"name": "q", "type": "qrandint", "min": 1, "max": 9, "q": 1},
        {"name": "ql", "type": "qlograndint", "min": 1, "max": 9, "base": 10, "q": 1},
    ]
    assert max(drawn(space["q"])) == 9


def test_nested_objects_and_lists_of_domains_are_described_with_slashes():
    space = {
        "model": {"layers": [tune.randint(1, 9), {"act": tune.choice(["relu"])}, 7]},
        "sizes": [1, 2],
        "none": {},
    }
    assert describe_param_space(space) == [
        {"name": "model/layers/0", "type": "randint", "min": 1, "max": 9},
        {"name": "model/layers/1/act", "type": "choice", "options": ["relu"]},
        {"name": "model/layers/2", "type": "choice", "options": [7]},
        {"name": "sizes", "type": "choice", "options": [[1, 2]]},
        {"name": "none", "type": "choice", "options": [{}]},
    ]


def test_an_empty_space_is_an_empty_list():
    assert describe_param_space({}) == []


@pytest.mark.parametrize("make", [tune.choice, tune.grid_search])
@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (list(range(300)), list(range(300))),
        ([f"o{index}" * 1_000 for index in range(300)],) * 2,
        (list(np.arange(300)), list(range(300))),
        ([[0] * 300, {"a": [1] * 300}],) * 2,
        ([*range(299), math.nan], [*range(299), None]),
        ([list(np.arange(300))], [list(range(300))]),
    ],
    ids=["numbers", "texts", "numpy", "nested", "nan", "nested numpy"],
)
def test_long_lists_of_options_are_kept_whole(make, options, kept):
    (found,) = describe_param_space({"x": make(options)})
    assert found["options"] == kept
    json.dumps(found, allow_nan=False)


def test_options_without_a_json_form_become_what_comes_nearest():
    def relu(x):
        return x

    (found,) = describe_param_space({"x": tune.choice([relu, math.inf, b"ab", (1, {2})])})
    assert found["options"][0].endswith("relu")
    assert found["options"][1:] == [None, "<2 bytes>", [1, [2]]]
    json.dumps(found, allow_nan=False)


def test_domains_without_a_json_form_are_other_and_come_with_a_text():
    space = {
        "a": tune.sample_from(lambda config: config["b"]),
        "b": {"c": sample.Float(0, 1).normal(0, 1)},
        "d": sample.Domain(),
    }
    found = describe_param_space(space)
    assert [(each["name"], each["type"]) for each in found] == [
        ("a", "other"),
        ("b/c", "other"),
        ("d", "other"),
    ]
    assert all(each.keys() == {"name", "type", "text"} and each["text"] for each in found)
    assert "lambda" in found[0]["text"]


def test_a_described_native_space_makes_the_same_space_again():
    space = {"net": {"a": TWELVE[0][1]}}
    space |= {one["type"]: native for one, native in TWELVE if one["type"] != "grid_search"}
    again = create_param_space(describe_param_space(space))
    assert facts(again["net"]["a"]) == facts(space["net"]["a"])
    for name in list(space)[1:]:
        assert facts(again[name]) == facts(space[name])


# Properties of all valid entries.

NAMES = st.lists(
    st.sampled_from(["lr", "net", "0", "a b", "ä", "eval_every"]), min_size=1, max_size=3
)
BASES = st.sampled_from([2, 10, math.e, 1.5])


@st.composite
def grids_of_floats(draw, first):
    """``min``, ``max`` and ``q`` of a grid, each as it is written in decimals."""
    digits, exponent = draw(st.integers(1, 999)), draw(st.integers(-9, 6))
    start = draw(st.integers(first, 10_000))
    q, last = float(f"{digits}e{exponent}"), start + draw(st.integers(1, 10_000))
    return {"min": grids.grid_value(start, q), "max": grids.grid_value(last, q), "q": q}


@st.composite
def short_floats(draw, first):
    exponent, start = draw(st.integers(-9, 6)), draw(st.integers(first, 10_000))
    last = start + draw(st.integers(1, 10_000))
    return {"min": float(f"{start}e{exponent}"), "max": float(f"{last}e{exponent}")}


@st.composite
def any_floats(draw, least):
    bounds = st.floats(least, 1e150, allow_subnormal=False)
    low, high = sorted(draw(st.lists(bounds, min_size=2, max_size=2, unique=True)))
    return {"min": low, "max": high}


@st.composite
def integers(draw, first, q):
    start = draw(st.integers(first, 10**6))
    last = start + draw(st.integers(1, 10**6))
    return {"min": start * q, "max": last * q}


@st.composite
def valid_entries(draw):
    kind = draw(st.sampled_from([*KINDS]))
    facts_of = KINDS[kind]
    if facts_of.needs == ("options",):
        value = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
        value |= st.lists(st.integers(), max_size=2) | st.floats(
            allow_nan=False, allow_infinity=False
        )
        fields = {"options": draw(st.lists(value, min_size=1, max_size=5))}
    elif "sd" in facts_of.needs:
        fields = {"mean": draw(st.floats(-1e6, 1e6)), "sd": draw(st.floats(1e-3, 1e6))}
        if facts_of.quantized and draw(st.booleans()):
            fields["q"] = draw(st.sampled_from([0.001, 0.25, 0.3, 1, 100.0]))
    elif facts_of.integer:
        first = 1 if facts_of.log else -(10**6)
        q = draw(st.integers(1, 100)) if facts_of.quantized else 1
        fields = draw(integers(first, q))
        if facts_of.quantized and (q > 1 and draw(st.booleans())):
            fields["q"] = q
    elif facts_of.quantized:
        first = 1 if facts_of.log else -10_000
        fields = draw(grids_of_floats(first) | short_floats(first))
    else:
        fields = draw(any_floats(1e-150 if facts_of.log else -1e150))
    if facts_of.log:
        fields["base"] = draw(BASES)
    return {"name": "/".join(draw(NAMES)), "type": kind, **fields}


def only_domain(one):
    node = create_param_space([one])
    for part in one["name"].split("/"):
        node = node[part]
    return node


@PROPERTY
@given(valid_entries(), st.integers(0, 2**32 - 1))
def test_every_valid_entry_samples_within_its_bounds_and_on_its_grid(one, seed):
    domain, kind = only_domain(one), KINDS[one["type"]]
    if one["type"] == "grid_search":
        assert domain == {"grid_search": one["options"]}
        return
    values = list(domain.sample(size=20, random_state=seed))
    if one["type"] == "choice":
        assert all(any(each is option for option in domain.categories) for each in values)
        return
    if kind.quantized and not hasattr(sample.Quantized, "_grid_index"):
        return
    (described,) = describe_param_space({"x": domain})
    for value in values:
        assert math.isfinite(value)
        if kind.integer:
            assert value == int(value)
            assert one["min"] <= value <= one["max"] - (0 if kind.quantized else 1)
            assert value % one.get("q", 1) == 0
        elif "min" in one:
            noise = 1e-9 * max(abs(one["min"]), abs(one["max"]))
            assert one["min"] - noise <= value <= one["max"] + noise
        if kind.quantized and not kind.integer:
            q = described["q"]
            assert math.isclose(value, round(value / q) * q, rel_tol=1e-9)


@PROPERTY
@given(st.lists(valid_entries(), min_size=1, max_size=5, unique_by=lambda one: one["name"]))
def test_an_entry_comes_back_as_it_was_with_q_filled_in_and_base_10(given_list):
    names = {one["name"] for one in given_list}
    if any(f"{name}/" == other[: len(name) + 1] for name in names for other in names):
        return
    found = {one["name"]: one for one in describe_param_space(create_param_space(given_list))}
    assert found.keys() == names
    for one in given_list:
        expected, kind = dict(one), KINDS[one["type"]]
        if kind.log:
            expected["base"] = 10
        if kind.quantized and "q" not in one:
            expected["q"] = default_q(one)
        assert found[one["name"]] == expected


def default_q(one):
    """The documented default, in exact arithmetic."""
    if KINDS[one["type"]].integer:
        return 1
    powers = [Fraction(10) ** exponent for exponent in range(20, -25, -1)]
    if "sd" in one:
        tenth = Fraction(repr(float(one["sd"]))) / 10
        return float(next(q for q in powers if q <= tenth))
    low, high = (Fraction(repr(float(one[name]))) for name in ("min", "max"))
    return float(
        next(
            q
            for q in powers
            if (low / q).denominator == (high / q).denominator == 1 and (high - low) / q >= 10
        )
    )


@PROPERTY
@given(st.lists(valid_entries(), min_size=1, max_size=3, unique_by=lambda one: one["name"]))
def test_what_came_back_makes_the_same_space_and_is_json(given_list):
    try:
        space = create_param_space(given_list)
    except ConfigError as error:
        assert "inside of" in str(error)  # noqa: PT017  # the only thing that can be wrong
        return
    described = describe_param_space(space)
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert describe_param_space(create_param_space(described)) == described


@settings(max_examples=500, deadline=None)
@given(ANYTHING)
def test_anything_is_a_search_space_or_our_error(value):
    try:
        space = create_param_space(value)
    except ConfigError as error:
        is_sound(error)
        return
    assert isinstance(space, dict)
    assert space
