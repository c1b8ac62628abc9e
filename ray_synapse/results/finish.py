"""The end of a sweep: every trial's model, the best trial, the last table, the summary."""

import json
from collections.abc import Sequence
from typing import Any

from ray_synapse import console
from ray_synapse.artifact import Artifact
from ray_synapse.errors import BackendError, SettingsError
from ray_synapse.results.decision import FinishedSweep, decide, summary_of, table_of
from ray_synapse.results.outcome import Identified, Scope
from ray_synapse.results.owner import run_of, sweeps_of, unfinished_sweeps
from ray_synapse.results.telling import (
    say_where,
    tell,
    tell_by_reason,
    tell_failures,
    tell_interruption,
)
from ray_synapse.results.uploads import Moving, Uploads, uploads_of
from ray_synapse.run import FLUSH_S, SWEEP_STOP_S, TrainRun
from ray_synapse.run_spec import Sweep
from ray_synapse.settings import Mode
from ray_synapse.table import Columns
from ray_synapse.values import flatten, to_wire

TOO_LATE = (
    "the run was interrupted, and its time to end (deadline_s) is over; finish() after a restore "
    "uploads it"
)


def finish(run: TrainRun, result_grid: Any, *, best: Scope = "last") -> dict[str, Any]:
    """Finish a sweep: upload the models, register the best trial, send the last table.

    Every trial with a model has it uploaded as a zip archive called ``<run name>_<trial id>``
    (``upload`` of the run limits that); one that has changed since its last upload, as after a
    restore, has ``_2`` added to its name. What failed or is missing is named in messages of the run
    and on stderr, and does not stop the rest. Calling it again uploads nothing twice.

    Args:
        run: The run.
        result_grid: What ``Tuner.fit()`` or ``Tuner.get_results()`` gave.
        best: ``"last"``: the last result of each trial counts, its model is the newest checkpoint
            (Tune's default scope). ``"all"``: the best of its results whose checkpoint Tune has
            kept counts, with that checkpoint; of a trial without any, the best of its results.

    Returns:
        ``{"model_id", "best_trial": {"trial_logdir", "config", "metrics"}, "trial_models":
        [{"trial_logdir", "model_id", "config", "metrics"}, ...]}``, all of it plain JSON values.
        ``model_id`` is the best trial's; ``trial_logdir`` is the path of the trial's artifact;
        ``metrics`` are the user's own. ``best_trial`` is None if no trial can win.

    Raises:
        SettingsError: ``run`` is no run of ours, ``result_grid`` has no results, or ``best`` is
            neither ``"last"`` nor ``"all"``. Also a ValueError.
    """
    if not isinstance(run, TrainRun):
        raise SettingsError(f"run is {run!r}; give the run that ray_synapse.init() gave.")
    if best not in ("last", "all"):
        raise SettingsError(f'best is {best!r}; allowed are "last" and "all".')
    try:
        sources = list(result_grid)
    except TypeError as error:
        raise SettingsError(
            f"result_grid is a {type(result_grid).__name__}; give what Tuner.fit() returned."
        ) from error
    for source in sources:
        if not hasattr(source, "metrics") and not hasattr(source, "last_result"):
            raise SettingsError(
                f"result_grid has a {type(source).__name__} ({to_wire(source, max_chars=60)!r}) in "
                "it, which is no result; give what Tuner.fit() returned."
            )
    analysis = getattr(result_grid, "_experiment_analysis", None)  # no public name has its trials
    trials = getattr(analysis, "trials", None) or []
    if len(trials) == len(sources):
        sources = [Identified(*each) for each in zip(sources, trials, strict=True)]
    run = run_of(run, sources, getattr(result_grid, "experiment_path", None))
    sweep = next(reversed(sweeps_of(run, sources)), None)
    if sweep is not None:
        sweep.stop(SWEEP_STOP_S)
    metric, mode = _goal(run, sweep, result_grid)
    summary = _conclude(run, sources, metric, mode, best, sweep)
    if not run._channel.flush(FLUSH_S):
        waiting = run.stats()["waiting"]
        console.say(f"{waiting:,} records are not written yet; they are tried again until the end")
    return summary


def finish_at_exit(run: TrainRun) -> bool:
    """Do the same for a sweep that the script did not finish itself.

    Returns:
        Whether the run's newest sweep is finished, so that its job has its status.
    """
    for sweep in unfinished_sweeps(run):
        sweep.stop(SWEEP_STOP_S)
        _conclude(run, sweep.trials, sweep.metric, sweep.mode, "last", sweep)
    return bool(run._sweeps)  # the records that are still on their way are waited for by the caller


def _goal(run: TrainRun, sweep: Sweep | None, result_grid: Any) -> tuple[str | None, Mode | None]:
    """Metric and mode, from the first place that has both, else from one that has one of them."""
    analysis = getattr(result_grid, "_experiment_analysis", None)  # no public name has its metric
    tunes = (getattr(analysis, "default_metric", None), getattr(analysis, "default_mode", None))
    places = [(sweep.metric, sweep.mode)] if sweep else []
    places += [(run.metric, run.mode), tunes]
    whole = [place for place in places if all(place)]
    return (whole or sorted(places, key=any, reverse=True))[0]


