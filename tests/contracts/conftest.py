"""The two backends that each test of the contract runs on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_synapse.backend.local import LocalBackend
from tests.contracts.http_api import DirectApi, HttpApi
from tests.serving import served

Api = DirectApi | HttpApi


@pytest.fixture(scope="session", params=["embedded", "served"])
def backends(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Api, Path]]:
    """A backend for all tests, and its folder. What they make in it must have names of its own."""
    home = tmp_path_factory.mktemp(request.param)
    if request.param == "embedded":
        yield DirectApi(home), home
    else:
        with served(home) as server:
            yield HttpApi(server.url), home


@pytest.fixture
def api(backends: tuple[Api, Path]) -> Api:
    """The backend: in this process, or behind a real server in another one."""
    return backends[0]


@pytest.fixture
def kept(backends: tuple[Api, Path]) -> LocalBackend:
    """What the backend has kept, as ``ray-synapse ls`` and ``show`` see it."""
    return LocalBackend(backends[1])
