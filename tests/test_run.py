import json
import os
import pickle
from pathlib import Path

import pytest

import ray_synapse
from tests.sweeps import backend


def logged(run, event):
    return backend().logs(run.job_id, event)


def test_a_metric_is_kept_in_the_form_of_the_contract():
    run = ray_synapse.init("plain")
    run.log_metric("training", "loss", 0.5, epoch=10)
    (record,) = logged(run, "metric")
    assert record["data"] == {
        "category": "training",
        "key": "loss",
        "value": 0.5,
        "metrics": {"epoch": 10},
    }
    assert record["time"].endswith("+00:00")


def test_values_that_json_cannot_carry_become_null_or_text():
    run = ray_synapse.init("odd")
    run.log_metric("training", "loss", float("nan"), bad=float("inf"), path=Path("/x"), none=None)
    (record,) = logged(run, "metric")
    assert record["data"]["value"] is None
    assert record["data"]["metrics"] == {"bad": None, "path": "/x", "none": None}


def test_an_image_is_kept_as_a_data_uri_beside_its_meta_data():
    run = ray_synapse.init("image")
    run.log_visualization("predictions", "train", 3, b"\x89PNG\r\n\x1a\nrest", label="cat")
    (record,) = logged(run, "visualization")
    assert record["data"] == {
        "category": "predictions",
        "group": "train",
        "index": 3,
        "label": "cat",
    }
    assert record["file"].startswith("data:image/png;base64,")


def test_messages_keep_their_level_and_order():
    run = ray_synapse.init("messages")
    run.log_message("one")
    run.log_message("two", "warning")
    run.end_log()
    found = [(each["data"]["content"], each["level"]) for each in logged(run, "message")]
    assert found[:2] == [("one", "info"), ("two", "warning")]
    assert found[2][0] == "The run is complete."


def test_only_the_newest_trials_table_is_kept():
    run = ray_synapse.init("tables")
    run.log_trials(trials={"a": {"status": "RUNNING", "lr": 0.1}}, base=["status"])
    run.log_trials({"trials": {"b": {"base": ["b"], "metrics": [float("nan")]}}, "base": ["x"]})
    table = backend().trials(run.job_id)
    assert table["trials"] == {"b": {"base": ["b"], "metrics": [None]}}
    assert (table["base"], table["best_trial"]) == (["x"], "")


@pytest.mark.parametrize("payload", [[], "text", {}, {"trials": [1]}, None])
def test_a_payload_without_trials_is_a_value_error(payload):
    run = ray_synapse.init("payload")
    with pytest.raises(ValueError, match="log_trials"):
        run.log_trials(payload)


def test_progress_has_the_shape_of_the_contract_and_never_goes_back():
    run = ray_synapse.init("progress")
    run.set_progress(1, 2, "train")
    first = backend().job(run.job_id)["progress_record"]
    assert first["current_progress"] == {
        "overall": 46.88,
        "step": "train",
        "percent": 50.0,
        "time_remaining": None,
    }
    assert first["record"]["steps"]["dataset"]["proportion"] == 20
    run.set_progress(0, 2, "train")
    assert backend().job(run.job_id)["progress_record"]["current_progress"]["overall"] == 46.88


def test_every_record_is_counted():
    run = ray_synapse.init("counts")
    run.log_message("x")
    run.log_metric("a", "b", 1)
    assert run.stats() == {
        "models": {},
        "reasons": {},
        "last_error": None,
        "oldest_s": None,
        "logged": 2,
        "delivered": 2,
        "waiting": 0,
        "in_doubt": 0,
        "parked": 0,
        "dropped": 0,
        "replaced": 0,
    }


def test_checkpoint_output_is_made_absolute_when_it_is_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = ray_synapse.init("output")
    assert run.checkpoint_output is None
    run.checkpoint_output = "weights"
    monkeypatch.chdir("/")
    assert run.checkpoint_output == str(tmp_path / "weights")


def test_outside_of_a_trial_it_does_not_tune_unless_told():
    run = ray_synapse.init("training")
    assert run.is_tune is False
    assert run.num_samples is None
    run.is_tune = True
    assert run.is_tune is True


def test_leaving_the_run_ends_its_job():
    with ray_synapse.init("ends") as run:
        assert backend().job(run.job_id)["status"] == "RUNNING"
        assert ray_synapse.get_run() is run
    assert backend().job(run.job_id)["status"] == "SUCCEEDED"
    with pytest.raises(ZeroDivisionError), ray_synapse.init("fails") as run:
        raise ZeroDivisionError("by design")
    assert backend().job(run.job_id)["status"] == "FAILED"
    assert "by design" in logged(run, "message")[-1]["data"]["content"]


def test_a_removed_job_takes_no_more_records_and_breaks_nothing(capfd):
    run = ray_synapse.init("removed")
    backend().delete_job(run.job_id)
    run.log_message("lost")
    assert run.stats()["dropped"] == 1
    assert "does not exist" in capfd.readouterr().err


def test_records_that_cannot_be_written_wait_and_are_written_in_order_later():
    run = ray_synapse.init("waits")
    run.log_message("first")
    database = backend().home / "ray_synapse.db"
    run._channel._backend.close()
    os.rename(database, database.with_suffix(".away"))
    database.mkdir()
    run.log_message("second")
    run.log_trials({"trials": {}})
    run.log_trials({"trials": {"a": {}}})
    stats = run.stats()
    assert (stats["logged"], stats["waiting"], stats["replaced"]) == (4, 2, 1)
    database.rmdir()
    os.rename(database.with_suffix(".away"), database)
    assert run._channel.flush(20)
    contents = [each["data"]["content"] for each in logged(run, "message")]
    assert contents == ["first", "second"]
    assert backend().trials(run.job_id)["trials"] == {"a": {}}
    stats = run.stats()
    assert (stats["logged"], stats["delivered"], stats["replaced"]) == (4, 3, 1)


def test_it_says_what_it_is():
    run = ray_synapse.init("a:b")
    assert repr(run).startswith(f"<TrainRun 'a%3Ab', job {run.job_id}, ")
    assert pickle.loads(pickle.dumps(run)) is run
    assert json.loads(json.dumps(run.stats()))
