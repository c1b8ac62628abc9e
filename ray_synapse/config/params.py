"""What the platform asks for, checked: the object with ``action`` and ``params``, or its params."""

import copy
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ray_synapse.config import sweep
from ray_synapse.config.faults import Faults, is_json, shown
from ray_synapse.errors import SettingsError
from ray_synapse.formats import printable
from ray_synapse.names import encode_name
from ray_synapse.values import as_number, is_finite

FIELDS = (
    *("name", "dataset", "checkpoint", "is_tune", "num_cpus", "num_gpus"),
    *("hyperparameter", "hyperparameters", "tune_config"),
)
EXAMPLE = '{"action": "train", "params": {"name": "my_model", "dataset": 123, ...}}'
FIXED = '"hyperparameter": {"epochs": 10}'
SPACE = '"hyperparameters": [{"name": "epochs", "type": "randint", "min": 1, "max": 10}]'
LEAST_SHARE = 0.0001  # of a CPU or GPU: Ray counts no finer, and takes less for a mistake
LIKENESS = 0.75  # of two keys, from 0 to 1: from here on one is taken for the other, misspelled
TO_TUNE = 'to tune, write "is_tune": true'
TO_TRAIN = 'to train, write "action": "train" and "is_tune": false'
BOTH = "`hyperparameter` and `hyperparameters` are both given"
LISTS = (list, tuple)
MEANT = {"true": True, "1": True, "false": False, "0": False}  # by what is no bool


@dataclass(frozen=True)
class Params:
    """What the platform asks for; None for what was not given, or is wrong."""

    name: str | None = None  # encoded
    dataset: int | None = None
    checkpoint: int | None = None
    is_tune: bool = False
    num_cpus: float | None = None
    num_gpus: float | None = None
    hyperparameter: dict[str, Any] | None = None  # of a training
    hyperparameters: list[Any] | None = None  # of a tuning: a list of what may be anything
    tune_config: dict[str, Any] | None = None  # of a tuning: an object that may hold anything
    extras: dict[str, Any] = field(default_factory=dict)  # all other params, for the plugin
    notes: tuple[str, ...] = ()  # what is to be said of a valid one, each a sentence


def is_whole(given: Any) -> bool:
    """Whether it is the whole object, with ``action`` and ``params``, and not just its params."""
    keys = given if isinstance(given, Mapping) else ()
    return "action" in keys or ("params" in keys and "name" not in keys)


def is_old_form(given: Any) -> bool:
    """Whether it is written for the former action "tune"."""
    return isinstance(given, Mapping) and bool(given.get("action") == "tune")


def read_params(given: Any, faults: Faults) -> Params:
    """Check all but the search space, ``tune_config`` and what the plugin takes. Never raises.

    Args:
        given: What came as JSON; it stays as it is.
        faults: Gets everything that is wrong.
    """
    params = _params_of(given, faults)
    return Params() if params is None else _Reader(params, is_old_form(given), faults).read()


def _params_of(given: Any, faults: Faults) -> Mapping[Any, Any] | None:
    if not isinstance(given, Mapping):
        faults.add("", f"{shown(given)} is no job: write an object, e.g. {EXAMPLE}")
        return None
    if not is_whole(given):
        return given
    action, params = given.get("action"), given.get("params")
    if action not in (None, "train", "tune"):
        faults.add("action", f'is {shown(action)}: write "train"')
    if isinstance(params, Mapping):
        return params
    if params is None:
        beside = ", ".join(name for name in FIELDS if name in given)
        text = 'params is required: write "params": {...}' + (beside and f" around {beside}")
        faults.add("", text + _misspelled("params", given))
    else:
        faults.add("params", f"is {shown(params)}: write an object, e.g. {EXAMPLE}")
    return None


def _misspelled(name: str, keys: Iterable[Any]) -> str:
    """A hint at the key that was probably meant to be ``name``; empty if none is really near."""
    lower = {key.lower(): key for key in keys if isinstance(key, str) and key not in FIELDS}
    near = difflib.get_close_matches(name, lower, n=1, cutoff=LIKENESS)
    return f" (there is `{printable(lower[near[0]])}`: did you mean it?)" if near else ""


def _copied(value: Any) -> Any:
    """A copy, which a plugin may change; what is no JSON stays the object that it is."""
    return copy.deepcopy(value) if is_json(value) else value


