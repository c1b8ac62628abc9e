"""Schedulers that pause trials, and say so where it costs the trials their progress."""

from typing import Any

from ray.tune import schedulers
from ray.tune.experiment import Trial
from ray.tune.schedulers import pb2

from ray_synapse.console import say


class TellsOfRestarts(schedulers.TrialScheduler):  # type: ignore[misc]  # Ray has no full hints
    """Goes before one of Ray's schedulers that pause trials.

    A paused trial goes on from its checkpoint. Without one it starts over, as if it were new: Ray
    does not say so. This says it once, at the first such pause.
    """

    _told = False

    def choose_trial_to_run(self, tune_controller: Any, *options: Any, **more: Any) -> Trial | None:
        """The next trial to run; called by Tune on each turn of its loop."""
        if not self._told:
            self._look(tune_controller.get_live_trials())
        return super().choose_trial_to_run(tune_controller, *options, **more)

    def _look(self, trials: Any) -> None:
        for trial in trials:
            if trial.status == Trial.PAUSED and not trial.is_saving and trial.checkpoint is None:
                self._told = True
                say(
                    f"{type(self).__name__} paused trial {trial.trial_id}, which had saved no "
                    "checkpoint: when it goes on, it starts over from its first iteration. Report "
                    "one (tune.report(metrics, checkpoint=...)), or take a scheduler that "
                    "does not pause trials (asha)"
                )
                return


class StopsWhoIsDone(TellsOfRestarts):
    """Goes before one of Ray's HyperBand schedulers, and ends trials that it would forget.

    When a bracket is finished, Ray stops the trials of it that are paused, but not one that still
    saves its checkpoint then: that one would stay paused, and the sweep would never end (seen with
    Ray 2.60: ``Bracket.cleanup_full``).
    """

    def choose_trial_to_run(self, tune_controller: Any, *options: Any, **more: Any) -> Trial | None:
        """The next trial to run; called by Tune on each turn of its loop."""
        brackets = [bracket for band in self._hyperbands for bracket in band if bracket is not None]
        for bracket in filter(lambda each: each.finished(), brackets):
            for trial in bracket.current_trials():
                if trial.status == Trial.PAUSED and not trial.is_saving:
                    tune_controller.stop_trial(trial)
        return super().choose_trial_to_run(tune_controller, *options, **more)


class HyperBandScheduler(StopsWhoIsDone, schedulers.HyperBandScheduler):  # type: ignore[misc]  # likewise
    """Ray's scheduler, which says when a trial starts over."""


class HyperBandForBOHB(StopsWhoIsDone, schedulers.HyperBandForBOHB):  # type: ignore[misc]  # likewise
    """Ray's scheduler, which says when a trial starts over."""


class MedianStoppingRule(TellsOfRestarts, schedulers.MedianStoppingRule):  # type: ignore[misc]  # likewise
    """Ray's scheduler, which says when a trial starts over (it pauses with hard_stop=False)."""


class PopulationBasedTraining(TellsOfRestarts, schedulers.PopulationBasedTraining):  # type: ignore[misc]  # likewise
    """Ray's scheduler, which says when a trial starts over."""


class PB2(TellsOfRestarts, pb2.PB2):  # type: ignore[misc]  # likewise
    """Ray's scheduler, which says when a trial starts over."""


class PopulationBasedTrainingReplay(
    TellsOfRestarts,
    schedulers.PopulationBasedTrainingReplay,  # type: ignore[misc]  # likewise
):
    """Ray's scheduler, which says when a trial starts over."""


class ResourceChangingScheduler(
    TellsOfRestarts,
    schedulers.ResourceChangingScheduler,  # type: ignore[misc]  # likewise
):
    """Ray's scheduler, which says when a trial starts over (for its new resources)."""
