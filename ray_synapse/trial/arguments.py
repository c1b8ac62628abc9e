"""What a trainable asks for by the names of its parameters, and how it gets it."""

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any

from ray_synapse.trial.naming import (
    given_by_tune_wrapper,
    inside_tune_classes,
    inside_tune_wrapper,
)

OFFERED = ("run", "dataset", "checkpoint")


def asked_for(trainable: Callable[..., Any]) -> set[str]:
    """The offered names that are parameters of the function, after its first one.

    Of a class, those of its ``setup``. Looks through ``tune.with_parameters`` and
    ``tune.with_resources``.
    """
    if inspect.isclass(trainable):
        setup, given = _setup_of(trainable)
        return asked_for(setup) - given
    inner = inside_tune_wrapper(trainable)
    if inner is not None:
        return asked_for(inner) - given_by_tune_wrapper(trainable)
    bound = getattr(trainable, "keywords", {})  # of a partial: the user gave these
    return {each.name for each in _after_first(trainable) if each.name not in bound} & set(OFFERED)


def needs(trainable: Callable[..., Any], name: str) -> bool:
    """Whether the parameter has no default, and Tune's own wrappers do not give it."""
    if inspect.isclass(trainable):
        setup, given = _setup_of(trainable)
        return name not in given and needs(setup, name)
    inner = inside_tune_wrapper(trainable)
    if inner is not None:
        return name not in given_by_tune_wrapper(trainable) and needs(inner, name)
    empty = inspect.Parameter.empty
    return any(each.name == name and each.default is empty for each in _after_first(trainable))


def signature_without(trainable: Callable[..., Any], given: set[str]) -> inspect.Signature | None:
    """The signature that is left for Tune to check, or None if the function shows none."""
    try:
        signature = inspect.signature(trainable)
    except (TypeError, ValueError):
        return None
    parameters = list(signature.parameters.values())
    left = [each for each in parameters[1:] if each.name not in given]
    return signature.replace(parameters=parameters[:1] + left)


def give(trainable: Callable[..., Any], arguments: Mapping[str, Any]) -> Callable[..., Any]:
    """The function with these arguments given to it, also inside Tune's own wrappers."""
    inner = inside_tune_wrapper(trainable)
    if inner is None:
        return functools.partial(trainable, **arguments) if arguments else trainable
    return _with_inner(trainable, give(inner, arguments))


def _setup_of(trainable: type) -> tuple[Callable[..., Any], set[str]]:
    """The user's ``setup(config, ...)``, and what ``tune.with_parameters`` gives to it."""
    wrappers, own = inside_tune_classes(trainable)
    given = [
        given_by_tune_wrapper(vars(each)["setup"]) for each in wrappers if "setup" in vars(each)
    ]
    setup: Callable[..., Any] = own.setup  # type: ignore[attr-defined]  # it is a Tune class
    return functools.partial(setup, None), set().union(*given)


def _after_first(trainable: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        parameters = list(inspect.signature(trainable).parameters.values())
    except (TypeError, ValueError):
        return []
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [parameter for parameter in parameters[1:] if parameter.kind in by_name]


def _with_inner(wrapper: Any, inner: Callable[..., Any]) -> Callable[..., Any]:
    """A copy of a wrapper of Tune's around another function; the user's own stays as it is."""
    cells = [
        types.CellType(inner) if name == "trainable" else cell
        for name, cell in zip(wrapper.__code__.co_freevars, wrapper.__closure__, strict=True)
    ]
    return types.FunctionType(
        wrapper.__code__, wrapper.__globals__, wrapper.__name__, wrapper.__defaults__, tuple(cells)
    )
