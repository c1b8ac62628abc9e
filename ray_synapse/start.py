"""How a run begins and ends in a process: ``init``, ``get_run``, and the end of the script."""

import atexit
import os
import sys
import uuid
from dataclasses import replace

from ray_synapse import console, settings
from ray_synapse.backend.local import LocalSpec
from ray_synapse.backend.protocol import BackendSpec, JobId
from ray_synapse.delivery.relay import RelayAddress
from ray_synapse.errors import NoRunError, SettingsError
from ray_synapse.names import MAX_NAME_CHARS, encode_name
from ray_synapse.run import FLUSH_S, TrainRun
from ray_synapse.run_spec import RunSpec
from ray_synapse.settings import UPLOADS, Mode, Upload

_open_runs: dict[tuple[BackendSpec, JobId], TrainRun] = {}  # the newest last
_bound: TrainRun | None = None  # the run of the trial in this process


def init(
    name: str,
    *,
    job_id: JobId | None = None,
    metric: str | None = None,
    mode: Mode | None = None,
    backend: str | None = None,
    upload: Upload = "all",
) -> TrainRun:
    """Start a run: make its job on the backend, or go on with one.

    Args:
        name: The run's name. ``:`` and ``,`` are encoded (``encode_name``). A name may be used
            again: every call without ``job_id`` makes a new job.
        job_id: Go on with this job instead.
        metric: The metric that is optimized: the default of the callback and the wrapper. A
            different one in Tune's own settings is an error before the first trial.
        mode: ``"min"`` or ``"max"``.
        backend: ``"local"`` for the embedded backend (a SQLite database under ``~/.ray_synapse``,
            or where ``RAY_SYNAPSE_HOME`` says). None means the same unless a Synapse host is
            configured.
        upload: Which trials' models ``finish`` uploads: ``"all"``, ``"best"`` or ``"none"``.
            Where ``RAY_SYNAPSE_UPLOAD`` says less, that holds.

    Returns:
        The run, which is also a context manager: leaving it ends the job.

    Raises:
        SettingsError: An argument or a setting is wrong. Also a ValueError.
        NotFoundError: There is no job ``job_id``.
        StorageError: The embedded backend's folder cannot be written.
    """
    encoded = encode_name(name)
    environment = settings.load()
    if metric is not None and not (isinstance(metric, str) and metric.strip()):
        raise SettingsError(f"metric is {metric!r}; give the name of a metric, or leave it out.")
    mode = settings.check_mode(mode, "mode")
    upload = max(settings.check_upload(upload, "upload"), environment.upload, key=UPLOADS.index)
    return _open(_new_spec(encoded, _backend(backend, environment), metric, mode, upload), job_id)


def init_embedded(name: str, *, metric: str | None, mode: Mode | None) -> TrainRun:
    """Like ``init`` on the embedded backend, with no setting that could be wrong but its folder."""
    printable = "".join(each if each.isprintable() else "_" for each in name[:MAX_NAME_CHARS])
    try:
        upload = settings.load().upload
    except SettingsError:  # of what else is wrong the caller has told already
        upload = "all"
    encoded, backend = encode_name(printable.strip() or "tune"), LocalSpec(str(settings.home()))
    return _open(_new_spec(encoded, backend, metric, mode, upload), None)


def get_run() -> TrainRun:
    """The run of the trial or training that this code is called from.

    Raises:
        NoRunError: There is none.
    """
    run = _bound or next(reversed(_open_runs.values()), None)
    if run is None:
        raise NoRunError(
            "there is no run in this process. In a script, call ray_synapse.init(name) first; in a "
            "trial, give Tune ray_synapse.wrap_trainable(train_fn, run=run)."
        )
    return run


def bind(run: TrainRun | None) -> None:
    """Make ``run`` the one that ``get_run`` gives in this process, a trial's."""
    global _bound
    _bound = run


def revive(spec: RunSpec) -> TrainRun:
    """The run that was pickled: this process's own handle of it, if it has one."""
    known = _open_runs.get((spec.backend, spec.job_id))
    if known is not None:
        return known
    return _remember(TrainRun(spec, owned=False))


