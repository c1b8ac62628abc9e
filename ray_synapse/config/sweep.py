"""The JSON object ``tune_config``, checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ray_synapse.config.faults import Faults, did_you_mean, shown
from ray_synapse.errors import ConfigError
from ray_synapse.values import as_number, is_finite

# What a searcher or scheduler is called, in any case of letters, and what it is: Ray's own names,
# those of the platform, and short ones.
SEARCHERS = {
    **dict.fromkeys(("basicvariantgenerator", "random", "variant_generator"), "basic"),
    **dict.fromkeys(("hyperoptsearch", "hyperopt"), "hyperopt"),
    **dict.fromkeys(("optunasearch", "optuna"), "optuna"),
    **dict.fromkeys(("bayesoptsearch", "bayesopt"), "bayesopt"),
    **dict.fromkeys(("axsearch", "ax"), "ax"),
    **{name: name for name in ("bohb", "nevergrad", "zoopt", "hebo")},
}
SCHEDULERS = {
    "fifo": "fifo",
    "hyperband": "hyperband",
    **dict.fromkeys(("asha", "async_hyperband", "asynchyperband"), "asha"),
    **dict.fromkeys(("median", "median_stopping_rule", "medianstopping"), "median"),
    **{name: name for name in ("pbt", "pb2", "pbt_replay", "resource_changing")},
    **dict.fromkeys(("bohb", "hb_bohb"), "bohb"),
}
POPULATION_BASED = ("pbt", "pb2", "pbt_replay")  # they choose the configs themselves
FIELDS = (
    *("metric", "mode", "num_samples", "max_concurrent_trials", "search_alg", "scheduler"),
    *("time_budget_s", "reuse_actors", "seed"),
)
EXAMPLE = '{"metric": "accuracy", "mode": "max", "num_samples": 10}'
MAX_SEED = 2**32 - 1  # numpy's, which all searchers use


@dataclass(frozen=True)
class Part:
    """The searcher or the scheduler that is asked for.

    Attributes:
        kind: What it is, e.g. ``"asha"``; a value of ``SEARCHERS`` or ``SCHEDULERS``.
        name: What it was called, for messages.
        options: Arguments for it.
        points: ``points_to_evaluate``, not yet looked at; None if none were given.
    """

    kind: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    points: Any = None


@dataclass(frozen=True)
class Sweep:
    """A valid ``tune_config``; its attributes are its fields, None for what was not given."""

    search_alg: Part
    scheduler: Part
    metric: str | None = None
    mode: str | None = None
    num_samples: int = 1
    max_concurrent_trials: int | None = None
    time_budget_s: float | None = None
    reuse_actors: bool = False
    seed: int | None = None


def parse_sweep(tune_config: Any, *, complete: bool = False) -> Sweep:
    """Check the object, all but the options, which only the searcher and scheduler know.

    Args:
        tune_config: What came as JSON.
        complete: Whether ``metric`` and ``mode`` must be there.

    Raises:
        ConfigError: With every fault.
    """
    if not isinstance(tune_config, Mapping):
        raise ConfigError(f"tune_config: is {shown(tune_config)}: write an object, e.g. {EXAMPLE}")
    faults = Faults()
    reader = _Reader(tune_config, faults)
    reader.check_fields(complete)
    search_alg = _part(tune_config.get("search_alg"), "search_alg", faults)
    scheduler = _part(tune_config.get("scheduler"), "scheduler", faults)
    if search_alg and scheduler:
        _check_pair(search_alg, scheduler, faults)
    values = reader.values()
    faults.raise_if_any()
    assert search_alg is not None
    assert scheduler is not None
    return Sweep(search_alg, scheduler, **values)


class _Reader:
    """The plain fields of ``tune_config``."""

    def __init__(self, given: Mapping[str, Any], faults: Faults) -> None:
        self._given = given
        self._faults = faults

    def check_fields(self, complete: bool) -> None:
        for name in self._given:
            if name not in FIELDS:
                hint = did_you_mean(name, FIELDS)
                if name in ("points_to_evaluate", "options"):
                    hint = "write it inside of `search_alg` or `scheduler`"
                self._fault(f"{shown(name)} is not a field: {hint}")
        for name in ("metric", "mode") if complete else ():
            if self._given.get(name) is None:
                self._fault(f"`{name}` is missing: write it, e.g. {EXAMPLE}")

    def values(self) -> dict[str, Any]:
        """What was given and is right; null is not given."""
        values = {
            "metric": self._text("metric"),
            "mode": self._mode(),
            "num_samples": self._whole("num_samples", 1, also=-1),
            "max_concurrent_trials": self._whole("max_concurrent_trials", 1),
            "time_budget_s": self._budget(),
            "reuse_actors": self._flag("reuse_actors"),
            "seed": self._whole("seed", 0, most=MAX_SEED),
        }
        return {name: value for name, value in values.items() if value is not None}

    def _fault(self, text: str) -> None:
        self._faults.add("tune_config", text)

    def _text(self, name: str) -> str | None:
        value = self._given.get(name)
        if value is None or (isinstance(value, str) and value.strip()):
            return value
        self._fault(f"`{name}` is {shown(value)}: write the name under which trials report it")
        return None

    def _mode(self) -> str | None:
        value = self._given.get("mode")
        if value in (None, "max", "min"):
            return value
        self._fault(f'`mode` is {shown(value)}: write "max" or "min"')
        return None

    def _whole(
        self, name: str, least: int, *, also: int | None = None, most: int | None = None
    ) -> int | None:
        value = self._given.get(name)
        number = as_number(value)
        if value is None:
            return None
        if number is not None and is_finite(number) and number == int(number):
            whole = int(number)
            if whole == also or (whole >= least and (most is None or whole <= most)):
                return whole
        others = "" if also is None else f", or {also} for no end (until a stop or time budget)"
        top = "" if most is None else f" and at most {most}"
        self._fault(
            f"`{name}` is {shown(value)}: write a whole number, at least {least}{top}{others}"
        )
        return None

    def _budget(self) -> float | None:
        value = self._given.get("time_budget_s")
        if value is None:
            return None
        number = as_number(value)
        if number is not None and is_finite(number) and number > 0:
            return number
        self._fault(f"`time_budget_s` is {shown(value)}: write a number of seconds over 0")
        return None

    def _flag(self, name: str) -> bool | None:
        value = self._given.get(name)
        if value is None or isinstance(value, bool):
            return value
        self._fault(f"`{name}` is {shown(value)}: write true or false")
        return None


def _part(value: Any, role: str, faults: Faults) -> Part | None:
    """``search_alg`` or ``scheduler``: a name, or an object with a name; null is the default."""
    known = SEARCHERS if role == "search_alg" else SCHEDULERS
    default = "basicvariantgenerator" if role == "search_alg" else "fifo"
    keys = ("name", "options", *(("points_to_evaluate",) if role == "search_alg" else ()))
    before = len(faults)
    if value is None:
        value = default
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        allowed = f"write a name, or an object with {', '.join(keys)}"
        faults.add("tune_config", f"`{role}` is {shown(value)}: {allowed}")
        return None
    for key in value:
        if key not in keys:
            inside = "; what the class takes goes within `options`"
            faults.add(role, f"{shown(key)} is not a field: {did_you_mean(key, keys)}{inside}")
    name = default if value.get("name") is None else value["name"]
    if not isinstance(name, str):
        faults.add(role, f"`name` is {shown(name)}: {did_you_mean('', known)}")
    elif name.lower() not in known:
        faults.add(role, f"there is no {shown(name)}: {did_you_mean(name, known)}")
    options = {} if value.get("options") is None else value["options"]
    if not isinstance(options, Mapping) or not all(isinstance(key, str) for key in options):
        faults.add(role, f'`options` is {shown(options)}: write an object, e.g. {{"max_t": 10}}')
    if len(faults) > before:
        return None
    return Part(known[name.lower()], name, options, value.get("points_to_evaluate"))


def _check_pair(search_alg: Part, scheduler: Part, faults: Faults) -> None:
    if scheduler.kind in POPULATION_BASED and search_alg.kind != "basic":
        faults.add(
            "tune_config",
            f"`scheduler` {shown(scheduler.name)} changes the configs of running trials itself and "
            f"does not work with `search_alg` {shown(search_alg.name)}: leave `search_alg` out, or "
            "take another scheduler, e.g. asha",
        )
    if scheduler.kind == "bohb" and search_alg.kind != "bohb":
        faults.add(
            "tune_config",
            f'`scheduler` {shown(scheduler.name)} needs `search_alg` "bohb": '
            "write that, or take the scheduler hyperband",
        )
