"""A job that trains: in this process, from its JSON to the uploaded model."""

import json
import signal
import subprocess
import sys
import threading
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ray_synapse
from ray_synapse import registry, start
from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.backend.local import LocalBackend
from ray_synapse.errors import ConfigError, NoRunError, SettingsError, TrainableError

PARAMS = {"name": "net:lr,1", "dataset": 1, "hyperparameter": {"epochs": 2, "any": {"x": [1]}}}


@pytest.fixture(autouse=True)
def no_run_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    for run in registry.open_runs():
        start.close(run)


def train(run: Any, dataset: Any, hyperparameter: Any, checkpoint: Any) -> str:
    for epoch in range(hyperparameter["epochs"]):
        run.log_metric("training", "loss", 1 / (epoch + 1), epoch=epoch)
    Path("weights.txt").write_text("w")
    return "weights.txt"


def load(number: int, run: Any) -> list[int]:
    return [number]


def action(params: Any = PARAMS, **options: Any) -> ray_synapse.TrainAction:
    return ray_synapse.TrainAction(params, **{"train": train, "load_dataset": load, **options})


def messages(backend: LocalBackend, job: int = 1) -> list[str]:
    return [each["data"]["content"] for each in backend.logs(job, "message")]


def faults(params: Any, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        action(params, **options).start()
    return list(caught.value.faults)


def test_the_model_is_uploaded_under_the_name_of_the_job(backend: LocalBackend) -> None:
    result = action({"action": "train", "params": PARAMS}).start()
    (job,) = backend.jobs()
    (model,) = backend.models(job["id"])
    assert result == {"model_id": model["id"]} == backend.job(job["id"])["result"]
    assert job["name"] == model["name"] == "net%3Alr%2C1"
    assert job["status"] == "SUCCEEDED"
    assert zipfile.ZipFile(model["file"]).read("weights.txt") == b"w"
    assert model["configuration"]["config"] == PARAMS["hyperparameter"]
    assert [each["data"]["value"] for each in backend.logs(job["id"], "metric")] == [1.0, 0.5]


def test_the_plugin_gets_all_as_the_platform_gives_it(backend: LocalBackend) -> None:
    got: dict[str, Any] = {}

    def plugin(*arguments: Any, **others: Any) -> None:
        got.update(zip(("run", "dataset", "hyperparameter", "checkpoint"), arguments, strict=True))
        got.update(others, current=ray_synapse.get_run(), thread=threading.current_thread())

    others = {"image_size": 32, "nested": {"a": None}}
    action({**PARAMS, **others, "is_tune": False, "num_cpus": None}, train=plugin).start()
    run = got.pop("run")
    assert got.pop("current") is run
    assert got.pop("thread") is threading.current_thread()
    expected = {"dataset": [1], "hyperparameter": PARAMS["hyperparameter"], "checkpoint": None}
    assert got == {**expected, **others}
    with pytest.raises(NoRunError):
        ray_synapse.get_run()


def test_a_list_of_one_object_stands_for_the_object(backend: LocalBackend) -> None:
    got = []
    params = {"name": "a", "dataset": 1, "hyperparameters": [{"epochs": 1}]}
    action(params, train=lambda run, data, config, checkpoint: got.append(config)).start()
    assert got == [{"epochs": 1}]


def test_it_goes_on_from_a_checkpoint_which_is_the_models_parent(
    backend: LocalBackend, home: Path
) -> None:
    first = action().start()["model_id"]
    got = []

    def further(run: Any, dataset: Any, hyperparameter: Any, checkpoint: Any) -> Any:
        got.append(checkpoint)
        weights = Path(checkpoint["path"], "weights.txt").read_text()
        Path("more").mkdir()
        Path("more", "weights.txt").write_text(f"{weights} more")
        return {"weights_path": Path("more"), "mAP": 0.9}

    second = action({**PARAMS, "name": "b", "checkpoint": first}, train=further).start()
    assert set(got[0]) == {"id", "name", "category", "path"}
    assert got[0]["id"] == first
    model = EmbeddedApi(home).get_model(second["model_id"])
    assert model["checkpoint"] == first
    assert model["category"] == "fine_tuned"
    assert model["configuration"]["metrics"]["mAP"] == 0.9
    (archive,) = backend.models(2)
    assert zipfile.ZipFile(archive["file"]).read("weights.txt") == b"w more"


def test_progress_starts_at_0_never_goes_back_and_ends_at_100(backend: LocalBackend) -> None:
    seen: list[tuple[float, str]] = []

    def look(run: Any) -> None:
        run._channel.flush(10)
        current = backend.job(1)["progress_record"]["current_progress"]
        seen.append((current["overall"], current["step"]))

    def load_slowly(number: int, run: Any) -> None:
        look(run)

    def train_slowly(run: Any, dataset: Any, hyperparameter: Any, checkpoint: Any) -> str:
        look(run)
        for epoch in range(1, 5):
            run.set_progress(epoch, 4, "train")
            look(run)
        return train(run, dataset, hyperparameter, checkpoint)

    action(train=train_slowly, load_dataset=load_slowly).start()
    train_at = [(20 + 75 * epoch / 4, "train") for epoch in range(5)]
    assert seen == [(0, "dataset"), *train_at]
    current = backend.job(1)["progress_record"]["current_progress"]
    assert (current["overall"], current["step"]) == (100, "model_upload")


def test_what_the_plugin_raises_reaches_the_caller_and_the_backend(backend: LocalBackend) -> None:
    error = ValueError("no such layer; password=hunter22 \x1b[31mred\x1b[0m \x07")

    def fails(run: Any, dataset: Any, hyperparameter: Any, checkpoint: Any) -> None:
        raise error

    with pytest.raises(ValueError, match="no such layer") as caught:
        action(train=fails).start()
    assert caught.value is error
    assert backend.job(1)["status"] == "FAILED"
    told, end = messages(backend)[-2:]
    assert told.startswith("The training failed:\n")
    assert "in fails" in told
    assert "ValueError: no such layer" in told
    assert "hunter22" not in told
    assert all(each.isprintable() or each == "\n" for each in told)
    assert "red" in told
    assert end == "The run has ended: FAILED."


def test_a_dataset_that_cannot_be_loaded_fails_the_run_likewise(backend: LocalBackend) -> None:
    def fails(number: int, run: Any) -> None:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        action(load_dataset=fails).start()
    assert backend.job(1)["status"] == "FAILED"
    assert messages(backend)[-1] == "The run has ended: FAILED."


def test_ctrl_c_stops_the_run(backend: LocalBackend) -> None:
    def interrupted(run: Any, dataset: Any, hyperparameter: Any, checkpoint: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        action(train=interrupted).start()
    assert backend.job(1)["status"] == "STOPPED"
    assert messages(backend)[-1] == "The run has ended: STOPPED."


def test_a_training_without_a_model_succeeds_and_says_so(backend: LocalBackend) -> None:
    assert action(train=lambda *arguments: None).start() == {"model_id": None}
    assert backend.job(1)["status"] == "SUCCEEDED"
    assert "There is no model: train() returned no path." in messages(backend)


def test_a_dict_without_a_path_is_named(backend: LocalBackend) -> None:
    action(train=lambda *arguments: {"accuracy": 0.9}).start()
    told = "There is no model: train() returned a dict with accuracy, and no weights_path."
    assert told in messages(backend)


def test_what_the_run_was_told_of_its_model_will_do(backend: LocalBackend) -> None:
    def told(run: Any, dataset: Any, hyperparameter: Any, checkpoint: Any) -> None:
        run.checkpoint_output = train(run, dataset, hyperparameter, checkpoint)

    assert action(train=told).start() == {"model_id": 1}


@pytest.mark.parametrize(
    ("value", "said"),
    [("no/such/folder", r"no/such/folder as the place.*does not exist"), (0.5, r"return the path")],
)
def test_a_model_that_is_not_there_fails_the_run(
    backend: LocalBackend, value: Any, said: str
) -> None:
    with pytest.raises(TrainableError, match=said):
        action(train=lambda *arguments: value).start()
    assert backend.job(1)["status"] == "FAILED"
    assert messages(backend)[-1] == "The run has ended: FAILED."


def test_a_run_that_is_given_is_used_and_left_open(backend: LocalBackend) -> None:
    run = ray_synapse.init("by the sdk")
    assert action(run=run).start() == {"model_id": 1}
    assert backend.job(run.job_id)["status"] == "SUCCEEDED"
    run.log_message("still open")
    start.close(run)
    assert messages(backend)[-1] == "still open"
    assert backend.models(run.job_id)[0]["name"] == "net%3Alr%2C1"


def test_a_run_that_is_given_stays_failed_though_the_error_was_caught(
    backend: LocalBackend,
) -> None:
    def fails(*arguments: Any) -> None:
        raise ValueError("once")

    with ray_synapse.init("by the sdk") as run, pytest.raises(ValueError, match="once"):
        action(train=fails, run=run).start()
    with pytest.raises(ValueError, match="once"), ray_synapse.init("again") as other:
        action({**PARAMS, "name": "b"}, train=fails, run=other).start()
    for job in (run.job_id, other.job_id):
        assert backend.job(job)["status"] == "FAILED"
        assert sum("once" in each for each in messages(backend, job)) == 1


def test_faults_come_all_at_once_and_before_anything_starts(backend: LocalBackend) -> None:
    params = {"name": " ", "dataset": "1", "num_gpus": -1, "hyperparameter": [1], "sed": 3}
    found = faults(params, train=lambda run, data, config, checkpoint, seed=1: None)
    assert len(found) == 5
    for word in ("name", "dataset", "num_gpus", "hyperparameter", "did you mean 'seed'"):
        assert any(word in each for each in found), word
    assert backend.jobs() == []


def test_a_refused_job_that_has_a_run_is_told_there(backend: LocalBackend) -> None:
    run = ray_synapse.init("by the sdk")
    assert faults({"name": "a", "dataset": 1}, run=run) == messages(backend)[0].splitlines()[1:]
    assert backend.job(run.job_id)["status"] == "FAILED"


def test_the_name_of_a_model_is_taken(backend: LocalBackend) -> None:
    action().start()
    (fault,) = faults(PARAMS)
    assert fault.startswith('name: "net:lr,1" is taken: model 1 has this name already')
    assert len(backend.jobs()) == 1


def test_the_name_of_a_job_that_runs_is_taken_and_one_that_ended_is_free(
    backend: LocalBackend,
) -> None:
    run = ray_synapse.init("net:lr,1")
    (fault,) = faults(PARAMS)
    assert fault.startswith('name: "net:lr,1" is taken: job 1 of this name still runs')
    assert action(run=run).start()["model_id"] == 1  # its own job has the name
    other = ray_synapse.init("other")
    start.close(other)
    action({**PARAMS, "name": "other"}).start()


def test_a_checkpoint_or_dataset_that_is_not_there_is_a_fault(backend: LocalBackend) -> None:
    found = faults({**PARAMS, "checkpoint": 789, "dataset": 123}, load_dataset=None)
    assert found[0].startswith("checkpoint: 789 cannot be used: model 789 does not exist")
    assert found[1].startswith("dataset: 123 cannot be used: ")
    assert "load_dataset" in found[1]


def test_without_a_loader_the_dataset_is_what_the_backend_has(
    home: Path, tmp_path: Path, backend: LocalBackend
) -> None:
    for name, digit in (("train/1", 7), ("validation/2", 3)):
        folder = tmp_path / "digits" / Path(name).parent
        folder.mkdir(parents=True)
        (folder / f"{Path(name).name}.json").write_text(json.dumps({"digit": digit}))
        (folder / f"{Path(name).name}.png").write_bytes(b"image")
    EmbeddedApi(home).add_dataset(tmp_path / "digits")
    got = []
    action(load_dataset=None, train=lambda run, data, *others: got.append(data)).start()
    digits = {key: [each["data"]["digit"] for each in items] for key, items in got[0].items()}
    assert digits == {"train": [7], "validation": [3]}


def test_the_old_form_warns_once_with_the_new_one(backend: LocalBackend) -> None:
    old = {"action": "tune", "params": {"name": "a", "dataset": 1, "hyperparameter": []}}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ray_synapse.TrainAction(old, train=train)
        ray_synapse.TrainAction(PARAMS, train=train)
    (warning,) = [each for each in caught if issubclass(each.category, DeprecationWarning)]
    assert warning.filename == __file__
    assert '"is_tune": true' in str(warning.message)
    assert '"hyperparameters"' in str(warning.message)


def test_a_run_that_has_had_a_job_is_as_new_for_the_next(backend: LocalBackend) -> None:
    with ray_synapse.init("by the sdk") as run:
        first = action(run=run).start()["model_id"]
        action({**PARAMS, "name": "b", "checkpoint": first}, run=run).start()
        params = {**PARAMS, "name": "c"}
        assert action(params, train=lambda *arguments: None, run=run).start() == {"model_id": None}
        action({**PARAMS, "name": "d"}, run=run).start()
    assert [each["checkpoint"] for each in backend.models(run.job_id)] == [None, 1, None]


def test_a_run_that_has_ended_is_refused(backend: LocalBackend) -> None:
    with ray_synapse.init("by the sdk") as run:
        pass
    with pytest.raises(SettingsError, match="has ended; give a new one"):
        action(run=run).start()
    assert backend.job(run.job_id)["status"] == "SUCCEEDED"


def test_two_at_a_time_have_their_own_runs(backend: LocalBackend) -> None:
    both = threading.Barrier(2)
    found: dict[str, str] = {}

    def plugin(run: Any, dataset: Any, hyperparameter: Any, checkpoint: Any) -> None:
        both.wait(30)
        found[run.name] = ray_synapse.get_run().name
        both.wait(30)

    jobs = [action({**PARAMS, "name": name}, train=plugin) for name in ("a", "b")]
    threads = [threading.Thread(target=job.start) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {"a": "a", "b": "b"}
    with pytest.raises(NoRunError):
        ray_synapse.get_run()


def test_a_run_of_somebody_else_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"give the run that ray_synapse.init"):
        action(run="job 3")


PLUGIN = """
import os, signal, sys, time
from pathlib import Path

def load_dataset(id, run):
    print("a line of the plugin's")
    os.write(1, b"a line of its library in C\\n")
    return id

def train(run, dataset, hyperparameter, checkpoint, **kwargs):
    if hyperparameter.get("kill"):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    if hyperparameter.get("leave"):
        sys.exit(0)
    if hyperparameter.get("fail"):
        raise KeyError("token=abcdefgh")
    Path("weights.txt").write_text(str(hyperparameter))
    return "weights.txt"
"""


def command(
    folder: Path, *arguments: str, given: str | None = None
) -> "subprocess.CompletedProcess[str]":
    (folder / "my_plugin.py").write_text(PLUGIN)
    (folder / "job.json").write_text(json.dumps({"action": "train", "params": PARAMS}))
    return subprocess.run(
        [sys.executable, "-m", "ray_synapse", "run", *arguments, "--plugin", "my_plugin"],
        cwd=folder,
        input=given,
        text=True,
        timeout=60,
        capture_output=True,
        check=False,
    )


def test_the_command_prints_the_result_and_nothing_else(
    tmp_path: Path, backend: LocalBackend
) -> None:
    done = command(tmp_path, "job.json", "--set", "hyperparameter.epochs=3", "--set", "name=b")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"model_id": 1}
    assert "a line of the plugin's" in done.stderr
    assert "a line of its library in C" in done.stderr
    assert backend.job(1)["name"] == "b"
    assert backend.models(1)[0]["configuration"]["config"]["epochs"] == 3

    planned = command(tmp_path, "-", "--dry-run", given=json.dumps(PARAMS))
    assert planned.returncode == 0, planned.stderr
    assert "net:lr,1" in planned.stdout
    assert "epochs: 2" in planned.stdout
    assert len(backend.jobs()) == 1


def test_the_exit_code_tells_a_wrong_job_from_a_run_that_failed(
    tmp_path: Path, backend: LocalBackend
) -> None:
    wrong = command(tmp_path, "job.json", "--set", "name=", "--set", "dataset=x")
    assert wrong.returncode == 2
    assert "2 faults:" in wrong.stderr
    assert command(tmp_path, "no_such.json").returncode == 2
    assert backend.jobs() == []

    failed = command(tmp_path, "job.json", "--set", "hyperparameter.fail=true")
    assert failed.returncode == 1
    assert "in train" in failed.stderr
    assert "abcdefgh" not in failed.stderr
    assert "ray_synapse/" not in failed.stderr
    assert backend.job(1)["status"] == "FAILED"

    left = command(tmp_path, "job.json", "--set", "hyperparameter.leave=true", "--set", "name=b")
    assert left.returncode == 1
    assert "ended by sys.exit(0)" in left.stderr
    assert backend.job(2)["status"] == "FAILED"


def test_sigterm_stops_a_training_and_the_job_says_so(
    tmp_path: Path, backend: LocalBackend
) -> None:
    killed = command(tmp_path, "job.json", "--set", "hyperparameter.kill=true")
    assert killed.returncode == 128 + signal.SIGTERM
    assert backend.job(1)["status"] == "STOPPED"
    assert messages(backend)[-1] == "The run has ended: STOPPED."


def test_the_old_form_warns_once_on_the_command_line(tmp_path: Path) -> None:
    old = {"action": "tune", "params": {"name": "a", "hyperparameter": []}}
    told = command(tmp_path, "-", given=json.dumps(old))
    assert told.returncode == 2
    assert told.stderr.count("DeprecationWarning") == 1