def _conclude(
    run: TrainRun,
    sources: Sequence[Any],
    metric: str | None,
    mode: Mode | None,
    scope: Scope,
    followed: Sweep | None,
) -> dict[str, Any]:
    """Do it; ``followed`` is what the callback has left of the sweep."""
    if followed is not None and followed.is_cut_off:
        run._patience.hurry()
    sweep = decide(sources, metric, mode, scope, run.upload)
    _register_best(run, sweep)
    _send_last_table(run, sweep)
    tell_failures(run, sweep, followed.told_failed if followed else ())
    status = _status(sweep, followed)
    uploads = _upload(run, sweep, shows_progress=status != "STOPPED")
    if status == "STOPPED":
        tell_interruption(run)
    elif followed is None or not followed.error:
        if followed is None:  # it ran in another process
            run.set_progress(len(sources), len(sources), "trials")
        run.set_progress(1, 1, "model_upload")
    summary = summary_of(sweep, uploads.ids)
    uploads.keep_result(summary, sweep.best)
    run._patch_job(status=status)
    for each in (*sweeps_of(run, sources), *([followed] if followed else [])):
        each.is_concluded = True
    number = len(sweep.outcomes)
    say_where(run, "1 trial is" if number == 1 else f"{number:,} trials are")
    return summary


def _status(sweep: FinishedSweep, followed: Sweep | None) -> str:
    """The status of the job."""
    if followed is not None and followed.is_cut_off:
        return "STOPPED"
    failed = sum(bool(outcome.error) for outcome in sweep.outcomes)
    every_trial_failed = bool(sweep.outcomes) and failed == len(sweep.outcomes)
    return "FAILED" if every_trial_failed or (followed and followed.error) else "SUCCEEDED"


def _upload(run: TrainRun, sweep: FinishedSweep, *, shows_progress: bool) -> Uploads:
    """Have uploaded what is to be uploaded. A sweep that was cut off stays at what it had done."""
    wanted = [index for index in sweep.to_upload if sweep.artifacts[index]]
    uploads, moving = uploads_of(run), Moving(run, is_logged=shows_progress)
    for done, index in enumerate(wanted):
        if run._patience.is_over:
            uploads.refused[index] = TOO_LATE
        elif uploads.add(index, sweep.outcomes[index], sweep.artifacts[index]):
            moving.move(done + 1, len(wanted))
    if wanted:
        uploads.wait(moving.move)
    moving.end()
    missing = [index for index in sweep.to_upload if not sweep.artifacts[index]]
    reasons = [(sweep.outcomes[index], sweep.artifacts[index].reason) for index in missing]
    tell_by_reason(run, "no model", reasons)
    for index in wanted:
        left_out = _links_left_out(sweep.artifacts[index])
        tell_by_reason(run, "its model", [(sweep.outcomes[index], left_out)] if left_out else [])
    refused = [(sweep.outcomes[index], reason) for index, reason in uploads.refused.items()]
    tell_by_reason(run, "model not uploaded", refused)
    return uploads


def _links_left_out(artifact: Artifact) -> str:
    try:
        number = len(artifact.listing().left_out) if artifact.filesystem is None else 0
    except OSError:  # then there is another reason
        return ""
    links = "1 link that leads" if number == 1 else f"{number:,} links that lead"
    return f"{links} out of its folder left out" if number else ""


def _register_best(run: TrainRun, sweep: FinishedSweep) -> None:
    if sweep.best is None:
        tell(run, f"There is no best trial: {sweep.no_best}.")
        return
    winner = sweep.outcomes[sweep.best]
    config = {key: to_wire(value) for key, value in flatten(winner.config).items()}
    try:
        run._backend.set_best_trial(run.job_id, {**config, "trial_id": winner.trial_id})
    except BackendError as error:
        tell(run, f"The best trial, {winner.trial_id}, could not be registered: {error}")


def _send_last_table(run: TrainRun, sweep: FinishedSweep) -> None:
    """Send the newest table again, with its winner; from the results where there is none."""
    table = json.loads(run._table) if run._table else None
    if table is None or not all(each.trial_id in table["trials"] for each in sweep.outcomes):
        table = table_of(sweep, _columns_before(run))
    winner = "" if sweep.best is None else sweep.outcomes[sweep.best].trial_id
    run.log_trials({**table, "best_trial": winner})


def _columns_before(run: TrainRun) -> Columns:
    """The columns that the job's table has had so far: they keep their places."""
    try:
        table = run._backend.trials(run.job_id) or {}
        return Columns(list(table["hyperparameters"]), list(table["metrics"]))
    except (BackendError, KeyError):
        return Columns()
