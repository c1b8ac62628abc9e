"""Whether what a job tells of a sweep is what Tune tells, trial by trial: every sweep ends with it.

Knows no Ray. ``tests.sweeps`` has ``agree`` called for every sweep of a test.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.backend.local import LocalBackend
from ray_synapse.backend.protocol import Counts, JobId
from ray_synapse.delivery.synapse import SynapseBackend, SynapseSpec
from ray_synapse.run_spec import RunSpec
from ray_synapse.table import MAX_HYPERPARAMETERS
from ray_synapse.values import Wire, dumps, is_finite, to_wire
from tests.tuned import Told, Tuned, tuned


def agree(
    grid: Iterable[Any] | Tuned | None,
    job: JobId,
    backend: LocalBackend | None = None,
    *,
    spec: RunSpec | None = None,
    fit_raised: bool = False,
    interrupted: bool = False,
    is_open: bool = False,
) -> None:
    """Compare the last table, the final status and the rest of a job that has ended with Tune.

    Args:
        grid: What ``fit()`` gave; None if it raised.
        job: The job, whose run has ended (``start.close``, or its process).
        backend: The one that keeps the job; of a job on a server the one that is served.
        spec: The run's own (``run._as_spec()``): needed for a job on a server, which knows neither
            the metric nor which models are of this run.
        fit_raised: Whether ``fit()`` raised.
        interrupted: Whether a signal ended the sweep.
        is_open: Whether nobody knew how many trials there would be (``num_samples=-1``).

    Raises:
        AssertionError: They do not agree; it names every difference.
    """
    backend = backend or LocalBackend(Path(os.environ["RAY_SYNAPSE_HOME"]))
    told = grid if grid is None or isinstance(grid, Tuned) else tuned(grid)
    record, goal, counts = backend.job(job), *_known_to_the_run(spec, job, backend)
    found = [
        *_goal(told, goal),
        *_table(told, backend.trials(job), record, goal),
        *_progress(record["progress_record"], not (fit_raised or interrupted), is_open),
        *_status(told, record["status"], fit_raised, interrupted),
        *_models(told, _models_of(backend, job, spec)),
        *_counts(counts),
    ]
    if found:
        raise AssertionError("\n  ".join((f"job {job} does not tell what Tune tells:", *found)))


def _known_to_the_run(
    spec: RunSpec | None, job: JobId, backend: LocalBackend
) -> tuple[dict[str, Any], Counts]:
    near: Any = backend if spec is None else spec.backend.open()
    if isinstance(near, SynapseBackend):
        near.is_over = True
    return near.job(job), Counts.total(near.counts(job).values())


def _goal(told: Tuned | None, goal: Mapping[str, Any]) -> Iterator[str]:
    if told is None or told.metric in (None, "_metric"):  # the latter is Tune's word for none
        return
    ours = (goal["metric"], goal["mode"])
    if ours != (told.metric, told.mode):
        yield f"the job optimizes {ours}; Tune optimizes {(told.metric, told.mode)}"


def _names(metric: Any) -> list[str]:
    return [metric] if isinstance(metric, str) else list(metric or [])


def _table(
    told: Tuned | None, table: dict[str, Any] | None, record: Any, goal: Any
) -> Iterator[str]:
    if table is None:
        if told is not None and told.trials:
            yield f"there is no table, and Tune has {len(told.trials)} trials"
        return
    rows = table["trials"]
    for trial_id, row in rows.items():
        if row["base"][0] != trial_id:
            yield f"the row of {trial_id} is called {row['base'][0]}"
        if row["base"][1] not in ("TERMINATED", "ERROR"):
            yield f"{trial_id} is {row['base'][1]}, and the sweep is over"
    optimized = _names(goal["metric"])
    if table["metrics"][: len(optimized)] != optimized:
        yield f"the metrics are {table['metrics']}; the optimized {optimized} must come first"
    for kind in ("hyperparameters", "metrics"):
        if len(set(table[kind])) != len(table[kind]):
            yield f"columns are there twice: {kind} {table[kind]}"
    if told is None:
        return
    yield from _ids([each.trial_id for each in told.trials], rows)
    for each in told.trials:
        if each.trial_id in rows:
            yield from _row(each, rows[each.trial_id], table, optimized)
    yield from _best(told, table["best_trial"], record["best_trial"], optimized, goal["mode"])


def _ids(ids: Sequence[str], rows: Mapping[str, Any]) -> Iterator[str]:
    for trial_id, number in Counter(ids).items():
        if number > 1:
            yield f"Tune has {trial_id} {number} times"
    if missing := sorted(set(ids) - set(rows)):
        yield f"trials without a row: {missing}"
    if extra := sorted(set(rows) - set(ids)):
        yield f"rows that are no trial of Tune: {extra}"


def _row(told: Told, row: Any, table: Mapping[str, Any], optimized: Sequence[str]) -> Iterator[str]:
    status = "ERROR" if told.failed else "TERMINATED"
    if row["base"][1] != status:
        yield f"{told.trial_id} is {row['base'][1]}; by Tune's result it is {status}"
    for kind in ("hyperparameters", "metrics"):
        if len(row[kind]) != len(table[kind]):
            yield f"{told.trial_id} has {len(row[kind])} {kind} for {len(table[kind])} columns"
    if told.config is not None:
        shown = dict(zip(table["hyperparameters"], row["hyperparameters"], strict=False))
        config = {name: json.loads(dumps(value)) for name, value in told.config.items()}
        is_full = len(shown) >= MAX_HYPERPARAMETERS
        for name in shown if is_full else dict.fromkeys((*shown, *config)):
            value = shown.get(name, "no column")
            if value != config.get(name):
                yield f"{told.trial_id} has {name} = {value}; its config says {config.get(name)}"
    for name, value in zip(table["metrics"], row["metrics"], strict=False):
        allowed = _allowed(told, name, name in optimized)
        if value not in allowed:
            yield f"{told.trial_id} has {name} = {value}; its last result says {allowed[0]}"


def _allowed(told: Told, name: str, is_optimized: bool) -> list[Wire]:
    """What a metric's cell may be: what the last result does not have keeps its value."""
    if name not in told.metrics:
        return [None, *(to_wire(number) for number in told.earlier.get(name, []))]
    value = told.metrics[name]
    if isinstance(value, bool):
        value = int(value) if is_optimized else None
    return [to_wire(value)]