class _Reader:
    """The params; each method gives what is right and notes what is not."""

    def __init__(self, params: Mapping[Any, Any], is_old: bool, faults: Faults) -> None:
        self._given = {name: params[name] for name in FIELDS if params.get(name) is not None}
        self._others = {key: value for key, value in params.items() if key not in FIELDS}
        self._is_old = is_old
        self._faults = faults
        one, many = (self._given.get(each) for each in ("hyperparameter", "hyperparameters"))
        if is_old and many is None and isinstance(one, LISTS):
            one, many = None, one
        self._one, self._many = one, many

    def read(self) -> Params:
        for key in self._others:
            if not isinstance(key, str):
                self._faults.add("params", f"has the key {shown(key)}: write a text as key")
        is_tune = self._is_tune()
        if self._one is not None and self._many is not None:
            extra = "hyperparameter" if is_tune else "hyperparameters"
            self._faults.add("", f"{BOTH}: leave out `{extra}`, since is_tune is {shown(is_tune)}")
        cpus, gpus = self._share("num_cpus"), self._share("num_gpus")
        if is_tune and cpus == 0 and not gpus:
            self._wrong(
                "num_cpus", f"at least {LEAST_SHARE}, since Ray starts no trial for nothing"
            )
        return Params(
            name=self._name(),
            dataset=self._id("dataset", required=True),
            checkpoint=self._id("checkpoint"),
            is_tune=is_tune,
            num_cpus=cpus,
            num_gpus=gpus,
            hyperparameter=None if is_tune else self._hyperparameter(),
            hyperparameters=self._hyperparameters() if is_tune else None,
            tune_config=self._tune_config() if is_tune else None,
            extras={k: _copied(each) for k, each in self._others.items() if isinstance(k, str)},
            notes=(*(() if is_tune else self._unused()), *self._suspects()),
        )

    def _required(self, text: str, *names: str) -> None:
        hints = (_misspelled(name, self._others) for name in names)
        self._faults.add("", text + next(filter(None, hints), ""))

    def _wrong(self, name: str, advice: str) -> None:
        quotes = ", without quotes" if isinstance(self._given[name], str) else ""
        self._faults.add(name, f"is {shown(self._given[name])}: write {advice}{quotes}")

    def _is_tune(self) -> bool:
        value = self._given.get("is_tune", self._is_old)
        if isinstance(value, bool):
            if self._is_old and not value:
                self._wrong("is_tune", 'true to tune, or "train" as action to train')
            return self._is_old or value
        meant = MEANT.get(shown(value).strip('"').lower())
        self._wrong("is_tune", "true or false" if meant is None else str(meant).lower())
        return self._is_old or ("tune_config" in self._given if meant is None else meant)

    def _name(self) -> str | None:
        value = self._given.get("name")
        if value is None:
            self._required('name is required: write a text, e.g. "name": "my_model"', "name")
        elif not isinstance(value, str):
            self._wrong("name", f'a text, "{shown(value)}"' if is_finite(value) else "a text")
        else:
            try:
                return encode_name(value)
            except SettingsError as error:
                self._faults.add("", str(error))
        return None

    def _id(self, name: str, *, required: bool = False) -> int | None:
        value = self._given.get(name)
        number = as_number(value)
        if number is not None and is_finite(number) and number == int(number) and number >= 0:
            return int(number)
        if value is not None:
            self._wrong(name, "its id, a whole number of at least 0")
        elif required:
            self._required(f'{name} is required: write its id, e.g. "{name}": 123', name)
        return None

    def _share(self, name: str) -> float | None:
        value = self._given.get(name)
        number = as_number(value)
        if number is None or not is_finite(number) or number < 0:
            if value is not None:
                self._wrong(name, "a number of at least 0")
        elif 0 < number < LEAST_SHARE:
            self._wrong(name, f"0, or at least {LEAST_SHARE}, since Ray counts no finer")
        elif name == "num_gpus" and number > 1 and number != int(number):
            self._wrong(name, "a whole number, or a fraction up to 1")
        else:
            return float(number)
        return None

    def _hyperparameter(self) -> dict[str, Any] | None:
        one, many = self._one, self._many
        if one is None and isinstance(many, LISTS) and len(many) == 1:
            one = many[0] if isinstance(many[0], Mapping) else None
        if isinstance(one, Mapping):
            return dict(_copied(one))
        advice = f"write {FIXED}"
        if one is not None:
            more = f"; {TO_TUNE}, and the list as `hyperparameters`" * isinstance(one, LISTS)
            self._wrong("hyperparameter", f"an object, e.g. {FIXED}{more}")
        elif isinstance(many, Mapping):
            advice = "`hyperparameters` is an object, so call it `hyperparameter`, without s"
        elif isinstance(many, LISTS) and len(many) > 1:
            advice = f"`hyperparameters` is a list of {len(many)}: write {FIXED}; {TO_TUNE}"
        elif many is not None:
            advice = f"`hyperparameters` is {shown(many)}: write {FIXED} in its place"
        if one is None:
            text = "hyperparameter is required when is_tune=False"
            self._required(f"{text}: {advice}", "hyperparameter", "is_tune")
        return None

    def _hyperparameters(self) -> list[Any] | None:
        one, many = self._one, self._many
        if isinstance(many, LISTS):
            return list(_copied(many))
        advice = f"write {SPACE}"
        if many is not None:
            more = f"; {TO_TRAIN}, and the object as `hyperparameter`" * isinstance(many, Mapping)
            self._wrong("hyperparameters", f"a list, e.g. {SPACE}{more}")
        elif isinstance(one, LISTS):
            advice = "`hyperparameter` is a list, so call it `hyperparameters`, with s"
        elif one is not None:
            fixed = "`hyperparameter` is for the fixed values of a training"
            advice = f"{fixed}: write {SPACE} in its place; {TO_TRAIN}"
        if many is None:
            text = "hyperparameters is required when is_tune=True"
            self._required(f"{text}: {advice}", "hyperparameters")
        return None

    def _tune_config(self) -> dict[str, Any] | None:
        value = self._given.get("tune_config")
        if isinstance(value, Mapping):
            return dict(_copied(value))
        if value is not None:
            self._wrong("tune_config", f"an object, e.g. {sweep.EXAMPLE}")
        else:
            text = "tune_config is required when is_tune=True: write"
            self._required(f'{text} "tune_config": {sweep.EXAMPLE}', "tune_config")
        return None

    def _unused(self) -> tuple[str, ...]:
        shares = [name for name in ("num_cpus", "num_gpus") if self._given.get(name, 0) != 0]
        notes = [f"{name} is for tuning: a training runs in this process" for name in shares]
        if "tune_config" in self._given:
            notes.append("tune_config is not used, since is_tune is false")
        return tuple(notes)

    def _suspects(self) -> list[str]:
        """Params for the plugin that may be meant for the platform."""
        missing = [name for name in FIELDS if name not in self._given]
        return [
            f"`{printable(key)}` goes to the plugin; {name} is not given"
            for key in self._others
            for name in difflib.get_close_matches(str(key).lower(), missing, 1, LIKENESS)
        ]
