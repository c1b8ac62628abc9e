"""Where code of a trial may run besides the trial itself, and where a driver may run."""

import json
import os
import socket
import subprocess
import sys
import threading

import pytest
import ray
from ray import tune

import ray_synapse
from ray_synapse import NoRunError, SynapseLoggerCallback, wrap_trainable
from tests.sweeps import backend, fit, last_json, run_script

pytestmark = pytest.mark.ray

CLIENT_S = 60  # to connect by Ray Client to a Ray that starts at the same time
TASKS = 5  # one after the other: they share the few worker processes that Ray has for them


@ray.remote(num_cpus=0)
def logged_in_a_task(run, place, x):
    run.log_metric(place, "x", x)
    ray_synapse.get_run().log_metric(f"{place}, get_run", "x", x)


@ray.remote(num_cpus=0)
def logged_in_a_task_of_a_task(run, x):
    run.log_metric("outer task", "x", x)
    ray.get(logged_in_a_task.remote(run, "inner task", x))


@ray.remote(num_cpus=0)
def logged_in_a_thread_of_a_task(run, x):
    thread = threading.Thread(
        target=lambda: ray_synapse.get_run().log_metric("thread of a task", "x", x)
    )
    thread.start()
    thread.join()


@ray.remote(num_cpus=0)
class Logger:
    def __init__(self, *runs):
        self.runs = runs

    def log(self, place, x, *runs):
        for run in runs or self.runs:
            run.log_metric(place, "x", x)
        ray_synapse.get_run().log_metric(f"{place}, get_run", "x", x)


@ray.remote(num_cpus=0)
def asked_for_its_run(*runs):
    """The process, and the error of get_run()."""
    try:
        ray_synapse.get_run()
    except NoRunError as error:
        return os.getpid(), str(error)
    return os.getpid(), ""


def has_train_v2():
    try:
        from ray.train.v2._internal.constants import is_v2_enabled
    except ImportError:
        return False
    return is_v2_enabled()


def places_of(run_id):
    """Trial id by place and value: of every record that a test logged."""
    found = {}
    for record in backend().logs(run_id, "metric"):
        data = record["data"]
        if data["key"] == "x":
            assert found.setdefault((data["category"], data["value"]), data.get("trial_id")) == (
                data.get("trial_id")
            )
    return found


def ids_of(grid):
    return {result.config["x"]: result.metrics["trial_id"] for result in grid}


def assert_right(job, grid, places):
    ids = ids_of(grid)
    assert grid.num_errors == 0, grid.errors
    assert places_of(job) == {(place, x): ids[x] for place in places for x in ids}


@pytest.mark.parametrize(
    "sweep",
    [
        {"reuse_actors": True, "max_concurrent_trials": 1},
        {"reuse_actors": False, "max_concurrent_trials": 2},
    ],
    ids=["one process", "at once"],
)
def test_what_a_trial_logs_by_threads_tasks_and_actors_has_its_id(cluster, tmp_path, sweep):
    """The tasks of both trials share the workers that Ray has for tasks; one actor is shared."""
    shared = Logger.remote()

    def train(config, run):
        x = config["x"]

        @ray.remote(num_cpus=0)
        def closed_over():
            run.log_metric("closure", "x", x)

        run.log_metric("function", "x", x)
        thread = threading.Thread(target=lambda: ray_synapse.get_run().log_metric("thread", "x", x))
        thread.start()
        thread.join()
        own = Logger.remote(run)
        ray.get(
            [
                *(own.log.remote("actor", x), own.log.remote("actor, again", x)),
                *(shared.log.remote("shared actor", x, run), closed_over.remote()),
                *(logged_in_a_task_of_a_task.remote(run, x),),
                *(logged_in_a_thread_of_a_task.remote(run, x),),
            ]
        )
        for _ in range(TASKS):
            ray.get(logged_in_a_task.remote(run, "task", x))
        return float(x)

    run = ray_synapse.init("places", metric="score", mode="max")
    grid = fit(
        wrap_trainable(train, run=run),
        SynapseLoggerCallback(run),
        storage=tmp_path,
        space={"x": tune.grid_search([1, 2])},
        **sweep,
    )
    ray.kill(shared)
    ray_synapse.finish(run, grid)
    by_get_run = ("task", "inner task", "actor", "actor, again", "shared actor")
    assert_right(
        run.job_id,
        grid,
        {
            *("function", "thread", "closure", "outer task", "thread of a task", *by_get_run),
            *(f"{place}, get_run" for place in by_get_run),
        },
    )


