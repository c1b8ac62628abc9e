"""The calls of the API as an ASGI application."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, TypeVar

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.backend.api.protocol import Json
from ray_synapse.errors import BackendError, NotFoundError
from ray_synapse.server.answers import Links, error_answer, json_answer, refusal
from ray_synapse.server.bodies import json_body, parse_json, receive_chunk
from ray_synapse.server.guard import Guard, SilentClientError

T = TypeVar("T")
Kind = Literal["read", "write", "chunk", "check"]
Endpoint = Callable[[Request], Awaitable[Response]]

THREADS: dict[Kind, int] = {
    "read": 2,  # they wait for nobody, and more of them would only slow the writers down
    "write": 4,  # the database takes one at a time; each may hold a body of 32 MiB, parsed
    "chunk": 4,
    "check": 2,  # of a whole file, which takes as long as it is large
}


def create_app(api: EmbeddedApi, names: Collection[str], token: str | None) -> ASGIApp:
    """The whole server, but for the sockets.

    Args:
        api: The backend that is served. It is closed when the server ends.
        names: The host names by which clients may ask for it.
        token: The token that each client must have, or None.
    """
    links = Links(token)
    calls = _Calls(api, links)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        api.close()

    app = Starlette(
        routes=calls.routes(),
        lifespan=lifespan,
        exception_handlers={
            BackendError: error_answer,
            HTTPException: _http_error,
            SilentClientError: _silent,
            ClientDisconnect: _silent,
            Exception: _crash,
        },
    )
    app.router.redirect_slashes = False
    return Guard(app, names, token, links)


class _Calls:
    def __init__(self, api: EmbeddedApi, links: Links) -> None:
        self._api, self._links, self._threads = api, links, _Threads()

    def routes(self) -> list[Route]:
        api, read, write = self._api, self._read, self._write
        return [
            _route("/logs/", POST=write(api.create_logs, 201)),
            _route(
                "/jobs/", GET=read(api.list_jobs, has_query=True), POST=write(api.create_job, 201)
            ),
            _route("/jobs/{job}/", GET=read(api.get_job), PATCH=write(api.update_job)),
            _route(
                "/trains/{job}/override_best_trial/",
                PUT=write(api.override_best_trial, has_links=False),  # its fields are the user's
            ),
            _route("/plugin_releases/{release}/", GET=read(api.get_plugin_release, has_query=True)),
            _route(
                "/models/",
                GET=read(api.list_models, has_query=True),
                POST=write(api.create_model, 201),
            ),
            _route("/models/{model}/", GET=read(api.get_model)),
            _route("/chunked_upload/", PUT=self._chunk),
            _route(
                "/chunked_upload/{upload}/",
                GET=read(api.get_upload),
                PUT=self._chunk,
                POST=write(api.finish_upload, kind="check"),
            ),
            _route(
                "/sdk/ground_truth_events/",
                GET=read(api.list_ground_truth_events, has_query=True),
            ),
            _route("/media/models/{model}/{made}/{name}", GET=self._file(api.model_archive, 1)),
            _route("/media/uploads/{upload}/{made}/{name}", GET=self._file(api.finished_upload, 1)),
            _route(
                "/media/datasets/{event}/{number}/{made}/{name}",
                GET=self._file(api.dataset_file, 2),
            ),
        ]

    def _read(self, call: Callable[..., Json], has_query: bool = False) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            arguments = [*request.path_params.values()]
            if has_query:
                arguments.append(request.query_params.multi_items())
            return await self._answer(request, lambda: call(*arguments), "read")

        return endpoint

    def _write(
        self,
        call: Callable[..., Json],
        status: int = 200,
        kind: Kind = "write",
        has_links: bool = True,
    ) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            arguments, key = [*request.path_params.values()], _key_of(request)
            body = await json_body(request)
            return await self._answer(
                request,
                lambda: call(*arguments, parse_json(body), key=key),
                kind,
                status,
                has_links,
            )

        return endpoint

    async def _chunk(self, request: Request) -> Response:
        upload = request.path_params.get("upload")
        content_range = request.headers.get("content-range", "")
        chunk = await self._threads.run("chunk", self._api.open_chunk, upload, content_range)
        try:
            filename = await receive_chunk(request, chunk)
            key = _key_of(request)
            return await self._answer(request, lambda: chunk.finish(filename, key), "chunk")
        finally:
            chunk.close()  # at once: at the end of the server a thread would not be waited for

    def _file(self, find: Callable[..., Path], ids: int) -> Endpoint:
        """The file that ``find`` knows by the first parts of the path.

        No path on the disk is ever made of what a client says.
        """

        async def endpoint(request: Request) -> Response:
            parts = [*request.path_params.values()]
            path = await run_in_threadpool(lambda: find(*parts[:ids]))
            if not await run_in_threadpool(path.is_file):
                raise NotFoundError(f"the file of {request.url.path} is gone from the disk.")
            # To be kept, never shown: what was uploaded must not run as a page of ours.
            headers = {"X-Content-Type-Options": "nosniff"}
            return FileResponse(path, filename=parts[-1], headers=headers)

        return endpoint

    async def _answer(
        self,
        request: Request,
        call: Callable[[], Json],
        kind: Kind,
        status: int = 200,
        has_links: bool = True,
    ) -> Response:
        """Do a call in a thread, since it waits for the disk."""

        def answer() -> Response:
            found = call()
            return json_answer(self._links.whole(request, found) if has_links else found, status)

        return await self._threads.run(kind, answer)


class _Threads:
    """Threads of each kind of call, so that those who wait for one thing keep no others waiting."""

    def __init__(self) -> None:
        self._limiters: dict[Kind, anyio.CapacityLimiter] = {}

    async def run(self, kind: Kind, call: Callable[..., T], *arguments: object) -> T:
        """Do a call in a thread."""
        if kind not in self._limiters:
            self._limiters[kind] = anyio.CapacityLimiter(THREADS[kind])
        return await anyio.to_thread.run_sync(call, *arguments, limiter=self._limiters[kind])


def _route(path: str, **by_method: Endpoint) -> Route:
    """One route for all methods of a path, so that a wrong one is told which are right."""

    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await by_method[method](request)

    return Route(path, endpoint, methods=list(by_method))


def _key_of(request: Request) -> str | None:
    return request.headers.get("idempotency-key")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if error.status_code == 404:
        hint = "" if request.url.path.endswith("/") else " Every path ends with a slash."
        detail = f"There is nothing at {request.url.path}.{hint}"
    elif error.status_code == 405:
        detail = f"{request.method} is not possible for {request.url.path}."
    return refusal(error.status_code, detail, dict(error.headers or {}))


async def _silent(request: Request, error: Exception) -> Response:
    return refusal(408, "The request did not come to its end.")


async def _crash(request: Request, error: Exception) -> Response:
    return refusal(500, "The server failed. What went wrong is on its terminal.")
