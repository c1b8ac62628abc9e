"""What is sent to the backend, checked field by field before anything is written."""

import re
import reprlib
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timezone
from typing import Any

from ray_synapse.errors import RefusedError
from ray_synapse.values import dumps

Rule = Callable[[Any], str]  # what is wrong with a value, or ""

MAX_FAULTS = 20  # that are told of one object: an answer must not be larger than the request
MAX_SHOWN_CHARS = 60
MAX_ID_CHARS = 64  # a UUID has 36
MAX_DEPTH = 64  # of nested JSON: what was taken must also be readable, by any client
_SHORT = reprlib.Repr()  # a refused value may be large, or nest deep
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = MAX_SHOWN_CHARS
STATUSES = ("PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED")
LEVELS = ("debug", "info", "success", "warning", "error", "danger")
DATA_URI = re.compile(r"data:[\w.+-]+/[\w.+-]+(;[\w.+-]+=[\w.+-]+)*;base64,")
SURROGATES = re.compile("[\ud800-\udfff]")
TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:?\d\d)", re.ASCII
)
BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")


def checked(
    what: str, data: Any, rules: Mapping[str, Rule], required: Collection[str] = ()
) -> dict[str, Any]:
    """The object that was sent, if each of its fields is known and right.

    Args:
        what: What it is, for messages: "a model".
        data: What was sent.
        rules: The fields that it may have, and what each must be.
        required: Those that it must have.

    Raises:
        RefusedError: It is no object, or some fields are wrong; all of these at once.
    """
    fields = an_object(what, data)
    faults = {
        str(name): [f"{what} has no such field; it has {', '.join(rules)}."]
        for name in fields
        if name not in rules
    }
    faults.update({name: ["This field is required."] for name in required if name not in fields})
    for name, rule in rules.items():
        if name in fields and (fault := rule(fields[name])):
            faults[name] = [fault]
    if faults:
        told = list(faults.items())[:MAX_FAULTS]
        raise RefusedError({field[:MAX_SHOWN_CHARS]: texts for field, texts in told})
    return fields


def an_object(what: str, data: Any) -> dict[str, Any]:
    """``data`` if it is a JSON object.

    Raises:
        RefusedError: It is something else.
    """
    if not isinstance(data, dict):
        raise RefusedError(f"{what} is sent as a JSON object, not as {shown(data)}.")
    return data


def stored(field: str, value: Any) -> str:
    """The JSON text of a value as the database keeps it.

    Raises:
        RefusedError: It holds NaN or an infinity, which JSON does not have, or nests too deep.
    """
    try:
        if is_within(value, MAX_DEPTH):
            return dumps(value)
        fault = f"It nests deeper than {MAX_DEPTH} levels. Send it flat."
    except ValueError:
        fault = "It holds NaN or an infinity, which JSON does not have. Send null instead."
    except TypeError as error:
        fault = f"It is no JSON: {error}."
    raise RefusedError({field[:MAX_SHOWN_CHARS]: [fault]})


def is_within(value: Any, depth: int) -> bool:
    """Whether objects and lists nest at most so deep."""
    if not isinstance(value, (dict, list)):
        return True
    items = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(is_within(item, depth - 1) for item in items)


def shown(value: Any) -> str:
    """A value for a message."""
    return _SHORT.repr(value)


def nullable(rule: Rule) -> Rule:
    """The rule, or None."""
    return lambda value: "" if value is None else rule(value)


def anything(value: Any) -> str:
    """Any JSON."""
    return ""


def mapping(value: Any) -> str:
    """A JSON object."""
    return "" if isinstance(value, dict) else f"It must be an object, not {shown(value)}."


def text(value: Any) -> str:
    """Any text that UTF-8 can hold."""
    if isinstance(value, str) and not SURROGATES.search(value):
        return ""
    return f"It must be text (with whole characters), not {shown(value)}."


def name(value: Any) -> str:
    """Text that says something."""
    if isinstance(value, str) and not value.strip():
        return f"It must not be blank, but it is {shown(value)}."
    return text(value)


def name_up_to(limit: int) -> Rule:
    """Text that says something in at most ``limit`` characters."""
    return lambda value: name(value) or too_long(value, limit)


def one_of(choices: Collection[str]) -> Rule:
    """One of some words."""

    def rule(value: Any) -> str:
        if isinstance(value, str) and value in choices:
            return ""
        return f"It must be one of {', '.join(choices)}, not {shown(value)}."

    return rule


def identifier(value: Any) -> str:
    """An id: an integer or text."""
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return text(str(value)) or too_long(str(value), MAX_ID_CHARS)
    return f"It must be an id (an integer or text), not {shown(value)}."


def too_long(value: str, limit: int) -> str:
    """Text of at most ``limit`` characters."""
    return "" if len(value) <= limit else f"It has {len(value)} characters, allowed are {limit}."


def data_uri(value: Any) -> str:
    """A file within the JSON."""
    if isinstance(value, str) and (head := DATA_URI.match(value)):
        content = len(value) - head.end()
        if content % 4 == 0 and BASE64.fullmatch(value, head.end()):
            return ""
    return f"It must be data:<mime>;base64,<content>, not {shown(value)}."


def utc(value: Any) -> str | None:
    """A date and time of ISO 8601 with an offset, in UTC; None if it is something else."""
    match = TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    offset = "+00:00" if zone == "Z" else f"{zone[:3]}:{zone[-2:]}"
    try:  # Python 3.10 takes this form only
        time = datetime.fromisoformat(f"{day}T{clock}.{(fraction or '')[:6]:0<6}{offset}")
        return time.astimezone(timezone.utc).isoformat()
    except (ValueError, OverflowError):
        return None