def test_a_class_logs_under_the_id_of_the_trial_it_is_reset_to(cluster, tmp_path):
    class Steps(tune.Trainable):
        def setup(self, config):
            self.x = config["x"]

        def reset_config(self, new_config):
            self.x = new_config["x"]
            return True

        def step(self):
            self.run.log_metric("step", "x", self.x)
            ray_synapse.get_run().log_metric("step, get_run", "x", self.x)
            ray.get(logged_in_a_task.remote(self.run, "task", self.x))
            return {"score": self.x, "pid": os.getpid(), "done": True}

        def save_checkpoint(self, checkpoint_dir):  # which Tune asks of every class
            return {"x": self.x}

    run = ray_synapse.init("classes", metric="score", mode="max")
    grid = fit(
        wrap_trainable(Steps, run=run),
        SynapseLoggerCallback(run),
        storage=tmp_path,
        space={"x": tune.grid_search([1, 2])},
        reuse_actors=True,
        max_concurrent_trials=1,
    )
    ray_synapse.finish(run, grid)
    assert len({result.metrics["pid"] for result in grid}) == 1
    assert_right(run.job_id, grid, {"step", "step, get_run", "task", "task, get_run"})


def test_a_task_that_was_given_no_run_is_told_to_pass_it_and_never_gets_anothers(cluster, tmp_path):
    def train(config, run):
        with_a_run = {ray.get(asked_for_its_run.remote(run))[0] for _ in range(TASKS)}
        without = [ray.get(asked_for_its_run.remote()) for _ in range(TASKS)]
        shared = any(pid in with_a_run for pid, _ in without)
        tune.report({"score": 1.0, "shared": shared, "said": [text for _, text in without]})

    run = ray_synapse.init("none", metric="score", mode="max")
    grid = fit(wrap_trainable(train, run=run), storage=tmp_path, space={"x": 1})
    ray_synapse.finish(run, grid)
    (result,) = grid
    assert result.metrics["shared"], "no task without a run came to a process that had one"
    assert all("pass the run to it" in text for text in result.metrics["said"])


def test_a_ray_train_run_inside_a_trial_logs_under_the_trials_id(cluster, tmp_path):
    """Ray's way since 2.50 (Train V2): the trial starts a trainer, which starts workers."""
    if not has_train_v2():
        pytest.skip("this Ray has Train V1 as its default")
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    storage = str(tmp_path / "train")

    def train(config, run):
        x = config["x"]

        def worker(given):
            given["run"].log_metric("config", "x", x)
            run.log_metric("closure", "x", x)
            ray_synapse.get_run().log_metric("get_run", "x", x)
            ray.train.report({"loss": 1.0 / x})

        result = DataParallelTrainer(
            worker,
            train_loop_config={"run": run},
            scaling_config=ray.train.ScalingConfig(
                num_workers=1, resources_per_worker={"CPU": 0.5}
            ),
            run_config=ray.train.RunConfig(name=f"x{x}", storage_path=storage),
        ).fit()
        assert result.error is None
        return float(x)

    run = ray_synapse.init("nested", metric="score", mode="max")
    grid = fit(
        tune.with_resources(wrap_trainable(train, run=run), {"CPU": 0.5}),
        SynapseLoggerCallback(run),
        storage=tmp_path,
        space={"x": 1},  # one: a run of Ray Train starts six processes, one after the other
    )
    ray_synapse.finish(run, grid)
    assert_right(run.job_id, grid, {"config", "closure", "get_run"})


