"""How the callback comes to its settings and, where none was given, to its run."""

from typing import Any

from ray import cloudpickle

from ray_synapse import console, start
from ray_synapse.backend.protocol import JobId
from ray_synapse.errors import BackendError, SettingsError
from ray_synapse.run import TrainRun
from ray_synapse.settings import Mode


def agreed(word: str, ours: Any, our_source: str, theirs: Any, their_source: str) -> Any:
    """The one value that is set.

    Raises:
        SettingsError: Two different ones are.
    """
    if ours is not None and theirs is not None and ours != theirs:
        raise SettingsError(
            f"{word} is {ours!r} in {our_source} and {theirs!r} in {their_source}. Set it in one "
            "place, or to the same in both."
        )
    return ours if ours is not None else theirs


def can_pickle(run: Any) -> bool:
    """Whether a run can go into the pickle that Tune makes of its callbacks."""
    if isinstance(run, TrainRun):
        return True
    try:
        cloudpickle.dumps(run)
    except Exception:
        return False
    return True


def make_run(
    experiment: str, job_id: JobId | None, metric: str | None, mode: Mode | None
) -> TrainRun | None:
    """The run of a sweep that was given none; wrong settings are told, and change only its place.

    Args:
        experiment: The name of Tune's experiment, which becomes the run's.
        job_id: The job that an earlier process made for this sweep, or None.
        metric: The metric that is optimized, if it is known.
        mode: Its direction.

    Returns:
        The run, or None if nothing can be kept anywhere.
    """
    try:
        return start.init(experiment, job_id=job_id, metric=metric, mode=mode)
    except (SettingsError, BackendError) as error:
        console.say(f"{error} This sweep is kept in the embedded backend, as a new job.")
    try:
        return start.init_embedded(experiment, metric=metric, mode=mode)
    except BackendError as error:
        console.say(f"this sweep is not logged: {error}")
        return None
