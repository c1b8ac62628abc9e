"""What is to be done at the end of a sweep: from its results to a decision, without doing it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ray_synapse.artifact import Artifact
from ray_synapse.metrics import measured, own_metrics
from ray_synapse.results.checkpoints import resolve, shared_outputs
from ray_synapse.results.outcome import (
    Outcome,
    Scope,
    at_its_best,
    best_of,
    outcome_of,
    resolve_trial_id,
)
from ray_synapse.settings import Mode, Upload
from ray_synapse.table import Columns, Table
from ray_synapse.values import Wire, to_wire


@dataclass(frozen=True)
class FinishedSweep:
    """A sweep that ended, and what was decided about it.

    Attributes:
        outcomes: What became of each trial.
        artifacts: The model of each trial; an empty one where it is not asked for.
        metric: The metric that is optimized, if it is known.
        best: The index of the trial that won, or None.
        no_best: Why none won; else empty.
        to_upload: The indexes of the trials whose models are to be uploaded.
    """

    outcomes: Sequence[Outcome]
    artifacts: Sequence[Artifact]
    metric: str | None
    best: int | None
    no_best: str
    to_upload: Sequence[int]


def decide(
    sources: Sequence[Any], metric: str | None, mode: Mode | None, scope: Scope, upload: Upload
) -> FinishedSweep:
    """Find the winner and the models of a sweep.

    Args:
        sources: Its ``Result`` or ``Trial`` objects.
        metric: The metric that is optimized.
        mode: ``"min"`` or ``"max"``.
        scope: Whether the last or the best result of a trial counts.
        upload: Which models are wanted.
    """
    outcomes = [_outcome(source, metric, mode, scope) for source in sources]
    if metric is None or mode is None:
        missing = "metric" if metric is None else "mode"
        best, why = None, f"its {missing} is not known; give it to ray_synapse.init()"
    else:
        best, why = best_of(outcomes, metric, mode)
    every, winner = list(range(len(outcomes))), [] if best is None else [best]
    to_upload = {"all": every, "best": winner, "none": []}[upload]
    shared = shared_outputs(outcomes)
    artifacts = [
        resolve(outcome, shared) if index in winner or upload == "all" else Artifact(None)
        for index, outcome in enumerate(outcomes)
    ]
    return FinishedSweep(outcomes, artifacts, metric, best, why, to_upload)


def table_of(sweep: FinishedSweep, columns: Columns) -> dict[str, Wire]:
    """The trials table, made from the results; ``columns`` are the ones it had before."""
    table = Table(sweep.metric, columns)
    for outcome in sweep.outcomes:
        table.set_config(outcome.trial_id, outcome.config)
        table.set_metrics(outcome.trial_id, measured(outcome.metrics, sweep.metric))
        table.set_ended(outcome.trial_id, "ERROR" if outcome.error else "TERMINATED")
    return table.snapshot()


def summary_of(sweep: FinishedSweep, models: Mapping[int, int | str | None]) -> dict[str, Any]:
    """What ``finish`` returns, given the id of the model of each trial that has one, or will."""
    pairs = zip(sweep.outcomes, sweep.artifacts, strict=True)
    entries = [entry_of(outcome, artifact) for outcome, artifact in pairs]
    return {
        "model_id": None if sweep.best is None else models.get(sweep.best),
        "best_trial": None if sweep.best is None else entries[sweep.best],
        "trial_models": [
            {
                "trial_logdir": entries[index]["trial_logdir"],
                "model_id": models[index],
                "config": entries[index]["config"],
                "metrics": entries[index]["metrics"],
            }
            for index in sorted(models)
        ],
    }


def entry_of(outcome: Outcome, artifact: Artifact) -> dict[str, Wire]:
    """A trial as the summary and its model's configuration have it."""
    return {
        "trial_logdir": artifact.path,
        "config": {str(key): to_wire(value) for key, value in outcome.config.items()},
        "metrics": {
            str(key): to_wire(value) for key, value in own_metrics(outcome.metrics).items()
        },
    }


def _outcome(source: Any, metric: str | None, mode: Mode | None, scope: Scope) -> Outcome:
    outcome = outcome_of(source)
    if not outcome.trial_id:
        outcome = replace(outcome, trial_id=resolve_trial_id(source))
    if scope == "all" and metric is not None and mode is not None:
        outcome = at_its_best(source, outcome, metric, mode)
    return outcome
