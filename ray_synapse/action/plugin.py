"""The functions of a plugin: ``train``, ``tune`` and ``load_dataset``."""

import dis
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from ray_synapse.config.faults import Faults, did_you_mean
from ray_synapse.errors import SettingsError
from ray_synapse.last_lines import last_lines
from ray_synapse.settings import secrets

Function = Callable[..., Any]

FORMS = {  # how the platform calls each (train-action-overview, "Parameter Order Difference")
    "train": ("run", "dataset", "hyperparameter", "checkpoint"),
    "tune": ("hyperparameter", "run", "dataset", "checkpoint"),
    "load_dataset": ("id", "run"),
}


@dataclass(frozen=True)
class Plugin:
    """The functions of a plugin; None for what it does not have.

    Attributes:
        train: ``train(run, dataset, hyperparameter, checkpoint, **kwargs)``.
        tune: ``tune(hyperparameter, run, dataset, checkpoint, **kwargs)``.
        load_dataset: ``load_dataset(id, run)``.
    """

    train: Function | None = None
    tune: Function | None = None
    load_dataset: Function | None = None

    def used(self, is_tune: bool) -> str:
        """The name of the function that does the work: a sweep can also do with ``train``."""
        return "tune" if is_tune and self.tune is not None else "train"

    def check(self, is_tune: bool, extras: Mapping[str, Any], faults: Faults) -> None:
        """Note what is missing, or cannot be called as the platform does.

        Args:
            is_tune: Whether it is to tune.
            extras: The keyword arguments that it will get.
            faults: Where to note it.
        """
        name = self.used(is_tune)
        function: Function | None = getattr(self, name)
        if function is None:
            also = " (or `tune`)" if is_tune else ""
            faults.add("plugin", f"has no `train`{also}: write def {_form('train')}")
            return
        _check_call(name, function, extras, faults)
        if self.load_dataset is not None:
            _check_call("load_dataset", self.load_dataset, {}, faults)


def load_plugin(name: str) -> Plugin:
    """Import a plugin, from the working folder too.

    Args:
        name: The module, such as ``my_package.plugin``.

    Raises:
        SettingsError: There is no such module, it cannot be imported, or has none of the functions.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # before Ray starts: its workers get the same path
    if name.endswith(".py") or "/" in name:
        raise SettingsError(
            f"--plugin is {name!r}; give the name of the module, without .py and with dots: "
            "my_package.plugin for my_package/plugin.py."
        )
    try:
        module = importlib.import_module(name)
    except Exception as error:  # whatever the module does when it is imported
        its_own = list(accumulate(name.split("."), "{}.{}".format))  # it, and its packages
        if isinstance(error, ModuleNotFoundError) and error.name in its_own:
            raise SettingsError(
                f"there is no module {error.name!r} for --plugin {name}; run the command in the "
                f"folder in which it lies (this is {here}), or install it."
            ) from None
        raise SettingsError(
            f"the plugin {name} cannot be imported:\n{last_lines(error, secrets())}"
        ) from error
    found = {each: _function(module, each) for each in FORMS}
    if found["train"] is None and found["tune"] is None:
        raise SettingsError(
            f"the plugin {name} has neither `train` nor `tune`; write def {_form('train')}. (What "
            "is imported from Ray under these names does not count.)"
        )
    return Plugin(**found)


def _function(module: Any, name: str) -> Function | None:
    """The function of that name. Ray has modules called ``train`` and ``tune``, often imported."""
    found = getattr(module, name, None)
    if found is None or inspect.ismodule(found):
        return None
    if not callable(found) or inspect.isclass(found):
        raise SettingsError(
            f"`{name}` of the plugin {module.__name__} is no function; write def {_form(name)}."
        )
    return found  # type: ignore[no-any-return]  # it was just looked at


def _check_call(name: str, function: Function, extras: Mapping[str, Any], faults: Faults) -> None:
    if not callable(function):
        faults.add("plugin", f"`{name}` is {function!r}: give the function, {_form(name)}")
        return
    if inspect.iscoroutinefunction(function):
        faults.add("plugin", f"`{name}` is async: write a plain function that calls asyncio.run()")
        return
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # not written in Python: it shows when it is called
        return
    if _means_itself(name, function):
        faults.add(
            "plugin",
            f"`{name}` uses the module {name}, but there that name is the function itself: import "
            f"Ray's module under another one, from ray import {name} as ray_{name}",
        )
    values = [None] * len(FORMS[name])
    if not _binds(signature, values, {}):
        faults.add("plugin", f"`{name}` is {name}{signature}: write def {_form(name)}")
        return
    taken = list(signature.parameters)[: len(values)]
    if taken != list(FORMS[name]) and sorted(taken) == sorted(FORMS[name]):
        faults.add("plugin", f"`{name}` has its arguments in another order: write {_form(name)}")
    others = {key: each for key, each in signature.parameters.items() if key not in taken}
    for extra in extras:
        if not _binds(signature, values, {extra: None}):
            faults.add("params", _not_taken(name, extra, taken, others))
    for key, each in others.items():
        is_open = each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        if each.default is each.empty and not is_open and key not in extras:
            faults.add("params", f"`{key}` is missing: {name}() of the plugin asks for it")


def _means_itself(name: str, function: Function) -> bool:
    """Whether the function takes an attribute of the global that it has itself become."""
    code = getattr(function, "__code__", None)
    if code is None or getattr(function, "__globals__", {}).get(name) is not function:
        return False
    steps = [(each.opname, each.argval) for each in dis.get_instructions(code)]
    return any(
        here == ("LOAD_GLOBAL", name) and after[0] in ("LOAD_ATTR", "LOAD_METHOD")
        for here, after in pairwise(steps)
    )


def _not_taken(name: str, extra: str, taken: list[str], others: Mapping[str, Any]) -> str:
    if extra in taken:
        return f"`{extra}` is what {name}() calls an argument of its own: rename it"
    known = [key for key, each in others.items() if each.kind is not each.VAR_POSITIONAL]
    hint = f"{did_you_mean(extra, known)}; " if known else ""
    return (
        f"`{extra}` is not known, and {name}() takes no such argument: {hint}correct it, leave it "
        f"out, or give {name}() a **kwargs"
    )


def _binds(signature: inspect.Signature, values: list[Any], named: Mapping[str, Any]) -> bool:
    try:
        signature.bind_partial(*values, **named)
    except TypeError:
        return False
    return True


def _form(name: str) -> str:
    more = "" if name == "load_dataset" else ", **kwargs"
    return f"{name}({', '.join(FORMS[name])}{more})"
