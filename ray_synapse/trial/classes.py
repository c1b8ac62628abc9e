"""A class trainable: what its steps return, in the form that Tune takes, and its trial's model."""

import types
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from ray_synapse import console, registry
from ray_synapse.delivery import cluster
from ray_synapse.errors import TrainableError
from ray_synapse.metrics import AUTO_KEYS, CHECKPOINT_OUTPUT, CHECKPOINT_SOURCE, lookup
from ray_synapse.run import TrainRun
from ray_synapse.trial.arguments import needs
from ray_synapse.trial.naming import inside_tune_classes
from ray_synapse.trial.output import add_to, fingerprint, holds_working_folder
from ray_synapse.trial.reports import END_MARK, merged, normalized, only, plain

COPIED_ATTRIBUTES = ("__qualname__", "__module__", "__doc__")


def wrapped_class(
    trainable: type,
    run: TrainRun | None,
    metric: str | None,
    asked: set[str],
    fetch: Callable[[], dict[str, Any]],
) -> type:
    """A subclass of a Tune class that logs to the run; see ``wrap_trainable``.

    Args:
        trainable: The class, which may be one that Tune's own wrappers derived.
        run: The run to log to.
        metric: The metric that is optimized; the run's if it is None.
        asked: What its ``setup`` asks for by name.
        fetch: Gives the values for that in any process.
    """
    wrappers, own = inside_tune_classes(trainable)
    needed = {name for name in asked if needs(trainable, name)}
    given = _Given(run, metric, asked, needed, fetch)
    # Next to the user's class, below those of Tune's wrappers: their `setup` takes a config only,
    # and hands on what `tune.with_parameters` was given.
    logged = _derived(own, (_Logged, own), {"_ray_synapse_given": given})
    return _derived(own, (trainable, logged), {}) if wrappers else logged


def _derived(own: type, bases: tuple[type, ...], body: dict[str, Any]) -> type:
    """A class with the name of the user's, which is the one that a restored sweep looks for."""
    body |= {name: getattr(own, name) for name in COPIED_ATTRIBUTES}
    return types.new_class(own.__name__, bases, {}, lambda namespace: namespace.update(body))


@dataclass(frozen=True)
class _Given:
    """What ``wrap_trainable`` was given."""

    run: TrainRun | None
    metric: str | None
    asked: set[str]
    needed: set[str]
    fetch: Callable[[], dict[str, Any]]

    def arguments(self, more: Mapping[str, Any], run: TrainRun | None) -> dict[str, Any]:
        """The arguments of the class's ``setup``; ``more`` is what Tune's wrappers give."""
        offered = {**self.fetch(), **more, "run": run}
        asked = {name: offered.get(name) for name in self.asked}
        return {
            **more,
            **{name: v for name, v in asked.items() if v is not None or name in self.needed},
        }