TRAIN_V1 = """
import json, os, sys, warnings
import ray
from ray import train, tune
from ray.air.config import ScalingConfig
from ray.train.data_parallel_trainer import DataParallelTrainer
import ray_synapse

def main():
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    run = ray_synapse.init("v1", metric="score", mode="max")

    def worker(config):
        x = config["x"]
        run.log_metric("closure", "x", x)
        ray_synapse.get_run().log_metric("get_run", "x", x)
        train.report({"score": x})

    grid = tune.Tuner(
        DataParallelTrainer(
            worker,
            scaling_config=ScalingConfig(
                num_workers=1, trainer_resources={"CPU": 0}, resources_per_worker={"CPU": 1}
            ),
        ),
        param_space={"train_loop_config": {"x": 1}},
        run_config=train.RunConfig(
            name="v1", storage_path=os.environ["STORAGE"], verbose=0,
            callbacks=[ray_synapse.SynapseLoggerCallback(run)],
        ),
    ).fit()
    ray_synapse.finish(run, grid)
    ids = {r.config["train_loop_config"]["x"]: r.metrics["trial_id"] for r in grid}
    print(json.dumps([run.job_id, list(ids.items()), grid.num_errors]))

main()
"""


def test_a_trainer_that_is_tuned_itself_logs_from_its_workers_under_the_trials_id(tmp_path):
    """Ray's older way (Train V1): the trainer is given to the Tuner; its worker is no trial."""
    if has_train_v2():
        pytest.skip("this Ray has Train V2 as its default")
    job, ids, errors = last_json(run_script(TRAIN_V1, env={"STORAGE": str(tmp_path)}))
    assert errors == 0
    ways = ("closure", "get_run")
    assert places_of(job) == {(way, x): trial_id for way in ways for x, trial_id in ids}
    assert backend().trials(job)["hyperparameters"] == ["train_loop_config/x"]


def sweep_in_a_task(home, storage):
    """A whole script, as it runs in a Ray task."""
    os.environ["RAY_SYNAPSE_HOME"] = home  # the shared workers are older than the test
    run = ray_synapse.init("in a task", metric="score", mode="max")
    assert ray_synapse.get_run() is run

    def train(config, run):
        run.log_metric("function", "x", config["x"])
        return float(config["x"])

    grid = fit(
        wrap_trainable(train, run=run),
        SynapseLoggerCallback(run),
        storage=storage,
        space={"x": tune.grid_search([1, 2])},
        reuse_actors=True,
    )
    relays = [
        each["name"]
        for each in ray.util.list_named_actors(all_namespaces=True)
        if each["namespace"] == "ray_synapse"
    ]
    ray_synapse.finish(run, grid)
    stats = run.stats()
    ids = ids_of(grid)
    run.__exit__(None, None, None)
    return run.job_id, ids, stats, run._spec.relay.name in relays


def test_a_driver_that_is_a_ray_task_works_as_a_script_does(cluster, home, tmp_path):
    """Twice in a row: the second one may come to a process that has driven the first."""
    task = ray.remote(num_cpus=0)(sweep_in_a_task)
    for name in ("one", "two"):
        job, ids, stats, has_relay = ray.get(
            task.remote(str(home), str(tmp_path / name)), timeout=120
        )
        table = backend().trials(job)
        assert {row["base"][1] for row in table["trials"].values()} == {"TERMINATED"}
        assert {trial: row["metrics"] for trial, row in table["trials"].items()} == {
            trial: [x] for x, trial in ids.items()
        }
        assert table["best_trial"] == ids[2]
        assert places_of(job) == {("function", x): trial for x, trial in ids.items()}
        assert backend().job(job)["status"] == "SUCCEEDED"
        assert has_relay
        assert stats["waiting"] == stats["dropped"] == 0
        assert stats["logged"] == stats["delivered"] + stats["replaced"]


