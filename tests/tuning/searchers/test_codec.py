"""What a searcher sees of a search space, and the way back."""

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import cloudpickle, tune
from ray.tune.search import sample

from ray_synapse.tuning.leaves import read_space
from ray_synapse.tuning.search_space import create_param_space
from ray_synapse.tuning.searchers.codec import Codec, index_of
from tests.tuning.searchers.test_table import ENTRIES, check_value, entry

SEARCHED = [type_ for type_ in ENTRIES if type_ != "grid_search"]


def codec_of(*entries: dict[str, Any]) -> Codec:
    return Codec(create_param_space(list(entries)))


def grid_of(type_: str) -> list[Any]:
    """All values of a discrete type of the table, some of a continuous one."""
    fields = ENTRIES[type_]
    if "options" in fields:
        return list(fields["options"])
    if "mean" in fields:
        return [0.3, -0.7, 5.0, 0.0]
    if "q" in fields:
        q = fields["q"]
        first, last = round(fields["min"] / q), round(fields["max"] / q)
        return [float(f"{i * q:.10g}") if q < 1 else i * q for i in range(first, last + 1)]
    if "randint" in type_:
        return list(range(fields["min"], fields["max"]))
    low, high = fields["min"], fields["max"]
    return [float(low), float(high), low + (high - low) * 0.123456789]


@pytest.mark.parametrize("type_", SEARCHED)
def test_decoding_undoes_encoding(type_: str) -> None:
    codec = codec_of(entry(type_))
    for value in grid_of(type_):
        decoded = codec.decode(codec.encode({("x",): value}))["x"]
        assert decoded == value
        assert type(decoded) is type(value)


@given(st.integers(1, 60), st.integers(0, 5), st.integers(1, 300), st.data())
def test_decoding_undoes_encoding_on_any_grid_of_floats(
    start: int, digits: int, steps: int, data: st.DataObject
) -> None:
    q = float(f"1e-{digits}")
    values = [float(f"{index}e-{digits}") for index in (start, start + steps)]
    codec = codec_of(entry("qloguniform", min=values[0], max=values[1], base=10, q=q))
    index = data.draw(st.integers(start, start + steps))
    value = float(f"{index}e-{digits}")
    assert codec.decode(codec.encode({("x",): value})) == {"x": value}


@pytest.mark.parametrize("type_", SEARCHED)
def test_what_a_searcher_samples_decodes_into_the_bounds_and_onto_the_grid(type_: str) -> None:
    codec = codec_of(entry(type_))
    for _ in range(50):
        seen = {"x": codec.domains["x"].sample()}
        check_value(codec.decode(seen)["x"], type_, ENTRIES[type_])


@pytest.mark.parametrize(
    ("type_", "low", "high"),
    [
        ("uniform", -1.0, 3.0),
        ("quniform", 0.0, 0.3),
        ("qloguniform", 0.1, 0.7),
        ("randint", 1, 4),
        ("qrandint", 2, 10),
        ("lograndint", 1, 8),
        ("qlograndint", 2, 8),
    ],
)
def test_a_searcher_that_goes_too_far_is_brought_back(type_: str, low: float, high: float) -> None:
    codec = codec_of(entry(type_))
    assert codec.decode({"x": -1e6}) == {"x": low}
    assert codec.decode({"x": 1e6}) == {"x": high}


def test_a_searcher_only_sees_plain_domains_on_one_level() -> None:
    codec = codec_of(*(entry(type_, f"a/{type_}") for type_ in SEARCHED))
    assert set(codec.domains) == {f"a.{type_}" for type_ in SEARCHED}
    for name, domain in codec.domains.items():
        assert not isinstance(domain.get_sampler(), sample.Quantized), name
    assert codec.domains["a.choice"].categories == ["0", "1", "2", "3", "4", "5"]


def test_log_types_are_seen_on_the_log_scale() -> None:
    codec = codec_of(*(entry(type_, type_) for type_ in SEARCHED))
    for name, domain in codec.domains.items():
        assert isinstance(domain.get_sampler(), sample.LogUniform) == ("log" in name), name


def test_what_has_one_value_is_not_seen_but_is_in_the_suggestion() -> None:
    codec = codec_of(
        entry("randint", "one", min=3, max=4),
        entry("choice", "a/only", options=[[1, 2]]),
        entry("lograndint", "a/log", min=7, max=8, base=2),
        entry("uniform", "u"),
    )
    assert set(codec.domains) == {"u"}
    wanted = {"one": 3, "a": {"only": [1, 2], "log": 7}, "u": 0.5}
    assert codec.decode({"u": 0.5}) == wanted
    point = {("one",): 3, ("a", "only"): [1, 2], ("a", "log"): 7, ("u",): 0.5}
    assert codec.encode(point) == {"u": 0.5}


