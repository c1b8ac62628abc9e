"""What a server answered, as a value or as the error that it stands for."""

import html
import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from ray_synapse.backend.http.credentials import Credentials
from ray_synapse.errors import (
    BackendError,
    DeniedError,
    NotFoundError,
    RefusedError,
    StorageError,
    TooLargeError,
)

MAX_SAID_CHARS = (
    500  # of what the server said: enough for all faults of a form, a few lines to read
)
KIND_OF: dict[int, type[BackendError]] = {
    **dict.fromkeys((400, 409, 422), RefusedError),
    **dict.fromkeys((401, 403), DeniedError),
    404: NotFoundError,
    413: TooLargeError,
    503: StorageError,
}


class Answer(NamedTuple):
    """A whole answer.

    Attributes:
        call: What was asked, for messages: ``POST /logs/``.
        status: The HTTP status.
        headers: They are found in upper and lower case.
        body: As it came, if it came whole.
    """

    call: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def line(self) -> str:
        """What was asked and how it ended, for messages: ``POST /logs/: 400 Bad Request``."""
        known = self.status in list(HTTPStatus)
        return (
            f"{self.call}: {self.status} {HTTPStatus(self.status).phrase if known else ''}".strip()
        )

    @property
    def is_success(self) -> bool:
        """Whether it is 2xx."""
        return 200 <= self.status < 300

    @property
    def is_of_api(self) -> bool:
        """Whether it is not what a proxy says while the server is away."""
        return self.status < 500 and "json" in self.headers.get("Content-Type", "")

    def json(self) -> Any:
        """The JSON of the body.

        Raises:
            ValueError: It is none.
        """
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("it nests too deep") from None


def refusal(answer: Answer, credentials: Credentials, is_foreign: bool = False) -> BackendError:
    """The error that an answer other than 2xx stands for.

    Args:
        answer: What came.
        credentials: What it may repeat, and must not be shown.
        is_foreign: It came from a server that was not sent the tokens, so they are not at fault.
    """
    kind = KIND_OF.get(answer.status, BackendError)
    error: BackendError
    if kind is RefusedError:
        error = RefusedError(_faults(answer, credentials) or said(answer, credentials))
        error.answer = answer.line
    elif kind is DeniedError and is_foreign:
        error = BackendError(f"{answer.line}: {said(answer, credentials)}")
    else:
        advice = f" {credentials.advice()}" if kind is DeniedError else ""
        error = kind(f"{answer.line}: {said(answer, credentials)}{advice}")
    error.status, error.retry_after = answer.status, retry_after(answer.headers)
    error.is_json = "json" in answer.headers.get("Content-Type", "")
    return error


def said(answer: Answer, credentials: Credentials) -> str:
    """What the body says, in one line that can be shown."""
    try:
        value = answer.json()
    except ValueError:
        return _shown(_plain(answer.body), credentials) or "(without a text)"
    return _shown(_detail(value), credentials)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """How long the server asks to wait, in seconds; None if it does not, or not clearly.

    A date is compared with that of the answer, if it has one: our clock may be wrong.
    """
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"-?\d{1,9}(\.\d{1,9})?", text):
        return max(float(text), 0.0)
    until = _date(text)
    if until is None:
        return None
    now = _date(headers.get("Date", "")) or datetime.now(timezone.utc)
    return max((until - now).total_seconds(), 0.0)


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):  # Python 3.10 raises all of them
        return None
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)


def _faults(answer: Answer, credentials: Credentials) -> dict[str, list[str]]:
    """The faults of each field; none if the body tells of none."""
    try:
        value = answer.json()
    except ValueError:
        return {}
    if not isinstance(value, dict) or set(value) == {"detail"}:
        return {}
    faults, room = dict[str, list[str]](), MAX_SAID_CHARS
    for field, texts in value.items():
        if room <= 0:
            break
        told = _shown(_detail(texts), credentials, room)
        faults[_shown(field, credentials)] = [told]
        room -= len(field) + len(told)
    return faults


def _detail(value: Any) -> str:
    """The text in ``{"detail": text}``, a text, a list of texts; the JSON of anything else."""
    if isinstance(value, dict) and set(value) == {"detail"}:
        value = value["detail"]
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = " ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(body: bytes) -> str:
    """A body that is no JSON; of a page, its title."""
    text = body[: 100 * MAX_SAID_CHARS].decode("utf-8", "replace").strip()
    if not text.startswith("<"):
        return text
    title = re.search(r"<title[^>]*>([^<]*)</title", text, re.IGNORECASE)
    return f"a page with the title {html.unescape(title[1])!r}" if title else "a page of HTML"


def _shown(text: str, credentials: Credentials, limit: int = MAX_SAID_CHARS) -> str:
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    hidden = credentials.hide(" ".join(plain.split()))
    return hidden if len(hidden) <= limit else f"{hidden[: max(limit - 1, 0)]}…"
