"""How a run begins and ends in a process: ``init``, and the end of the script."""

import atexit
import os
import sys
from dataclasses import replace

from ray_synapse import connect, console, registry, settings
from ray_synapse.backend.local import LocalSpec
from ray_synapse.backend.protocol import Backend, BackendSpec, JobId
from ray_synapse.connect import Destination
from ray_synapse.delivery import cluster
from ray_synapse.delivery.patience import Patience
from ray_synapse.delivery.relay import RelayAddress
from ray_synapse.delivery.synapse import SynapseBackend, SynapseSpec
from ray_synapse.ending import end_job
from ray_synapse.errors import SettingsError
from ray_synapse.names import MAX_NAME_CHARS, encode_name
from ray_synapse.run import TrainRun
from ray_synapse.run_spec import RunSpec
from ray_synapse.settings import UPLOADS, Mode, Upload


def init(
    name: str,
    *,
    job_id: JobId | None = None,
    metric: str | None = None,
    mode: Mode | None = None,
    backend: str | None = None,
    upload: Upload = "all",
    host: str | None = None,
    access_token: str | None = None,
    user_token: str | None = None,
    tenant: str | None = None,
    offline: bool = False,
    deadline_s: float | None = None,
) -> TrainRun:
    """Start a run: on a Synapse server where one is configured, else on the embedded backend.

    What is logged for a server is kept on this disk until the server has confirmed it. One that is
    down is tried for 10 s, then the run goes on and delivers later.

    Args:
        name: The run's name. ``:`` and ``,`` are encoded (``encode_name``). A name may be used
            again: on the embedded backend every call without ``job_id`` makes a new job. Where
            the script then restores a sweep, this run goes on as its job, ``run.job_id`` with it,
            if nothing was logged to it yet.
        job_id: Go on with this job. On a server it is needed (a server has no call that makes
            one): given here or in ``SYNAPSE_JOB_ID``.
        metric: The metric that is optimized: the default of the callback and the wrapper. A
            different one in Tune's own settings is an error before the first trial.
        mode: ``"min"`` or ``"max"``.
        backend: ``"local"`` for the embedded backend (a SQLite database under ``~/.ray_synapse``,
            or where ``RAY_SYNAPSE_HOME`` says), whatever is configured. Without it, and without
            ``RAY_SYNAPSE_BACKEND=local``, the server that is configured, if one is.
        upload: Which trials' models are uploaded: ``"all"``, ``"best"`` or ``"none"``.
            Where ``RAY_SYNAPSE_UPLOAD`` says less, that holds.
        host: The server's address; else ``SYNAPSE_HOST``, else ``host`` in
            ``~/.synapse/config.json``.
        access_token: Likewise: ``SYNAPSE_ACCESS_TOKEN``, ``access_token``.
        user_token: Likewise: ``SYNAPSE_PLUGIN_RUN_USER_TOKEN``, ``user_token``. It wins over the
            access token.
        tenant: Likewise: ``SYNAPSE_PLUGIN_RUN_TENANT``, ``tenant``.
        offline: Make no connection and keep everything on this disk; ``ray-synapse sync`` sends
            it. ``RAY_SYNAPSE_OFFLINE=1`` says the same.
        deadline_s: How long the end of the run waits for a server that makes no progress, in
            seconds; 0 for not at all. Else ``RAY_SYNAPSE_DEADLINE_S``, else 30.

    Returns:
        The run, which is also a context manager: leaving it ends the job.

    Raises:
        SettingsError: An argument or a setting is wrong or missing. Also a ValueError.
        NotFoundError: There is no job ``job_id``.
        DeniedError: The server does not take the token.
        UnreachableError: There is no host of that name, or its certificate is not trusted.
        BackendError: What answers is no Synapse server.
        StorageError: The folder for the embedded backend or the outbox cannot be written.
    """
    cluster.refuse_client()
    encoded = encode_name(name)
    environment = settings.load()
    if metric is not None and not (isinstance(metric, str) and metric.strip()):
        raise SettingsError(f"metric is {metric!r}; give the name of a metric, or leave it out.")
    mode = settings.check_mode(mode, "mode")
    upload = max(settings.check_upload(upload, "upload"), environment.upload, key=UPLOADS.index)
    _check_job(job_id)
    deadline = environment.deadline_s
    if deadline_s is not None:
        deadline = settings.check_seconds(deadline_s, "deadline_s")
    destination = connect.choose(
        environment,
        backend=backend,
        offline=offline,
        job_id=job_id,
        server={
            "host": host,
            "access_token": access_token,
            "user_token": user_token,
            "tenant": tenant,
        },
    )
    return begin(
        encoded, destination, metric, mode, upload=upload, job_id=job_id, deadline_s=deadline
    )


