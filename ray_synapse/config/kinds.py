"""The twelve types of hyperparameters, and what each needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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
# What other tools call them.
OTHER_NAMES = {"values": "options", "lower": "min", "upper": "max", "low": "min", "high": "max"}
OTHER_TYPES = {
    "float": "uniform",
    "int": "randint",
    "integer": "randint",
    "normal": "randn",
    "categorical": "choice",
    "grid": "grid_search",
    "log": "loguniform",
}


@dataclass(frozen=True)
class Hyperparameter:
    """One valid entry: its name, its type, and the fields of that type with ``q`` filled in."""

    name: str
    type: str
    fields: Mapping[str, Any] = field(default_factory=dict)
