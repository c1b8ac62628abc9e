"""What the tests of the contract send, and how they break off."""

import hashlib
import json
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ray_synapse.backend.api.protocol import Json
from ray_synapse.errors import RefusedError
from tests.contracts.conftest import Api
from tests.contracts.http_api import DirectApi, HttpApi

TIME = "2024-01-02T03:04:05+00:00"
NO_IDS = ["0", "-1", "abc", "nan", "None", str(1 << 63), str(1 << 70), str(uuid.uuid4())]
NOT_FINITE = [float("nan"), float("inf"), float("-inf"), 1e999]


def unique(start: str = "n") -> str:
    """A name that no other test uses."""
    return f"{start}{uuid.uuid4().hex}"


def new_job(api: Api, **fields: Any) -> int:
    """A job of its own."""
    return int(api.create_job({"name": unique("job"), **fields})["id"])


def entry(job: Any, **fields: Any) -> dict[str, Any]:
    """A log entry."""
    return {"event": "metric", "data": {"value": 0.5}, "datetime": TIME, "job": job, **fields}


def table(**trials: Any) -> Json:
    """The ``data`` of a ``trials`` event."""
    return {
        "base": ["trial_id", "status"],
        "hyperparameters": ["lr"],
        "metrics": ["accuracy"],
        "trials": trials,
        "best_trial": "",
    }


def span(first: int, last: int, total: int) -> str:
    """A ``Content-Range``."""
    return f"bytes {first}-{last}/{total}"


def md5(content: bytes) -> str:
    """What ends an upload."""
    return hashlib.md5(content).hexdigest()


def begun(api: Api, content: bytes = b"abc", total: int | None = None) -> str:
    """An upload of which the first bytes have come."""
    total = len(content) if total is None else total
    answer = api.put_chunk(None, "a.zip", span(0, len(content) - 1, total), content)
    return str(answer["id"])


def uploaded(api: Api, content: bytes = b"abc") -> str:
    """A finished upload."""
    upload = begun(api, content)
    api.finish_upload(upload, {"md5": md5(content)})
    return upload


def query_of(link: str) -> list[tuple[str, str]]:
    """The parameters of a link."""
    return parse_qsl(urlsplit(link).query, keep_blank_values=True)


def nested(depth: int) -> list[Any]:
    """Lists within lists."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def patch_deep(api: Api, job: int, depth: int) -> bool:
    """Set ``meta`` to lists within lists, deeper than the client's own JSON can write.

    Returns:
        Whether the backend took it. Anything but an answer or a refusal fails.
    """
    if isinstance(api, HttpApi):
        body = f'{{"meta": {"[" * depth}{"]" * depth}}}'
        response = api.client.patch(f"/jobs/{job}/", content=body)
        assert response.status_code in (200, 400), response.text
        return response.status_code == 200
    try:
        json.dumps(api.update_job(job, {"meta": nested(depth)}))
    except RefusedError:
        return False
    return True


@contextmanager
def hanging_chunk(
    api: Api, upload: str | None, content_range: str, chunk: bytes
) -> Iterator[Callable[[], None]]:
    """A chunk of which half is sent. It breaks off with the block, or goes on when called."""
    half = len(chunk) // 2
    if not isinstance(api, DirectApi):
        url = urlsplit(str(api.client.base_url))
        path = f"/chunked_upload/{upload}/" if upload else "/chunked_upload/"
        before = (
            b'--B\r\nContent-Disposition: form-data; name="filename"\r\n\r\na.zip\r\n'
            b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'
        )
        after = b"\r\n--B--\r\n"
        head = (
            f"PUT {path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Range: {content_range}\r\n"
            "Content-Type: multipart/form-data; boundary=B\r\n"
            f"Content-Length: {len(before) + len(chunk) + len(after)}\r\n\r\n"
        )
        with closing(socket.create_connection((url.hostname, url.port), timeout=10)) as sock:
            sock.sendall(head.encode() + before + chunk[:half])

            def send_rest() -> None:
                sock.sendall(chunk[half:] + after)
                assert b"HTTP/1.1 400" in sock.recv(4096)

            yield send_rest
    else:
        with closing(api.open_chunk(upload, content_range)) as writer:
            writer.write(chunk[:half])

            def write_rest() -> None:
                try:
                    writer.write(chunk[half:])
                    writer.finish("a.zip")
                except RefusedError:
                    return
                raise AssertionError("an overtaken chunk was counted")

            yield write_rest
