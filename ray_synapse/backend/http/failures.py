"""What it means for a request that no answer came."""

import errno
import socket
import ssl
from collections.abc import Iterator

import httpx

from ray_synapse.backend.http.credentials import Credentials
from ray_synapse.errors import BackendError, NoAnswerError, Unreachable, UnreachableError

NOT_SENT = (
    *(httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError),
    *(httpx.UnsupportedProtocol, httpx.InvalidURL),
    UnicodeError,  # of Python's resolver, for the name of a host that is none
)
FAILURES = (httpx.HTTPError, httpx.StreamError, *NOT_SENT)
NO_NAME = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
# What OpenSSL says of an answer that is no TLS at all.
NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST")
TEXTS: dict[Unreachable, str] = {
    "name": "there is no such host. Correct its name.",
    "name_later": "its name cannot be looked up now. Check the network.",
    "certificate": (
        "its certificate is not trusted. Correct the host's name, or name the file of the "
        "authority that signed it in SSL_CERT_FILE."
    ),
    "no_tls": "it speaks no TLS. Write http:// instead of https://, or correct the port.",
    "refused": "nothing listens there. Start the server, or correct the address.",
    "timeout": "it does not answer. Check the address and the network.",
    "other": "there is no connection. Check the address and the network.",
}


def failure(error: Exception, call: str, host: str, credentials: Credentials) -> BackendError:
    """The error for a request that got no answer, or only the beginning of one.

    Args:
        error: One of ``FAILURES``.
        call: What was asked, for messages.
        host: Whom.
        credentials: What must not be shown.
    """
    detail = credentials.hide(str(error)) or type(error).__name__
    if not isinstance(error, NOT_SENT):
        return NoAnswerError(
            f"{call}: the answer of {host} was lost ({detail}): it may have been done, or not."
        )
    reason = _reason(error)
    fault = UnreachableError(f"{call}: {host} cannot be reached ({detail}): {TEXTS[reason]}")
    fault.reason = reason
    return fault


def _reason(error: Exception) -> Unreachable:
    if isinstance(error, UnicodeError):
        return "name"
    if isinstance(error, httpx.TimeoutException):
        return "timeout"
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            return "name" if cause.errno in NO_NAME else "name_later"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "certificate"
        if isinstance(cause, ssl.SSLError) and cause.reason in NO_TLS:
            return "no_tls"
        if isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED:
            return "refused"
    return "other"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The errors behind one; httpx hides some as contexts."""
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
