"""URLs: what they lead to, whether tokens may go there, what of them may be shown."""

import httpx

from ray_synapse.backend.api.checks import MAX_SHOWN_CHARS
from ray_synapse.backend.http.answers import Answer
from ray_synapse.backend.http.credentials import Credentials
from ray_synapse.errors import BackendError, RefusedError


def url_of(text: str, call: str, base: httpx.URL | None = None) -> httpx.URL:
    """A URL, seen from another one if there is one.

    Raises:
        RefusedError: The text is none.
    """
    try:
        return httpx.URL(text) if base is None else base.join(text)
    except (httpx.InvalidURL, ValueError) as error:
        fault = RefusedError(f"{call[:MAX_SHOWN_CHARS]}: this makes no URL: {error}.")
    fault.was_sent = False
    raise fault


def origin_of(url: httpx.URL) -> tuple[str, str, int | None]:
    """What tokens belong to. A port that the scheme implies is None."""
    return url.scheme, url.host, url.port


def place_of(url: httpx.URL) -> str:
    """A URL without what may be secret: a password, or the signature in a query."""
    return str(url.copy_with(userinfo=b"", query=None, fragment=None))


def host_of(url: httpx.URL) -> str:
    """A URL's scheme, name and port."""
    return place_of(url.copy_with(path="/")).rstrip("/")


def target_of(response: httpx.Response) -> httpx.URL | None:
    """Where a redirect leads to."""
    return None if response.next_request is None else response.next_request.url


def stays(source: httpx.URL, target: httpx.URL) -> bool:
    """Whether a redirect leads to the same host, and not out of TLS."""
    is_raised = (source.scheme, target.scheme) == ("http", "https")
    is_same = origin_of(target) == origin_of(source)
    return (is_same or (is_raised and target.host == source.host)) and not target.userinfo


def redirected(answer: Answer, target: httpx.URL, credentials: Credentials) -> BackendError:
    """The error for a redirect that is not followed."""
    place, path = place_of(target), answer.call.partition(" ")[2]
    base = place[: -len(path)] if place.endswith(path) else host_of(target)
    text = (
        f"{answer.line}: it leads to {place}, and is not followed there. If that is the Synapse "
        f"server, set SYNAPSE_HOST to {base}."
    )
    error = BackendError(credentials.hide(text))
    error.status = answer.status
    return error
