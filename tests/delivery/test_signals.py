"""Sweeps that a signal ends, in processes of their own: the job tells so, and nothing is lost."""

import contextlib
import os
import re
import signal
import time
import zipfile

import pytest
from ray import tune

import ray_synapse
from ray_synapse import start
from ray_synapse.backend.protocol import Counts
from tests.agreement import agree
from tests.delivery.test_server_sweeps import Server, synced
from tests.faults import hang
from tests.proxy import Proxy
from tests.serving import served
from tests.sweeps import backend, begin_script, handed_over_agree, takes_over, wait_for
from tests.synapse import counts_of, kept, make_job

pytestmark = pytest.mark.ray

DEADLINE_S = 3
# Tune copies its folder while it writes there, and warns like this of a file renamed just then.
RAYS_OWN = re.compile(r".*\sWARNING syncer\.py.*\nTraceback.*\n(?: .*\n)+FileNotFoundError: .*\n")
# For Tune to stop its trials, and Ray itself, on a busy machine: less than the deadline by default.
OTHERS_S = 25
LARGE_BYTES = 250_000_000  # to read, hash and write them takes longer than this anywhere:
SHORT_DEADLINE_S = 0.3

# One trial at a time: the first one ends, the second one never does, so the third one never starts.
SWEEP = """
import json, os, tempfile, time
from pathlib import Path
import ray
from ray import tune
import ray_synapse
from tests.sweeps import hand_over

class Endless(tune.Callback):
    # Holds fit() up when a signal has come, as a trial does that is slow to stop.
    def on_experiment_end(self, trials, **info):
        Path(os.environ["NOTED"], "stopping").touch()
        time.sleep(600)

def train(config, run):
    kind = config["kind"]
    for step in range(1, 4 if kind == "short" else 100_000):
        run.log_metric("training", "loss", step, kind=kind)
        assert run._channel.flush(20)
        with open(Path(os.environ["NOTED"], kind), "a") as file:
            file.write(f"{step}\\n")
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "weights").write_text(f"{kind} {step}")
            tune.report({"score": step}, checkpoint=tune.Checkpoint.from_directory(folder))
        time.sleep(0.02)

def sweep(run, trainable, kinds, *callbacks, reuse_actors=False):
    grid = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 2}),
        param_space={"kind": tune.grid_search(kinds)},
        tune_config=tune.TuneConfig(reuse_actors=reuse_actors),
        run_config=tune.RunConfig(
            name="s", storage_path=os.environ["STORAGE"], verbose=0,
            callbacks=[*callbacks, ray_synapse.SynapseLoggerCallback(run)],
        ),
    ).fit()
    hand_over(grid, run, interrupted=True, kept_in=os.environ.get("SERVER"))
    return grid

ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
run = ray_synapse.init("signalled", metric="score", mode="max")
"""
SHORT_AND_LONG = """
trainable = ray_synapse.wrap_trainable(train, run=run)
grid = sweep(run, trainable, ["short", "long", "waits"])
ray_synapse.finish(run, grid)
"""
HELD_UP = """
trainable = ray_synapse.wrap_trainable(train, run=run)
sweep(run, trainable, ["short", "long", "waits"], Endless(), reuse_actors=True)
"""


class Script:
    """Code in a process of its own, with all that Ray starts for it in one session."""

    def __init__(self, tmp_path, code, **env):
        self.tmp_path, self.noted = tmp_path, tmp_path / "noted"
        self.noted.mkdir(exist_ok=True)
        env = {"NOTED": str(self.noted), "STORAGE": str(tmp_path / "storage"), **env}
        env |= {"TUNE_GLOBAL_CHECKPOINT_S": "0", **takes_over(tmp_path / "handed over")}
        self.said = tmp_path / f"said-{time.time_ns()}"
        self.process = begin_script(code, env, self.said)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def send(self, *signals):
        """Send signals to the script alone, and wait for its end. Gives the seconds it took."""
        began = time.monotonic()
        for each in signals:
            self.process.send_signal(each)
        self.process.wait(120)
        return time.monotonic() - began

    def has_noted(self, kind, step):
        """Whether a trial knows that what it logged in that step is kept."""
        return (kind, step) in self.logged()

    def logged(self):
        """What the trials have logged, and know to be kept."""
        noted = {path.name: path.read_text().split("\n")[:-1] for path in self.noted.iterdir()}
        return {(kind, int(step)) for kind, steps in noted.items() for step in steps}


