"""``wrap_trainable``: what a user's function or class returns, in the form that Tune takes."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from ray import tune
from ray.tune.trainable import FunctionTrainable

from ray_synapse import registry
from ray_synapse.delivery import cluster
from ray_synapse.errors import SettingsError, TrainableError
from ray_synapse.run import TrainRun
from ray_synapse.trial.arguments import asked_for, give, needs, signature_without
from ray_synapse.trial.classes import wrapped_class
from ray_synapse.trial.naming import stable_name, value_in_tune_wrapper
from ray_synapse.trial.reports import Reports, normalized

KEPT_ATTRIBUTES = ("_resources", "__mixins__", "__doc__")  # the first two are Tune's


def wrap_trainable(
    trainable: Any,
    *,
    run: TrainRun | None = None,
    metric: str | None = None,
    dataset: Any = None,
    checkpoint: Any = None,
) -> Any:
    """Wrap a Tune function or class so that it may return anything and log to the run.

    A function:

    - A number that it returns (0 too, which Tune itself would drop) is reported under ``metric``,
      a dict as it is, None adds nothing, anything else goes under ``result``. What it reported
      before is merged under what it returns.
    - A report without ``metric`` is held back, with its checkpoint, and goes out with the next one
      that has it: Tune would end the whole sweep. A function that ends without ever having
      reported it fails its own trial, with an error that says so.
    - It may ask for ``run``, ``dataset`` and ``checkpoint`` by parameters of these names, after
      its first one. Inside it, ``ray_synapse.get_run()`` gives the run.
    - When it sets ``run.checkpoint_output`` to a folder or file, that is attached as the
      checkpoint of each report that carries none, whenever its content changed.

    A class (a ``tune.Trainable``) likewise, in a subclass of the same name:

    - What ``step`` returns is made a dict in the same way. Tune takes each as a result, so nothing
      can be held back: one without ``metric`` gets the newest value that was seen, and NaN, which
      wins nowhere, as long as there was none. A class that is done without ever having returned it
      fails its own trial.
    - ``self.run`` is the run, unless the class has a ``run`` of its own, from ``setup`` on and in
      every trial that reuses the object. ``setup`` may ask for ``run``, ``dataset`` and
      ``checkpoint`` by name.
    - What is at ``run.checkpoint_output`` is added to what ``save_checkpoint`` saves, where files
      of the class's own stay. It also does for a class that has no ``save_checkpoint``.

    Works under and over ``tune.with_parameters`` and ``tune.with_resources``; for functions,
    generators, lambdas, partials, bound methods, callable objects and classes.

    Args:
        trainable: The function or class.
        run: The run to log to.
        metric: The metric that is optimized; the run's if it is not given. Without either nothing
            is held back or filled in, and a number goes under Tune's own ``_metric``.
        dataset: Given to a function that asks for it, through Ray's object store.
        checkpoint: Likewise. If it is what ``run.get_model`` gave, the models of the trials have
            that model as their parent.

    Returns:
        A function or class for ``tune.Tuner``, with a name that is the same in every process and
        run.

    Raises:
        TrainableError: It cannot be wrapped. Also a ValueError.
        SettingsError: ``metric`` differs from the run's. Also a ValueError.
    """
    _check(trainable, run)
    if run is not None and metric is not None and run.metric not in (None, metric):
        raise SettingsError(
            f"metric is {metric!r} in wrap_trainable and {run.metric!r} in the run. Set it in one "
            "place, or to the same in both."
        )
    if run is not None:
        run._is_wrapped = True
    if run is not None and isinstance(checkpoint, Mapping):
        run._parent_model = checkpoint.get("id")
    asked = asked_for(trainable)
    heavy = {"dataset": dataset, "checkpoint": checkpoint}
    stored = {name: heavy[name] for name in asked if heavy.get(name) is not None}
    wrap = wrapped_class if inspect.isclass(trainable) else _wrapped
    return wrap(trainable, run, metric, asked, _through_store(stored))


def _check(trainable: Any, run: TrainRun | None) -> None:
    if not callable(trainable):
        raise TrainableError(
            f"trainable is {trainable!r}; give the function itself: train_fn(config), a generator, "
            "a callable object or a Tune class."
        )
    if inspect.isclass(trainable):
        _check_class(trainable)
    if inspect.iscoroutinefunction(trainable):
        raise TrainableError(
            f"{stable_name(trainable)} is an async function, which Tune cannot run; call "
            "asyncio.run() on it in a plain function."
        )
    if getattr(trainable, "_wrapped_by_ray_synapse", False):
        raise TrainableError(f"{trainable.__name__} is wrapped already; wrap it once.")
    if run is None and needs(trainable, "run"):
        raise TrainableError(
            f"{stable_name(trainable)} asks for `run`, but there is none; give "
            "wrap_trainable(..., run=ray_synapse.init(name))."
        )


def _check_class(trainable: type) -> None:
    if not issubclass(trainable, tune.Trainable):
        raise TrainableError(
            f"{trainable.__name__} is a class, but not one of Tune's; derive it from "
            "tune.Trainable, or give a function or an object that can be called."
        )
    if issubclass(trainable, FunctionTrainable):
        raise TrainableError(
            f"{trainable.__name__} is a class that Tune has made of a function; give the function."
        )


def _through_store(values: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """A function that gives the values in any process, by way of Ray's object store."""
    if not values:
        return dict

    def receive(config: Any, **stored: Any) -> dict[str, Any]:
        return stored

    fetch = tune.with_parameters(receive, **values)
    return lambda: dict(fetch({}))


def _wrapped(
    trainable: Callable[..., Any],
    run: TrainRun | None,
    metric: str | None,
    asked: set[str],
    fetch: Callable[[], dict[str, Any]],
) -> Callable[..., Any]:
    def wrapped(config: Any, *args: Any, **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in asked if name in kwargs}
        active = given.get("run") or run or value_in_tune_wrapper(trainable, "run")
        offered = {**fetch(), **given, "run": active}
        arguments = {
            name: offered.get(name)
            for name in asked
            if offered.get(name) is not None or needs(trainable, name)
        }
        function = give(trainable, arguments)
        optimized = metric or (active.metric if active is not None else None)
        return _call(lambda: function(config, *args, **kwargs), optimized, active)

    for attribute in KEPT_ATTRIBUTES:
        if hasattr(trainable, attribute):
            setattr(wrapped, attribute, getattr(trainable, attribute))
    wrapped.__name__ = stable_name(trainable)
    wrapped.__dict__["_wrapped_by_ray_synapse"] = True
    if (signature := signature_without(trainable, asked)) is not None:
        wrapped.__dict__["__signature__"] = signature
    return wrapped


def _call(function: Callable[[], Any], metric: str | None, run: TrainRun | None) -> Any:
    """Run the function in its trial; outside of one only normalize what it returns."""
    session = cluster.trial_session()
    if session is None:
        value = function()
        return value if inspect.isgenerator(value) else normalized(value, metric)
    registry.bind(run)
    if run is not None:
        run.checkpoint_output = None  # of the trial that used this process before
    # From the class: an actor that is used again has the wrapper of the trial before on it.
    reports = Reports(type(session).report.__get__(session), metric, run)
    session.report = reports.report
    with run._channel.buffered() if run is not None else nullcontext():
        try:
            value = function()
            if inspect.isgenerator(value):
                for item in value:
                    if result := normalized(item, metric):
                        session.report(result)
                value = None
            reports.returned(value)
        finally:
            reports.clean_up()
    return None