def close(run: TrainRun, error: BaseException | None = None) -> None:
    """End the run in this process. Only the process that drives it ends the job. Never raises.

    Args:
        run: The run.
        error: What made the script end, if something did.
    """
    _open_runs.pop((run._spec.backend, run.job_id), None)
    if run._owner_pid != os.getpid():
        return
    run._owner_pid = None
    try:
        _end_job(run, error)
    except Exception as failure:  # the script's own error or exit code must not be replaced
        console.say(f"job {run.job_id} was not ended properly: {type(failure).__name__}: {failure}")


def _end_job(run: TrainRun, error: BaseException | None) -> None:
    from ray_synapse.results.finish import finish_at_exit  # the one import upwards: only at the end

    ended_by_finish = finish_at_exit(run)
    if isinstance(error, SystemExit) and not error.code:
        error = None
    if error is not None:
        run.log_message(f"The script ended with {type(error).__name__}: {error}", "error")
        run._patch_job(status="FAILED")
    elif not ended_by_finish:
        run._patch_job(status="SUCCEEDED")
    if not run._channel.flush(FLUSH_S):
        left = run.stats()["waiting"]
        console.say(
            f"job {run.job_id}: {left:,} records could not be written within {FLUSH_S:g} s and are "
            f"lost; is {run._spec.backend.describe()} writable and its disk not full?"
        )
    run._channel.close_relay()


def _new_spec(
    name: str, backend: BackendSpec, metric: str | None, mode: Mode | None, upload: Upload
) -> RunSpec:
    """A run that has no job yet."""
    relay = RelayAddress(f"run-{uuid.uuid4().hex}")
    return RunSpec(name, 0, backend, relay, metric, mode, upload, is_tune=False, num_samples=None)


def _open(spec: RunSpec, job_id: JobId | None) -> TrainRun:
    if job_id is not None and (isinstance(job_id, bool) or not isinstance(job_id, (int, str))):
        raise SettingsError(
            f"job_id is {job_id!r}; give the number or text that is a job's id (`ray-synapse ls` "
            "lists them), or leave it out for a new job."
        )
    backend = spec.backend.open()
    if job_id is None:
        number = backend.create_job(spec.name, {"metric": spec.metric, "mode": spec.mode})
        return _driven(_remember(TrainRun(replace(spec, job_id=number), owned=True)))
    job = backend.job(job_id)
    spec = replace(
        spec,
        job_id=job["id"],
        metric=spec.metric or job["metric"],
        mode=spec.mode or job["mode"],
    )
    run = _open_runs.get((spec.backend, spec.job_id))
    if run is None:
        return _driven(_remember(TrainRun(spec, owned=True)))
    run.name, run.metric, run.mode, run.upload = spec.name, spec.metric, spec.mode, spec.upload
    run._adopt()
    return _driven(run)


def _driven(run: TrainRun) -> TrainRun:
    """Note in the job that this process drives it. Raises what the backend raises."""
    run._backend.patch_job(
        run.job_id, {**run._driven_here(), "metric": run.metric, "mode": run.mode}
    )
    return run


def _remember(run: TrainRun) -> TrainRun:
    _open_runs[(run._spec.backend, run.job_id)] = run
    return run


def _backend(backend: str | None, environment: settings.Settings) -> BackendSpec:
    if backend not in (None, "local"):
        raise SettingsError(
            f'backend is {backend!r}; allowed are "local" (the embedded one) and None.'
        )
    if backend is None and environment.host is not None:
        raise SettingsError(
            f"{environment.host_from} names the Synapse host {environment.host}, but this release "
            'only has the embedded backend. Pass backend="local", or take the setting away.'
        )
    return LocalSpec(str(environment.home))


def _close_all() -> None:
    """At the end of the script: what ``finish`` does, for whoever did not call it."""
    error = getattr(sys, "last_value", None)
    for run in list(_open_runs.values()):
        close(run, error)


atexit.register(_close_all)
