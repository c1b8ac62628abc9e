"""What this process is to Ray, asked without importing or starting Ray."""

import sys
from typing import Any


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
        return getattr(trial_session(), "trial_id", None)
    except Exception:  # a session of Ray Train, which has no trial
        return None


def _context() -> Any:
    """Ray's runtime context, or None where Ray does not run.

    Not by ``ray.get_runtime_context``: that starts Ray if another thread has just shut it down.
    """
    ray: Any = sys.modules.get("ray")
    module: Any = sys.modules.get("ray.runtime_context")
    try:
        if ray is None or module is None or not ray.is_initialized():
            return None
        return module.get_runtime_context()
    except Exception:  # Ray is being imported by another thread
        return None
