import pytest

from ray_synapse.errors import TrainableError
from ray_synapse.trial.reports import Reports, merged, normalized


class Tune:
    """Takes what would go to Tune's session."""

    def __init__(self):
        self.sent = []

    def __call__(self, metrics, checkpoint=None):
        self.sent.append(metrics)


@pytest.mark.parametrize(
    ("value", "metric", "expected"),
    [
        (0, "score", {"score": 0}),
        (0.0, None, {"_metric": 0.0}),
        (False, "score", {"score": 0}),
        (None, "score", {}),
        ({"a": 1}, "score", {"a": 1}),
        ("done", "score", {"result": "done"}),
        ([1, 2], None, {"result": [1, 2]}),
        (float("inf"), "score", {"score": float("inf")}),
    ],
)
def test_any_value_becomes_a_result(value, metric, expected):
    assert normalized(value, metric) == expected


def test_what_was_reported_is_merged_under_what_is_returned():
    tune = Tune()
    reports = Reports(tune, "score", None)
    reports.report({"score": 1, "loss": 2, "deep": {"a": 1}})
    reports.returned({"score": 3, "deep": {"b": 2}})
    assert tune.sent[-1] == {"score": 3, "loss": 2, "deep": {"a": 1, "b": 2}}


def test_what_is_left_at_the_end_goes_out_with_the_last_value():
    tune = Tune()
    reports = Reports(tune, "score", None)
    reports.report({"score": 1})
    reports.report({"loss": 5})
    reports.report({"score": None, "loss": 6})
    assert tune.sent == [{"score": 1}]
    reports.returned(None)
    assert tune.sent[-1]["score"] == 1
    assert tune.sent[-1]["loss"] == 6


def test_a_metric_by_its_flattened_name_is_found():
    tune = Tune()
    reports = Reports(tune, "val/score", None)
    reports.report({"val": {"score": 1, "n": 3}})
    reports.report({"val": {"n": 4}})
    reports.returned(None)
    assert tune.sent == [{"val": {"score": 1, "n": 3}}, {"val": {"score": 1, "n": 4}}]


def test_ending_without_the_metric_names_what_was_reported():
    reports = Reports(Tune(), "score", None)
    reports.report({"loss": 1})
    with pytest.raises(TrainableError, match=r"'score' is optimized.*it reported: loss, result\."):
        reports.returned("text")
    with pytest.raises(TrainableError, match="it reported: nothing"):
        Reports(Tune(), "score", None).returned(None)


def test_without_a_metric_nothing_is_held_back():
    tune = Tune()
    reports = Reports(tune, None, None)
    reports.report({"loss": 1})
    reports.returned(None)
    assert tune.sent == [{"loss": 1}]


def test_tunes_own_end_mark_passes_untouched():
    tune = Tune()
    Reports(tune, "score", None).report({"__duplicate__": True})
    assert tune.sent == [{"__duplicate__": True}]


def test_torch_tensors_are_turned_into_numbers():
    torch = pytest.importorskip("torch")
    tune = Tune()
    Reports(tune, "score", None).report({"score": torch.tensor(0.5), "v": torch.ones(2)})
    assert tune.sent == [{"score": 0.5, "v": [1.0, 1.0]}]


def test_merging_leaves_its_arguments_alone():
    below, above = {"a": {"x": 1}}, {"a": {"y": 2}}
    assert merged(below, above) == {"a": {"x": 1, "y": 2}}
    assert below == {"a": {"x": 1}}


def test_a_metric_that_was_reported_counts_also_when_none_is_returned():
    tune = Tune()
    reports = Reports(tune, "loss", None)
    reports.report({"loss": 1.0})
    reports.returned({"loss": None, "model": "x"})
    assert tune.sent[-1] == {"loss": 1.0, "model": "x"}
