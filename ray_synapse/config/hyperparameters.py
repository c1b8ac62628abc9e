"""The JSON list of hyperparameters: the twelve types, and all that can be wrong with an entry."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ray_synapse.config import grids
from ray_synapse.config.faults import Faults, did_you_mean, is_json, shown
from ray_synapse.values import as_number, is_finite

MAX_INTEGER = 10**12  # up to here Tune's logarithms of integers are exact to less than one
MAX_DEPTH = 20  # of a name's parts: what is deeper is a mistake, and some searchers' end
TUNE_SYNTAX = ("eval", "grid_search")  # keys of objects that Tune resolves, wherever they are
NORMAL_REACH = 40  # standard deviations: no sample is ever further away


@dataclass(frozen=True)
class Kind:
    """What one type needs."""

    needs: tuple[str, ...] = ("min", "max")
    integer: bool = False
    log: bool = False
    quantized: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        """All fields beside ``name`` and ``type``."""
        return (*self.needs, *(("q",) if self.quantized else ()))


_LOG = ("min", "max", "base")
KINDS = {
    "uniform": Kind(),
    "quniform": Kind(quantized=True),
    "loguniform": Kind(_LOG, log=True),
    "qloguniform": Kind(_LOG, log=True, quantized=True),
    "randn": Kind(("mean", "sd")),
    "qrandn": Kind(("mean", "sd"), quantized=True),
    "randint": Kind(integer=True),
    "qrandint": Kind(integer=True, quantized=True),
    "lograndint": Kind(_LOG, integer=True, log=True),
    "qlograndint": Kind(_LOG, integer=True, log=True, quantized=True),
    "choice": Kind(("options",)),
    "grid_search": Kind(("options",)),
}
OTHER_NAMES = {"values": "options", "lower": "min", "upper": "max"}  # what other tools call them


@dataclass(frozen=True)
class Hyperparameter:
    """One valid entry: its name, its type, and the fields of that type with ``q`` filled in."""

    name: str
    type: str
    fields: Mapping[str, Any] = field(default_factory=dict)


def parse_hyperparameters(value: Any) -> list[Hyperparameter]:
    """Check the whole list.

    Args:
        value: What came as JSON: a list of objects.

    Raises:
        ConfigError: With every fault of every entry.
    """
    faults = Faults()
    if isinstance(value, Mapping):
        faults.add(
            "hyperparameters",
            "must be a list of objects with `name` and `type`, not an object. For a training with "
            "fixed values use `hyperparameter` (without s) and is_tune=false",
        )
    elif not isinstance(value, (list, tuple)):
        faults.add(
            "hyperparameters",
            f"is {shown(value)}: write a list of objects, each with `name` and `type`",
        )
    elif not value:
        faults.add("hyperparameters", "the list is empty: write at least one hyperparameter")
    else:
        parsed = [_Entry(entry, index, faults).parse() for index, entry in enumerate(value)]
        found = [each for each in parsed if each is not None]
        _check_names([(_name(each), index) for index, each in enumerate(value)], faults)
        faults.raise_if_any()
        return found
    faults.raise_if_any()
    return []


def _name(entry: Any) -> str | None:
    name = entry.get("name") if isinstance(entry, Mapping) else None
    return name if isinstance(name, str) else None


def _check_names(names: list[tuple[str | None, int]], faults: Faults) -> None:
    """No name twice, and none that is another's parent (``model`` beside ``model/lr``)."""
    first: dict[str, int] = {}
    for name, index in names:
        if name is None:
            continue
        if name in first:
            both = f"entries {first[name]} and {index}, counted from 0"
            faults.add(f"hyperparameter '{name}'", f"`name` is there twice ({both}): rename one")
        first.setdefault(name, index)
    for name in first:
        parts = name.split("/")
        for end in range(1, len(parts)):
            if (parent := "/".join(parts[:end])) in first:
                faults.add(
                    f"hyperparameter '{name}'",
                    f"`name` puts it inside of '{parent}', which is a hyperparameter itself: "
                    "rename one",
                )