def is_in_the_middle(keeper, job):
    """The table says that one trial has ended, that another one runs, and has reported."""
    table = keeper.trials(job) if keeper.jobs() else None
    rows = by_kind(table) if table else {}
    running = rows.get("long", {"base": [None, None]})
    ended = rows.get("short", running)["base"][1] == "TERMINATED"
    return ended and running["base"][1] == "RUNNING" and bool(running["metrics"][0])


def by_kind(table):
    place = table["hyperparameters"].index("kind")
    return {row["hyperparameters"][place]: row for row in table["trials"].values()}


def check_told(keeper, job, script):
    """The job tells how the sweep ended, and has all that the trials logged."""
    agree(None, job, keeper, interrupted=True)  # says that it is STOPPED
    rows = by_kind(keeper.trials(job))
    ids = {kind: row["base"][0] for kind, row in rows.items()}
    assert {row["base"][1] for row in rows.values()} == {"TERMINATED"}
    assert (rows["short"]["metrics"], rows["waits"]["metrics"]) == ([3], [None])
    (iteration,) = rows["long"]["metrics"]
    told = [record["data"]["content"] for record in keeper.logs(job, "message")]
    (cut_off,) = [content for content in told if "not done" in content]
    assert cut_off.endswith(
        f"2 trials were not done; cut off: {ids['long']} at iteration {iteration}; "
        f"never started: {ids['waits']}"
    )
    steps = keeper.job(job)["progress_record"]["record"]["steps"]
    assert steps["trials"]["percent"] == pytest.approx(100 / 3, abs=0.1)
    logged = [record["data"] for record in keeper.logs(job, "metric")]
    results = counts_of(
        (each["trial_id"], each["value"]) for each in logged if each["category"] == "trial"
    )
    expected = {(ids["short"], step) for step in range(1, 4)}
    assert results == counts_of(expected | {(ids["long"], n) for n in range(1, iteration + 1)})
    losses = counts_of(
        (each["metrics"]["kind"], each["value"]) for each in logged if each["category"] != "trial"
    )
    assert script.logged() <= set(losses)
    assert set(losses.values()) == {1}
    return ids


def archived(keeper, model):
    with zipfile.ZipFile(keeper.home / model["file"]) as bundle:
        return {name: bundle.read(name).decode() for name in bundle.namelist()}


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_cuts_the_sweep_off_and_the_job_tells_where(which, tmp_path):
    """After SIGTERM fit() does not come back: the end of the script does what finish() does."""
    with Script(tmp_path, SWEEP + SHORT_AND_LONG, RAY_SYNAPSE_DEADLINE_S=str(DEADLINE_S)) as script:
        wait_for(lambda: is_in_the_middle(backend(), 1), 60)
        assert script.send(which) < DEADLINE_S + OTHERS_S
    said = script.said.read_text()
    comes_back = which != signal.SIGTERM
    assert (script.process.returncode == 0) == comes_back, said
    assert handed_over_agree(tmp_path / "handed over") == int(comes_back)
    ids = check_told(backend(), 1, script)
    counts = Counts.total(backend().counts(1).values())
    assert counts.logged == counts.delivered + counts.replaced
    models = {each["name"]: each for each in backend().models(1)}
    assert archived(backend(), models[f"signalled_{ids['short']}"]) == {"weights": "short 3"}
    assert f"signalled_{ids['waits']}" not in models
    assert "Traceback" not in RAYS_OWN.sub("", said)


def test_a_second_ctrl_c_ends_fit_and_the_job_is_stopped_all_the_same(tmp_path):
    """No hook tells of it, since it comes while Tune still calls others."""
    with Script(tmp_path, SWEEP + HELD_UP, RAY_SYNAPSE_DEADLINE_S=str(DEADLINE_S)) as script:
        wait_for(lambda: is_in_the_middle(backend(), 1), 60)
        script.process.send_signal(signal.SIGINT)
        wait_for((script.noted / "stopping").exists, 30)
        (script.noted / "stopping").unlink()
        assert script.send(signal.SIGINT) < DEADLINE_S + OTHERS_S
    said = script.said.read_text()
    assert script.process.returncode != 0, said
    assert said.count("KeyboardInterrupt") == 1, said
    ids = check_told(backend(), 1, script)
    assert f"signalled_{ids['short']}" in {each["name"] for each in backend().models(1)}