def _best(
    told: Tuned, best: str, registered: Any, optimized: Sequence[str], mode: Any
) -> Iterator[str]:
    values = {
        each.trial_id: float(each.metrics[optimized[0]])
        for each in told.trials
        if optimized and mode and not each.failed and _can_win(each.metrics.get(optimized[0]))
    }
    # With several objectives there may be none.
    allowed = {""} if not values or len(optimized) > 1 else set[str]()
    if values:
        winner = (min if mode in ("min", ["min"]) else max)(values.values())
        allowed |= {trial_id for trial_id, value in values.items() if value == winner}
    if best not in allowed:
        yield f"the best trial is {best!r}; by the last values of {optimized} {sorted(allowed)} won"
    if best and (registered or {}).get("trial_id") != best:
        yield f"the best trial is {best!r} in the table, and {registered} in the job"


def _can_win(value: Any) -> bool:
    return isinstance(value, bool) or is_finite(value)


def _progress(record: Any, is_whole: bool, is_open: bool) -> Iterator[str]:
    record = record or {"record": {"steps": {}}, "current_progress": {"overall": None}}
    overall = record["current_progress"]["overall"]
    percent = record["record"]["steps"].get("trials", {}).get("percent")
    if max(percent or 0, overall or 0) > 100:
        yield f"the progress is over 100: {percent} % of the trials, {overall} % overall"
    if is_whole and percent != 100 and not (is_open and percent is None):
        yield f"the progress of the trials ends at {percent} %"
    if is_whole and overall != 100:
        yield f"the overall progress ends at {overall} %"


def _status(told: Tuned | None, status: str, fit_raised: bool, interrupted: bool) -> Iterator[str]:
    all_failed = told is not None and told.trials and all(each.failed for each in told.trials)
    expected = "FAILED" if fit_raised or all_failed else "SUCCEEDED"
    if interrupted:
        expected = "STOPPED"
    if status != expected:
        yield f"the job is {status}; after this sweep it must be {expected}"


def _models_of(backend: LocalBackend, job: JobId, spec: RunSpec | None) -> list[str]:
    """The names of the job's models; a server knows only which are called after the run."""
    if spec is None or not isinstance(spec.backend, SynapseSpec):
        return [model["name"] for model in backend.models(job)]
    models = EmbeddedApi(backend.home).list_models([("page_size", "200")])["results"]
    return [each["name"] for each in models if each["name"].startswith(f"{spec.name}_")]


def _models(told: Tuned | None, names: Iterable[str]) -> Iterator[str]:
    if told is None:
        return
    ids = "|".join(re.escape(each.trial_id) for each in told.trials)
    for name in names:  # a trial that went on has its new model beside the old one, as <name>_2
        if not re.search(rf"_({ids})(_\d+)?$", name):
            yield f"the model {name} belongs to no trial of Tune"


def _counts(counts: Counts) -> Iterator[str]:
    if counts.logged != sum(counts[1:]):
        yield f"the records do not add up: {counts}"
    if counts.waiting:
        yield f"records still wait: {counts}"
