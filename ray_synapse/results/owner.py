"""Which run and which sweep the results belong to that a script finishes."""

from collections.abc import Sequence
from typing import Any

from ray_synapse import console, registry, succession, vitals
from ray_synapse.backend.local import LocalBackend
from ray_synapse.errors import BackendError
from ray_synapse.results.outcome import resolve_trial_id
from ray_synapse.run import TrainRun
from ray_synapse.run_spec import Sweep


def run_of(run: TrainRun, sources: Sequence[Any], experiment: object) -> TrainRun:
    """The run that the results belong to: as a rule the one that the script gives.

    Results of a sweep that this run logged as an earlier job belong to that one. A script that made
    a new run after a restore has it go on as the restored job, if it is still empty.

    Args:
        run: The run that the script gave.
        sources: The results.
        experiment: The path of Tune's experiment, if it is known.
    """
    ids = _ids_of(sources)
    if _sweeps_with(run, ids) or (run._sweeps and not ids):
        return run
    earlier = [each for each in run._earlier if isinstance(each, TrainRun)]
    for other in (*earlier, *registry.open_runs()):  # of the earlier ones some have ended here
        sweeps = _sweeps_with(other, ids)
        is_meant = other in earlier or any(sweep.is_restored for sweep in sweeps)
        if not (sweeps and is_meant):
            continue
        if succession.is_empty(run):
            succession.unite(run, other)
        else:
            console.say(f"these are the results of job {other.job_id}, which ends with them")
        return other
    _join_restored(run, ids, experiment)
    return run


def sweeps_of(run: TrainRun, sources: Sequence[Any]) -> list[Sweep]:
    """The sweeps of the run that gave these results, the newest last: two, if it was restored here.

    Results of no trial are those of the newest sweep.
    """
    return _sweeps_with(run, _ids_of(sources)) if sources else run._sweeps[-1:]


def unfinished_sweeps(run: TrainRun) -> list[Sweep]:
    """The sweeps that are still to be finished; of one that was restored here its newest part."""
    left: list[Sweep] = []
    seen: set[str] = set()
    for sweep in reversed(run._sweeps):
        ids = {trial.trial_id for trial in sweep.trials}
        if not (sweep.is_concluded or ids & seen):
            left.insert(0, sweep)
        seen |= ids
    return left


def _ids_of(sources: Sequence[Any]) -> set[str]:
    return {resolve_trial_id(source) for source in sources}


def _sweeps_with(run: TrainRun, ids: set[str]) -> list[Sweep]:
    return [each for each in run._sweeps if any(trial.trial_id in ids for trial in each.trials)]


def _join_restored(run: TrainRun, ids: set[str], experiment: object) -> None:
    """Go on as the job that has logged these trials in an earlier process."""
    backend = run._backend
    if not isinstance(backend, LocalBackend) or not experiment or not succession.is_empty(run):
        return
    try:
        number = backend.job_of(str(experiment))
        if number is None or not ids & (backend.trials(number) or {}).get("trials", {}).keys():
            return  # an earlier sweep in the same folder
        job, known = backend.job(number), registry.find(run._spec.backend, number)
        is_driven = job["status"] == "RUNNING" and not vitals.is_interrupted(job)
        if not is_driven and (known is None or known._owner_pid is None):
            succession.join(run, number)
    except BackendError as error:
        console.say(f"job {run.job_id} does not go on as the one of {experiment}: {error}")
