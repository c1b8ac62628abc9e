"""Options from JSON, checked against the constructor that takes them.

Ray's own factories drop the options that they do not know, also misspelt ones.
"""

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from ray_synapse.config.faults import Faults, nearest, nearest_first, shown
from ray_synapse.config.sweep import Sweep
from ray_synapse.errors import ConfigError
from ray_synapse.values import as_number

Limit = tuple[Callable[[Any], bool], str]
_PLAIN = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    tuple: "a list",
    dict: "an object",
}


def parameters_of(*constructors: Any) -> dict[str, inspect.Parameter]:
    """The named parameters of some classes or functions, those of the first one first."""
    found: dict[str, inspect.Parameter] = {}
    for each in constructors:
        for parameter in inspect.signature(each).parameters.values():
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                found.setdefault(parameter.name, parameter)
    return found


def metric_and_mode_of(sweep: Sweep) -> dict[str, str]:
    """Where the options ``metric`` and ``mode`` have their place, with what stands there."""
    return {
        name: f"tune_config has it ({shown(value)}), for searcher and scheduler alike"
        for name, value in (("metric", sweep.metric), ("mode", sweep.mode))
    }


def check_options(
    where: str,
    options: Mapping[str, Any],
    known: Mapping[str, inspect.Parameter],
    elsewhere: Mapping[str, str],
    limits: Mapping[str, Limit] | None = None,
) -> dict[str, Any]:
    """The options in the types that the parameters have.

    Args:
        where: What they are for, e.g. ``scheduler "asha"``.
        options: As they came.
        known: The parameters, also those that have their place elsewhere.
        elsewhere: Options that have their place somewhere else, and where.
        limits: What the values of some options must be, and how that is said.

    Raises:
        ConfigError: With every option that is unknown, misplaced or of a wrong type.
    """
    faults, checked = Faults(), {}
    known = {name: each for name, each in known.items() if name not in elsewhere}
    for name, value in options.items():
        if name in elsewhere:
            faults.add(where, f"`{name}` is {shown(value)} in its options: {elsewhere[name]}")
        elif name not in known:
            names = nearest_first(name, known)
            listed = ", ".join(_with_default(known[each]) for each in names) or "none"
            near = nearest(name, known)
            hint = "" if near is None else f"did you mean '{near}'? "
            faults.add(where, f"there is no option {shown(name)}: {hint}It has {listed}")
        else:
            fits, value = _fit(value, known[name].annotation)
            is_right, wanted = (limits or {}).get(name, (lambda value: True, ""))
            if fits and (value is None or is_right(value)):
                checked[name] = value
            else:
                wanted = wanted or _said(known[name].annotation)
                faults.add(where, f"option `{name}` is {shown(value)}: write {wanted}")
    faults.raise_if_any()
    return checked


def build(where: str, constructor: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Construct it.

    Raises:
        ConfigError: With what the constructor says, if it does not take the values.
    """
    missing = [
        each.name
        for each in parameters_of(constructor).values()
        if each.default is each.empty and each.name not in options
    ]
    if missing:
        raise ConfigError(f"{where}: it needs the option {', '.join(missing)}")
    try:
        return constructor(**options)
    except ConfigError:
        raise
    except Exception as error:  # Ray's constructors assert, and raise whatever they like
        raise ConfigError(f"{where}: {str(error).strip() or repr(error)}") from error


def _with_default(parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty:
        return f"{parameter.name} (needed)"
    default = parameter.default
    is_plain = default is None or isinstance(default, (bool, int, float, str, tuple))
    return f"{parameter.name}={shown(default) if is_plain else type(default).__name__}"


def _fit(value: Any, annotation: Any) -> tuple[bool, Any]:
    """Whether the value is of the annotated type, and the value in that type."""
    origin = typing.get_origin(annotation) or annotation
    if origin in (typing.Union, types.UnionType):
        for each in typing.get_args(annotation):
            fits, converted = _fit(value, each)
            if fits:
                return True, converted
        return False, value
    if origin is type(None):
        return value is None, value
    if origin not in _PLAIN:
        is_class = isinstance(origin, type) and origin not in (inspect.Parameter.empty, Any)
        return not is_class or isinstance(value, origin), value
    if origin in (int, float):
        number = as_number(value)
        if number is None or (origin is int and number != number // 1):
            return False, value
        return True, int(number) if origin is int else number
    if origin is tuple:
        return isinstance(value, (list, tuple)), tuple(value) if isinstance(value, list) else value
    return isinstance(value, origin), value


def _said(annotation: Any) -> str:
    origin = typing.get_origin(annotation) or annotation
    if origin in (typing.Union, types.UnionType):
        said = [_said(each) for each in typing.get_args(annotation) if each is not type(None)]
        return " or ".join(dict.fromkeys(said))
    return _PLAIN.get(origin, getattr(origin, "__name__", str(origin)))