class _Logged(tune.Trainable):  # type: ignore[misc]  # Ray has no full hints
    """Comes before the user's class in the order in which methods are looked for."""

    _wrapped_by_ray_synapse = True
    _ray_synapse_given: _Given

    def setup(self, config: dict[str, Any], **more: Any) -> None:
        """Bind the run, then the class's own ``setup``, which may log already."""
        given = self._ray_synapse_given
        run = more.get("run") or given.run
        if getattr(type(self), "run", None) is None:
            self.run = run
        self._begin_trial(run)
        super().setup(config, **given.arguments(more, run))

    def reset_config(self, new_config: dict[str, Any]) -> Any:
        """The object is used for another trial: what it logs from here on is that one's."""
        self._begin_trial(self._ray_synapse_results.run)
        return super().reset_config(new_config)

    def step(self) -> dict[str, Any]:
        """The class's own step, its result as a dict that has the metric."""
        results = self._ray_synapse_results
        with results.run._channel.buffered() if results.run is not None else nullcontext():
            return results.complete(super().step())

    def save_checkpoint(self, checkpoint_dir: str) -> Any:
        """The class's own, and the files at ``run.checkpoint_output``."""
        results = self._ray_synapse_results
        saved = None
        if self._saves() or results.output() is None:
            saved = super().save_checkpoint(checkpoint_dir)
        results.save_output(Path(checkpoint_dir))
        return saved

    def restore(self, checkpoint_path: Any) -> Any:
        """Go on from a checkpoint, whose result has the newest value of the metric."""
        restored = super().restore(checkpoint_path)
        self._ray_synapse_results.note(getattr(checkpoint_path, "metrics", None) or {})
        return restored

    def _begin_trial(self, run: TrainRun | None) -> None:
        metric = self._ray_synapse_given.metric or (run.metric if run is not None else None)
        self._ray_synapse_results = _Results(metric, run)
        if getattr(self, "_trial_info", None) is None:  # the user calls it, outside of a sweep
            return
        cluster.set_trial(self.trial_id)
        registry.bind(run)
        if run is not None:
            run.checkpoint_output = None  # of the trial that used this process before

    def _saves(self) -> bool:
        """Whether the class has a ``save_checkpoint`` of its own."""
        method = getattr(super().save_checkpoint, "__func__", None)
        return method is not tune.Trainable.save_checkpoint


class _Results:
    """The results of one trial, and where its model is.

    Args:
        metric: The metric that is optimized, or None.
        run: The run whose ``checkpoint_output`` is saved, or None.
    """

    def __init__(self, metric: str | None, run: TrainRun | None) -> None:
        self.run = run
        self._metric = None if metric in AUTO_KEYS else metric  # Tune fills these in itself
        self._newest: dict[str, Any] = {}  # the metric alone, as it was last seen

    def complete(self, value: Any) -> dict[str, Any]:
        """What a step returned as a result for Tune.

        Raises:
            TrainableError: The trial is done, and never had the optimized metric.
        """
        result = {key: plain(item) for key, item in normalized(value, self._metric).items()}
        if END_MARK in result:
            return result
        self.note(result)
        if self._metric is not None and lookup(result, self._metric) is None:
            result = merged(result, self._newest or self._not_yet(self._metric, result))
        if self.run is not None and self.run.checkpoint_output is not None:
            result.setdefault(CHECKPOINT_OUTPUT, self.run.checkpoint_output)
        # Each checkpoint that Tune has of this trial holds it, and what the class itself saves.
        source = self.output()
        return result if source is None else {**result, CHECKPOINT_SOURCE: source}

    def note(self, result: dict[str, Any]) -> None:
        """Remember the value of the metric, if the result has one."""
        if self._metric is not None and lookup(result, self._metric) is not None:
            self._newest = only(result, self._metric)

    def output(self) -> str | None:
        """``run.checkpoint_output``, if there is something that can be saved with a checkpoint."""
        output = self.run.checkpoint_output if self.run is not None else None
        if output is None or not fingerprint(Path(output)) or holds_working_folder(output):
            return None
        return output

    def save_output(self, folder: Path) -> None:
        """Add the model to the folder of a checkpoint, beside what the class itself saved."""
        output = self.output()
        if output is not None and not _overlap(folder, Path(output)):
            add_to(folder, Path(output))

    @staticmethod
    def _not_yet(metric: str, result: dict[str, Any]) -> dict[str, Any]:
        keys = ", ".join(map(str, result)) or "nothing"
        if result.get("done"):
            raise TrainableError(
                f"the metric {metric!r} is optimized, but this trial is done without it; its last "
                f"step returned: {keys}. Return {{{metric!r}: value}} from step()."
            )
        console.say_once(
            f"step() has not returned the metric {metric!r} yet, which is optimized, but: {keys}. "
            "Tune is given NaN until it does."
        )
        return {metric: float("nan")}


def _overlap(one: Path, other: Path) -> bool:
    one, other = one.resolve(), other.resolve()
    return one.is_relative_to(other) or other.is_relative_to(one)
