"""Who may ask, and how long a client may keep silent: before any call is looked at."""

import asyncio
import contextlib
import ipaddress
import re
import traceback
from collections.abc import Collection
from hmac import compare_digest

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ray_synapse import console
from ray_synapse.server.answers import RETRY, Links, refusal
from ray_synapse.server.bodies import MAX_FORM_BYTES

SILENCE_S = 60.0  # the published client gives up after 15
DRAIN_S = 10.0  # within which the rest of a refused request may come
HOST = re.compile(r"([\w.-]+|\[([0-9a-f:.]+)\])(?::\d+)?", re.ASCII)
HONOURS_KEYS = (b"idempotency-key-honoured", b"true")
CLOSES = (b"connection", b"close")


class SilentClientError(Exception):
    """A client did not send a byte of its request for too long."""


class Guard:
    """Stands before the calls and lets only those through that may ask.

    Args:
        app: The calls.
        names: The host names by which a client may ask for us. (Any IP address may be used: only a
            name can be made to lead to somebody else's machine, by DNS rebinding.)
        token: The token that each client must have, or None.
        links: Knows the URLs that need no token.
    """

    def __init__(
        self, app: ASGIApp, names: Collection[str], token: str | None, links: Links
    ) -> None:
        self._app, self._names, self._token, self._links = app, names, token, links

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whatever happens."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = _in_origin_form(scope)
        exchange = _Exchange(receive, send)
        try:
            refused = self._refusal(Request(scope))
            await (refused or self._app)(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            if not exchange.is_answering:
                await exchange.give_up()(scope, receive, exchange.send)
            raise
        except Exception as error:  # what could be answered was answered
            where = traceback.extract_tb(error.__traceback__)[-1]
            console.say_once(
                f"{scope['method']} {scope['path']!r}: {error!r} "
                f"({where.filename}, line {where.lineno}). Please report this."
            )

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if not self._is_ours(host):
            known = ", ".join(sorted(self._names))
            return refusal(
                400, f"The host {host!r} is not this server. Use its IP address or {known}."
            )
        origin = request.headers.get("origin")
        if origin is not None and origin != f"{request.url.scheme}://{host}":
            return refusal(403, f"Pages of {origin} may not ask this server.")
        if self._token is not None and not self._links.is_signed(request):
            return _token_refusal(request, self._token)
        return None

    def _is_ours(self, host: str) -> bool:
        match = HOST.fullmatch(host.lower())
        if match is None:
            return False
        name, bracketed = match.groups()
        if name in self._names:
            return True
        try:
            return ipaddress.ip_address(bracketed or name).version == (6 if bracketed else 4)
        except ValueError:
            return False


def _in_origin_form(scope: Scope) -> Scope:
    """A request whose target is a whole URL, as RFC 9112 (3.2.2) demands it to be taken."""
    match = re.match(r"https?://[^/]*(?=/)", scope["path"])
    return {**scope, "path": scope["path"][match.end() :]} if match else scope


def _token_refusal(request: Request, token: str) -> Response | None:
    """A refusal of a request without the token. The user's token wins, as with Synapse."""
    given = request.headers.get("authorization") or request.headers.get("synapse-access-token")
    if given is None:
        detail = "This server needs a token: send `Synapse-Access-Token: Token <value>`."
    elif not compare_digest(given.encode(), f"Token {token}".encode()):
        detail = (
            "The token is wrong. Send the one that `ray-synapse serve` was given, or printed when "
            "it started: `Synapse-Access-Token: Token <value>`."
        )
    else:
        return None
    return refusal(401, detail, {"WWW-Authenticate": "Token"})


class _Exchange:
    """One request and its answer, with a client that may be slow."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._has_all = False  # of the request
        self._is_cut = False  # since the client kept silent
        self.is_answering = False

    async def receive(self) -> Message:
        """The next piece of the request; after the last one, wait for the client to go."""
        if self._has_all:
            return await self._receive()
        try:
            with anyio.fail_after(SILENCE_S):
                message = await self._receive()
        except TimeoutError:
            self._is_cut = True
            raise SilentClientError from None
        self._has_all = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a piece of the answer; first take what is left of the request.

        A client that is still sending would see its connection break instead of the answer.
        """
        if message["type"] == "http.response.start":
            await self._drain()
            self.is_answering = True
            closing = (CLOSES,) if self._is_cut else ()
            message["headers"] = [*message.get("headers", ()), HONOURS_KEYS, *closing]
        await self._send(message)

    def give_up(self) -> Response:
        """The answer at the end of the server. Only what has not come whole was surely not done."""
        self._is_cut = True
        if self._has_all:
            return refusal(
                500, "The server ended before this was answered: it may have been done, or not."
            )
        return refusal(503, "The server ends. Send this again when it is back.", RETRY)

    async def _drain(self) -> None:
        drained = 0
        with contextlib.suppress(SilentClientError), anyio.move_on_after(DRAIN_S):
            while not self._has_all and not self._is_cut and drained <= MAX_FORM_BYTES:
                drained += len((await self.receive()).get("body", b""))
