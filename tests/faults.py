"""What the proxy of the tests can do wrong: ``status(503).on("POST", "/logs/")`` is one fault."""

import json
import math
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from http.client import responses
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

if TYPE_CHECKING:
    from tests.exchanges import Exchange

P = ParamSpec("P")

DRIPS_PER_S = 500  # as often as a sleep can end; of more bytes several come at a time


@dataclass(frozen=True)
class Fault:
    """What is done to a request, and to which ones.

    Attributes:
        name: With its first argument, as ``status 503``.
        act: Does it.
        method: Only to requests of this method.
        path: Only to paths, with their query, that begin with this regex.
        chance: How likely it is for each of them.
    """

    name: str
    act: "Callable[[Exchange], None]" = field(repr=False)
    method: str | None = None
    path: str = ""
    chance: float = 1.0

    def on(self, method: str | None = None, path: str = "", chance: float = 1.0) -> "Fault":
        """The same for some requests only."""
        return replace(self, method=method, path=path, chance=chance)

    def meets(self, method: str, path: str, dice: random.Random) -> bool:
        """Whether this request has it."""
        is_one = self.method in (None, method) and re.match(self.path, path) is not None
        return is_one and (self.chance >= 1 or dice.random() < self.chance)


@dataclass(frozen=True)
class Answer:
    """A whole answer, its body in memory."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def head(self, length: str | None = None) -> bytes:
        """What comes before the body, which has another length if one is given."""
        first = f"HTTP/1.1 {self.status} {responses.get(self.status, 'Unknown')}"
        fields = [*self.headers, ("Content-Length", length or str(len(self.body)))]
        lines = [first, *(f"{name}: {value}" for name, value in fields), "", ""]
        return "\r\n".join(lines).encode("latin-1")


def made(code: int, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer that is none of the server's; a body that is not bytes becomes JSON."""
    if body is None:
        body = {"detail": f"The proxy of the tests says {code}."}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(
        code, tuple({"Content-Type": "application/json", **(headers or {})}.items()), content
    )


def fault(act: "Callable[Concatenate[Exchange, P], None]") -> Callable[P, Fault]:
    """Make what is done in an exchange into a function of its arguments that gives the fault."""

    @wraps(act)
    def make(*args: P.args, **options: P.kwargs) -> Fault:
        name = " ".join([act.__name__, *map(str, [*args, *options.values()][:1])])
        return Fault(name, lambda exchange: act(exchange, *args, **options))

    return make


@fault
def refuse(it: "Exchange") -> None:
    """The connection is reset before the body is read. (``Proxy.stop`` refuses connections.)"""
    it.end(reset=True)


@fault
def hang(it: "Exchange", seconds: float | None = None) -> None:
    """No answer until the proxy is healed, or that time is over; the server never sees it."""
    it.read()
    it.wait(seconds)
    it.end()


@fault
def hang_after(it: "Exchange", seconds: float | None = None) -> None:
    """No answer, as with ``hang``, to a request that was processed."""
    it.process()
    it.wait(seconds)
    it.end()


@fault
def slow(it: "Exchange", seconds: float) -> None:
    """The answer comes after that time; the request is processed at once."""
    answer = it.process()
    it.wait(seconds)
    it.send(answer)


@fault
def status(
    it: "Exchange", code: int, body: Any = None, headers: Mapping[str, str] | None = None
) -> None:
    """An answer of the proxy's own; the server never sees the request."""
    it.read()
    it.send(made(code, body, headers))


@fault
def status_after(it: "Exchange", code: int, body: Any = None) -> None:
    """An answer of the proxy's own, with the server's headers, to a request that was processed."""
    it.send(replace(it.process(), status=code, body=made(code, body).body))


@fault
def too_large(it: "Exchange", limit: int) -> None:
    """413 if the body has more bytes than that, no fault if not."""
    body = it.read()
    if it.seen.size > limit:
        it.send(made(413))
    else:
        it.seen.fault = None
        it.relay([body] if body else [])


@fault
def cut(it: "Exchange", reset: bool = False) -> None:
    """Half of the answer's body comes, or half of its head if it has none; it was processed."""
    answer = it.process()
    head, body = answer.head(), answer.body
    it.write(answer.status, head + body[: len(body) // 2] if body else head[: len(head) // 2])
    it.end(reset)


@fault
def lost(it: "Exchange", reset: bool = False) -> None:
    """The connection ends without a byte of answer to a request that was processed."""
    it.process()
    it.end(reset)


@fault
def garbage(it: "Exchange") -> None:
    """The answer's body is no JSON, whatever its head says; it was processed."""
    it.send(replace(it.process(), body=b"<html>this is no JSON"))


@fault
def drip(it: "Exchange", seconds: float) -> None:
    """The bytes of the answer, head and body, come one by one over that time."""
    answer = it.process()
    data = answer.head() + answer.body
    step = math.ceil(len(data) / max(1.0, seconds * DRIPS_PER_S))
    for first in range(0, len(data), step):
        it.write(answer.status, data[first : first + step])
        it.wait(seconds * step / len(data))


@fault
def cut_request(it: "Exchange", after_bytes: int) -> None:
    """The connection is reset after so many bytes of the body; the server never sees it."""
    for _ in it.body():
        if it.seen.size >= after_bytes:
            break
    it.end(reset=True)
