"""What every test needs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_synapse.backend.local import LocalBackend
from ray_synapse.backend.protocol import JobId

# Ray's processes find each other sooner, and none are started ahead that nothing here would use.
QUICK_START = {
    "RAY_raylet_client_connect_timeout_milliseconds": "50",  # between two tries, instead of 1000
    "RAY_raylet_client_num_connect_attempts": "200",  # in all as many seconds as by default
    "RAY_prestart_worker_first_driver": "0",
}
os.environ.update(QUICK_START)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the embedded backend: each test has its own, and no server is configured."""
    folder = tmp_path / "ray_synapse-home"
    for variable in list(os.environ):
        if variable.startswith(("SYNAPSE_", "RAY_SYNAPSE_")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("RAY_SYNAPSE_HOME", str(folder))
    return folder


@pytest.fixture
def backend(home: Path) -> LocalBackend:
    """The embedded backend in the test's own folder."""
    return LocalBackend(home)


@pytest.fixture
def job(backend: LocalBackend) -> JobId:
    """A job in it."""
    return backend.create_job("digits", {})


@pytest.fixture(scope="module")
def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray for all tests that need one."""
    ray = pytest.importorskip("ray")
    import tests.sweeps  # noqa: F401 - with it trials start sooner

    ray.init(
        "local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    yield
    ray.shutdown()


@pytest.fixture
def cluster(ray_cluster: None, home: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """The shared Ray. When the test is over its runs are ended, and its sweeps compared (`agree`).

    A fixture that a run needs at its end, such as its disk, must come before this one. What a trial
    needs of the test's module goes to it by value, as from a script: so it need not import all that
    the module imports, which takes up to a second in each process.
    """
    from ray import cloudpickle

    from ray_synapse import registry, start
    from tests import sweeps

    cloudpickle.register_pickle_by_value(request.module)
    yield
    for run in registry.open_runs():
        start.close(run)
    sweeps.all_agree()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that need no Ray come first: they are fast, and must not meet a running one."""
    items.sort(key=lambda item: item.get_closest_marker("ray") is not None)
