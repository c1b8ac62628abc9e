"""What the end of a sweep says, in messages of the run and in the terminal."""

import shutil
import sys
from collections import defaultdict
from collections.abc import Container, Iterable

from ray_synapse import console
from ray_synapse.backend.local import LocalSpec
from ray_synapse.errors import BackendError
from ray_synapse.results.decision import FinishedSweep
from ray_synapse.results.outcome import Outcome
from ray_synapse.run import TrainRun

NAMED_TRIALS = 10  # in one line of the terminal; the logged message names them all


def tell_failures(run: TrainRun, sweep: FinishedSweep, told: Container[str]) -> None:
    """Say which trials failed, and log it of those of which no message tells it yet."""
    failed = [outcome for outcome in sweep.outcomes if outcome.error]
    new = [(each, each.error) for each in failed if each.trial_id not in told]
    tell_by_reason(run, "failed", new)
    known = [(each, each.error) for each in failed if each.trial_id in told]
    tell_by_reason(run, "failed", known, is_logged=True)


def tell_by_reason(
    run: TrainRun, what: str, trials: Iterable[tuple[Outcome, str]], *, is_logged: bool = False
) -> None:
    """One message for all the trials that share a reason."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for outcome, reason in trials:
        by_reason[reason].append(outcome.trial_id)
    for reason, ids in by_reason.items():
        count = "Trial" if len(ids) == 1 else f"{len(ids):,} trials:"
        names = ", ".join(ids[:NAMED_TRIALS])
        more = f" and {len(ids) - NAMED_TRIALS:,} more" if len(ids) > NAMED_TRIALS else ""
        whole = f"{count} {', '.join(ids)}: {what}: {reason}"
        tell(run, whole, f"{count} {names}{more}: {what}: {reason}", is_logged=is_logged)


def tell(run: TrainRun, text: str, short: str = "", *, is_logged: bool = False) -> None:
    """Log it, and say it in the terminal, there in short. Once: finish may be called again."""
    if text not in run._told:
        run._told.add(text)
        if not is_logged:
            run.log_message(text, "warning")
        console.say(short or text)


def tell_interruption(run: TrainRun) -> None:
    """Say that the sweep was interrupted, and how to go on."""
    try:
        folder = run._backend.job(run.job_id).get("experiment")
    except BackendError:
        folder = None
    place = f'"{folder}"' if folder else "folder"
    way = f"; tune.Tuner.restore({place}, trainable) continues it" if run._is_restorable else ""
    tell(run, f"The sweep was interrupted{way}.")


def say_where(run: TrainRun, what: str) -> None:
    """Say where something is, in the terminal: ``the training is``."""
    spec = run._spec.backend
    text = f"{what} logged as job {run.job_id} on {spec.describe()}"
    if isinstance(spec, LocalSpec):
        command = "ray-synapse"
        if not shutil.which(command):
            command = f"{sys.executable} -m ray_synapse"
        text = (
            f"{what} kept as job {run.job_id} in {spec.describe()}; `{command} show {run.job_id}` "
            "shows the run"
        )
    if text not in run._told:
        run._told.add(text)
        console.say(text)
