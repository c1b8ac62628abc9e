"""The end of a sweep: every trial's model, the best trial, the last table, the summary."""

import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from ray_synapse import console
from ray_synapse.artifact import Artifact
from ray_synapse.backend.local import LocalSpec
from ray_synapse.errors import BackendError, SettingsError
from ray_synapse.names import display_name
from ray_synapse.results.decision import FinishedSweep, decide, summary_of, table_of
from ray_synapse.results.outcome import Outcome, Scope, resolve_trial_id
from ray_synapse.results.uploads import Uploads, uploads_of
from ray_synapse.run import FLUSH_S, SWEEP_STOP_S, TrainRun
from ray_synapse.run_spec import Sweep
from ray_synapse.settings import Mode
from ray_synapse.table import Columns
from ray_synapse.values import flatten, to_wire

NAMED_TRIALS = 10  # in one line of the terminal; the logged message names them all


def finish(run: TrainRun, result_grid: Any, *, best: Scope = "last") -> dict[str, Any]:
    """Finish a sweep: upload the models, register the best trial, send the last table.

    Every trial with a model has it uploaded as a zip archive called ``<run name>_<trial id>``
    (``upload`` of the run limits that). What failed or is missing is named in messages of the run
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
    sweep = _take_sweep_of(run, sources)
    metric, mode = _goal(run, sweep, result_grid)
    cut_off = sweep is not None and sweep.interrupted
    summary = _conclude(run, sources, metric, mode, best, cut_off=cut_off)
    if not run._channel.flush(FLUSH_S):
        waiting = run.stats()["waiting"]
        console.say(f"{waiting:,} records are not written yet; they are tried again until the end")
    return summary


def finish_at_exit(run: TrainRun) -> bool:
    """Do the same for a sweep that the script did not finish itself.

    Returns:
        Whether the run's newest sweep is finished, so that its job has its status.
    """
    sweeps, run._sweeps = run._sweeps, []
    for sweep in sweeps:
        sweep.stop(SWEEP_STOP_S)
        cut_off = sweep.interrupted or not sweep.tune_ended
        _conclude(run, sweep.trials, sweep.metric, sweep.mode, "last", cut_off=cut_off)
    return run._concluded  # the records that are still on their way are waited for by the caller


def _take_sweep_of(run: TrainRun, sources: Sequence[Any]) -> Sweep | None:
    """The sweep of this run that gave these results, its last table sent."""
    ids = {resolve_trial_id(source) for source in sources}
    for sweep in reversed(run._sweeps):
        sweep.stop(SWEEP_STOP_S)
        if any(resolve_trial_id(trial) in ids for trial in sweep.trials) or not sources:
            run._sweeps.remove(sweep)
            return sweep
    return None


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
    *,
    cut_off: bool = False,
) -> dict[str, Any]:
    sweep = decide(sources, metric, mode, scope, run.upload)
    _register_best(run, sweep)
    _send_last_table(run, sweep)
    uploads = _upload(run, sweep)
    if not cut_off:
        run.set_progress(1, 1, "model_upload")
    summary = summary_of(sweep, uploads.ids)
    failed = sum(bool(outcome.error) for outcome in sweep.outcomes)
    status = "FAILED" if sweep.outcomes and failed == len(sweep.outcomes) else "SUCCEEDED"
    if cut_off:
        status = "STOPPED"
        _tell(run, "The sweep was interrupted; tune.Tuner.restore(folder, trainable) continues it.")
    uploads.keep_result(summary, sweep.best)
    run._patch_job(status=status)
    run._concluded = True
    _say_the_end(run, sweep)
    return summary


def _upload(run: TrainRun, sweep: FinishedSweep) -> Uploads:
    """Have uploaded what is to be uploaded."""
    failed = [index for index, outcome in enumerate(sweep.outcomes) if outcome.error]
    _tell_by_reason(run, "failed", [(sweep.outcomes[i], sweep.outcomes[i].error) for i in failed])
    wanted = [index for index in sweep.to_upload if sweep.artifacts[index]]
    uploads, line = uploads_of(run), console.ProgressLine()
    told: set[tuple[float, int]] = set()

    def moved(done: float, total: int) -> None:
        where = (round(done, 2), total)
        if where not in told:
            told.add(where)
            line.move(display_name(run.name), int(done), total, f"models · {done / total:.0%}")
            run.set_progress(*where, "model_upload")

    for done, index in enumerate(wanted):
        if uploads.add(index, sweep.outcomes[index], sweep.artifacts[index]):
            moved(done + 1, len(wanted))
    if wanted:
        uploads.wait(moved)
    line.end()
    missing = [index for index in sweep.to_upload if not sweep.artifacts[index]]
    reasons = [(sweep.outcomes[index], sweep.artifacts[index].reason) for index in missing]
    _tell_by_reason(run, "no model", reasons)
    for index in wanted:
        left_out = _links_left_out(sweep.artifacts[index])
        _tell_by_reason(run, "its model", [(sweep.outcomes[index], left_out)] if left_out else [])
    refused = [(sweep.outcomes[index], reason) for index, reason in uploads.refused.items()]
    _tell_by_reason(run, "model not uploaded", refused)
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
        _tell(run, f"There is no best trial: {sweep.no_best}.")
        return
    winner = sweep.outcomes[sweep.best]
    config = {key: to_wire(value) for key, value in flatten(winner.config).items()}
    try:
        run._backend.set_best_trial(run.job_id, {**config, "trial_id": winner.trial_id})
    except BackendError as error:
        _tell(run, f"The best trial, {winner.trial_id}, could not be registered: {error}")


def _send_last_table(run: TrainRun, sweep: FinishedSweep) -> None:
    """Send the newest table again, with its winner; from the results where there is none."""
    table = run._table
    rows = table["trials"] if table else {}
    if not isinstance(rows, dict) or any(each.trial_id not in rows for each in sweep.outcomes):
        table = table_of(sweep, _columns_before(run))
    winner = "" if sweep.best is None else sweep.outcomes[sweep.best].trial_id
    run.log_trials({**(table or {}), "best_trial": winner})


def _columns_before(run: TrainRun) -> Columns:
    """The columns that the job's table has had so far: they keep their places."""
    try:
        table = run._backend.trials(run.job_id) or {}
        return Columns(list(table["hyperparameters"]), list(table["metrics"]))
    except (BackendError, KeyError):
        return Columns()


