from ray import tune

from ray_synapse.tuning.search_space import describe_param_space


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
