"""Processes of a run that logs to a server, killed at bad moments: nothing is lost or doubled."""

import base64
import contextlib
import json
import os
import random
import secrets
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import ray
from ray import tune

import ray_synapse
from ray_synapse import SynapseLoggerCallback
from ray_synapse.leftovers import leftovers
from tests.delivery.test_server_sweeps import Server, adds_up, scores, synced
from tests.faults import hang, hang_after
from tests.proxy import Proxy
from tests.serving import served
from tests.sweeps import begin_script, fit, handed_over_agree, home, takes_over, wait_for
from tests.synapse import ANSWER_S, counts_of, kept, make_job

pytestmark = pytest.mark.ray

WEIGHTS_BYTES = 1_000_000
IMAGE_BYTES = 5_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with served(folder) as process:
        yield Server(process.url, folder)


def weights(kind):
    return random.Random(kind).randbytes(WEIGHTS_BYTES)


def counts_of_all():
    """What became of all records of this test, by its one outbox."""
    (leftover,) = leftovers(home())
    return leftover.counts()


def doctor():
    command = [sys.executable, "-m", "ray_synapse", "doctor"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# A script without Ray

NUMBERS = 300
LIFE = f"""
import os, time
import ray_synapse
run = ray_synapse.init("lives")
for number in range({NUMBERS}):
    run.log_metric("training", "loss", number, life=os.environ["LIFE"])
    time.sleep(0.002)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(
    ("fault", "has_keys"),
    [(None, True), (hang_after(), True), (hang_after(), False), (hang(), False)],
    ids=["all well", "answer lost", "answer lost without keys", "request lost without keys"],
)
def test_a_script_that_is_killed_right_after_its_last_log_loses_nothing(server, fault, has_keys):
    """Twice, on the same job: the second process begins with what the first one left."""
    job, expected = make_job(server.url), []
    with Proxy(server.url, strip_keys=not has_keys) as proxy:
        if fault is not None:
            proxy.always(fault.on("POST", "/logs/"))
        for life in ("1", "2"):
            env = {
                **os.environ,
                "LIFE": life,
                "SYNAPSE_HOST": proxy.url,
                "SYNAPSE_JOB_ID": str(job),
            }
            ended = subprocess.run(
                [sys.executable, "-c", LIFE], env=env, capture_output=True, text=True, check=False
            )
            assert ended.returncode == -signal.SIGKILL, ended.stderr
            expected += [(life, number) for number in range(NUMBERS)]
        proxy.heal()
        synced(job, proxy.url)
        counts = counts_of_all()
    logged = server.metrics(job, "training")
    arrived = [(each["metrics"]["life"], each["value"]) for each in logged]
    assert arrived == [each for each in expected if each in set(arrived)]  # in order, none twice
    if has_keys:
        assert arrived == expected
        assert counts.in_doubt == 0
        assert "nothing is left" in doctor()
    else:
        assert counts.in_doubt >= 1
        assert len(expected) <= len(arrived) + counts.in_doubt
        assert (arrived == expected) == fault.name.startswith("hang_after")
        assert "in_doubt" in doctor()
    assert counts.waiting == counts.parked == counts.dropped == 0


# The driver of a sweep, a script in a process of its own

SWEEP = """
import json, os, random, sys, tempfile, time
from pathlib import Path
import ray
from ray import tune
import ray_synapse
from tests.sweeps import hand_over

def train(config, run):
    kind, life = config["kind"], os.environ["LIFE"]
    for step in range(100_000 if (kind, life) == ("long", "1") else 5):
        run.log_metric("training", "loss", step, kind=kind, life=life)
        assert run._channel.flush(20)
        with open(Path(os.environ["NOTED"], f"{kind}-{life}"), "a") as file:
            file.write(f"{step}\\n")
        time.sleep(0.01)
        tune.report({"score": step})
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "weights.bin").write_bytes(random.Random(kind).randbytes(1_000_000))
        tune.report({"score": len(kind)}, checkpoint=tune.Checkpoint.from_directory(folder))

ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
run = ray_synapse.init(os.environ["NAME"], metric="score", mode="max")
trainable = ray_synapse.wrap_trainable(train, run=run)
path = os.environ["STORAGE"] + "/s"
if tune.Tuner.can_restore(path):
    tuner = tune.Tuner.restore(path, trainable, resume_unfinished=True)