def _tell_by_reason(run: TrainRun, what: str, trials: Iterable[tuple[Outcome, str]]) -> None:
    """One message for all the trials that share a reason."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for outcome, reason in trials:
        by_reason[reason].append(outcome.trial_id)
    for reason, ids in by_reason.items():
        count = "Trial" if len(ids) == 1 else f"{len(ids):,} trials:"
        names = ", ".join(ids[:NAMED_TRIALS])
        more = f" and {len(ids) - NAMED_TRIALS:,} more" if len(ids) > NAMED_TRIALS else ""
        whole = f"{count} {', '.join(ids)}: {what}: {reason}"
        _tell(run, whole, f"{count} {names}{more}: {what}: {reason}")


def _trials(number: int) -> str:
    return "1 trial is" if number == 1 else f"{number:,} trials are"


def _tell(run: TrainRun, text: str, short: str = "") -> None:
    """Log it, and say it in the terminal, there in short. Once: finish may be called again."""
    if text not in run._told:
        run._told.add(text)
        run.log_message(text, "warning")
        console.say(short or text)


def _say_the_end(run: TrainRun, sweep: FinishedSweep) -> None:
    spec = run._spec.backend
    text = f"{_trials(len(sweep.outcomes))} logged as job {run.job_id} on {spec.describe()}"
    if isinstance(spec, LocalSpec):
        command = "ray-synapse"
        if not shutil.which(command):
            command = f"{sys.executable} -m ray_synapse"
        text = (
            f"{_trials(len(sweep.outcomes))} kept as job {run.job_id} in {spec.describe()}; "
            f"`{command} show {run.job_id}` shows them again"
        )
    if text not in run._told:
        run._told.add(text)
        console.say(text)
