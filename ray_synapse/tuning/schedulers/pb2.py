"""Population based bandits: apart, since Ray's module imports scikit-learn."""

from ray.tune.schedulers import pb2

from ray_synapse.tuning.schedulers.pausing import TellsOfRestarts


class PB2(TellsOfRestarts, pb2.PB2):  # type: ignore[misc]  # Ray has no hints
    """Ray's scheduler, which says when a trial starts over."""
