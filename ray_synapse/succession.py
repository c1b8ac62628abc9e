"""A run that goes on as another job: for a second sweep, or for the sweep that was restored.

The run keeps the address of its relay, by which it is known in pickles that Tune has made already:
so what the trials log goes to the new job, too.
"""

import os
from dataclasses import replace

from ray_synapse import console, registry, start
from ray_synapse.backend.local import LocalBackend
from ray_synapse.backend.protocol import BackendSpec, Counts, JobId
from ray_synapse.delivery.relay import RelayAddress
from ray_synapse.errors import NotFoundError
from ray_synapse.names import display_name
from ray_synapse.run import FLUSH_S, SWEEP_STOP_S, TrainRun
from ray_synapse.run_spec import RunSpec


def begin_again(run: TrainRun) -> None:
    """Make a run that has had its sweep a new job of the same name, for the next one.

    On a server no job can be made: there the run stays with its own, which is said.

    Raises:
        StorageError: The job cannot be made.
    """
    backend = run._backend
    if not isinstance(backend, LocalBackend):
        console.say(
            f"job {run.job_id} has a sweep already: its trials table is replaced by the one of "
            "this sweep. ray_synapse.init(name, job_id=...) with another job keeps both."
        )
        return
    number = backend.create_job(run.name, {"metric": run.metric, "mode": run.mode})
    console.say(
        f"job {run.job_id} has had its sweep: this one is job {number}, of the same name "
        f"({display_name(run.name)})"
    )
    for sweep in run._sweeps:
        sweep.stop(SWEEP_STOP_S)  # its last table is for the job that it had
    before = _become(run, replace(run._as_spec(), job_id=number))
    run._earlier = [*before._earlier, before]
    registry.remember(before)
    registry.remember(run)
    if all(sweep.is_concluded or sweep.error for sweep in before._sweeps):
        start.close(before)


def go_back(run: TrainRun, job: JobId) -> None:
    """Have a run that has begun again be its earlier job: of a sweep that is restored."""
    earlier = next((each for each in run._earlier if each.job_id == job), None)
    if not isinstance(earlier, TrainRun):
        console.say(
            f"the sweep that is restored was logged as job {job}; its rest goes to job "
            f"{run.job_id}, in which something was logged already"
        )
        return
    others = [each for each in run._earlier if each is not earlier]
    for sweep in run._sweeps:
        sweep.stop(SWEEP_STOP_S)
    before = _become(run, replace(run._as_spec(), job_id=job))
    run._earlier, run._sweeps = [*others, before], earlier._sweeps
    earlier.__dict__ = run.__dict__
    registry.remember(before)
    registry.remember(run)
    console.say(f"the sweep of job {job} is restored: the run goes on as that job")


def joined(run: TrainRun) -> TrainRun:
    """The run of a sweep that is restored, as this script holds it.

    A script that calls ``init`` again, as it did at first, has made a new job: the newest run of
    that name, or the only one that ``wrap_trainable`` was given, goes on as the restored job. If
    that job is gone, a new one takes its place.

    Args:
        run: The run that came back with the restore.

    Raises:
        StorageError: The database cannot be read or written.
    """
    backend = run._backend
    if not isinstance(backend, LocalBackend):
        return run
    meant = meant_for(run.name, run._spec.backend, run)
    try:
        backend.job(run.job_id)
    except NotFoundError as error:
        console.say(f"{error} The restored sweep goes on as another job.")
        if meant is None:
            begin_again(run)
        return meant or run
    if meant is None:
        _tell_of_the_wrapped(run)
        return run
    join(meant, run.job_id)
    return meant


def meant_for(
    name: str | None, backend: BackendSpec, run: TrainRun | None = None
) -> TrainRun | None:
    """The empty run of this script that is meant for a sweep that is restored, or None.

    Args:
        name: The name of the restored job; None if that is not known.
        backend: Where it is.
        run: A handle of that job, if there is one.
    """
    known = [each for each in registry.open_runs() if each._spec.backend == backend]
    empty = [each for each in known if each is not run and is_empty(each)]
    wrapped = [each for each in empty if each._is_wrapped]
    meant = [each for each in empty if each.name == name] or wrapped[:1] * (len(wrapped) == 1)
    return meant[-1] if meant else None


def _tell_of_the_wrapped(run: TrainRun) -> None:
    """Say where the trials log to if they were given a run that cannot join."""
    for each in registry.open_runs():
        if each is not run and each._is_wrapped and each._is_new and not each._sweeps:
            console.say(
                f"the sweep of job {run.job_id} is restored, but something was logged to job "
                f"{each.job_id} already: what the trials log themselves goes there. "
                f"ray_synapse.init(name, job_id={run.job_id}) would keep it together."
            )


def is_empty(run: TrainRun) -> bool:
    """Whether this process has made the run's job, and nothing was logged to it yet."""
    if not run._is_new or run._owner_pid != os.getpid() or run._sweeps or run._table is not None:
        return False
    return Counts.total(run._channel.counts().values()).logged == 0


def join(run: TrainRun, job: JobId) -> None:
    """Have an empty run go on as a job of the same embedded backend; its own is removed.

    Raises:
        NotFoundError: There is no such job.
        StorageError: The database cannot be read or written.
    """
    backend, empty = run._backend, run.job_id
    assert isinstance(backend, LocalBackend)
    known, other = backend.job(job), registry.find(run._spec.backend, job)
    registry.forget(run)
    spec = replace(run._as_spec(), job_id=known["id"], name=known["name"])
    metric, mode = run.metric or known["metric"], run.mode or known["mode"]
    start.close_quietly(_become(run, replace(spec, metric=metric, mode=mode)))
    if other is not None and other is not run:
        other.__dict__ = run.__dict__
    registry.remember(run)
    _remove(backend, empty, run)


def unite(run: TrainRun, other: TrainRun) -> None:
    """Have an empty run be another run of this process; its own job is removed."""
    backend, empty = run._backend, run.job_id
    registry.forget(run)
    before = _handle(run)
    other.upload, other._patience = run.upload, run._patience
    run.__dict__ = other.__dict__
    start.close_quietly(before)
    if isinstance(backend, LocalBackend):
        _remove(backend, empty, run)


def _remove(backend: LocalBackend, empty: JobId, run: TrainRun) -> None:
    backend.delete_job(empty)
    text = (
        f"The sweep is restored, and this run goes on as its job {run.job_id} (job {empty}, which "
        "init had made, was empty and is removed)"
    )
    console.say(text)
    run.log_message(text)


def _become(run: TrainRun, spec: RunSpec) -> TrainRun:
    """Have the run go on as what ``spec`` says. Returns what it was before."""
    run._channel.flush(FLUSH_S)
    before = _handle(run)
    after = TrainRun(spec, owned=True)
    after._patience = before._patience
    before._spec = replace(before._spec, relay=RelayAddress.new())
    after._channel.inherit(before._channel, before._spec.relay)
    run.__dict__ = after.__dict__
    return before


def _handle(run: TrainRun) -> TrainRun:
    """Another handle of what the run is now."""
    other = object.__new__(TrainRun)
    other.__dict__ = run.__dict__
    return other