else:
    tuner = tune.Tuner(
        trainable,
        param_space={"kind": tune.grid_search(["short", "long"])},
        run_config=tune.RunConfig(
            name="s", storage_path=os.environ["STORAGE"], verbose=0,
            callbacks=[ray_synapse.SynapseLoggerCallback(run)],
        ),
    )
grid = tuner.fit()
hand_over(grid, run, kept_in=os.environ["SERVER"])
summary = ray_synapse.finish(run, grid)
print(json.dumps(summary))
"""


class Driver:
    """The script in a process of its own, with all that Ray starts for it in one session."""

    def __init__(self, tmp_path, server, url, job, life, name):
        self.noted, self.storage = tmp_path / "noted", tmp_path / "storage"
        self.noted.mkdir(exist_ok=True)
        env = {"LIFE": life, "NAME": name, "NOTED": str(self.noted), "STORAGE": str(self.storage)}
        env |= {"SERVER": str(server.home), **takes_over(tmp_path / "handed over")}
        env |= {"SYNAPSE_HOST": url, "SYNAPSE_JOB_ID": str(job), "TUNE_GLOBAL_CHECKPOINT_S": "0"}
        self.said = tmp_path / f"said-{life}"
        self.process = begin_script(SWEEP, env, self.said)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def kill(self):
        """Kill the script alone; the relay ends by itself when it is gone."""
        self.process.kill()
        self.process.wait()
        wait_for(lambda: b"ray::Relay" not in map(title, self.members()), 20)

    def summary(self):
        """What it printed at its end."""
        code = self.process.wait(120)
        text = self.said.read_text()
        assert code == 0, text
        return json.loads(text.strip().splitlines()[-1])

    def members(self):
        """The processes of its session, by Linux's own list."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                state, *numbers = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(numbers[2]) == self.process.pid and state != "Z":
                    found.append(int(folder.name))
        return found

    def logged(self):
        """What trials have logged, and know to be kept."""
        noted = {path.name: path.read_text().split() for path in self.noted.iterdir()}
        return {(name, int(step)) for name, steps in noted.items() for step in steps}

    def is_in_the_middle(self):
        """One trial is done, and Tune knows it; the other one logs."""
        states = [path.read_text() for path in self.storage.glob("s/experiment_state-*.json")]
        return any("TERMINATED" in text for text in states) and ("long-1", 50) in self.logged()


