"""A trainable's name: Tune puts it into folder names, and a restore needs the same one again."""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

FALLBACK = "trainable"
_OF_TUNE = ("lambda", "<lambda>", "tune_with_parameters", "trainable")
_WRAPPERS = "ray.tune.trainable.util"  # where with_parameters and with_resources are


def stable_name(trainable: Callable[..., Any]) -> str:
    """A name that is the same in every process and run.

    The function's own; of a partial or a bound method the one of the function inside; of a
    callable object its class's. Leading underscores go, and what has no name of its own (a lambda)
    is called ``trainable``.
    """
    inner = trainable
    while True:
        if isinstance(inner, functools.partial):
            inner = inner.func
        elif inspect.ismethod(inner):
            inner = inner.__func__
        elif (within := inside_tune_wrapper(inner)) is not None:
            inner = within
        else:
            break
    name = getattr(inner, "__name__", None) or type(inner).__name__
    if name in _OF_TUNE:
        return FALLBACK
    return re.sub(r"\W", "_", name).strip("_") or FALLBACK


def inside_tune_wrapper(trainable: Any) -> Callable[..., Any] | None:
    """What ``tune.with_parameters`` or ``tune.with_resources`` made a new function around, or None.

    Both keep it in a variable of their closure, the only place where it can be found.
    """
    if not inspect.isfunction(trainable) or trainable.__module__ != _WRAPPERS:
        return None
    inner = inspect.getclosurevars(trainable).nonlocals.get("trainable")
    return inner if callable(inner) else None


def inside_tune_classes(trainable: type) -> tuple[list[type], type]:
    """The classes that ``tune.with_parameters`` and the like derived, and the user's own below."""
    wrappers: list[type] = []
    while trainable.__module__ == _WRAPPERS:
        wrappers.append(trainable)
        trainable = trainable.__bases__[0]
    return wrappers, trainable


def value_in_tune_wrapper(trainable: Any, name: str) -> Any:
    """What ``tune.with_parameters`` fills in for a parameter, in any nesting; None if nothing."""
    inner = inside_tune_wrapper(trainable)
    if inner is None:
        return None
    variables = inspect.getclosurevars(trainable).nonlocals
    if name in variables.get("keys", ()):
        return variables["parameter_registry"].get(variables["prefix"] + name)
    return value_in_tune_wrapper(inner, name)


def given_by_tune_wrapper(trainable: Any) -> set[str]:
    """The names of the parameters that ``tune.with_parameters`` fills in."""
    return set(inspect.getclosurevars(trainable).nonlocals.get("keys", ()))
