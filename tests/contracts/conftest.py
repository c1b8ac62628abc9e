"""The backends that each test of the contract runs on."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ray_synapse.backend.local import LocalBackend
from tests.contracts.http_api import ClientApi, DirectApi, HttpApi
from tests.serving import served

Api = DirectApi | HttpApi | ClientApi


@pytest.fixture(scope="session", params=["embedded", "served", "client"])
def backends(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Api, Path]]:
    """A backend for all tests, and its folder. What they make in it must have names of its own."""
    home = tmp_path_factory.mktemp(request.param)
    if request.param == "embedded":
        yield DirectApi(home), home
        return
    with served(home) as server:
        if request.param == "served":
            yield HttpApi(server.url), home
        else:
            with closing(ClientApi(server.url)) as client:
                yield client, home


@pytest.fixture
def api(backends: tuple[Api, Path]) -> Api:
    """The backend: in this process, behind a real server, or behind that asked by our client."""
    return backends[0]


@pytest.fixture
def kept(backends: tuple[Api, Path]) -> LocalBackend:
    """What the backend has kept, as ``ray-synapse ls`` and ``show`` see it."""
    return LocalBackend(backends[1])
