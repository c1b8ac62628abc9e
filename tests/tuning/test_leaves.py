"""A native search space, read: its hyperparameters, wherever in it they are."""

import pytest
from ray import tune
from ray.tune.search import sample

from ray_synapse.tuning.leaves import Leaf, filled, read_space


def leaf_of(domain):
    (leaf,) = read_space({"x": domain})
    return leaf


@pytest.mark.parametrize(
    ("domain", "kind", "fields"),
    [
        (tune.uniform(0, 1), "uniform", {"min": 0, "max": 1}),
        (tune.quniform(0, 1, 0.5), "quniform", {"min": 0, "max": 1, "q": 0.5}),
        (tune.loguniform(1, 2), "loguniform", {"min": 1, "max": 2}),
        (tune.qloguniform(1, 2, 0.5), "qloguniform", {"min": 1, "max": 2, "q": 0.5}),
        (tune.randn(1, 2), "randn", {"mean": 1, "sd": 2}),
        (tune.qrandn(1, 2, 0.5), "qrandn", {"mean": 1, "sd": 2, "q": 0.5}),
        (tune.randint(1, 9), "randint", {"min": 1, "max": 9}),
        (tune.qrandint(1, 10, 1), "qrandint", {"min": 1, "max": 9, "q": 1}),
        (tune.qrandint(2, 10, 2), "qrandint", {"min": 2, "max": 10, "q": 2}),
        (tune.lograndint(1, 9), "lograndint", {"min": 1, "max": 9}),
        (tune.qlograndint(1, 9, 1), "qlograndint", {"min": 1, "max": 8, "q": 1}),
        (tune.qlograndint(2, 8, 2), "qlograndint", {"min": 2, "max": 8, "q": 2}),
        (tune.choice(["a", None]), "choice", {"options": ["a", None]}),
        (tune.grid_search([1, 2]), "grid_search", {"options": [1, 2]}),
        (sample.Float(0, 1), "uniform", {"min": 0, "max": 1}),
        (sample.Integer(0, 5), "randint", {"min": 0, "max": 5}),
        (sample.Float(0, 1).normal(0, 1), "other", {}),
        (tune.sample_from(lambda config: 1), "other", {}),
        (sample.Domain(), "other", {}),
        (5, "constant", {"options": [5]}),
        (None, "constant", {"options": [None]}),
        ("a", "constant", {"options": ["a"]}),
        ([1, 2], "constant", {"options": [[1, 2]]}),
        ([], "constant", {"options": [[]]}),
        ({}, "constant", {"options": [{}]}),
        ((1, {"a": 2}), "constant", {"options": [(1, {"a": 2})]}),
    ],
)
def test_each_domain_has_its_type_and_fields(domain, kind, fields):
    leaf = leaf_of(domain)
    assert leaf == Leaf(("x",), kind, domain, fields)
    assert leaf.domain is domain


@pytest.mark.parametrize(
    ("domain", "is_searched"),
    [
        (tune.uniform(0, 1), True),
        (tune.choice([1]), True),
        (tune.grid_search([1]), True),
        (tune.sample_from(lambda config: 1), True),
        (1, False),
        ([1, 2], False),
    ],
)
def test_all_but_constants_are_searched(domain, is_searched):
    assert leaf_of(domain).is_searched is is_searched


def test_an_empty_space_has_no_hyperparameters():
    assert read_space({}) == []


def test_hyperparameters_are_found_wherever_they_are_and_in_order():
    space = {
        "z": tune.uniform(0, 1),
        "model": {
            "layers": [{"width": tune.randint(1, 9)}, {"width": 5}, (tune.choice([1]), "relu")],
            "empty": {},
            "sizes": [1, 2],
        },
        5: tune.grid_search([1]),
        "a": {"deep": {"er": tune.randn()}},
    }
    assert [(leaf.path, leaf.name, leaf.type) for leaf in read_space(space)] == [
        (("z",), "z", "uniform"),
        (("model", "layers", 0, "width"), "model/layers/0/width", "randint"),
        (("model", "layers", 1, "width"), "model/layers/1/width", "constant"),
        (("model", "layers", 2, 0), "model/layers/2/0", "choice"),
        (("model", "layers", 2, 1), "model/layers/2/1", "constant"),
        (("model", "empty"), "model/empty", "constant"),
        (("model", "sizes"), "model/sizes", "constant"),
        ((5,), "5", "grid_search"),
        (("a", "deep", "er"), "a/deep/er", "randn"),
    ]


def test_an_object_with_more_than_the_key_of_a_grid_is_none():
    space = {"x": {"grid_search": tune.uniform(0, 1), "other": 1}}
    assert [leaf.name for leaf in read_space(space)] == ["x/grid_search", "x/other"]


def test_a_filled_space_has_a_value_in_the_place_of_each_hyperparameter():
    space = {"lr": tune.uniform(0, 1), "net": {"width": tune.randint(1, 9), "act": "relu"}}
    values = {("lr",): 0.5, ("net", "width"): 3}
    assert filled(space, values.__getitem__) == {"lr": 0.5, "net": {"width": 3}}


def test_a_filled_space_leaves_constants_out_of_objects_but_not_of_what_is_in_lists():
    space = {
        "a": 1,
        "b": {"c": [1, 2], "d": {}},
        "layers": [tune.choice([1]), "relu", {"width": tune.randint(1, 9), "bias": True}, [7]],
        "grid": tune.grid_search([1, 2]),
    }
    found = filled(space, lambda path: "/".join(map(str, path)))
    assert found == {
        "layers": ["layers/0", "relu", {"width": "layers/2/width", "bias": True}, [7]],
        "grid": "grid",
    }


def test_filling_asks_once_for_each_hyperparameter_and_changes_nothing():
    space = {"a": {"b": tune.uniform(0, 1), "c": [tune.grid_search([1]), 2]}, "d": 1}
    inner = space["a"]["c"][0]
    asked = []
    filled(space, asked.append)
    assert asked == [leaf.path for leaf in read_space(space) if leaf.is_searched]
    assert space["a"]["c"] == [inner, 2]
    assert space["d"] == 1


def test_a_normal_distribution_that_is_cut_off_has_no_json_form():
    domain = sample.Float(0, None).normal(1, 2).quantized(0.5)
    (leaf,) = read_space({"x": domain})
    assert (leaf.type, leaf.fields) == ("other", {})
