"""How a fault of the JSON is found and said."""

import difflib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from ray_synapse.errors import ConfigError
from ray_synapse.values import dumps, to_wire

MAX_SHOWN_BITS = 128  # of an integer that is written out
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
    lower = name.lower()

    def likeness(each: str) -> float:
        start = 0.5 if lower and (each.startswith(lower) or lower.startswith(each)) else 0.0
        return start + difflib.SequenceMatcher(None, lower, each).ratio()

    return sorted(known, key=likeness, reverse=True)


def did_you_mean(name: Any, known: Iterable[str]) -> str:
    """``did you mean 'x'? (one of a, b, c)``, with the nearest known name first."""
    name = name if isinstance(name, str) else shown(name)
    names = nearest_first(name, known)
    if not names:
        return "there is none to choose from"
    listed = ", ".join(names)
    near = difflib.SequenceMatcher(None, name.lower(), names[0]).ratio() >= 0.5
    near = near or (len(name) >= 3 and names[0].startswith(name.lower()))
    return f"did you mean '{names[0]}'? ({listed})" if near else f"allowed: {listed}"


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
