"""How the callback comes to its settings and to its run."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ray import cloudpickle

from ray_synapse import console, settings, start, succession
from ray_synapse.backend.local import LocalSpec
from ray_synapse.backend.protocol import JobId
from ray_synapse.errors import BackendError, SettingsError
from ray_synapse.run import SWEEP_STOP_S, TrainRun
from ray_synapse.settings import Mode
from ray_synapse.tuning.recorder import Recorder


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
    """Whether a run of somebody else can go into the pickle that Tune makes of its callbacks."""
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


def refuse_second_sweep(recorder: Recorder | None, run: Any) -> None:
    """Refuse a callback, or a run, that follows another sweep.

    Args:
        recorder: The one of the sweep that the callback has followed last, if any.
        run: The callback's run.

    Raises:
        SettingsError: That sweep still goes on, or this is a sweep within one of its trials.
    """
    earlier = run._sweeps if isinstance(run, TrainRun) else []
    if isinstance(run, TrainRun) and run._trial_id and run._owner_pid != os.getpid():
        raise SettingsError(
            f"job {run.job_id} has the sweep that this trial belongs to. Give a sweep within a "
            "trial a run of its own: callbacks=[SynapseLoggerCallback(ray_synapse.init(name))]."
        )
    for what, sweeps in (("callback", [recorder] if recorder else []), ("run", earlier)):
        if any(sweep.goes_on() for sweep in sweeps):
            raise SettingsError(
                f"this {what} logs another sweep, which still goes on. Give each sweep its own: "
                "callbacks=[SynapseLoggerCallback(ray_synapse.init(name))]."
            )


def about_objectives(objectives: Mapping[str, str | None], metric: str | None) -> str:
    """What to say where several metrics are optimized."""
    named = ", ".join(f"{name} ({mode or 'mode not known'})" for name, mode in objectives.items())
    return (
        f"The searcher optimizes {len(objectives)} metrics: {named}. The best trial is the one "
        f"with the best {metric}; ray_synapse.init(name, metric=...) chooses another one of them."
    )


def experiment_path(trial: Any) -> str | None:
    """The path of the experiment that the trial belongs to, in Tune's storage."""
    with suppress(Exception):  # a Ray that keeps it elsewhere
        return str(trial.storage.experiment_fs_path)
    return None


def is_chosen(callback: Any, callbacks: Sequence[Any]) -> bool:
    """Whether this one of the sweep's callbacks logs it: one does, with a run if any has one."""
    if callback._run_left_out:
        console.say(
            "this sweep is no longer logged: the callback's run could not be pickled, so it did "
            "not come back with the restore. Give it __reduce__, or use ray_synapse.init()."
        )
        return False
    ours = [
        each for each in callbacks if isinstance(each, type(callback)) and not each._run_left_out
    ]
    with_run = [each for each in ours if each._run is not None]
    if next(iter(with_run or ours), callback) is callback:
        return True
    console.say("the sweep has a SynapseLoggerCallback already: the second one stands aside")
    return False


def run_of_the_script(job: JobId) -> TrainRun | None:
    """The empty run of this script that is meant for the restored job of the embedded backend."""
    backend = LocalSpec(str(settings.home()))
    try:
        return succession.meant_for(backend.open().job(job)["name"], backend)
    except BackendError:  # a server's job, or one that is gone
        return None


def run_for_sweep(run: TrainRun, job: JobId | None, is_restored: bool) -> TrainRun:
    """The run to log a sweep to: a new job if it has had one; after a restore it is the same job.

    Args:
        run: The callback's run.
        job: The job that an earlier process has logged this sweep to, or None.
        is_restored: Whether Tune restores the sweep.
    """
    for sweep in [each for each in run._sweeps if not (each.trials or each.error)]:
        run._sweeps.remove(sweep)  # it never began: another callback refused it
        sweep.stop(SWEEP_STOP_S)
    try:
        if job is None and not is_restored:
            if run._sweeps:
                succession.begin_again(run)
        elif job in (None, run.job_id):
            return succession.joined(run)
        elif succession.is_empty(run):
            succession.join(run, job)
        else:
            succession.go_back(run, job)
    except BackendError as error:
        console.say(f"job {run.job_id} stays the one of this sweep: {error}")
    return run


def take_over(run: TrainRun, recorder: Recorder) -> None:
    """Make the run a tuning run of this process, which it ends."""
    run.is_tune, run.num_samples = True, recorder.total
    run._patience = run._patience.again()
    run._sweeps.append(recorder)
    try:
        start.adopt(run)
    except BackendError as error:  # its disk is full: the sweep does not end for it
        console.say(f"job {run.job_id}: {error}")
