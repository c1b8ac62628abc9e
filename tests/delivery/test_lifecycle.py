"""Every order in which Ray and a run can come and go, each in a process of its own."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from tests.sweeps import (
    backend,
    home,
    last_json,
    run_script,
    takes_over,
    wait_for,
)

pytestmark = pytest.mark.ray

SWEEP = """
import json, os, sys, warnings
import ray
from ray import tune
import ray_synapse
from tests.sweeps import hand_over

def start_ray():
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)

def train(config, run=None):
    import tempfile, pathlib
    for step in range(3):
        if run is not None:
            run.log_metric("training", "loss", step, x=config["x"])
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "w").write_text("w")
            tune.report({"score": config["x"]}, checkpoint=tune.Checkpoint.from_directory(folder))

def sweep(trainable, *callbacks, name="s", interrupted=False):
    grid = tune.Tuner(
        trainable,
        param_space={"x": tune.grid_search([1, 2])},
        run_config=tune.RunConfig(
            name=name, storage_path=os.environ["STORAGE"], callbacks=list(callbacks), verbose=0
        ),
    ).fit()
    for callback in callbacks:
        hand_over(grid, callback, interrupted=interrupted)
    return grid
"""


def script(code, tmp_path, **options):
    return run_script(SWEEP + code, env={"STORAGE": str(tmp_path)}, **options)


def test_a_run_made_before_ray_reaches_its_trials_through_the_relay(tmp_path):
    result = script(
        """
run = ray_synapse.init("before", metric="score", mode="max")
trainable = tune.with_parameters(train, run=run)
run.log_message("no Ray yet")
start_ray()
grid = sweep(trainable)
hand_over(grid, run)
relays = [a for a in ray.util.list_named_actors(all_namespaces=True)
          if a["namespace"] == "ray_synapse"]
summary = ray_synapse.finish(run, grid)
print(json.dumps([run.job_id, len(relays), len(summary["trial_models"]), run.stats()]))
""",
        tmp_path,
    )
    job, relays, models, stats = last_json(result)
    assert (relays, models) == (1, 2)
    logged = [record["data"] for record in backend().logs(job, "metric")]
    assert sorted((each["metrics"]["x"], each["value"]) for each in logged) == [
        (x, step) for x in (1, 2) for step in range(3)
    ]
    assert len({each["trial_id"] for each in logged}) == 2
    assert stats["logged"] == stats["delivered"] + stats["replaced"]


def test_a_run_made_after_ray_may_be_finished_after_its_shutdown(tmp_path):
    result = script(
        """
start_ray()
run = ray_synapse.init("after", metric="score", mode="max")
wrapped = ray_synapse.wrap_trainable(train, run=run)
grid = sweep(wrapped, ray_synapse.SynapseLoggerCallback(run))
ray.shutdown()
summary = ray_synapse.finish(run, grid)
assert not ray.is_initialized()
print(json.dumps([run.job_id, len(summary["trial_models"]), run.stats()]))
""",
        tmp_path,
    )
    job, models, stats = last_json(result)
    assert models == 2
    assert backend().trials(job)["best_trial"]
    assert len(backend().logs(job, "metric")) == 12
    assert stats["waiting"] == stats["dropped"] == 0


def test_two_sweeps_in_one_process_with_another_ray_between(tmp_path):
    """Each has a job of its own, of the same name."""
    result = script(
        """
start_ray()
run = ray_synapse.init("twice", metric="score", mode="max")
callback = ray_synapse.SynapseLoggerCallback(run)
first = ray_synapse.finish(run, sweep(train, callback, name="one"))
jobs = [run.job_id]
ray.shutdown()
run.log_message("between")
start_ray()
second = ray_synapse.finish(run, sweep(train, callback, name="two"))
models = [entry["model_id"] for entry in first["trial_models"] + second["trial_models"]]
print(json.dumps([*jobs, run.job_id, models]))
""",
        tmp_path,
    )
    first, second, models = last_json(result)
    assert first != second
    assert len(set(models)) == 4
    for job in (first, second):
        assert backend().job(job)["name"] == "twice"
        assert len(backend().logs(job, "metric")) == 6
        assert len(backend().trials(job)["trials"]) == 2
    contents = [record["data"]["content"] for record in backend().logs(first, "message")]
    assert contents.count("between") == 1


def test_a_script_that_never_calls_finish_gets_the_same(tmp_path):
    result = script(
        """