def begin(
    name: str,
    destination: Destination,
    metric: str | None,
    mode: Mode | None,
    *,
    upload: Upload,
    deadline_s: float,
    job_id: JobId | None = None,
) -> TrainRun:
    """Start a run at a destination that was chosen. The arguments are those of ``init``, checked.

    Raises:
        BackendError: As ``init``.
    """
    run = _open(_new_spec(name, destination.spec, metric, mode, upload), job_id)
    run._patience = Patience(deadline_s)
    if destination.job is not None:
        run._know_job(destination.job)
    if destination.credentials is not None:
        run._channel.deliver(destination.credentials)
    return run


def init_embedded(name: str, *, metric: str | None, mode: Mode | None) -> TrainRun:
    """Like ``init`` on the embedded backend, with no setting that could be wrong but its folder."""
    printable = "".join(each if each.isprintable() else "_" for each in name[:MAX_NAME_CHARS])
    try:
        upload = settings.load().upload
    except SettingsError:  # of what else is wrong the caller has told already
        upload = "all"
    encoded, backend = encode_name(printable.strip() or "tune"), LocalSpec(str(settings.home()))
    return _open(_new_spec(encoded, backend, metric, mode, upload), None)


def adopt(run: TrainRun) -> None:
    """Drive a run from this process: also one that came out of a pickle, as after a restore."""
    run._adopt()
    backend = run._backend
    if not isinstance(backend, SynapseBackend) or run._channel.courier is not None:
        return
    backend.introduce(run.name)
    credentials = None
    try:
        environment = settings.load()
        run._patience = Patience(environment.deadline_s)
        if backend.spec.offline or environment.offline:
            return
        credentials = connect.credentials_for(backend.spec.host, environment)
    except SettingsError as error:
        console.say(str(error))
    if credentials is not None:
        run._channel.deliver(credentials)
    else:
        console.say(
            f"job {run.job_id}: this process has no token for {backend.spec.describe()}: what is "
            f"logged is kept on this disk. `ray-synapse sync {run.job_id}` sends it."
        )


def close(run: TrainRun, error: BaseException | None = None) -> None:
    """End the run in this process. Only the process that drives it ends the job. Never raises.

    Args:
        run: The run.
        error: What made the script end, if something did.
    """
    registry.forget(run)
    if run._owner_pid != os.getpid():
        return
    run._owner_pid = None
    try:
        end_job(run, error)
    except Exception as failure:  # the script's own error or exit code must not be replaced
        console.say(f"job {run.job_id} was not ended properly: {type(failure).__name__}: {failure}")
    finally:
        run._leave()


def close_quietly(run: TrainRun) -> None:
    """End a handle whose job another one has taken over."""
    run._leave()
    run._channel.close_relay()


def _new_spec(
    name: str, backend: BackendSpec, metric: str | None, mode: Mode | None, upload: Upload
) -> RunSpec:
    """A run that has no job yet."""
    return RunSpec(
        *(name, 0, backend, RelayAddress.new(), metric, mode, upload),
        is_tune=False,
        num_samples=None,
    )


def _open(spec: RunSpec, job_id: JobId | None) -> TrainRun:
    local = spec.backend.open() if isinstance(spec.backend, LocalSpec) else None
    if local is not None and job_id is None:
        number = local.create_job(spec.name, {"metric": spec.metric, "mode": spec.mode})
        made = registry.remember(TrainRun(replace(spec, job_id=number), owned=True))
        made._is_new = True
        return _driven(made)
    backend: Backend = local or spec.backend.open()
    if isinstance(backend, SynapseBackend):
        backend.introduce(spec.name)
    job = backend.job(spec.backend.job if isinstance(spec.backend, SynapseSpec) else job_id or 0)
    spec = replace(
        spec,
        job_id=job["id"],
        metric=spec.metric or job["metric"],
        mode=spec.mode or job["mode"],
    )
    run = registry.find(spec.backend, spec.job_id)
    if run is None:
        return _driven(registry.remember(TrainRun(spec, owned=True)))
    run.name, run.metric, run.mode, run.upload = spec.name, spec.metric, spec.mode, spec.upload
    run._adopt()
    return _driven(run)


def _driven(run: TrainRun) -> TrainRun:
    """Note in the job that this process drives it. Raises what the backend raises."""
    run._backend.patch_job(
        run.job_id, {**run._driven_here(), "metric": run.metric, "mode": run.mode}
    )
    return run


def _check_job(job_id: object) -> None:
    if job_id is None or (isinstance(job_id, (int, str)) and not isinstance(job_id, bool)):
        return
    raise SettingsError(
        f"job_id is {job_id!r}; give the number or text that is a job's id (`ray-synapse ls` "
        "lists those of the embedded backend), or leave it out for a new job there."
    )


def _close_all() -> None:
    """At the end of the script: what ``finish`` does, for whoever did not call it."""
    error = getattr(sys, "last_value", None)
    for run in registry.open_runs():
        close(run, error)


atexit.register(_close_all)
