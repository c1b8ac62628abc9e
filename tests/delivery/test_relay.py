import contextlib
import os
import shutil
import signal
import sqlite3
import tempfile
from pathlib import Path

import pytest
import ray

import ray_synapse
from tests.sweeps import backend, home, last_json, run_script, wait_for

pytestmark = pytest.mark.ray


@ray.remote(num_cpus=0)
class Caller:
    """Stands for a trial's process: it holds the run that came in a pickle."""

    def __init__(self, run):
        self.run = run

    def log(self, first, last):
        for value in range(first, last):
            self.run.log_metric("training", "loss", value)
        return self.run.stats()

    def handed_over(self, first, buffered=False):
        """Log ten metrics: whether nothing was kept back, after each of them and at the end."""
        channel, found = self.run._channel, []
        with channel.buffered() if buffered else contextlib.nullcontext():
            for value in range(first, first + 10):
                self.run.log_metric("training", "loss", value)
                found.append(not channel._pending._unsent)
        return [*found[: 10 - buffered], *[not channel._pending._unsent] * buffered]

    def log_image(self, index, size):
        self.run.log_visualization("images", "train", index, b"\x89PNG\r\n\x1a\n" + b"x" * size)

    def flush(self):
        return self.run._channel.flush(20)

    def same_run(self):
        return ray_synapse.get_run() is self.run


def values(job):
    return [record["data"]["value"] for record in backend().logs(job, "metric")]


def test_what_a_process_logs_arrives_once_and_in_order(cluster):
    run = ray_synapse.init("order")
    caller = Caller.remote(run)
    ray.get(caller.log.remote(0, 300))
    assert ray.get(caller.flush.remote())
    assert values(run.job_id) == list(range(300))
    assert ray.get(caller.same_run.remote())


def test_a_record_survives_that_its_process_is_killed_right_after(cluster):
    run = ray_synapse.init("killed")
    callers = [Caller.remote(run) for _ in range(4)]
    ray.get([caller.log.remote(0, 1) for caller in callers])
    for index, caller in enumerate(callers):
        with busy_relay():
            ray.get(caller.log_image.remote(index, 600_000))
            ray.kill(caller)
    assert run._channel.flush(30)
    wait_for(lambda: len(backend().logs(run.job_id, "visualization")) == 4)
    for record in backend().logs(run.job_id, "visualization"):
        assert len(record["file"]) > 800_000


def test_only_the_code_of_a_trial_may_keep_metrics_back_for_a_moment(cluster):
    """Whatever else dies after it has logged must have handed over all of it."""
    run = ray_synapse.init("buffers")
    caller = Caller.remote(run)
    ray.get(caller.log.remote(0, 1))
    assert ray.get(caller.handed_over.remote(0)) == [True] * 10
    kept = ray.get(caller.handed_over.remote(10, buffered=True))
    assert kept[-1] is True  # what was left, at the end of the block
    assert False in kept[:-1]
    assert ray.get(caller.flush.remote())
    assert values(run.job_id) == [0, *range(20)]


def test_a_lost_relay_costs_no_record(cluster):
    run = ray_synapse.init("lost")
    caller = Caller.remote(run)
    ray.get(caller.log.remote(0, 50))
    run.log_message("before")
    ray.kill(ray.get_actor(run._spec.relay.name, namespace=run._spec.relay.namespace))
    ray.get(caller.log.remote(50, 100))
    run.log_message("after")
    assert ray.get(caller.flush.remote())
    assert run._channel.flush(20)
    assert values(run.job_id) == list(range(100))
    messages = [record["data"]["content"] for record in backend().logs(run.job_id, "message")]
    assert messages == ["before", "after"]
    assert run.stats()["logged"] == run.stats()["delivered"] == 102


def test_a_pickled_run_is_small_and_holds_no_connection(cluster):
    run = ray_synapse.init("small", metric="score", mode="max")
    assert len(ray.cloudpickle.dumps(run)) < 1_000
    assert ray.cloudpickle.loads(ray.cloudpickle.dumps(run)) is run


def test_the_relay_takes_no_cpu_and_ends_with_its_run(cluster):
    run = ray_synapse.init("costs")
    before = ray.available_resources()["CPU"]
    run.log_message("nobody else has the run")
    assert not exists(run._spec.relay.name, run._spec.relay.namespace)
    ray.cloudpickle.dumps(run)
    run.log_message("hello")
    name, namespace = run._spec.relay.name, run._spec.relay.namespace
    ray.get_actor(name, namespace=namespace)
    assert ray.available_resources()["CPU"] == before
    with run:
        pass
    wait_for(lambda: not exists(name, namespace))
    assert backend().job(run.job_id)["status"] == "SUCCEEDED"


def test_a_relay_that_hangs_costs_no_record(cluster):
    run = ray_synapse.init("hangs")
    ray.cloudpickle.dumps(run)
    run.log_message("first")
    assert run._channel.flush(20)
    pid = newest_process(b"ray::Relay")
    os.kill(pid, signal.SIGSTOP)
    try:
        for number in range(20):
            run.log_metric("training", "loss", number)
        assert run._channel.flush(1)
    finally:
        os.kill(pid, signal.SIGCONT)
    run.log_metric("training", "loss", 20)
    assert values(run.job_id) == list(range(21))
    assert run.stats()["delivered"] == 22


@pytest.fixture
def ray_folder():
    """Short enough for the sockets that Ray makes in it."""
    folder = tempfile.mkdtemp(prefix="ray-")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_a_process_that_comes_back_to_the_same_cluster_goes_on(ray_folder):
    """ray.shutdown() and ray.init() on a cluster that is still there: the node is the same one."""
    result = run_script(
        """
        import json
        import ray
        from ray.cluster_utils import Cluster
        import ray_synapse
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        run = ray_synapse.init("comes back")
        for number in range(2):
            ray.init(cluster.address, log_to_driver=False)
            run.log_metric("training", "loss", number)
            assert run._channel.flush(20)
            ray.shutdown()
        cluster.shutdown()
        print(json.dumps([run.job_id, run.stats()["delivered"]]))
        """,
        env={"RAY_TMPDIR": ray_folder},  # it notes its address there, where others would find it
    )
    job, delivered = last_json(result)
    assert delivered == 2
    assert values(job) == [0, 1]


def exists(name, namespace):
    try:
        ray.get_actor(name, namespace=namespace)
    except ValueError:
        return False
    return True


def newest_process(title):
    """The id of the process of that title that was started last, by Linux's own list."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(title):
                started = (folder / "stat").read_text().rpartition(")")[2].split()[19]
                found[int(started)] = int(folder.name)
    if not found:
        pytest.skip("this system does not list its processes in /proc")
    return found[max(found)]


class busy_relay:
    """The relay cannot write while another process holds the database."""

    def __enter__(self):
        self.connection = sqlite3.connect(home() / "ray_synapse.db", isolation_level=None)
        self.connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *error):
        self.connection.execute("ROLLBACK")
        self.connection.close()
