"""The runs of this process, and how one comes in from another process."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from ray_synapse.backend.protocol import BackendSpec, JobId
from ray_synapse.delivery import cluster
from ray_synapse.errors import NoRunError
from ray_synapse.run import TrainRun
from ray_synapse.run_spec import RunSpec

_open: dict[tuple[BackendSpec, JobId], TrainRun] = {}  # the newest last
_bound: TrainRun | None = None  # the run of the trial or task in this process
_bound_in: str | None = None  # the task in which it came; the next one here may be another trial's

_current: ContextVar[TrainRun | None] = ContextVar("current", default=None)  # of a `TrainAction`


def get_run() -> TrainRun:
    """The run of the trial or training that this code is called from.

    In a Ray task, a Ray actor or a worker of Ray Train it is the run that was handed to it, with
    the id of the trial that it came from.

    Raises:
        NoRunError: There is none.
    """
    if (current := _current.get()) is not None:
        return current
    task = cluster.task_id()
    if task is None:
        run = _bound or next(reversed(_open.values()), None)
    else:
        run = _bound if _bound_in == task else None
    if run is None:
        raise NoRunError(
            "there is no run in this process. In a script, call ray_synapse.init(name) first; in a "
            "trial, give Tune ray_synapse.wrap_trainable(train_fn, run=run); in a Ray task or "
            "actor, pass the run to it as an argument."
        )
    return run


def bind(run: TrainRun | None) -> None:
    """Make ``run`` the one that ``get_run`` gives in this process, a trial's or a task's."""
    global _bound, _bound_in
    _bound, _bound_in = run, cluster.task_id()


@contextmanager
def bound(run: TrainRun) -> Iterator[None]:
    """Make ``run`` the one that ``get_run`` gives on this thread, as long as the block runs."""
    token = _current.set(run)
    try:
        yield
    finally:
        _current.reset(token)


@dataclass(frozen=True)
class Handle:
    """A run in a pickle that stays in this process, or goes to a later one: it needs no relay."""

    spec: RunSpec

    def run(self) -> TrainRun:
        """The run that it stands for, as this process has it."""
        return revive(self.spec)


def revive(spec: RunSpec) -> TrainRun:
    """The run that was pickled: this process's own handle of it, if it has one.

    A run that has another job by now is known by its relay: Tune unpickles what it was given.
    """
    run = next((each for each in open_runs() if each._spec.relay == spec.relay), None)
    run = run or find(spec.backend, spec.job_id) or remember(TrainRun(spec, owned=False))
    if spec.trial is not None and cluster.trial_id() is None:
        run = run._of_trial(spec.trial)
    if cluster.in_worker():
        bind(run)
    return run


def find(backend: BackendSpec, job: JobId) -> TrainRun | None:
    """This process's handle of the job, or None."""
    return _open.get((backend, job))


def remember(run: TrainRun) -> TrainRun:
    """Make it the newest run of this process."""
    _open.pop((run._spec.backend, run.job_id), None)
    _open[(run._spec.backend, run.job_id)] = run
    if cluster.task_id() is not None:  # the driver is a task itself
        bind(run)
    return run


def forget(run: TrainRun) -> None:
    """It has ended here."""
    _open.pop((run._spec.backend, run.job_id), None)


def open_runs() -> list[TrainRun]:
    """All runs of this process, the newest last."""
    return list(_open.values())
