"""Which server is asked, and the tokens that it wants."""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import SplitResult, urlsplit

from ray_synapse.errors import SettingsError

ACCESS_TOKEN = "access token (SYNAPSE_ACCESS_TOKEN)"
USER_TOKEN = "user token (SYNAPSE_PLUGIN_RUN_USER_TOKEN)"
TENANT = "tenant (SYNAPSE_PLUGIN_RUN_TENANT)"
HIDDEN = "***"


@dataclass(frozen=True)
class Credentials:
    """A Synapse server, and the tokens for it.

    Nothing shows the tokens, and nothing pickles them. To another process they go as the arguments
    of a method call: ``reveal()`` here, ``Credentials(*values)`` there.

    Attributes:
        host: Its URL, as ``check_host`` gives it.
        access_token: The token of a user or an agent.
        user_token: The token of a plugin run; it wins.
        tenant: The tenant of a plugin run; as secret as a token.

    Raises:
        SettingsError: The host is no URL, or a token cannot stand in an HTTP header.
    """

    host: str
    access_token: str | None = field(default=None, repr=False)
    user_token: str | None = field(default=None, repr=False)
    tenant: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", check_host(self.host, "the host"))
        _check_token(self.access_token, ACCESS_TOKEN)
        _check_token(self.user_token, USER_TOKEN)
        _check_token(self.tenant, TENANT)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "Credentials are not pickled, since their tokens would end up in files and logs. Hand "
            "over `credentials.reveal()` in a method call, and make them again from it there."
        )

    def headers(self) -> dict[str, str]:
        """The headers of a request that is to have the tokens."""
        headers = {}
        if self.user_token:
            headers["Authorization"] = f"Token {self.user_token}"
        elif self.access_token:
            headers["Synapse-Access-Token"] = f"Token {self.access_token}"
        if self.tenant:
            headers["Synapse-Tenant"] = f"Token {self.tenant}"
        return headers

    def reveal(self) -> tuple[str, str | None, str | None, str | None]:
        """The values from which ``Credentials(*values)`` makes the same again."""
        return self.host, self.access_token, self.user_token, self.tenant

    def hide(self, text: str) -> str:
        """The text without the tokens: a server may repeat what it was sent."""
        tokens = [token for token in self.reveal()[1:] if token]
        for token in sorted(tokens, key=len, reverse=True):  # one may be a part of another
            text = text.replace(token, HIDDEN)
        return text

    def advice(self) -> str:
        """What to do when the server does not accept them."""
        if self.user_token:
            return f"Give a {USER_TOKEN} that {self.host} accepts."
        if self.access_token:
            return f"Give an {ACCESS_TOKEN} that {self.host} accepts."
        return f"No token was sent: give the {ACCESS_TOKEN} for {self.host}."


def check_host(value: str, source: str) -> str:
    """The URL of a server in its one form: in lower case, without a slash at the end.

    Args:
        value: What was given.
        source: Where, for messages: ``SYNAPSE_HOST``.

    Raises:
        SettingsError: It is not ``http(s)://name[:port][/path]``; what to write instead is told.
    """
    text = value.strip()
    if "@" in text:  # the rest is not shown: it may be a password
        raise SettingsError(
            f"{source} holds a user name or password. Write http(s)://name[:port] only; the "
            f"{ACCESS_TOKEN} is set apart."
        )
    if "://" not in text:
        raise SettingsError(
            f'{source} is {value!r}, without http:// or https://. Write "https://{text}" (or '
            "http:// if the server has no TLS)."
        )
    bare = re.split("[?#]", text)[0]
    if bare != text:
        raise SettingsError(f'{source} has a query or a fragment (?, #). Write "{bare}".')
    try:
        return _normal(text)
    except ValueError as error:  # of Python's own parsers, too
        raise SettingsError(
            f"{source} is {value!r}: {error}. Write http(s)://name[:port][/path], such as "
            '"https://api.synapse.sh".'
        ) from None


def _normal(text: str) -> str:
    if not text.isprintable() or " " in text:
        raise ValueError("a URL has no blanks or control characters")
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https"):
        raise ValueError("it must begin with http:// or https://")
    port = parts.port
    if port == 0:
        raise ValueError("the port is from 1 to 65535")
    name = _name(parts)
    return f"{parts.scheme}://{name}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


def _name(parts: SplitResult) -> str:
    name = parts.hostname or ""
    if "[" in parts.netloc:
        return f"[{ipaddress.IPv6Address(name)}]"
    try:
        name = name.encode("idna").decode()
    except UnicodeError:  # its text says nothing to a user: empty labels, or too long ones
        name = ""
    if not re.fullmatch(r"[a-z0-9_.-]*[a-z0-9_-]\.?", name):
        raise ValueError("the name of the host is missing or is none")
    return name


def _check_token(token: str | None, what: str) -> None:
    """A token goes into a header, which has neither line breaks nor letters beyond ASCII."""
    for position, letter in enumerate(token or "", 1):
        if not "!" <= letter <= "~":
            raise SettingsError(
                f"the {what} cannot be sent: character {position} of {len(token or '')} is a "
                "blank, a line break or not ASCII. Copy it again."
            )
