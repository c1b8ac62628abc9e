"""A job whose run is on a server: its name, dataset, checkpoint and end go there, over TCP."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ray_synapse
from ray_synapse import registry, start
from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.backend.http import Credentials, HttpApi
from ray_synapse.backend.local import LocalBackend
from ray_synapse.cli import main
from ray_synapse.errors import ConfigError
from tests.faults import status
from tests.proxy import Proxy
from tests.serving import served
from tests.sweeps import wait_for

PARAMS = {"name": "net:lr,1", "dataset": 1, "hyperparameter": {"epochs": 1}}


class Server:
    """A served backend with a dataset and a job that the platform has made."""

    def __init__(self, url: str, home: Path) -> None:
        self.url, self.api, self.home = url, HttpApi(Credentials(url)), home
        folder = home.parent / "digits" / "train"
        folder.mkdir(parents=True)
        (folder / "1.json").write_text(json.dumps({"digit": 7}))
        EmbeddedApi(home).add_dataset(folder.parent)
        self.job = self.api.create_job({"name": PARAMS["name"], "status": "RUNNING"})["id"]

    def messages(self) -> list[str]:
        logs = LocalBackend(self.home).logs(self.job, "message")
        return [each["data"]["content"] for each in logs]


@pytest.fixture
def server(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    there = tmp_path / "server"
    monkeypatch.chdir(tmp_path)
    with served(there) as process:
        server = Server(process.url, there)
        monkeypatch.setenv("SYNAPSE_HOST", server.url)
        monkeypatch.setenv("SYNAPSE_JOB_ID", str(server.job))
        yield server
        for run in registry.open_runs():
            start.close(run)
        server.api.close()


def train(run: Any, dataset: Any, hyperparameter: Any, checkpoint: Any) -> str:
    assert [each["data"] for each in dataset["train"]] == [{"digit": 7}]
    before = Path(checkpoint["path"], "weights.txt").read_text() if checkpoint else ""
    run.log_metric("training", "loss", 0.5, epoch=1)
    Path("weights.txt").write_text(f"{before}w")
    return "weights.txt"


def test_a_training_is_whole_on_the_server_and_another_goes_on_from_its_model(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ray_synapse.TrainAction(PARAMS, train=train).start()["model_id"]
    job = server.api.get_job(server.job)  # which has the name of the run and is active itself
    assert job["status"] == "SUCCEEDED"
    assert job["result"] == {"model_id": first}
    assert job["progress_record"]["current_progress"]["overall"] == 100
    assert server.messages()[-1] == "The run is complete."
    assert server.api.get_model(first)["name"] == "net%3Alr%2C1"

    other = server.api.create_job({"name": "b", "status": "RUNNING"})["id"]
    monkeypatch.setenv("SYNAPSE_JOB_ID", str(other))
    params = {**PARAMS, "name": "b", "checkpoint": first}
    second = ray_synapse.TrainAction(params, train=train).start()["model_id"]
    assert server.api.get_model(second)["checkpoint"] == first


def test_a_wrong_job_ends_as_failed_with_its_faults(server: Server) -> None:
    other = server.api.create_job({"name": PARAMS["name"], "status": "PENDING"})["id"]
    with pytest.raises(ConfigError) as caught:
        ray_synapse.TrainAction({**PARAMS, "dataset": 9, "checkpoint": 8}, train=train).start()
    faults = caught.value.faults
    assert faults[0].startswith(f'name: "net:lr,1" is taken: job {other} of this name still runs')
    assert [each.split(":")[0] for each in faults] == ["name", "checkpoint", "dataset"]
    assert server.api.get_job(server.job)["status"] == "FAILED"
    assert all(each in server.messages()[0] for each in faults)
    assert server.messages()[-1] == "The run has ended: FAILED."


def test_a_run_that_is_given_asks_the_server_with_its_own_token(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("SYNAPSE_HOST", "SYNAPSE_JOB_ID"):
        monkeypatch.delenv(variable)
    with ray_synapse.init("by the sdk", host=server.url, job_id=server.job) as run:
        model = ray_synapse.TrainAction(PARAMS, train=train, run=run).start()["model_id"]
    assert server.api.get_model(model)["name"] == "net%3Alr%2C1"


def test_a_training_whose_model_the_server_does_not_take_ends_and_sync_completes_it(
    server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with Proxy(server.url) as proxy:
        monkeypatch.setenv("SYNAPSE_HOST", proxy.url)
        monkeypatch.setenv("RAY_SYNAPSE_DEADLINE_S", "1")
        proxy.always(status(503).on("POST", "/models/"))
        assert ray_synapse.TrainAction(PARAMS, train=train).start() == {"model_id": None}
        proxy.heal()
        found = [("name", "net%3Alr%2C1")]  # the run's own sender may still be about to end
        wait_for(lambda: main(["sync"]) == 0 and server.api.list_models(found)["count"], 30)
        assert main(["sync"]) == 0
    job = server.api.get_job(server.job)
    (model,) = server.api.list_models(found)["results"]
    assert job["result"] == {"model_id": model["id"]}
    assert job["status"] == "SUCCEEDED"
    assert job["progress_record"]["current_progress"]["overall"] == 100


def test_what_goes_wrong_before_there_is_a_job_is_told_to_the_platforms(
    server: Server, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "ray_synapse", "run", "no_such.json", "--plugin", "no_such"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 2
    assert server.api.get_job(server.job)["status"] == "FAILED"
    assert "no_such.json: there is no such file" in server.messages()[0]


def test_the_name_is_asked_for_as_the_platform_writes_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(server.url) as proxy:
        monkeypatch.setenv("SYNAPSE_HOST", proxy.url)
        ray_synapse.TrainAction(PARAMS, train=train).start()
        asked = [each.path for each in proxy.requests if "params=" in each.path]
    assert asked == [
        f"/jobs/?params=name%3Anet%253Alr%252C1&is_active=true&category=neural_net"
        f"&job__action=train&ids_ex={server.job}"
    ]
