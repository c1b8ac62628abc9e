"""The data of each event."""

import json
import math
from typing import Any

import numpy as np
import pytest

from ray_synapse import payloads
from ray_synapse.errors import PayloadError
from ray_synapse.payloads import MAX_MESSAGE_CHARS
from ray_synapse.values import dumps


def trials(data: Any = None, rows: Any = None, **parts: Any) -> dict[str, Any]:
    """The payload of a table as the other side reads it."""
    columns = [parts.get(name) for name in ("base", "hyperparameters", "metrics")]
    wire = payloads.trials(data, rows, *columns, parts.get("best_trial", ""))
    read: dict[str, Any] = json.loads(dumps(wire))
    return read


def metric(*arguments: Any) -> dict[str, Any]:
    """The payload of a metric as the other side reads it."""
    read: dict[str, Any] = json.loads(payloads.metric(*arguments))
    return read


def test_a_metric_has_the_documented_form() -> None:
    assert metric("training", "loss", np.float32(0.5), {"epoch": 10}, "abc123") == {
        "category": "training",
        "key": "loss",
        "value": 0.5,
        "metrics": {"epoch": 10},
        "trial_id": "abc123",
    }


def test_outside_a_trial_there_is_no_trial_id() -> None:
    assert "trial_id" not in metric("training", "loss", 1, {}, None)
    assert "trial_id" not in payloads.visualization("p", "train", 1, {}, None)


def test_a_metric_that_is_not_finite_is_null() -> None:
    data = metric("training", "loss", math.nan, {"lr": math.inf}, None)
    assert (data["value"], data["metrics"]) == (None, {"lr": None})


def test_a_metric_keeps_what_was_logged_beside_it_whatever_it_is_called() -> None:
    beside = {"category": 1, "key": 2, "value": 3, "trial_id": 4}
    data = metric("training", "loss", 0.5, beside, "t1")
    assert data["metrics"] == beside
    assert (data["category"], data["key"], data["value"]) == ("training", "loss", 0.5)
    assert data["trial_id"] == "t1"


def test_a_visualization_has_the_documented_form() -> None:
    data = payloads.visualization("predictions", "train", 3, {"epoch": 2}, "abc123")
    assert data == {
        "category": "predictions",
        "group": "train",
        "index": 3,
        "epoch": 2,
        "trial_id": "abc123",
    }


def test_what_is_said_of_an_image_cannot_overwrite_its_place_or_trial() -> None:
    data = payloads.visualization("p", "train", 3, {"trial_id": "x"}, "t1")
    assert data["trial_id"] == "t1"


def test_a_message_has_the_documented_form() -> None:
    assert payloads.message("text") == {"content": "text"}
    assert payloads.message(ValueError("no")) == {"content": "no"}


def test_a_long_message_is_cut_and_says_so() -> None:
    content = payloads.message("x" * 10_000_000)["content"]
    assert isinstance(content, str)
    assert len(content) < MAX_MESSAGE_CHARS + 50
    assert content.endswith("(10,000,000 characters)")
    assert payloads.message("x" * MAX_MESSAGE_CHARS) == {"content": "x" * MAX_MESSAGE_CHARS}


def test_a_table_may_be_given_whole() -> None:
    table = {
        "base": ["trial_id", "status"],
        "hyperparameters": ["lr"],
        "metrics": ["accuracy"],
        "trials": {"t1": {"base": ["t1", "RUNNING"], "hyperparameters": [0.1], "metrics": [0.9]}},
        "best_trial": "t1",
    }
    assert trials(table) == table


def test_a_table_may_be_given_in_parts() -> None:
    rows = {"t1": {"base": ["t1"], "hyperparameters": (0.1,), "metrics": [np.float32(0.5)]}}
    table = trials(
        rows=rows,
        base=("trial_id",),
        hyperparameters=(name for name in ["lr"]),
        metrics=np.array(["loss"]),
    )
    assert table == {
        "base": ["trial_id"],
        "hyperparameters": ["lr"],
        "metrics": ["loss"],
        "trials": {"t1": {"base": ["t1"], "hyperparameters": [0.1], "metrics": [0.5]}},
        "best_trial": "",
    }


def test_columns_may_be_an_array_of_several_names() -> None:
    table = trials(rows={}, hyperparameters=np.array(["lr", "width"]))
    assert table["hyperparameters"] == ["lr", "width"]


def test_each_trial_may_be_one_flat_object() -> None:
    table = trials(rows={"t1": {"status": "RUNNING", "lr": math.inf}})
    assert table["trials"] == {"t1": {"status": "RUNNING", "lr": None}}
    assert table["base"] == table["hyperparameters"] == table["metrics"] == []


def test_the_best_trial_may_be_given_with_a_whole_table_or_beside_it() -> None:
    assert trials({"trials": {}, "best_trial": "a"})["best_trial"] == "a"
    assert trials({"trials": {}}, best_trial="b")["best_trial"] == "b"
    assert trials({"trials": {}, "best_trial": None})["best_trial"] == ""


def test_a_large_table_is_not_cut() -> None:
    rows = {f"t{index}": {"hyperparameters": list(range(300))} for index in range(1_000)}
    names = [f"h{index}" for index in range(300)]
    table = trials(rows=rows, hyperparameters=names)
    assert len(table["trials"]) == 1_000
    assert len(table["trials"]["t999"]["hyperparameters"]) == 300
    assert table["hyperparameters"] == names


@pytest.mark.parametrize("data", [[], "text", 3, [("trials", {})]], ids=repr)
def test_a_table_that_is_no_dict_is_a_value_error(data: Any) -> None:
    with pytest.raises(PayloadError, match=r"log_trials: data is a .* allowed is a dict"):
        trials(data)
    with pytest.raises(ValueError, match="log_trials"):
        trials(data)


@pytest.mark.parametrize("data", [{}, {"trials": None}, {"trials": []}, {"trial": {}}], ids=repr)
def test_a_table_without_trials_is_a_value_error(data: Any) -> None:
    with pytest.raises(PayloadError, match="`trials` is"):
        trials(data)


def test_a_call_without_anything_is_a_value_error() -> None:
    with pytest.raises(PayloadError, match="`trials` is None"):
        trials()


@pytest.mark.parametrize("text", ["\ud800", "x\udcff"])
def test_a_name_that_is_not_utf8_reaches_the_wire_readable(text: str) -> None:
    """A record that no database takes would block all the records after it."""
    for data in (
        metric(text, text, 1, {text: 1}, text),
        payloads.visualization(text, text, 1, {text: 1}, text),
        payloads.message(text),
        payloads.trials(None, {text: {text: text}}, [text], [text], [text], text),
    ):
        dumps(data).encode("utf-8")