def title(pid):
    """What a process calls itself."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].strip()
    except OSError:  # it has just ended
        return b""


def test_a_driver_killed_in_the_middle_of_an_upload_goes_on_after_a_restore(server, tmp_path):
    job, name = make_job(server.url), "restored"
    with Proxy(server.url) as proxy:
        proxy.always(hang().on("PUT", "/chunked_upload/"))
        with Driver(tmp_path, server, proxy.url, job, "1", name) as driver:
            wait_for(lambda: is_met(proxy, "/chunked_upload/") and driver.is_in_the_middle(), 60)
            driver.kill()
        proxy.heal()
        with Driver(tmp_path, server, proxy.url, job, "2", name) as driver:
            summary = driver.summary()
        assert "nothing is left" in synced(job, proxy.url)
        counts = counts_of_all()
    assert handed_over_agree(tmp_path / "handed over") == 1
    check_logged(server, job, driver)
    assert counts.logged == counts.delivered + counts.replaced
    models = {each["config"]["kind"]: each["model_id"] for each in summary["trial_models"]}
    assert set(models) == {"short", "long"}
    for kind, model in models.items():
        assert server.content(model) == {"weights.bin": weights(kind)}
    table = kept(server.home).trials(job)
    assert {each["id"] for each in server.models(name).values()} == set(models.values())
    assert set(server.models(name)) == set(table["trials"])  # so there is no <name>_2
    assert server.job(job)["status"] == "SUCCEEDED"
    assert server.job(job)["result"] == summary
    assert summary["model_id"] == models["short"]


def test_a_driver_killed_while_no_answer_comes_loses_nothing_and_doubles_nothing(server, tmp_path):
    """The server has what was sent, and knows no keys; nobody learns that until `sync` asks."""
    job, name = make_job(server.url), "unanswered"
    with Proxy(server.url, strip_keys=True) as proxy:
        proxy.always(hang_after().on("POST", "/(logs|models)/"))
        with Driver(tmp_path, server, proxy.url, job, "1", name) as driver:
            wait_for(lambda: is_met(proxy, "/models/") and is_met(proxy, "/logs/"), 60)
            wait_for(driver.is_in_the_middle, 60)
            driver.kill()
        proxy.heal()
        assert server.job(job)["status"] == "RUNNING"
        synced(job, proxy.url)
        counts = counts_of_all()
        assert "nothing is left to deliver" in synced(job, proxy.url)
    check_logged(server, job, driver)
    (model,) = server.models(name).values()
    assert model["configuration"]["config"]["kind"] == "short"
    assert server.content(model["id"]) == {"weights.bin": weights("short")}
    assert counts.waiting == counts.parked == counts.dropped == 0


def check_logged(server, job, driver):
    """What the trials know to be kept is on the server, and nothing is there twice."""
    logged = server.metrics(job, "training")
    arrived = counts_of(
        ("{kind}-{life}".format(**each["metrics"]), each["value"]) for each in logged
    )
    assert driver.logged() <= set(arrived)
    assert set(arrived.values()) == {1}


def is_met(proxy, path):
    """Whether a fault came to a request for that path."""
    return any(each.fault and each.path.startswith(path) for each in proxy.requests)


# The relay


def endless(config, run):
    """Logs until it is told to stop."""
    kind, number = config["kind"], 0
    while not Path(config["stop"]).exists():
        run.log_metric("training", "loss", number, kind=kind)
        number += 1
        time.sleep(0.02)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "weights.bin").write_bytes(weights(kind))
        tune.report({"score": number}, checkpoint=tune.Checkpoint.from_directory(folder))


def test_a_relay_that_is_killed_again_and_again_costs_nothing(cluster, tmp_path):
    """Each new one has the token from the driver, else nothing more would arrive."""
    token = secrets.token_urlsafe(24)
    with served(tmp_path / "server", "--token", token) as process, Proxy(process.url) as proxy:
        server, stop = Server(process.url, tmp_path / "server"), tmp_path / "stop"
        job = make_job_with(token, process.url)
        run = ray_synapse.init(
            "relays", host=proxy.url, job_id=job, access_token=token, metric="score", mode="max"
        )
        with run, ThreadPoolExecutor(1) as pool:
            killed = pool.submit(kill_relays, run, lambda: server.metrics(job, "training"), stop)
            grid = fit(
                ray_synapse.wrap_trainable(endless, run=run),
                SynapseLoggerCallback(run),
                storage=tmp_path,
                space={"kind": tune.grid_search(["x", "y"]), "stop": str(stop)},
                kept_in=server.home,
            )
            assert len(killed.result()) == KILLS
            summary = ray_synapse.finish(run, grid)
    logged = server.metrics(job, "training")
    for kind, number in scores(grid).items():
        mine = [each["value"] for each in logged if each["metrics"]["kind"] == kind]
        assert mine == list(range(number))
    assert len(summary["trial_models"]) == 2
    for each in summary["trial_models"]:
        content = {"weights.bin": weights(each["config"]["kind"])}
        assert server.content(each["model_id"]) == content
    assert len(server.models("relays")) == 2
    assert server.job(job)["result"] == summary
    stats = run.stats()
    assert adds_up(stats)
    assert stats["logged"] == stats["delivered"] + stats["replaced"]


KILLS = 2


def kill_relays(run, arrived, stop):
    """Kill each relay once something has arrived through it, until enough are dead."""
    killed = []
    try:
        for number in range(KILLS + 1):
            wait_for(lambda: sender(run) not in (None, os.getpid(), *killed), 30)
            relay = sender(run)
            await_more(arrived)
            if number < KILLS:
                os.kill(relay, signal.SIGKILL)
                killed.append(relay)
    finally:
        stop.touch()
    return killed


def await_more(arrived):
    before = len(arrived())
    wait_for(lambda: len(arrived()) > before, 30)


def sender(run):
    """The process that holds the run's outbox, by Linux's own list of locks."""
    lock = run._backend.outbox.path.with_suffix(".lock")
    node = f":{lock.stat().st_ino}" if lock.exists() else "none"
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return next((int(each[4]) for each in locks if each[5].endswith(node)), None)


def make_job_with(token, url):
    headers = {"Synapse-Access-Token": f"Token {token}"}
    answer = httpx.post(
        f"{url}/jobs/", json={"name": "x"}, headers=headers, timeout=ANSWER_S, verify=False
    )
    return answer.raise_for_status().json()["id"]


@ray.remote(num_cpus=0)
class Caller:
    """Stands for a trial's process."""

    def __init__(self, run):
        self.run = run

    def log(self, number):
        for value in range(number):
            self.run.log_metric("training", "loss", value)
        return self.run.stats() and os.getpid()

    def flush(self):
        return self.run._channel.flush(20)


