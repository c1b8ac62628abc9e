"""One entry of the JSON list of hyperparameters: all that can be wrong with it."""

import math
from collections.abc import Mapping
from typing import Any

from ray_synapse.config import grids
from ray_synapse.config.faults import Faults, did_you_mean, is_json, nearest, shown
from ray_synapse.config.kinds import KINDS, OTHER_NAMES, OTHER_TYPES, Hyperparameter, Kind
from ray_synapse.values import as_number, is_finite

MAX_INTEGER = 10**12  # up to here Tune's logarithms of integers are exact to less than one
MAX_DEPTH = 20  # of a name's parts: what is deeper is a mistake, and some searchers' end
TUNE_SYNTAX = ("eval", "grid_search")  # keys of objects that Tune resolves, wherever they are
NORMAL_REACH = 40  # standard deviations: no sample is ever further away


def name_of(entry: Any) -> str | None:
    """Its name, if it has one."""
    name = entry.get("name") if isinstance(entry, Mapping) else None
    return name if isinstance(name, str) else None


class Entry:
    """One entry on its way to a ``Hyperparameter``; each check notes what it finds."""

    def __init__(self, entry: Any, index: int, faults: Faults) -> None:
        self._entry = entry
        self._faults = faults
        name = name_of(entry)
        self._where = f"hyperparameter '{name}'" if name else f"hyperparameters[{index}]"

    def parse(self) -> Hyperparameter | None:
        """The hyperparameter, or None if anything is wrong with it."""
        before = len(self._faults)
        if not isinstance(self._entry, Mapping):
            self._fault(f"is {shown(self._entry)}: write an object with `name` and `type`")
            return None
        self._check_name()
        kind = self._kind()
        if kind is None:
            return None
        if self._entry["type"] in KINDS:
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
            meant = OTHER_TYPES.get(kind, kind)
            self._fault(f"`type` is {shown(kind)}: {did_you_mean(meant, KINDS)}")
            near = nearest(meant, KINDS)
            return KINDS[near] if near is not None else None  # to look at the values as well
        else:
            return KINDS[kind]
        return None

    def _check_fields(self, kind: Kind) -> None:
        """Names the fields that are missing or too much; a misnamed one is looked at as well."""
        entry, type_ = dict(self._entry), self._entry["type"]
        for name in self._entry:
            meant = OTHER_NAMES.get(name) if isinstance(name, str) else None
            if name in ("name", "type", *kind.fields):
                continue
            if meant in kind.fields and meant not in entry:
                self._fault(f"`{name}` is not a field of {type_}: write `{meant}`")
                entry[meant] = entry[name]
            else:
                others = {field for other in KINDS.values() for field in other.fields}
                known = ("name", "type", *kind.fields)
                if name in others or (near := nearest(name, known)) is None or near in entry:
                    hint = f"leave it out; allowed: {', '.join(kind.fields)}"
                else:
                    hint = did_you_mean(name, known)
                self._fault(f"{shown(name)} is not a field of {type_}: {hint}")
        for name in kind.needs:
            if name not in entry:
                self._fault(f"`{name}` is missing: {type_} needs {', '.join(kind.needs)}")
        self._entry = entry

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


def _is_syntax(option: Any) -> bool:
    """Whether Tune would not take the option as it is: it runs ``{"eval": "..."}``."""
    if isinstance(option, Mapping):
        return (len(option) == 1 and set(option) <= set(TUNE_SYNTAX)) or any(
            map(_is_syntax, option.values())
        )
    return isinstance(option, (list, tuple)) and any(map(_is_syntax, option))
