"""Requests and answers: where tokens may go, how long is waited, what a failure means."""

import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, NamedTuple

import httpx

from ray_synapse import __version__
from ray_synapse.backend.http.answers import Answer, refusal
from ray_synapse.backend.http.credentials import Credentials
from ray_synapse.backend.http.failures import FAILURES, failure
from ray_synapse.backend.http.links import (
    host_of,
    origin_of,
    place_of,
    redirected,
    stays,
    target_of,
    url_of,
)
from ray_synapse.errors import NoAnswerError, SettingsError, UnreachableError

CONNECT_S = 5.0  # this and the next are the published client's
READ_S = 15.0  # of silence, not of a whole answer
WRITE_S = 15.0  # for a piece of 256 KiB: 17 KB/s are no connection any more
POOL_S = 5.0
ANSWER_S = 60.0  # for the body of an answer of JSON: one that drips would hold up all others
MAX_ANSWER_BYTES = 64 << 20  # of JSON: a job with the largest body that the served backend takes
MAX_CONNECTIONS = 32  # the sender, the uploads, and all trials of a node that fetch a model
IDLE_S = 1.5  # before a server closes it (gunicorn after 2 s, uvicorn 5 s), and a POST is in doubt
MAX_REDIRECTS = 5
DOWNLOAD_BYTES = 1 << 20

Method = Literal["GET", "POST", "PUT", "PATCH"]


class Question(NamedTuple):
    """A request that can be sent again.

    Attributes:
        method: The HTTP method.
        url: The whole URL.
        headers: All but the tokens and what every request has.
        content: The body, or what it can be made of any number of times.
        read_s: The longest silence, in seconds.
        has_tokens: Whether it goes to the configured server.
    """

    method: Method
    url: httpx.URL
    headers: Mapping[str, str]
    content: bytes | Iterable[bytes] | None
    read_s: float
    has_tokens: bool


class Connection:
    """The HTTP connections to one server, for any number of threads.

    They are opened when something is sent first. After ``close`` they are opened again.
    """

    def __init__(self, credentials: Credentials, answer_s: float | None = None) -> None:
        self._answer_s = answer_s
        self._credentials, self._tokens = credentials, _Tokens(credentials)
        self._base = httpx.URL(f"{credentials.host}/")
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()

    def ask(
        self,
        method: Method,
        path: str,
        headers: Mapping[str, str],
        content: bytes | Iterable[bytes] | None,
        read_s: float | None = None,
    ) -> Answer:
        """The API's answer, whatever it says. Redirects within the same host are followed.

        Raises:
            BackendError: There is no answer, or it leads to another host.
        """
        call = f"{method} {path.partition('?')[0]}"
        url = url_of(f"{self._credentials.host}{path}", call)
        question = Question(method, url, headers, content, read_s or READ_S, True)
        for left in reversed(range(MAX_REDIRECTS + 1)):
            response = self._send(question, call)
            target = target_of(response)
            if target is None:
                break
            answer = self._whole(response, call)
            is_kept = method == "GET" or answer.status in (307, 308)
            if not (left and is_kept and stays(question.url, target)):
                raise redirected(answer, target, self._credentials)
            question = question._replace(url=target)
        return self._whole(response, call)

    @contextmanager
    def fetch(self, link: str) -> Iterator[Iterator[bytes]]:
        """The bytes of a file, wherever it lies, in pieces of 1 MiB.

        Raises:
            BackendError: It cannot be had; also when the next piece is asked for.
        """
        url = url_of(link, "GET of a file", self._base)
        is_ours = origin_of(url) == origin_of(self._base)
        # Packed it would be no shorter, and unpacked no longer as long as its head says.
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        question = Question("GET", url, headers, None, READ_S, is_ours)
        for left in reversed(range(MAX_REDIRECTS + 1)):
            call = f"GET {place_of(question.url)}"
            response = self._send(question, call)
            target = target_of(response)
            if target is None or not left:
                break
            response.close()
            is_ours = is_ours and origin_of(target) == origin_of(self._base)
            question = question._replace(url=target, has_tokens=is_ours)
        try:
            if not response.is_success:
                raise refusal(self._whole(response, call), self._credentials, not is_ours)
            yield self._pieces(response, call, DOWNLOAD_BYTES)
        finally:
            response.close()

    def close(self) -> None:
        """Close the connections; a request that is under way fails, or runs into its timeout."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _opened(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                self._client = _new_client()
            return self._client

    def _send(self, question: Question, call: str) -> httpx.Response:
        """The head of an answer; the rest is to be read, or the response closed."""
        client = self._opened()
        times = httpx.Timeout(CONNECT_S, read=question.read_s, write=WRITE_S, pool=POOL_S)
        request = client.build_request(
            question.method,
            question.url,
            headers=question.headers,
            content=question.content,
            timeout=times,
        )
        auth = self._tokens if question.has_tokens else None
        try:
            return client.send(request, stream=True, auth=auth, follow_redirects=False)
        except FAILURES as error:
            fault = failure(error, call, host_of(question.url), self._credentials)
        except RuntimeError:  # `close` in another thread, since the client was opened
            if not client.is_closed:
                raise
            fault = UnreachableError(f"{call}: the client is closed. Try again.")
        # Not within `except`: the request, with its tokens, would hang on the error.
        raise fault

    def _whole(self, response: httpx.Response, call: str) -> Answer:
        """The answer with its body; one that refuses counts also when its body is lost."""
        body = b""
        try:
            body = self._read(response, call)
        except NoAnswerError:
            if response.is_success:
                raise
        return Answer(call, response.status_code, response.headers, body)

    def _read(self, response: httpx.Response, call: str) -> bytes:
        answer_s = self._answer_s or ANSWER_S
        body, give_up = bytearray(), time.monotonic() + answer_s
        try:
            for piece in self._pieces(response, call):
                body += piece
                if len(body) > MAX_ANSWER_BYTES or time.monotonic() > give_up:
                    limits = f"{answer_s:g} s and {MAX_ANSWER_BYTES} bytes are allowed"
                    fault = NoAnswerError(f"{call}: the answer does not end ({limits}).")
                    fault.status = response.status_code
                    raise fault
        finally:
            response.close()
        return bytes(body)

    def _pieces(
        self, response: httpx.Response, call: str, size: int | None = None
    ) -> Iterator[bytes]:
        fault = None
        try:
            yield from response.iter_bytes(size)
        except FAILURES as error:
            fault = failure(error, call, host_of(response.url), self._credentials)
            fault.status = response.status_code
        if fault is not None:
            raise fault


class _Tokens(httpx.Auth):
    """Puts the tokens into a request as it is sent: nothing else of ours ever holds them."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers.update(self._credentials.headers())
        yield request


def _new_client() -> httpx.Client:
    """The environment names proxies and certificates, and may name them wrongly."""
    headers = {"User-Agent": f"ray_synapse/{__version__}", "Accept": "application/json"}
    limits = httpx.Limits(
        max_connections=MAX_CONNECTIONS,
        max_keepalive_connections=MAX_CONNECTIONS,
        keepalive_expiry=IDLE_S,
    )
    try:
        return httpx.Client(headers=headers, limits=limits)
    except (OSError, ImportError) as error:
        fault = str(error)
    except (ValueError, httpx.InvalidURL):  # its text may show the password of a proxy
        fault = "the URL of a proxy is wrong"
    raise SettingsError(
        f"no HTTP client can be made: {fault}. Correct SSL_CERT_FILE, SSL_CERT_DIR, HTTP_PROXY, "
        "HTTPS_PROXY or ALL_PROXY."
    )