def test_what_was_lost_with_its_processes_is_not_said_to_wait(cluster, server):
    """A trial dies, and the relay with what the trial had handed over and nobody had kept yet."""
    job = make_job(server.url)
    with ray_synapse.init("lost", host=server.url, job_id=job) as run:
        caller = Caller.remote(run)
        ray.get(caller.log.remote(5))
        assert ray.get(caller.flush.remote())
        wait_for(lambda: sender(run) not in (None, os.getpid()), 30)
        relay = sender(run)
        os.kill(relay, signal.SIGSTOP)
        pid = ray.get(caller.log.remote(5))
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), 30)
        os.kill(relay, signal.SIGKILL)
    stats = run.stats()
    assert adds_up(stats)
    assert stats["waiting"] == 0
    assert "nothing is left to deliver" in synced(job, server.url)
    assert "waiting" not in doctor()


# A trial


def dies(config, run):
    """Logs an image once the relay is busy, and dies at once."""
    assert run._channel.flush(20)
    Path(config["ready"]).write_text(str(os.getpid()))
    wait_for(Path(config["busy"]).exists, 60)
    run.log_metric("training", "loss", 1)
    run.log_visualization("images", "train", 0, image())
    os.kill(os.getpid(), signal.SIGKILL)


def image():
    return b"\x89PNG\r\n\x1a\n" + random.Random("image").randbytes(IMAGE_BYTES)


def test_a_large_image_arrives_though_its_trial_dies_at_once_and_the_relay_is_busy(
    cluster, server, tmp_path
):
    job = make_job(server.url)
    run = ray_synapse.init("dies", host=server.url, job_id=job, metric="score", mode="max")
    files = {name: str(tmp_path / name) for name in ("ready", "busy")}
    with run, ThreadPoolExecutor(1) as pool:
        outbox = run._backend.outbox.path
        held = pool.submit(keep_busy, outbox, Path(files["ready"]), Path(files["busy"]))
        grid = fit(
            ray_synapse.wrap_trainable(dies, run=run),
            SynapseLoggerCallback(run),
            storage=tmp_path,
            space=files,
            kept_in=server.home,
        )
        held.result()
        assert grid.num_errors == 1
        ray_synapse.finish(run, grid)
    (record,) = kept(server.home).logs(job, "visualization")
    mime, _, data = record["file"].partition(";base64,")
    assert mime == "data:image/png"
    assert base64.b64decode(data) == image()
    assert len(server.metrics(job, "training")) == 1
    stats = run.stats()
    assert adds_up(stats)
    assert stats["waiting"] == stats["dropped"] == 0


def keep_busy(outbox, ready, busy):
    """Let nobody write to the outbox from the time that the trial is ready until it is dead."""
    wait_for(lambda: ready.exists() and ready.read_text(), 60)
    with contextlib.closing(sqlite3.connect(outbox, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        busy.touch()
        wait_for(lambda: not Path(f"/proc/{ready.read_text()}").exists(), 30)
        database.execute("ROLLBACK")