def test_names_with_dots_and_slashes_stay_apart() -> None:
    space = {
        "a": {"b": tune.randint(0, 9), "b.c": tune.randint(0, 9), "b_": tune.randint(0, 9)},
        "a.b": tune.randint(0, 9),
        "a/b": tune.randint(0, 9),
        "a.b_": tune.randint(0, 9),
        "a.b.c": tune.randint(0, 9),
    }
    codec = Codec(space)
    paths = [leaf.path for leaf in read_space(space)]
    assert len(codec.domains) == len(paths) == 7
    encoded = codec.encode({path: number for number, path in enumerate(paths)})
    assert sorted(encoded.values()) == list(range(7))
    assert codec.decode(encoded) == {
        "a": {"b": 0, "b.c": 1, "b_": 2},
        "a.b": 3,
        "a/b": 4,
        "a.b_": 5,
        "a.b.c": 6,
    }


def test_no_name_that_a_searcher_sees_has_a_slash() -> None:
    codec = Codec({"a/b": tune.uniform(0, 1), "c": {"d/e": tune.uniform(0, 1)}})
    assert not [name for name in codec.domains if "/" in name]


def test_lists_of_domains_come_back_whole_with_their_constants() -> None:
    codec = Codec(
        {
            "layers": [{"n": tune.randint(1, 9), "act": "relu"}, 5, [tune.choice("ab"), [1, 2]]],
            "pair": (tune.uniform(0, 1), "x"),
            "constant": [1, 2],
            "deep": {"constant": 1, "u": tune.uniform(0, 1)},
        }
    )
    suggestion = {"layers.0.n": 4, "layers.2.0": "1", "pair.0": 0.5, "deep.u": 0.25}
    assert set(codec.domains) == set(suggestion)
    config = codec.decode(suggestion)
    # Tune merges objects into the search space, and replaces lists
    assert config["layers"][1:] == [5, ["b", [1, 2]]]
    assert config["layers"][0] == {"n": 4, "act": "relu"}
    assert config["pair"] == [0.5, "x"]
    assert config["deep"] == {"u": 0.25}
    assert "constant" not in config


def test_options_come_back_as_the_objects_that_they_are() -> None:
    options: list[Any] = [lambda: 1, [1, [2]], {"a": {"b": 1}}, 1, True, "1", None]
    codec = Codec({"x": tune.choice(options)})
    for option in options:
        assert codec.decode(codec.encode({("x",): option}))["x"] is option


@pytest.mark.parametrize("module", [pickle, cloudpickle])
def test_a_codec_survives_pickle_with_functions_among_the_options(module: Any) -> None:
    space = {"f": tune.choice([lambda: 1, lambda: 2]), "a": [tune.quniform(0, 1, 0.1), 3]}
    codec = Codec(space)
    restored = pickle.loads(module.dumps(codec))
    assert restored.is_same_as(codec)
    config = restored.decode({"f": "1", "a.0": 3})
    assert config["f"]() == 2
    assert config["a"] == [0.3, 3]


@pytest.mark.parametrize(
    ("value", "index"),
    [(1, 0), (True, 1), ("1", 3), (None, 4), ([1], 5), ({"a": 1}, 6), (False, None), (2, None)],
)
def test_an_option_is_found_by_its_value_and_true_is_not_one(value: Any, index: Any) -> None:
    assert index_of(value, [1, True, 1.5, "1", None, [1], {"a": 1}]) == index


@pytest.mark.parametrize(
    "options", [[1, 1.0, True], [1.0, 1], [[1], [True]], [{"a": 1}, {"a": True}], [0, False, 0.0]]
)
def test_options_that_only_differ_in_type_are_told_apart(options: list[Any]) -> None:
    assert [index_of(each, options) for each in options] == list(range(len(options)))


def test_an_option_that_does_not_compare_is_found_by_identity() -> None:
    np = pytest.importorskip("numpy")
    options = [np.array([1, 2]), np.array([1, 2])]
    assert index_of(options[1], options) == 1


SPACES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"x": tune.uniform(0, 1)}, {"x": tune.uniform(0, 2)}),
    ({"x": tune.uniform(0, 1)}, {"y": tune.uniform(0, 1)}),
    ({"x": tune.uniform(1, 2)}, {"x": tune.loguniform(1, 2)}),
    ({"x": tune.randint(1, 9)}, {"x": tune.randint(1, 8)}),
    ({"x": tune.quniform(0, 1, 0.1)}, {"x": tune.quniform(0, 1, 0.5)}),
    ({"x": tune.choice([1, 2])}, {"x": tune.choice([1, 2, 3])}),
    ({"x": tune.uniform(0, 1)}, {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)}),
    ({"x": tune.choice([1, 2])}, {"x": tune.choice([2, 1])}),
    ({"x": tune.choice(["a", "b"])}, {"x": tune.choice(["c", "d"])}),
    ({"x": tune.quniform(0, 1, 0.1)}, {"x": tune.quniform(0, 10, 1)}),
    ({"x": tune.qrandint(2, 10, 2)}, {"x": tune.qrandint(4, 20, 4)}),
    ({"x": tune.randn(0, 1)}, {"x": tune.randn(5, 1)}),
    ({"x": tune.qrandn(0, 1, 0.1)}, {"x": tune.qrandn(0, 1, 0.5)}),
]


@pytest.mark.parametrize(("one", "other"), SPACES)
def test_two_search_spaces_that_differ_are_not_the_same(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert Codec(one).is_same_as(Codec(one))
    assert not Codec(one).is_same_as(Codec(other))
    assert not Codec(other).is_same_as(Codec(one))
