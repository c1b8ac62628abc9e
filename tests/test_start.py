import pytest

import ray_synapse
from ray_synapse import registry, start
from tests.sweeps import backend, last_json, run_script


@pytest.fixture(autouse=True)
def no_open_runs():
    yield
    for run in registry.open_runs():
        start.close(run)


def test_each_init_makes_a_new_job_also_under_the_same_name():
    first, second = ray_synapse.init("same"), ray_synapse.init("same")
    assert first.job_id != second.job_id
    assert [job["name"] for job in backend().jobs()] == ["same", "same"]


def test_with_the_id_of_a_job_it_goes_on_with_that():
    with ray_synapse.init("first", metric="score", mode="min") as first:
        first.log_message("one")
    again = ray_synapse.init("first", job_id=first.job_id)
    again.log_message("two")
    assert (again.job_id, again.metric, again.mode) == (first.job_id, "score", "min")
    assert backend().job(again.job_id)["status"] == "RUNNING"
    assert len(backend().logs(again.job_id, "message")) == 2


def test_another_process_can_go_on_with_a_job():
    run = ray_synapse.init("shared")
    run.log_message("here")
    code = f"import ray_synapse; ray_synapse.init('shared', job_id={run.job_id}).log_message('x')"
    run_script(code)
    assert len(backend().logs(run.job_id, "message")) == 2


def test_one_process_has_one_handle_of_a_job():
    run = ray_synapse.init("one")
    again = ray_synapse.init("one", job_id=run.job_id, metric="loss", mode="min")
    assert again is run
    assert run.metric == "loss"


def test_an_unknown_job_is_an_error_with_the_next_step():
    with pytest.raises(ray_synapse.NotFoundError, match=r"job 99 does not exist.*ray-synapse ls"):
        ray_synapse.init("x", job_id=99)
    with pytest.raises(LookupError):
        ray_synapse.init("x", job_id="no number")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": " "}, "empty or blank"),
        ({"name": "x", "mode": "MAX"}, '\'MAX\'.*"min" and "max"'),
        ({"name": "x", "metric": ""}, "metric is ''"),
        ({"name": "x", "upload": "some"}, "upload is 'some'"),
        ({"name": "x", "backend": "cloud"}, "backend is 'cloud'"),
    ],
)
def test_wrong_arguments_are_value_errors_that_name_them(arguments, words):
    with pytest.raises(ValueError, match=words):
        ray_synapse.init(**arguments)
    assert backend().jobs() == []


def test_a_configured_host_is_not_silently_passed_over(monkeypatch):
    monkeypatch.setenv("SYNAPSE_HOST", "https://synapse.example")
    with pytest.raises(ray_synapse.SettingsError, match=r"SYNAPSE_HOST.*backend=\"local\""):
        ray_synapse.init("x")
    assert ray_synapse.init("x", backend="local").job_id


def test_without_a_run_there_is_an_error_that_says_what_to_do():
    code = """
    import json, ray_synapse
    try:
        ray_synapse.get_run()
    except ray_synapse.NoRunError as error:
        print(json.dumps(str(error)))
    """
    assert "ray_synapse.init(name)" in last_json(run_script(code))


def test_get_run_gives_the_newest_open_run():
    first = ray_synapse.init("first")
    with ray_synapse.init("second") as second:
        assert ray_synapse.get_run() is second
    assert ray_synapse.get_run() is first


def test_a_folder_that_cannot_be_written_is_a_clear_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RAY_SYNAPSE_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(ray_synapse.StorageError, match="RAY_SYNAPSE_HOME"):
        ray_synapse.init("x")
