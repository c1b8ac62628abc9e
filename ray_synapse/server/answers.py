"""What the backend gives, or raises, as an HTTP answer."""

import hashlib
import hmac
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from ray_synapse.backend.api.protocol import Json
from ray_synapse.errors import (
    BackendError,
    NoSpaceError,
    NotFoundError,
    RefusedError,
    StorageError,
    TooLargeError,
)
from ray_synapse.values import Wire, dumps

LINKS = ("next", "previous", "url", "file")  # the fields of an answer that are paths of ours
MEDIA = "/media/"
RETRY = {"Retry-After": "5"}  # seconds
STATUS_OF: tuple[tuple[type[BackendError], int], ...] = (
    (NotFoundError, 404),
    (TooLargeError, 413),
    (NoSpaceError, 413),
    (StorageError, 503),
    (BackendError, 400),  # RefusedError, and what SQLite itself does not take
)


class Links:
    """Makes paths of ours into URLs that a client can follow."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def whole(self, request: Request, answer: Json) -> Json:
        """The answer with whole URLs.

        Args:
            request: Where it goes; it says by which host we are known there.
            answer: What the backend gave: one object, or a page of them.
        """
        base = f"{request.url.scheme}://{request.url.netloc}"
        whole = self._one(base, answer)
        if isinstance(answer.get("results"), list):
            whole["results"] = [self._one(base, each) for each in answer["results"]]
        return whole

    def is_signed(self, request: Request) -> bool:
        """Whether it is a file's URL as we gave it out: it needs no token then."""
        path, signature = request.scope["path"], request.query_params.get("signature", "")
        if self._token is None or not path.startswith(MEDIA):
            return False
        return hmac.compare_digest(signature.encode(), self._signature(path).encode())

    def _one(self, base: str, answer: Json) -> Json:
        whole = dict(answer)
        for field in LINKS:
            if isinstance(whole.get(field), str):
                whole[field] = base + self._signed(whole[field])
        if isinstance(whole.get("files"), dict):
            whole["files"] = {name: self._one(base, file) for name, file in whole["files"].items()}
        return whole

    def _signed(self, path: str) -> str:
        """Clients fetch files without their token, as from a storage that signs its URLs."""
        if self._token is None or not path.startswith(MEDIA):
            return path
        return f"{path}?signature={self._signature(unquote(path))}"

    def _signature(self, path: str) -> str:
        assert self._token is not None
        return hmac.new(self._token.encode(), path.encode(), hashlib.sha256).hexdigest()


def json_answer(
    content: Wire, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """An answer of JSON: without NaN, and without the lone surrogates that UTF-8 does not have."""
    return Response(dumps(content), status, headers, "application/json")


def refusal(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """An answer that says what is wrong."""
    return json_answer({"detail": detail}, status, headers)


async def error_answer(request: Request, error: Exception) -> Response:
    """The answer to a request that the backend refused."""
    assert isinstance(error, BackendError)
    status = next(status for kind, status in STATUS_OF if isinstance(error, kind))
    if isinstance(error, RefusedError) and error.faults:
        return json_answer({name: [*texts] for name, texts in error.faults.items()}, status)
    return refusal(status, str(error), RETRY if status == 503 else None)
