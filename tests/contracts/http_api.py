"""The API of a Synapse backend over a real connection: what any client of it does."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.backend.api.protocol import Json, Query
from ray_synapse.backend.http import Credentials
from ray_synapse.backend.http import HttpApi as Client
from ray_synapse.errors import (
    BackendError,
    NotFoundError,
    RefusedError,
    StorageError,
    TooLargeError,
)

ERRORS = {404: NotFoundError, 413: TooLargeError, 503: StorageError}
STATUS = {"POST": 201, "PUT": 200, "PATCH": 200, "GET": 200}


class HttpApi:
    """``Api`` over HTTP. An answer of 4xx is raised as the error that the backend raises."""

    def __init__(self, url: str, token: str | None = None) -> None:
        headers = {"Synapse-Access-Token": f"Token {token}"} if token else {}
        self.client = httpx.Client(base_url=url, headers=headers, timeout=30)

    def create_logs(self, entries: Any, *, key: str | None = None) -> Json:
        return self._send("POST", "/logs/", entries, key)

    def create_job(self, fields: Any, *, key: str | None = None) -> Json:
        return self._send("POST", "/jobs/", fields, key)

    def get_job(self, job: int | str) -> Json:
        return self._get(f"/jobs/{job}/")

    def update_job(self, job: int | str, fields: Any, *, key: str | None = None) -> Json:
        return self._send("PATCH", f"/jobs/{job}/", fields, key)

    def list_jobs(self, query: Query = ()) -> Json:
        return self._get("/jobs/", query)

    def create_model(self, fields: Any, *, key: str | None = None) -> Json:
        return self._send("POST", "/models/", fields, key)

    def get_model(self, model: int | str) -> Json:
        return self._get(f"/models/{model}/")

    def list_models(self, query: Query = ()) -> Json:
        return self._get("/models/", query)

    def put_chunk(
        self,
        upload: str | None,
        filename: str,
        content_range: str,
        chunk: bytes,
        *,
        key: str | None = None,
    ) -> Json:
        response = self.client.put(
            f"/chunked_upload/{upload}/" if upload else "/chunked_upload/",
            data={"filename": filename},
            files={"file": chunk},
            headers={"Content-Range": content_range, **_key(key)},
        )
        return _answer(response, 200)

    def finish_upload(self, upload: str, fields: Any, *, key: str | None = None) -> Json:
        return self._send("POST", f"/chunked_upload/{upload}/", fields, key, status=200)

    def get_upload(self, upload: str) -> Json:
        return self._get(f"/chunked_upload/{upload}/")

    def override_best_trial(self, job: int | str, fields: Any, *, key: str | None = None) -> Json:
        return self._send("PUT", f"/trains/{job}/override_best_trial/", fields, key)

    def get_plugin_release(self, release: int | str, query: Query = ()) -> Json:
        return self._get(f"/plugin_releases/{release}/", query)

    def list_ground_truth_events(self, query: Query = ()) -> Json:
        return self._get("/sdk/ground_truth_events/", query)

    def download(self, link: str) -> bytes:
        """The file that a link of an answer leads to, without a token, as clients fetch it."""
        return httpx.get(link).raise_for_status().content

    def _get(self, path: str, query: Query = ()) -> Json:
        return _answer(self.client.get(path, params=list(query)), 200)

    def _send(
        self, method: str, path: str, body: Any, key: str | None, status: int | None = None
    ) -> Json:
        content = json.dumps(body)  # NaN as the published client writes it
        headers = {"Content-Type": "application/json", **_key(key)}
        response = self.client.request(method, path, content=content, headers=headers)
        return _answer(response, status or STATUS[method])


class ClientApi(Client):
    """Our own client, with ``download`` at once; ``client`` is for what it would never send."""

    def __init__(self, url: str, token: str | None = None) -> None:
        super().__init__(Credentials(url, token))
        self.client = httpx.Client(base_url=url)

    def download(self, link: str) -> bytes:  # type: ignore[override]  # as the other two
        """The file that a link of an answer leads to."""
        with super().download(link) as pieces:
            return b"".join(pieces)


class DirectApi(EmbeddedApi):
    """The embedded backend in this process, with ``download``."""

    def download(self, link: str) -> bytes:
        """The file that a link of an answer leads to."""
        kind, owner, number, *_ = link.removeprefix("/media/").split("/")
        if kind == "datasets":
            return self.dataset_file(owner, number).read_bytes()
        find = {"models": self.model_archive, "uploads": self.finished_upload}[kind]
        return find(owner).read_bytes()


def path_of(link: str) -> str:
    """A link without the server: the same in both."""
    return urlsplit(link).path


def _key(key: str | None) -> Mapping[str, str]:
    return {} if key is None else {"Idempotency-Key": key}


def _answer(response: httpx.Response, status: int) -> Json:
    body = response.json()
    if response.status_code == status:
        assert isinstance(body, dict)
        return body
    if response.status_code == 400:
        raise RefusedError(body["detail"] if set(body) == {"detail"} else body)
    raise ERRORS.get(response.status_code, BackendError)(body["detail"])