run = ray_synapse.init("unfinished", metric="score", mode="max")
start_ray()
sweep(train, ray_synapse.SynapseLoggerCallback(run))
print(json.dumps(run.job_id))
""",
        tmp_path,
    )
    job = last_json(result)
    table = backend().trials(job)
    assert table["trials"][table["best_trial"]]["metrics"] == [2]
    assert len(backend().models(job)) == 2
    assert backend().job(job)["status"] == "SUCCEEDED"
    assert backend().job(job)["best_trial"]["x"] == 2
    assert "Traceback" not in result.stderr


def test_a_script_that_fails_has_a_failed_job_with_the_error(tmp_path):
    result = script(
        """
run = ray_synapse.init("broken")
run.log_metric("training", "loss", 1)
raise RuntimeError("out of luck")
""",
        tmp_path,
        check=False,
    )
    assert result.returncode == 1
    (job,) = backend().jobs()
    assert job["status"] == "FAILED"
    assert "out of luck" in backend().logs(job["id"], "message")[-1]["data"]["content"]


def test_a_killed_driver_leaves_every_record_but_the_last_second(tmp_path):
    noted = tmp_path / "noted"
    code = (
        SWEEP
        + """
run = ray_synapse.init("killed", metric="score", mode="max")
def long(config, run):
    import time
    for step in range(10_000):
        run.log_metric("training", "loss", step, x=config["x"])
        with open(f"{os.environ['NOTED']}-{config['x']}", "a") as file:
            file.write(f"{step} {time.time()}\\n")
        tune.report({"score": step})
        time.sleep(0.01)
start_ray()
sweep(ray_synapse.wrap_trainable(long, run=run), ray_synapse.SynapseLoggerCallback(run))
"""
    )
    env = {**os.environ, "STORAGE": str(tmp_path), "NOTED": str(noted)}
    env |= takes_over(tmp_path / "handed over")
    process = subprocess.Popen([sys.executable, "-c", code], env=env, start_new_session=True)
    files = [tmp_path / "noted-1", tmp_path / "noted-2"]
    try:
        wait_for(lambda: all(f.exists() and len(f.read_text().split("\n")) > 100 for f in files))
        killed_at = time.time()
        process.send_signal(signal.SIGKILL)
        process.wait()
    finally:
        time.sleep(1)  # Ray ends its own processes when their driver is gone
        kill_group(process.pid)
    (job,) = backend().jobs()
    with contextlib.closing(sqlite3.connect(home() / "ray_synapse.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    logged = [record["data"] for record in backend().logs(job["id"], "metric")]
    kept = {(each["metrics"].get("x"), each["value"]) for each in logged}
    for x, file in enumerate(files, 1):
        lines = [line.split() for line in file.read_text().strip().split("\n")]
        early = [int(step) for step, when in lines if float(when) < killed_at - 1]
        assert len(early) > 20
        assert {(x, step) for step in early} <= kept
    table = backend().trials(job["id"])
    assert {row["base"][1] for row in table["trials"].values()} == {"RUNNING"}
    shown = run_script("from ray_synapse.cli import main; main(['ls'])")
    assert "STOPPED (interrupted)" in shown.stdout


def test_a_forked_child_logs_as_a_process_of_its_own(tmp_path):
    result = script(
        """
run = ray_synapse.init("forked")
run.log_metric("training", "loss", 0)
if (child := os.fork()) == 0:
    run.log_metric("training", "loss", 1)
    os._exit(0)
os.waitpid(child, 0)
run.log_metric("training", "loss", 2)
print(json.dumps([run.job_id, run.stats()["logged"]]))
""",
        tmp_path,
    )
    job, logged = last_json(result)
    assert [record["data"]["value"] for record in backend().logs(job, "metric")] == [0, 1, 2]
    assert logged == 3


def kill_group(pid):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
