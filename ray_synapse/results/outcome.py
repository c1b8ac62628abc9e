"""What became of one trial, from a ray.tune.Result, a Trial, or anything that looks like one."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ray_synapse.last_lines import first_line
from ray_synapse.metrics import CHECKPOINT_OUTPUT, CHECKPOINT_SOURCE, is_of, lookup, metric_value
from ray_synapse.settings import Mode, secrets
from ray_synapse.values import dumps, is_finite, to_wire

Scope = Literal["last", "all"]
ERROR_CHARS = 300  # of a trial's error in a message; the whole of it is in Tune's error file


@dataclass(frozen=True)
class Outcome:
    """One trial after the sweep.

    Attributes:
        trial_id: Its id; empty if it has none.
        config: Its hyperparameters.
        metrics: The result that counts, with Tune's own keys.
        checkpoint: Tune's checkpoint that belongs to it, or None.
        kept: The checkpoints that Tune kept, with their results.
        error: Why it failed, in short; empty if it did not.
        log_folder: Tune's own folder of the trial, which holds no model by itself.
    """

    trial_id: str
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    checkpoint: Any
    kept: Sequence[tuple[Any, Mapping[str, Any]]]
    error: str
    log_folder: str


class Identified:
    """A ``ray.tune.Result`` with the id and the config of its trial.

    It has none of its own, and its metrics may be of another trial: PBT shows those of the trial
    that was cloned until there are new ones.
    """

    def __init__(self, result: Any, trial: Any) -> None:
        self._result = result
        self.trial_id, self.config = trial.trial_id, trial.config

    def __getattr__(self, name: str) -> Any:
        return getattr(self._result, name)


def outcome_of(source: Any) -> Outcome:
    """Read a ``ray.tune.Result``, a ``Trial`` or any object with the attributes of one."""
    metrics = getattr(source, "metrics", None)
    if metrics is None:  # a Trial; its own `last_result` asks its process
        metrics = getattr(getattr(source, "run_metadata", source), "last_result", None)
    metrics = metrics if isinstance(metrics, Mapping) else {}
    trial_id = str(getattr(source, "trial_id", None) or metrics.get("trial_id") or "")
    if not is_of(metrics, trial_id):
        metrics = next(reversed(_history(source)), {})
    # Tune's own `config` of a trial may already be the next one that PBT has chosen.
    config = metrics.get("config") or getattr(source, "config", None) or {}
    return Outcome(
        trial_id=trial_id,
        config=config,
        metrics=metrics,
        checkpoint=getattr(source, "checkpoint", None),
        kept=tuple(_kept(source)),
        error=_error(source),
        log_folder=str(getattr(source, "path", None) or ""),
    )


def resolve_trial_id(result: Any) -> str:
    """The id of the trial that a result belongs to.

    Ray's own, else ``trial_id`` in the metrics, else a short hash of the path of its artifact,
    which is the same in every process.

    Args:
        result: A ``ray.tune.Result``, a ``Trial``, or any object with the same attributes.
    """
    metrics = getattr(result, "metrics", None)
    metrics = metrics if isinstance(metrics, Mapping) else {}
    trial_id = getattr(result, "trial_id", None) or metrics.get("trial_id")
    if trial_id:  # at once: of 10,000 trials nothing else should be read for it
        return str(trial_id)
    outcome = outcome_of(result)
    if outcome.trial_id:
        return outcome.trial_id
    paths = (outcome.metrics.get(CHECKPOINT_OUTPUT), getattr(outcome.checkpoint, "path", None))
    kept = [getattr(checkpoint, "path", None) for checkpoint, _ in outcome.kept]
    named = (str(path) for path in (*paths, *kept, outcome.log_folder) if path)
    path = next(named, "") or dumps(to_wire(dict(outcome.config)))
    return hashlib.sha256(path.encode("utf-8", "replace")).hexdigest()[:8]


def at_its_best(source: Any, outcome: Outcome, metric: str, mode: Mode) -> Outcome:
    """The outcome as it was when the metric was best: that result and that checkpoint.

    Only a checkpoint that Tune kept can be had, so where there are any the best of these counts;
    a trial without one counts with the best of its results.
    """
    found = [(checkpoint, metrics) for checkpoint, metrics in outcome.kept]
    if not found:
        found = [(None, row) for row in _history(source)]
    if outcome.checkpoint is None:
        found.append((None, outcome.metrics))
    values = [metric_value(lookup(result, metric)) for _, result in found]
    can_win = {index: value for index, value in enumerate(values) if is_finite(value)}
    if not can_win:
        return outcome
    checkpoint, metrics = found[_index_of_best(can_win, mode)]
    return Outcome(
        outcome.trial_id,
        metrics.get("config") or outcome.config,
        # The folder the trial wrote to holds its last state; Tune's copy is the one of that time.
        {
            **metrics,
            "trial_id": outcome.trial_id,
            CHECKPOINT_SOURCE: metrics.get(CHECKPOINT_OUTPUT),
        },
        checkpoint,
        (),
        outcome.error,
        outcome.log_folder,
    )


def best_of(outcomes: Sequence[Outcome], metric: str, mode: Mode) -> tuple[int | None, str]:
    """Which outcome won.

    A trial that failed, or whose value is missing, NaN or infinite, cannot win.

    Returns:
        Its index and an empty text, or None and the reason why none can.
    """
    if not outcomes:
        return None, "the sweep has no trials"
    values = [metric_value(lookup(outcome.metrics, metric)) for outcome in outcomes]
    can_win = {
        index: value
        for index, value in enumerate(values)
        if is_finite(value) and not outcomes[index].error
    }
    if can_win:
        return _index_of_best(can_win, mode), ""
    left = [value for value, each in zip(values, outcomes, strict=True) if not each.error]
    missing = sum(value is None for value in left)
    parts = (
        (len(outcomes) - len(left), "failed"),
        (missing, f"have no {metric!r} in their last result"),
        (len(left) - missing, "have one that is not finite"),
    )
    reasons = ", ".join(f"{number} {what}" for number, what in parts if number)
    return None, f"of {len(outcomes)} trials {reasons}"


def _index_of_best(values: Mapping[int, Any], mode: Mode) -> int:
    return (max if mode == "max" else min)(values, key=lambda index: values[index])


def _kept(source: Any) -> Iterable[tuple[Any, Mapping[str, Any]]]:
    kept = getattr(source, "best_checkpoints", None)
    if kept is not None:
        return [(checkpoint, metrics or {}) for checkpoint, metrics in kept]
    try:  # a Trial keeps them here
        manager = source.run_metadata.checkpoint_manager
        results = manager.best_checkpoint_results
        return [(result.checkpoint, result.metrics or {}) for result in results]
    except AttributeError:
        return []


def _error(source: Any) -> str:
    error = getattr(source, "error", None)
    if error is None and getattr(source, "status", None) == "ERROR":
        error = _trial_error(source) or "it failed"
    if error is None:
        return ""
    text = first_line(error, secrets())
    return text if len(text) <= ERROR_CHARS else f"{text[:ERROR_CHARS]}…"


def _trial_error(trial: Any) -> Any:
    try:
        return trial.get_pickled_error() or trial.get_error()
    except Exception:  # the error file is gone, or holds what cannot be read here
        return None


def _history(source: Any) -> list[Mapping[str, Any]]:
    """All results of the trial, if Tune's own loggers kept them."""
    frame = getattr(source, "metrics_dataframe", None)
    if frame is None or len(frame) == 0:
        return []
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
