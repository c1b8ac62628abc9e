"""What every test needs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_synapse.backend.local import LocalBackend
from ray_synapse.backend.protocol import JobId


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
    ray.init(
        "local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    yield
    ray.shutdown()


@pytest.fixture
def cluster(ray_cluster: None, home: Path) -> Iterator[None]:
    """The shared Ray. When the test is over its runs are ended, and its sweeps compared (`agree`).

    A fixture that a run needs at its end, such as its disk, must come before this one.
    """
    yield
    from ray_synapse import registry, start
    from tests import sweeps

    for run in registry.open_runs():
        start.close(run)
    sweeps.all_agree()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that need no Ray come first: they are fast, and must not meet a running one."""
    items.sort(key=lambda item: item.get_closest_marker("ray") is not None)
