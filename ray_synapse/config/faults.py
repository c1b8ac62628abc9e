"""How a fault of the JSON is found and said."""

import difflib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from ray_synapse.errors import ConfigError
from ray_synapse.values import dumps, to_wire

MAX_SHOWN_BITS = 128  # of an integer that is written out
MAX_COMPARED_CHARS = 100  # of a wrong name: comparing takes their number squared
MAX_SHOWN_CHARS = 60  # of a wrong value: enough to find it in the JSON


class Faults:
    """Collects what is wrong, so that all of it comes in one error."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def add(self, where: str, text: str) -> None:
        """Note one fault, e.g. ``add("hyperparameter 'lr'", "`min` is missing")``."""
        self._found.append(f"{where}: {text}" if where else text)

    def include(self, error: ConfigError) -> None:
        """Note all faults of another error."""
        self._found += error.faults

    def __len__(self) -> int:
        return len(self._found)

    def raise_if_any(self) -> None:
        """Raises: ConfigError: With all faults, if there are any."""
        if self._found:
            raise ConfigError(*self._found)


def shown(value: Any) -> str:
    """A wrong value as JSON writes it, or as Python does, short enough for a message."""
    if isinstance(value, int) and value.bit_length() > MAX_SHOWN_BITS:
        return f"a number of about {int(value.bit_length() * math.log10(2)) + 1} digits"
    try:
        text = dumps(to_wire(value, max_chars=MAX_SHOWN_CHARS)) if is_json(value) else repr(value)
    except Exception:  # somebody's __repr__, or the digits of a number within a list
        text = f"a {type(value).__name__}"
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[: MAX_SHOWN_CHARS - 1]}…"


def nearest_first(name: str, known: Iterable[str]) -> list[str]:
    """All known names, those that look most like ``name`` first."""
    lower = _comparable(name)

    def likeness(each: str) -> float:
        start = 0.5 if lower and (each.startswith(lower) or lower.startswith(each)) else 0.0
        return start + difflib.SequenceMatcher(None, lower, each).ratio()

    return sorted(known, key=likeness, reverse=True)


def nearest(name: Any, known: Iterable[str]) -> str | None:
    """The known name that was probably meant; None if there is none."""
    name = _comparable(name)
    names = nearest_first(name, known)
    if not names:
        return None
    is_start = len(name) >= 3 and names[0].startswith(name)
    is_near = difflib.SequenceMatcher(None, name, names[0]).ratio() >= 0.5
    return names[0] if is_start or is_near else None


def did_you_mean(name: Any, known: Iterable[str]) -> str:
    """``did you mean 'x'? (x, a, b, c)``, with the nearest known name first."""
    names = nearest_first(_comparable(name), known)
    if not names:
        return "there is none to choose from"
    near = nearest(name, names)
    listed = ", ".join(names)
    return f"did you mean '{near}'? ({listed})" if near else f"allowed: {listed}"


def _comparable(name: Any) -> str:
    return (name if isinstance(name, str) else shown(name))[:MAX_COMPARED_CHARS].lower()


def is_json(value: Any) -> bool:
    """Whether JSON can carry the value as it is: no NaN, no objects, only text as keys."""
    try:
        json.dumps(value, allow_nan=False)
        return _has_text_keys(value)
    except (TypeError, ValueError, RecursionError):
        return False


def _has_text_keys(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _has_text_keys(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(_has_text_keys(item) for item in value)
    return True
