"""The Ray cluster of a sweep: found, connected or started, and what its nodes can give."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.tune.execution.placement_groups import resource_dict_to_pg_factory

from ray_synapse.action import cluster as ours
from ray_synapse.delivery.cluster import session
from ray_synapse.errors import SettingsError
from tests.sweeps import last_json, run_script, wait_for

NO_NODE, HAS_NO_GPU = (
    "which no node of the Ray cluster can give",
    "the only node has 2 CPU and 0 GPU",
)
START_S = 60  # of a Ray on a machine that is busy; mostly it takes 5


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def closed() -> str:
    """An address of this machine where nothing listens."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def ray_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that Ray takes for /tmp. (The paths of its sockets must be short.)"""
    with tempfile.TemporaryDirectory(prefix="rs", dir="/tmp", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        yield Path(folder)


# Addresses that are no cluster's: nothing is started for them.


def test_an_address_where_nothing_answers_is_refused_with_what_to_do(closed: str) -> None:
    with pytest.raises(SettingsError, match="no Ray cluster answers there") as caught:
        ours.connect(closed)
    for part in (f"address is '{closed}'", "refused", "ray start --head", '"local"'):
        assert part in str(caught.value)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert not ray.is_initialized()


@pytest.mark.parametrize("address", [None, "auto"])
def test_of_an_address_in_the_environment_the_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, closed: str, address: str | None
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", closed)
    with pytest.raises(SettingsError, match=f"RAY_ADDRESS is '{closed}', but"):
        ours.connect(address)


def test_a_given_address_is_taken_before_the_one_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(SettingsError, match=f"address is '{closed}', but"):
        ours.connect(closed)


@pytest.mark.parametrize(
    "address",
    ["", "head", "127.0.0.1", "head:", ":6379", "head:six", "head:0", "head:99999", "head:²"],
)
def test_what_is_no_address_is_refused_with_its_form(address: str) -> None:
    with pytest.raises(SettingsError, match=r'address is .*; give "<host>:<port>"'):
        ours.connect(address)


def test_the_address_of_the_dashboard_is_none_of_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")  # as `ray job submit` takes it
    with pytest.raises(SettingsError, match=r'RAY_ADDRESS is .*; give "<host>:<port>"'):
        ours.connect()


@pytest.mark.parametrize("variable", [True, False])
def test_ray_client_is_refused_with_the_way_that_works(
    monkeypatch: pytest.MonkeyPatch, variable: bool
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001" if variable else "")
    with pytest.raises(SettingsError, match=r"Ray Client.*ray job submit"):
        ours.connect(None if variable else "ray://head:10001")


def test_without_ray_nothing_is_impossible_and_nothing_grows() -> None:
    assert ours.impossible(64, 64) is None
    assert not ours.has_autoscaler()
    assert not ray.is_initialized()


# What a trial asks for.


@pytest.mark.parametrize(
    ("num_cpus", "num_gpus", "resources", "bundle"),
    [
        (None, None, {}, {"CPU": 1}),
        (2, None, {"cpu": 2.0}, {"CPU": 2}),
        (0.5, 0.25, {"cpu": 0.5, "gpu": 0.25}, {"CPU": 0.5, "GPU": 0.25}),
        (None, 1, {"cpu": 1.0, "gpu": 1.0}, {"CPU": 1, "GPU": 1}),
        (1, 0, {"cpu": 1.0, "gpu": 0.0}, {"CPU": 1}),
        (0, 1, {"cpu": 0.0, "gpu": 1.0}, {"GPU": 1}),
    ],
)
def test_the_resources_of_a_trial_are_as_tune_takes_them(
    num_cpus: float | None,
    num_gpus: float | None,
    resources: dict[str, float],
    bundle: dict[str, float],
) -> None:
    found = ours.trial_resources(num_cpus, num_gpus)
    assert found == resources
    assert resource_dict_to_pg_factory(found).bundles == [bundle]


# A Ray that runs.


@pytest.mark.ray
def test_a_ray_that_is_connected_is_kept(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    before, address = session(), ray.get_runtime_context().gcs_address
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # it was for others
    same = f"localhost:{address.rpartition(':')[2]}"
    for each in (None, "auto", "local", address, same):
        ours.connect(each)
        assert session() == before


@pytest.mark.ray
def test_an_address_of_another_cluster_than_the_connected_one_is_refused(
    cluster: None, closed: str
) -> None:
    before, address = session(), ray.get_runtime_context().gcs_address
    with pytest.raises(SettingsError, match=r"leave the address out, or call ray.shutdown\(\)"):
        ours.connect(closed)
    with pytest.raises(SettingsError, match=f"connected to the Ray cluster {address}"):
        ours.connect(closed)
    assert session() == before


@pytest.mark.ray
@pytest.mark.parametrize(
    ("num_cpus", "num_gpus", "why"),
    [
        (64, None, f"a trial asks for 64 CPU, {NO_NODE} (the only node has 2 CPU)"),
        (None, 0.5, f"a trial asks for 1 CPU and 0.5 GPU, {NO_NODE} ({HAS_NO_GPU})"),
        (2, 0, None),
        (0.5, None, None),
        (None, None, None),
    ],
)
def test_what_no_node_can_give_is_told(
    cluster: None, num_cpus: float | None, num_gpus: float | None, why: str | None
) -> None:
    told = ours.impossible(num_cpus, num_gpus)
    assert told == why


@pytest.mark.ray
def test_a_local_ray_has_no_autoscaler(cluster: None) -> None:
    from ray.experimental.internal_kv import _internal_kv_get

    wait_for(lambda: _internal_kv_get(ours.STATUS_KEY), START_S)  # its monitor has reported
    assert not ours.has_autoscaler()


NODE = "node_c48bf1da056715a1f67547f05f1be26e1c9955301283216c79065553"


@pytest.mark.parametrize(
    ("report", "is_real"),
    [  # as Ray 2.44 and 2.60 have reported it
        ({"active_nodes": {"ray.head.default": 1}, "pending_launches": {}}, True),
        ({"active_nodes": {"headgroup": 1, "gpu-group": 2}}, True),  # KubeRay
        ({"active_nodes": {}, "pending_launches": {"gpu-group": 2}}, True),
        ({"active_nodes": {NODE: 1}, "pending_launches": {}}, False),  # `ray start`, `ray.init()`
        ({"active_nodes": {}, "pending_launches": {}}, False),
        (None, False),
    ],
)
def test_only_an_autoscaler_has_types_of_nodes(report: Any, is_real: bool) -> None:
    assert ours.is_real({"time": 1.5, "autoscaler_report": report}) is is_real


# Rays of their own.


@pytest.mark.ray
def test_without_a_cluster_one_is_started_also_where_one_has_crashed(
    ray_folder: Path, closed: str
) -> None:
    named = ray_folder / "ray" / "ray_current_cluster"  # what `ray start` leaves behind
    named.parent.mkdir()
    named.write_text(closed)
    code = """
    import json, ray
    from ray_synapse.action.cluster import connect
    connect()
    print(json.dumps([len(ray.nodes()), ray.get_runtime_context().gcs_address]))
    ray.shutdown()
    """
    done = run_script(code)
    nodes, address = last_json(done)
    assert nodes == 1
    assert address.rpartition(":")[2] != closed.rpartition(":")[2]
    assert "does not answer" in done.stderr
    assert closed.rpartition(":")[2] in done.stderr


AUTOSCALING: dict[str, Any] = {  # Ray's own fake of a cloud, as its tests have it
    "cluster_name": "fake",
    "max_workers": 1,
    "provider": {
        "type": "fake_multinode",
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    },
    "available_node_types": {
        "head": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
        "large": {"resources": {"CPU": 64}, "node_config": {}, "max_workers": 1},
    },
    "head_node_type": "head",
    "idle_timeout_minutes": 1,
    "upscaling_speed": 1.0,
    "file_mounts_sync_continuously": False,
    **{key: {} for key in ("docker", "auth", "file_mounts")},
    **{f"{key}_commands": [] for key in ("initialization", "setup", "head_setup", "worker_setup")},
    **{f"{key}_start_ray_commands": [] for key in ("head", "worker")},
    **{key: [] for key in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
}


@pytest.fixture
def autoscaled(ray_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a cluster of one node with an autoscaler."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else the script would need its token
    config = ray_folder / "autoscaling.json"
    config.write_text(json.dumps(AUTOSCALING))
    port = free_port()
    options = ("--head", "--block", f"--port={port}", "--num-cpus=1", "--include-dashboard=false")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "ray.scripts.scripts", "start"),
            *(*options, f"--autoscaling-config={config}"),
        ],
        env={**os.environ, "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: (ray_folder / "ray" / "ray_current_cluster").exists(), START_S)
        yield f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(START_S)


@pytest.mark.ray
def test_a_cluster_that_runs_is_connected_and_its_autoscaler_found(autoscaled: str) -> None:
    code = """
    import json, ray
    from ray_synapse.action import cluster
    from tests.sweeps import wait_for
    cluster.connect()
    wait_for(cluster.has_autoscaler, 30)
    print(json.dumps([ray.get_runtime_context().gcs_address, cluster.impossible(64, None)]))

    import ray_synapse
    tune_config = {"metric": "loss", "mode": "min"}
    space = [{"name": "lr", "type": "choice", "options": [1]}]
    params = {"name": "a", "dataset": 1, "is_tune": True, "num_cpus": 64}
    params |= {"hyperparameters": space, "tune_config": tune_config}
    ray_synapse.TrainAction(params, train=print, load_dataset=print).check()
    """
    done = run_script(code, env={"RAY_ADDRESS": autoscaled})
    address, why = last_json(done)
    assert address.rpartition(":")[2] == autoscaled.rpartition(":")[2]
    assert "the only node has 1 CPU" in why
    assert f"{why}. The trials wait until the autoscaler adds one that can" in done.stderr
