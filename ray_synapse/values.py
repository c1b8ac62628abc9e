"""Any Python value to a value that JSON can carry; knows no library by import."""

import dataclasses
import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any

Wire = None | bool | int | float | str | list["Wire"] | dict[str, "Wire"]

MAX_TEXT_CHARS = 2_000  # a cell of a table; longer text is nobody's to read there
MAX_ITEMS = 200  # of one list or dict: a table's cell again
MAX_NODES = 20_000  # of one whole value: bounds the time on a huge nested one
MAX_PLAIN = 1 << 256  # integers from here on are given in hexadecimal, as text
MAX_NAME_CHARS = 200  # of a name that is kept to be used again
MAX_DEPTH = 20  # deeper nesting is a cycle, or as good as one


_FORM: Any = {"ensure_ascii": False, "separators": (",", ":")}
_encode = json.JSONEncoder(**_FORM, allow_nan=False).encode
_encode_any = json.JSONEncoder(**_FORM).encode
_NOT_FINITE = re.compile("-?Infinity|NaN")


def to_wire(value: Any, *, max_chars: int = MAX_TEXT_CHARS) -> Wire:
    """Turn any value into what JSON can carry. Never raises.

    Scalars of numpy and torch become Python's, numbers that are not finite become None, integers
    stay integers. Mappings (with text as keys), lists, tuples, sets and dataclasses are followed;
    a callable is given by its name, any other object by its repr. What is too long is cut, and
    says how long it was. What came out once comes out the same again.

    Args:
        value: Anything.
        max_chars: Longest text that is kept whole, in characters.
    """
    return _Converter(max_chars).convert(value, 0)


def dumps(value: Wire) -> str:
    """JSON text without blanks, NaN and lone surrogates, as it goes over the wire."""
    text = _encode(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def to_json(value: Any) -> str:
    """The JSON text of any value: as ``dumps(to_wire(value))``, but fast for numbers."""
    if type(value) is float:
        return repr(value) if math.isfinite(value) else "null"
    if type(value) is int and -MAX_PLAIN < value < MAX_PLAIN:
        return repr(value)
    return dumps(to_wire(value))


def number_texts(values: Sequence[int | float | None]) -> list[str]:
    """The JSON text of each number: all in one go, which is several times as fast."""
    text = _encode_any(values)
    if "N" in text or "I" in text:  # NaN and infinities; to look for these alone takes no time
        text = _NOT_FINITE.sub("null", text)
    return text[1:-1].split(",")


def quoted(name: str) -> str:
    """The JSON text of a name: of these there are few, and they come again and again."""
    return _quoted(name) if len(name) <= MAX_NAME_CHARS else dumps(name)


@functools.lru_cache(maxsize=1024)
def _quoted(name: str) -> str:
    return dumps(name)


def as_number(value: Any) -> int | float | None:
    """The Python number that ``value`` stands for (NaN and infinities too), or None.

    Numbers are Python's, numpy's, Decimal, Fraction and scalar tensors; bool and text are not.
    """
    if isinstance(value, bool):
        return None
    if type(value) in (int, float):
        return value  # type: ignore[no-any-return]  # the exact type was just looked at
    value = _plain_scalar(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal, Fraction)):
        return None
    try:
        return int(value) if isinstance(value, int) else float(value)
    except (OverflowError, ValueError):  # Fraction(10**400), Decimal("sNaN")
        return None


def is_finite(value: Any) -> bool:
    """Whether ``value`` is a number, neither NaN nor infinite."""
    number = as_number(value)
    try:
        return number is not None and math.isfinite(number)
    except OverflowError:  # an integer that no float can hold
        return False


def flatten(value: Mapping[Any, Any]) -> dict[str, Any]:
    """Nested mappings to one level, their keys joined with ``/`` as Tune does.

    An empty mapping inside stays as a value: it says that there was something.
    """
    flat: dict[str, Any] = {}
    _flatten_into(flat, "", value, 0)
    return flat


def _flatten_into(flat: dict[str, Any], prefix: str, value: Mapping[Any, Any], depth: int) -> None:
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping) and item and depth < MAX_DEPTH:
            _flatten_into(flat, f"{name}/", item, depth + 1)
        else:
            flat[name] = item


def _plain_scalar(value: Any) -> Any:
    """Python's scalar for a numpy or torch one (both have ``item``), else the value itself."""
    if isinstance(value, (Decimal, Fraction, int, float)):
        return value
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        try:
            return value.item()
        except Exception:  # e.g. a tensor without data: it is no number then
            return value
    return value


class _Converter:
    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._nodes_left = MAX_NODES

    def convert(self, value: Any, depth: int) -> Wire:
        self._nodes_left -= 1
        if value is None or value is True or value is False:
            return value
        if type(value) is int:
            return value if -MAX_PLAIN < value < MAX_PLAIN else self._text(f"{value:#x}")
        if type(value) is str:
            return self._text(value)
        if depth > MAX_DEPTH or self._nodes_left < 0:
            return "…"
        try:
            return self._convert(value, depth)
        except Exception as error:  # somebody's __iter__ or __fspath__ that raises
            return f"<{type(value).__name__}: {type(error).__name__}>"

    def _convert(self, value: Any, depth: int) -> Wire:
        if isinstance(value, Enum):
            return self.convert(value.value, depth + 1)
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if (number := as_number(value)) is not None:
            if isinstance(number, int):
                return self.convert(number, depth + 1)
            return number if math.isfinite(number) else None
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._sequence(list(value), depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            return self._mapping(fields, depth)
        return self._object(value, depth)

    def _object(self, value: Any, depth: int) -> Wire:
        if isinstance(value, PurePath):
            return self._text(str(value))
        if isinstance(value, (datetime, date, time)):
            return value.isoformat()
        if isinstance(value, timedelta):
            return value.total_seconds()
        if isinstance(value, (bytes, bytearray, memoryview)):
            return f"<{len(value):,} bytes>"
        shape = getattr(value, "shape", None)
        if isinstance(shape, tuple) and callable(getattr(value, "tolist", None)):
            if math.prod(shape) > MAX_ITEMS:
                return f"<{type(value).__name__} of shape {tuple(shape)}>"
            return self.convert(value.tolist(), depth + 1)
        if callable(value):
            name = getattr(value, "__qualname__", None) or type(value).__qualname__
            return self._text(f"{getattr(value, '__module__', '')}.{name}".lstrip("."))
        return self._text(repr(value))

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> Wire:
        wire: dict[str, Wire] = {}
        keys = list(value)
        kept = len(keys) if len(keys) <= MAX_ITEMS else MAX_ITEMS - 1
        for key in keys[:kept]:
            wire[self._key(key)] = self.convert(value[key], depth + 1)
        if kept < len(keys):
            wire["…"] = f"{len(keys) - kept:,} more"
        return wire

    def _key(self, key: Any) -> str:
        return self._text(key if isinstance(key, str) else str(to_wire(key)))

    def _sequence(self, value: list[Any], depth: int) -> Wire:
        kept = len(value) if len(value) <= MAX_ITEMS else MAX_ITEMS - 1
        wire = [self.convert(item, depth + 1) for item in value[:kept]]
        if kept < len(value):
            wire.append(f"… {len(value) - kept:,} more")
        return wire

    def _text(self, text: str) -> str:
        if len(text) > self._max_chars:
            note = f"… ({len(text):,} characters)"
            text = text[: max(self._max_chars - len(note), 0)] + note
        if text.isascii():
            return text.replace("\x00", "�")  # PostgreSQL's JSON has no NUL
        return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "�")
