"""What this process is to Ray, asked without importing or starting Ray."""

import sys
from typing import Any

from ray_synapse.errors import SettingsError

RAY_CLIENT = (
    "Ray Client (ray://), where Tune runs on the cluster and the run that is logged to stays here. "
    "Submit the script as a job, `ray job submit --working-dir . -- python script.py`, or run it "
    'on a node of the cluster with the address "auto".'
)

_trial: str | None = None  # of a class: for these Tune opens no session


def session() -> str | None:
    """An id of this process's connection to a Ray cluster, or None.

    It differs after ``ray.shutdown()`` and another ``ray.init()``, also to the same cluster.
    """
    context = _context()
    try:
        return f"{context.get_node_id()}/{context.get_job_id()}" if context else None
    except Exception:  # Ray is shut down by another thread at this moment
        return None


def in_worker() -> bool:
    """Whether this process is one of Ray's workers: a trial, a task or an actor, not the script."""
    context = _context()
    try:
        return bool(context and context.worker.mode == sys.modules["ray"].WORKER_MODE)
    except AttributeError:
        return trial_session() is not None


def trial_session() -> Any:
    """Tune's session object of the trial that runs in this process, or None.

    All threads of the process share it, and it is refilled when the actor is reused. Ray has no
    public name for it: ``tune.get_context()`` answers the same but warns outside a trial.
    """
    module: Any = sys.modules.get("ray.train._internal.session")
    try:
        return module.get_session() if module else None
    except Exception:  # a Ray that moved it: nothing here may break a trial
        return None


def trial_id() -> str | None:
    """The id of the trial that runs in this process, or None."""
    try:
        return getattr(trial_session(), "trial_id", None) or _trial
    except Exception:  # a session of Ray Train, which has no trial
        return _trial


def set_trial(trial: str | None) -> None:
    """Say which trial runs in this process, where Tune has no session to ask: a class's."""
    global _trial
    _trial = trial


def task_id() -> str | None:
    """The id of the Ray task that this code is, or None: also in an actor, and in a task's thread.

    A worker process runs the tasks of many trials, one after the other; an actor is one for good.
    """
    context = _context()
    try:
        if not in_worker() or context.get_actor_id() or not context.get_task_name():
            return None  # Ray gives a thread of a task an id of its own, and no name
        return str(context.get_task_id())
    except Exception:  # a Ray that moved it: nothing here may break a task
        return None


def refuse_client() -> None:
    """Say that Ray Client is no way to run a sweep that is logged.

    Raises:
        SettingsError: This process is connected by Ray Client (``ray://``).
    """
    if _is_client():
        raise SettingsError(f"this script is connected by {RAY_CLIENT}")


def _is_client() -> bool:
    client: Any = sys.modules.get("ray.util.client")
    return client is not None and bool(client.ray.is_connected())


def _context() -> Any:
    """Ray's runtime context, or None where Ray does not run, or only Ray Client is connected.

    Not by ``ray.get_runtime_context``: that starts Ray if another thread has just shut it down.
    """
    ray: Any = sys.modules.get("ray")
    module: Any = sys.modules.get("ray.runtime_context")
    try:
        if ray is None or module is None or not ray.is_initialized() or _is_client():
            return None
        return module.get_runtime_context()
    except Exception:  # Ray is being imported by another thread
        return None