def _is_syntax(option: Any) -> bool:
    """Whether Tune would not take the option as it is: it runs ``{"eval": "..."}``."""
    if isinstance(option, Mapping):
        return (len(option) == 1 and set(option) <= set(TUNE_SYNTAX)) or any(
            map(_is_syntax, option.values())
        )
    return isinstance(option, (list, tuple)) and any(map(_is_syntax, option))


class _Entry:
    """One entry on its way to a ``Hyperparameter``; each check notes what it finds."""

    def __init__(self, entry: Any, index: int, faults: Faults) -> None:
        self._entry = entry
        self._faults = faults
        name = _name(entry)
        self._where = f"hyperparameter '{name}'" if name else f"hyperparameters[{index}]"

    def parse(self) -> Hyperparameter | None:
        before = len(self._faults)
        if not isinstance(self._entry, Mapping):
            self._fault(f"is {shown(self._entry)}: write an object with `name` and `type`")
            return None
        self._check_name()
        kind = self._kind()
        if kind is None:
            return None
        self._check_fields(kind)
        values = {name: self._value(name, kind) for name in kind.fields if name in self._entry}
        fields = {name: value for name, value in values.items() if value is not None}
        self._check_signs(kind, fields)
        if {"min", "max"} <= set(fields):
            self._check_range(kind, fields)
        elif {"mean", "sd"} <= set(fields):
            self._check_normal(kind, fields)
        if len(self._faults) > before:
            return None
        return Hyperparameter(self._entry["name"], self._entry["type"], fields)

    def _fault(self, text: str) -> None:
        self._faults.add(self._where, text)

    def _check_name(self) -> None:
        name = self._entry.get("name")
        if "name" not in self._entry:
            self._fault("`name` is missing: write the key under which the trial finds it")
        elif not isinstance(name, str):
            self._fault(f"`name` is {shown(name)}: write a text")
        elif not all(parts := name.split("/")):
            self._fault(f"`name` is {shown(name)}: neither it nor a part between / may be empty")
        elif len(parts) > MAX_DEPTH:
            self._fault(f"`name` has {len(parts)} parts between /: at most {MAX_DEPTH}")
        elif syntax := set(parts) & set(TUNE_SYNTAX):
            self._fault(f"`name` has the part {syntax.pop()}, a command of Tune's: take another")

    def _kind(self) -> Kind | None:
        kind = self._entry.get("type")
        if "type" not in self._entry:
            self._fault(f"`type` is missing: write one of {', '.join(KINDS)}")
        elif not isinstance(kind, str):
            self._fault(f"`type` is {shown(kind)}: write one of {', '.join(KINDS)}")
        elif kind not in KINDS:
            self._fault(f"`type` is {shown(kind)}: {did_you_mean(kind, KINDS)}")
        else:
            return KINDS[kind]
        return None

    def _check_fields(self, kind: Kind) -> None:
        """Names the fields that are missing or too much; a misnamed one is not missing as well."""
        given, type_ = set(self._entry) - {"name", "type"}, self._entry["type"]
        misnamed = {
            OTHER_NAMES[name]
            for name in given
            if OTHER_NAMES.get(name) in kind.fields and OTHER_NAMES[name] not in given
        }
        for name in self._entry:
            if name in ("name", "type", *kind.fields):
                continue
            if OTHER_NAMES.get(name) in misnamed:
                self._fault(f"`{name}` is not a field of {type_}: write `{OTHER_NAMES[name]}`")
            else:
                hint = did_you_mean(name, kind.fields).replace("allowed", "leave it out; allowed")
                self._fault(f"{shown(name)} is not a field of {type_}: {hint}")
        for name in kind.needs:
            if name not in given and name not in misnamed:
                self._fault(f"`{name}` is missing: {type_} needs {', '.join(kind.needs)}")

    def _value(self, name: str, kind: Kind) -> Any:
        """The field's value in its Python type; None (and a fault) if it is none."""
        value = self._entry[name]
        if name == "options":
            return self._options(value)
        number = as_number(value)
        if number is None:
            quotes = " without quotes" if isinstance(value, str) else ""
            self._fault(f"`{name}` is {shown(value)}: write a number{quotes}")
        elif not is_finite(number):
            self._fault(f"`{name}` is {shown(value)}: write a finite number that a float can hold")
        elif not kind.integer or name == "base":
            return float(number)
        elif number != int(number):
            self._fault(f"`{name}` is {shown(value)}: {self._entry['type']} needs a whole number")
        elif abs(number) > MAX_INTEGER:
            self._fault(f"`{name}` is {shown(value)}: at most {MAX_INTEGER:,} either way")
        else:
            return int(number)
        return None

    def _options(self, value: Any) -> list[Any] | None:
        if not isinstance(value, (list, tuple)):
            self._fault(f"`options` is {shown(value)}: write a list of values")
        elif not value:
            self._fault("`options` is empty: write at least one value")
        elif bad := [each for each in value if not is_json(each)]:
            self._fault(
                f"`options` has {shown(bad[0])}, which JSON cannot carry: write null, true, false, "
                "finite numbers, texts, lists or objects"
            )
        elif bad := [each for each in value if _is_syntax(each)]:
            self._fault(
                f"`options` has {shown(bad[0])}: Tune takes an object with the one key "
                f"{' or '.join(TUNE_SYNTAX)} for a command, so no option may hold one"
            )
        else:
            return list(value)
        return None

    def _check_signs(self, kind: Kind, fields: dict[str, Any]) -> None:
        """What each number must be by itself."""
        limits = {
            "base": 1,
            "q": 0,
            "sd": 0,
            **(dict.fromkeys(("min", "max"), 0) if kind.log else {}),
        }
        for name, limit in limits.items():
            if name in fields and fields[name] <= limit:
                why = f", since {self._entry['type']} searches its logarithm"
                self._fault(
                    f"`{name}` is {shown(self._entry[name])}: it must be over {limit}"
                    f"{why if name in ('min', 'max') else ''}"
                )

    def _check_range(self, kind: Kind, fields: dict[str, Any]) -> None:
        low, high = fields["min"], fields["max"]
        if low >= high:
            raw = f"`min` is {shown(self._entry['min'])}, `max` is {shown(self._entry['max'])}"
            self._fault(f"{raw}: `min` must be less than `max`")
        elif not math.isfinite(high - low):
            self._fault("`max` - `min` is more than a number can hold: bring them closer together")
        elif "q" in self._entry:
            self._check_q(kind, fields)
        elif kind.quantized and not (kind.log and low <= 0):
            self._fill_in_q(kind, fields)

    def _check_q(self, kind: Kind, fields: dict[str, Any]) -> None:
        q = fields.get("q", 0)
        for name in ("min", "max") if q > 0 else ():
            bound = fields[name]
            fits = bound % q == 0 if kind.integer else grids.divides(q, bound)
            if not fits:
                self._fault(
                    f"`q` is {shown(self._entry['q'])}, which does not divide `{name}` "
                    f"({shown(self._entry[name])}): both bounds must be multiples of q"
                )

    def _fill_in_q(self, kind: Kind, fields: dict[str, Any]) -> None:
        low, high = fields["min"], fields["max"]
        q = 1 if kind.integer else grids.default_q(low, high)
        if q is not None:
            fields["q"] = q
            return
        if (suggested := grids.suggested_q(low, high)) is not None:
            advice = f'write one, e.g. "q": {suggested!r}'
        else:
            advice = "round the bounds to a few digits, or write a `q` that divides both"
        self._fault(
            f"`q` is missing, and no power of ten of a sensible size divides both `min` ({low!r}) "
            f"and `max` ({high!r}): {advice}"
        )

    def _check_normal(self, kind: Kind, fields: dict[str, Any]) -> None:
        mean, sd = fields["mean"], fields["sd"]
        reach = abs(mean) + NORMAL_REACH * sd
        if not math.isfinite(reach + fields.get("q", 0)):
            self._fault("its numbers lead to more than a number can hold: make them smaller")
        elif kind.quantized and sd > 0:
            least = reach / grids.MAX_INDEX
            if "q" not in self._entry:
                fields["q"] = grids.default_q_of_normal(sd)
                if not fields["q"] > least:
                    self._fault(f"`q` is missing, and must be over {least:.3g} for this `mean`")
            elif 0 < fields.get("q", 0) <= least:
                self._fault(f"`q` is {shown(self._entry['q'])}: it must be over {least:.3g} here")
