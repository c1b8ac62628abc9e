"""The calls of a Synapse server's API."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import quote, urlencode

from ray_synapse.backend.api.checks import shown, stored
from ray_synapse.backend.api.protocol import Json, Query
from ray_synapse.backend.http.answers import Answer, refusal, said
from ray_synapse.backend.http.bodies import ChunkBody, FollowedBody, Pieces
from ray_synapse.backend.http.connection import Connection, Method
from ray_synapse.backend.http.credentials import Credentials
from ray_synapse.errors import NoAnswerError, RefusedError

FINISH_S = 60.0  # the server hashes the whole file before it answers: 25 to 31 s for 6 to 11 GB
HONOURED = "Idempotency-Key-Honoured"


class HttpApi:
    """A Synapse server. Implements ``protocol.Api``; all methods may be called from any thread.

    Beside the errors of ``Api`` all methods raise ``DeniedError`` (401, 403), ``UnreachableError``
    when there is no connection, ``NoAnswerError`` when an answer was lost or is no JSON,
    ``BackendError`` for all other answers, and ``SettingsError`` if the environment names a proxy
    or a file of certificates that cannot be used. None is of httpx, and none holds a token. What
    is to be sent may also be JSON text in UTF-8 (``bytes``), which goes out as it is.

    Args:
        credentials: The server and its tokens.
        read_s: How long an answer, and each silence in it, may take, in seconds, if not as usual.
    """

    def __init__(self, credentials: Credentials, *, read_s: float | None = None) -> None:
        self._credentials, self._connection = credentials, Connection(credentials, read_s)
        self._read_s = read_s
        self._honours_keys: bool | None = None

    @property
    def honours_keys(self) -> bool | None:
        """Whether the server does a write once for each key; None before it has answered.

        Each answer of the API tells. (What a proxy says in its place tells nothing.)
        """
        return self._honours_keys

    def close(self) -> None:
        """Close the connections. A request that is under way fails, a later one opens others."""
        self._connection.close()

    def create_logs(
        self,
        entries: Any,
        *,
        key: str | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> Json:
        """Keep one log entry, or all of a list or none. A server need not answer anything.

        Args:
            entries: The entry, or the list.
            key: The idempotency key.
            meanwhile: Called when all is written, before the answer is waited for: what it does
                takes no time while the server works. With redirects it is called for each request,
                and not at all for one that cannot be written. What it raises ends the call.
        """
        return self._write(
            "POST", "/logs/", entries, key, is_answer_needed=False, meanwhile=meanwhile
        )

    def create_job(self, fields: Any, *, key: str | None = None) -> Json:
        """Make a job from its ``name``, and any field that ``update_job`` takes."""
        return self._write("POST", "/jobs/", fields, key)

    def get_job(self, job: int | str) -> Json:
        """All that is known of a job."""
        return self._get(f"/jobs/{_part(job)}/")

    def update_job(self, job: int | str, fields: Any, *, key: str | None = None) -> Json:
        """Overwrite fields of a job, each whole. Answers the job."""
        return self._write("PATCH", f"/jobs/{_part(job)}/", fields, key, is_answer_needed=False)

    def list_jobs(self, query: Query = ()) -> Json:
        """Jobs, the newest first."""
        return self._get("/jobs/", query)

    def create_model(self, fields: Any, *, key: str | None = None) -> Json:
        """Register a model under a name that is not taken. Answers the model."""
        return self._write("POST", "/models/", fields, key)

    def get_model(self, model: int | str) -> Json:
        """One model; ``file`` leads to its archive, or is None."""
        return self._get(f"/models/{_part(model)}/")

    def list_models(self, query: Query = ()) -> Json:
        """Models, the newest first."""
        return self._get("/models/", query)

    def put_chunk(
        self,
        upload: str | None,
        filename: str,
        content_range: str,
        chunk: bytes | bytearray | memoryview | Pieces,
        *,
        key: str | None = None,
        on_sent: Callable[[int], None] | None = None,
    ) -> Json:
        """Take the next bytes of a file; without an ``upload`` they are the first of a new one.

        Args:
            upload: The ``id`` of an upload that goes on.
            filename: What the client calls the file.
            content_range: ``bytes <first>-<last>/<total>``; ``first`` is the upload's ``offset``.
            chunk: The bytes, or their pieces. They are not copied, so they must not change before
                the answer.
            key: The idempotency key.
            on_sent: Called with the number of bytes of each piece that went out. What it raises
                ends the call.
        """
        path = "/chunked_upload/" if upload is None else f"/chunked_upload/{_part(upload)}/"
        headers = {**_header("Content-Range", content_range), **_key(key)}
        with contextlib.closing(ChunkBody(filename, chunk, on_sent)) as body:
            return self._object(self._ask("PUT", path, {**body.headers, **headers}, body))

    def finish_upload(self, upload: str, fields: Any, *, key: str | None = None) -> Json:
        """End an upload with the ``md5`` of the whole file. May be repeated."""
        path = f"/chunked_upload/{_part(upload)}/"
        return self._write("POST", path, fields, key, read_s=FINISH_S)

    def get_upload(self, upload: str) -> Json:
        """An upload's state: ``offset``, and ``completed_at`` once it has ended."""
        return self._get(f"/chunked_upload/{_part(upload)}/")

    def override_best_trial(self, job: int | str, fields: Any, *, key: str | None = None) -> Json:
        """Register the trial that won: ``trial_id`` and its hyperparameters."""
        path = f"/trains/{_part(job)}/override_best_trial/"
        return self._write("PUT", path, fields, key, is_answer_needed=False)

    def get_plugin_release(self, release: int | str, query: Query = ()) -> Json:
        """A release; with ``expand=plugin`` the plugin as an object."""
        return self._get(f"/plugin_releases/{_part(release)}/", query)

    def list_ground_truth_events(self, query: Query = ()) -> Json:
        """The items of a dataset: ``category``, ``files`` and ``data``."""
        return self._get("/sdk/ground_truth_events/", query)

    def download(self, link: str) -> AbstractContextManager[Iterator[bytes]]:
        """The file that a link of an answer leads to: ``with api.download(link) as pieces: ...``.

        The pieces have 1 MiB, and are read when they are asked for. A link may lead to another
        host (a storage); the tokens do not go there.
        """
        return self._connection.fetch(link)

    def _get(self, path: str, query: Query = ()) -> Json:
        parameters = urlencode(list(query), errors="replace")
        return self._object(self._ask("GET", f"{path}?{parameters}" if parameters else path))

    def _write(
        self,
        method: Method,
        path: str,
        value: Any,
        key: str | None,
        *,
        is_answer_needed: bool = True,
        read_s: float | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> Json:
        content = value if isinstance(value, bytes) else _json(value)
        headers = {"Content-Type": "application/json", **_key(key)}
        if meanwhile is None:
            answer = self._ask(method, path, headers, content, read_s)
        else:
            headers["Content-Length"] = str(len(content))
            answer = self._ask(method, path, headers, FollowedBody(content, meanwhile), read_s)
        if not is_answer_needed and not answer.body:
            return {}
        return self._object(answer, is_answer_needed)

    def _ask(
        self,
        method: Method,
        path: str,
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterable[bytes] | None = None,
        read_s: float | None = None,
    ) -> Answer:
        answer = self._connection.ask(method, path, headers or {}, content, read_s or self._read_s)
        if answer.headers.get(HONOURED, "").lower() == "true":
            self._honours_keys = True
        elif answer.is_of_api:
            self._honours_keys = False
        if not answer.is_success:
            raise refusal(answer, self._credentials)
        return answer

    def _object(self, answer: Answer, is_needed: bool = True) -> Json:
        """The answer's object; where it is not needed, any other JSON will do.

        A server may answer a list of entries with a list, for example.
        """
        with contextlib.suppress(ValueError):
            value = answer.json()
            if isinstance(value, dict):
                return value
            if not is_needed:
                return {}
        error = NoAnswerError(
            f"{answer.line}: the answer is no JSON object: {said(answer, self._credentials)}. Is "
            f"{self._credentials.host} a Synapse server?"
        )
        error.status, error.is_json = answer.status, False
        raise error


def _json(value: Any) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except UnicodeEncodeError:  # half a character: the server says what it makes of it
        return json.dumps(value, separators=(",", ":")).encode()
    except (ValueError, TypeError, RecursionError) as error:
        fault = _fault(value, error)
    fault.was_sent = False
    raise fault


def _fault(value: Any, error: Exception) -> RefusedError:
    """Why a value is no JSON, by the field that is not."""
    for name, item in value.items() if isinstance(value, dict) else ():
        try:
            stored(str(name), item)
        except RefusedError as fault:
            return fault
    return RefusedError(
        f"it cannot be sent, since it is no JSON: {error}. Send null for NaN and infinities."
    )


def _part(value: int | str) -> str:
    """An id as one part of a path, whatever it is."""
    part = quote(str(value), safe="", errors="replace")
    return part.replace(".", "%2E") if part in (".", "..") else part


def _key(key: str | None) -> dict[str, str]:
    return {} if key is None else _header("Idempotency-Key", key)


def _header(name: str, value: str) -> dict[str, str]:
    """A header, if it can be one."""
    if value.isascii() and value.isprintable() and value == value.strip():
        return {name: value}
    fault = RefusedError({name: [f"It must be printable ASCII, not {shown(value)}."]})
    fault.was_sent = False
    raise fault
