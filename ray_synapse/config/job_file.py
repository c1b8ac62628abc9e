"""The JSON of a job: read from a file or standard input, and changed by ``path=value``."""

import json
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray_synapse.config.faults import Faults, did_you_mean, shown
from ray_synapse.config.params import EXAMPLE, is_whole
from ray_synapse.errors import ConfigError
from ray_synapse.formats import printable

MAX_BEFORE_CHARS = 40  # of the line with a fault, before its column: what is wrong is often there
MAX_AFTER_CHARS = 20  # and after it
MAX_INDEX_DIGITS = 9  # no list is longer
ASSIGNMENT = "tune_config.num_samples=4"


class _RefusedError(ValueError):
    """It is JSON, but nobody can have meant it."""


def load(source: str) -> Any:
    """Read the JSON of a job.

    Args:
        source: A path, or ``-`` for standard input.

    Returns:
        What is in it, of whatever form.

    Raises:
        ConfigError: It cannot be read, or is no JSON. It names the file, and the line and column.
    """
    where = "standard input" if source == "-" else printable(source)
    try:
        text = _bytes(source).decode("utf-8-sig")
        if not text.strip():
            raise ConfigError(f"{where}: is empty: write an object, e.g. {EXAMPLE}")
        return _parsed(text)
    except ConfigError:
        raise
    except OSError as error:
        fault = _os_fault(error, source)
    except UnicodeDecodeError as error:
        fault = f"is no text in UTF-8 (its byte {error.start + 1}): save it as UTF-8"
    except json.JSONDecodeError as error:
        where += f", line {error.lineno}, column {error.colno}"
        fault = f"{error.msg}: correct it there or just before: {_around(error)}"
    except RecursionError:
        fault = "is nested too deeply: take out some levels"
    except ValueError as error:  # a number or key that is refused, or a path that cannot be
        fault = str(error)
    raise ConfigError(f"{where}: {fault}")


def overridden(job: Any, assignments: Sequence[str]) -> Any:
    """Set some of a job's params.

    A path goes from ``params`` inwards, its parts divided by dots: keys of objects, and for an
    entry of a list its index, counted from 0, or its ``name``. Objects that are missing on the way
    are made. A value that is no JSON is a text.

    Args:
        job: The whole object, or its params. It stays as it is.
        assignments: Each a ``path=value``, such as ``"tune_config.num_samples=4"``.

    Returns:
        The job with these values; what they do not touch is shared with the given one.

    Raises:
        ConfigError: With every fault of every assignment.
    """
    faults = Faults()
    job = _unshared(job)
    for each in assignments:
        path, sign, text = each.partition("=")
        try:
            if not sign:
                raise ConfigError(f"has no `=`: write path=value, e.g. {ASSIGNMENT}")
            _set(job, path.strip().split("."), _value(text))
        except ConfigError as error:
            faults.add(f"--set {printable(path.strip())}", str(error))
    faults.raise_if_any()
    return job


def _bytes(source: str) -> bytes:
    if source != "-":
        return Path(source).read_bytes()
    if sys.stdin is None:
        raise ConfigError("standard input: is closed: give a file, or pipe the JSON in")
    return sys.stdin.buffer.read()


def _os_fault(error: OSError, source: str) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no such file: check the path ({printable(str(Path(source).absolute()))})"
    if isinstance(error, IsADirectoryError):
        return "is a folder: give a file"
    if isinstance(error, PermissionError):
        return "this user may not read it: give the right to (chmod), or use another file"
    return f"cannot be read ({error.strerror or error}): give another file"


def _around(error: json.JSONDecodeError) -> str:
    """The place of a fault, in one line."""
    start = max(error.pos - MAX_BEFORE_CHARS, error.pos - error.colno + 1)
    line = error.doc[start : error.pos + MAX_AFTER_CHARS].split("\n")[0]
    return printable(line.strip()) or "the line is empty"


def _parsed(text: str) -> Any:
    return json.loads(
        text,
        object_pairs_hook=_object,
        parse_constant=_constant,
        parse_float=_float,
        parse_int=_int,
    )


def _constant(name: str) -> Any:
    raise ValueError(f"has {name}, which is no JSON: write null or a finite number")


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _RefusedError(f"has {text}, more than a number can hold: write a smaller one")
    return number


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # Python's own limit
        raise _RefusedError(f"has a number of {len(text)} digits: write a smaller one") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = ", ".join(shown(key) for key, count in counts.items() if count > 1)
        raise _RefusedError(f"has {twice} twice in the object {shown(found)}: leave one out")
    return found


def _value(text: str) -> Any:
    try:
        return _parsed(text)
    except _RefusedError as error:
        raise ConfigError(f"its value {error}") from None
    except (ValueError, RecursionError):
        return text


def _set(job: Any, parts: list[str], value: Any) -> None:
    """Set one value; all on the way to it is replaced by a copy."""
    here = job
    if is_whole(job):
        here = job["params"] = {} if job.get("params") is None else _unshared(job["params"])
        parts = parts[1:] if parts[0] == "params" else parts
    elif parts[0] == "params" and isinstance(job, dict) and "params" not in job:
        raise ConfigError("the JSON is the params themselves: leave out `params.`")
    if not parts:
        raise ConfigError(f"the params are set one by one: write e.g. {ASSIGNMENT}")
    if not all(parts):
        raise ConfigError(f"a part of the path is empty: write path=value, e.g. {ASSIGNMENT}")
    if parts[0] == "action":
        raise ConfigError("action is none of the params: change it in the JSON itself")
    if not isinstance(here, dict):
        raise ConfigError(f"the params are {shown(here)}: write an object in the JSON itself")
    for depth, part in enumerate(parts):
        key = _key(here, part, ".".join(parts[:depth]))
        if depth == len(parts) - 1:
            here[key] = value
        else:
            there = here.get(key) if isinstance(here, dict) else here[key]
            here[key] = {} if there is None else _unshared(there)
            here = here[key]


def _unshared(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, (list, tuple)) else value


def _key(here: Any, part: str, path: str) -> Any:
    """What ``part`` means in what is at ``path``."""
    at = f"`{printable(path)}`"
    if isinstance(here, dict):
        return part
    if not isinstance(here, list):
        raise ConfigError(f"{at} is {shown(here)}, neither an object nor a list: set {at} itself")
    if not here:
        raise ConfigError(f"{at} is an empty list: set it as a whole, to [...]")
    names: dict[str, int] = {}
    for index, entry in enumerate(here):
        if isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
            names.setdefault(entry["name"], index)
    if part.isascii() and part.isdigit():
        if len(part) <= MAX_INDEX_DIGITS and int(part) < len(here):
            return int(part)
    elif part in names:
        return names[part]
    elif names:
        raise ConfigError(
            f"{at} has no entry with the name {shown(part)}: " + did_you_mean(part, names)
        )
    raise ConfigError(f"{at} is a list: write an index from 0 to {len(here) - 1} for {shown(part)}")