def test_sigterm_does_not_wait_for_a_server_that_hangs_and_sync_delivers_the_rest(tmp_path):
    home = tmp_path / "server"
    with served(home) as process, Proxy(process.url) as proxy:
        server, job = Server(process.url, home), make_job(process.url)
        env = {"SYNAPSE_HOST": proxy.url, "SYNAPSE_JOB_ID": str(job), "SERVER": str(home)}
        env["RAY_SYNAPSE_DEADLINE_S"] = str(DEADLINE_S)
        with Script(tmp_path, SWEEP + SHORT_AND_LONG, **env) as script:
            wait_for(lambda: is_in_the_middle(kept(home), job), 60)
            proxy.always(hang())
            wait_for(lambda: any(each.fault for each in proxy.requests), 30)
            assert script.send(signal.SIGTERM) < DEADLINE_S + OTHERS_S
        said = script.said.read_text()
        assert f"sync {job}" in said
        assert "Traceback" not in RAYS_OWN.sub("", said)
        assert server.job(job)["status"] == "RUNNING"
        proxy.heal()
        synced(job, proxy.url)
        assert "nothing is left to deliver" in synced(job, proxy.url)
        ids = check_told(kept(home), job, script)
        models = server.models("signalled")
        assert server.content(models[ids["short"]]["id"]) == {"weights": b"short 3"}


LARGE = """
def train(config):
    if config["kind"] == "endless":
        Path(os.environ["NOTED"], "running").touch()
        while True:  # Tune would wait ten seconds for one that only sleeps
            tune.report({"score": 0})
            time.sleep(0.05)
    size = int(os.environ["BYTES"]) if config["kind"] == "large" else 10
    file = Path(os.environ["STORAGE"], config["kind"])
    with open(file, "wb") as weights:
        weights.truncate(size)
    tune.report({"score": size, "checkpoint_output": str(file)})

grid = sweep(run, train, ["large", "small", "endless"], reuse_actors=True)
print(json.dumps(ray_synapse.finish(run, grid)))
"""


def test_models_that_the_deadline_has_no_room_for_are_uploaded_after_a_restore(tmp_path):
    deadline = str(SHORT_DEADLINE_S)
    env = {"RAY_SYNAPSE_DEADLINE_S": deadline, "BYTES": str(LARGE_BYTES)}
    (tmp_path / "storage").mkdir()
    with Script(tmp_path, SWEEP + LARGE, **env) as script:
        wait_for((script.noted / "running").exists, 60)
        (script.noted / "running").unlink()
        assert script.send(signal.SIGINT) < SHORT_DEADLINE_S + OTHERS_S
    assert handed_over_agree(tmp_path / "handed over") == 1
    rows = by_kind(backend().trials(1))
    large, small = (f"signalled_{rows[kind]['base'][0]}" for kind in ("large", "small"))
    before = {each["name"]: each for each in backend().models(1)}
    assert set(before) <= {large}  # on a busy machine the deadline may be over for this one, too
    refused = f"{rows['small']['base'][0]}: model not uploaded: the run was interrupted"
    told = [record["data"]["content"] for record in backend().logs(1, "message")]
    (told,) = [content for content in told if refused in content]
    assert "finish() after a restore uploads it" in told

    def train(config):
        """Has the name of the script's, by which Tune finds it."""

    run = ray_synapse.init("again")
    grid = tune.Tuner.restore(str(tmp_path / "storage" / "s"), train).get_results()
    ray_synapse.finish(run, grid)
    assert run.job_id == 1
    start.close(run)
    assert [job["id"] for job in backend().jobs()] == [1]
    after = {each["name"]: each for each in backend().models(1)}
    assert set(after) == {large, small}
    assert {name: after[name] for name in before} == before
