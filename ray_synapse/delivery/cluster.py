"""What this process is to Ray, asked without importing or starting Ray."""

import sys
from typing import Any


def session() -> str | None:
    """An id of the Ray cluster that this process is connected to, or None.

    It is the node's id, so it differs after ``ray.shutdown()`` and another ``ray.init()``.
    """
    ray: Any = sys.modules.get("ray")
    try:
        if ray is None or not ray.is_initialized():
            return None
        return str(ray.get_runtime_context().get_node_id())
    except Exception:  # Ray is being imported or shut down by another thread
        return None


def in_worker() -> bool:
    """Whether this process is one of Ray's workers: a trial, a task or an actor, not the script."""
    ray: Any = sys.modules.get("ray")
    if ray is None or session() is None:
        return False
    try:
        return bool(ray.get_runtime_context().worker.mode == ray.WORKER_MODE)
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