ENTRYPOINT = """
import json, os
import ray, ray_synapse
from ray import tune

def train(config, run):
    run.log_metric("function", "x", config["x"])
    return float(config["x"])

with ray_synapse.init("a job", metric="score", mode="max") as run:
    ray.init(log_to_driver=False)
    grid = tune.Tuner(
        ray_synapse.wrap_trainable(train, run=run),
        param_space={"x": tune.grid_search([1, 2])},
        run_config=tune.RunConfig(
            name="s", storage_path=os.environ["STORAGE"], verbose=0,
            callbacks=[ray_synapse.SynapseLoggerCallback(run)],
        ),
    ).fit()
    ray_synapse.finish(run, grid)
    assert not grid.num_errors
context = ray.get_runtime_context()
submission = [context.runtime_env["env_vars"]["SUBMISSION"], context.gcs_address]
ids = {result.config["x"]: result.metrics["trial_id"] for result in grid}
print(json.dumps([run.job_id, list(ids.items()), submission]))
"""


@ray.remote(num_cpus=0)
class Supervisor:
    """What Ray starts for `ray job submit`: an actor on the head that runs the entrypoint.

    A submission itself needs ray[default]; the two variables are all that a job gets from it.
    """

    def submit(self, code, address, env):
        config = {
            "runtime_env": {"env_vars": {"SUBMISSION": "raysubmit_1"}},
            "metadata": {"job_submission_id": "raysubmit_1"},
        }
        job = {"RAY_ADDRESS": address, "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(config)}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **env, **job},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            start_new_session=True,
        )
        return done.returncode, done.stdout, done.stderr


def test_a_ray_job_works_as_a_script_does(cluster, home, tmp_path):
    env = {"RAY_SYNAPSE_HOME": str(home), "STORAGE": str(tmp_path)}
    supervisor = Supervisor.remote()
    address = ray.get_runtime_context().gcs_address
    code, out, err = ray.get(supervisor.submit.remote(ENTRYPOINT, address, env), timeout=150)
    ray.kill(supervisor)
    assert code == 0, err
    job, ids, submission = json.loads(out.strip().splitlines()[-1])
    assert submission == ["raysubmit_1", address]
    assert backend().job(job)["status"] == "SUCCEEDED"
    assert set(backend().trials(job)["trials"]) == {trial for _, trial in ids}
    assert places_of(job) == {("function", x): trial for x, trial in ids}


CLIENT_SERVER = """
import sys
from ray.util.client.server.server import init_and_serve

server = init_and_serve(
    "127.0.0.1", int(sys.argv[1]), "local", num_cpus=1, include_dashboard=False, log_to_driver=False
)
print("serving", flush=True)
sys.stdin.read()
"""

CLIENT = """
import os, sys
import ray, ray_synapse
from ray import tune

def refused(attempt):
    try:
        attempt()
    except ray_synapse.SettingsError as error:
        print(error, flush=True)

run = ray_synapse.init("client", metric="score", mode="max")
ray.init(sys.argv[1])
refused(lambda: ray_synapse.init("client"))
run_config = tune.RunConfig(
    name="s", storage_path=os.environ["STORAGE"], callbacks=[ray_synapse.SynapseLoggerCallback(run)]
)
refused(lambda: tune.Tuner(lambda config: 1, run_config=run_config).fit())
wrapped = ray_synapse.wrap_trainable(lambda config, run: 1, run=run)
refused(lambda: tune.Tuner(wrapped).fit())
"""


def test_ray_client_is_refused_with_the_advice_to_submit_a_job(home, tmp_path):
    """Whether the run is older than the connection or not; and the script then ends."""
    pytest.importorskip("grpc")
    port = free_port()
    env = {"STORAGE": str(tmp_path), "RAY_AUTH_MODE": "disabled"}  # the server's is its own
    server = subprocess.Popen(
        [sys.executable, "-c", CLIENT_SERVER, str(port)],
        env={**os.environ, **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout.readline() == "serving\n"
        client = [sys.executable, "-c", CLIENT, f"ray://127.0.0.1:{port}"]
        done = subprocess.run(
            client,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=CLIENT_S,
            check=True,
        )
    finally:
        server.communicate(timeout=CLIENT_S)  # the end of its input is its end
    told = done.stdout.strip().splitlines()
    assert len(told) == 3
    assert all("Ray Client" in each and "ray job submit" in each for each in told)
    assert [job["status"] for job in backend().jobs()] == ["SUCCEEDED"]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
