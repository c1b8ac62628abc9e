"""The end of a job: whatever happened, it is logged, and the job gets its final status."""

from contextlib import suppress

from ray_synapse import connect, console, settings, signals, start
from ray_synapse.connect import Destination
from ray_synapse.errors import ConfigError, SettingsError, SynapseError
from ray_synapse.last_lines import last_lines
from ray_synapse.results.finish import finish_at_exit
from ray_synapse.results.telling import say_where
from ray_synapse.run import TrainRun
from ray_synapse.settings import secrets

NOT_BEGUN = "The job could not begin"
NO_NAME = "refused"  # of a run whose JSON has none; the server knows the job by its id


def refuse(
    error: BaseException, run: TrainRun | None = None, destination: Destination | None = None
) -> None:
    """Log what was wrong to the job, where there is one: the platform waits for its end.

    Args:
        error: What was wrong, before anything began.
        run: The run that was given.
        destination: Where it would be logged, if that is known; else it is looked for.
    """
    if run is not None:
        conclude(run, error, NOT_BEGUN)
        return
    with suppress(SynapseError):  # the caller gets the first error
        environment = settings.load()
        destination = destination or connect.configured(environment)
        if destination.is_server:
            refused = start.begin(
                *(NO_NAME, destination, None, None),
                upload=environment.upload,
                deadline_s=environment.deadline_s,
            )
            conclude(refused, error, NOT_BEGUN)
            start.close(refused, error)


def conclude(run: TrainRun, error: BaseException | None, failed: str = "") -> None:
    """Log how it ended. Never raises: what ended it is for the caller.

    Args:
        run: The run.
        error: What ended it, if something did.
        failed: What is said before the error; that the sweep or training failed by default.
    """
    try:
        _conclude(run, error, failed or f"The {_what(run)} failed")
    except Exception as failure:
        console.say(f"job {run.job_id} was not ended properly: {type(failure).__name__}: {failure}")


def _conclude(run: TrainRun, error: BaseException | None, failed: str) -> None:
    status = _status_after(error)
    if status is not None:  # first of all: whatever happens then, it is no success
        run._patch_job(status=status)
        _tell(run, error, status, failed)
        run._told_error = error
    finish_at_exit(run)  # the models of the trials that had ended; it sets the status of a sweep
    if status is not None:
        say_where(run, f"the {_what(run)} is")
    if status is not None or not run.is_tune:
        run._patch_job(status=status or "SUCCEEDED")
    run._is_ended = True
    run.end_log(run._status or "SUCCEEDED")


def _status_after(error: BaseException | None) -> str | None:
    """The status of a job that this has ended; None if nothing has."""
    if error is None:
        return None
    is_stopped = isinstance(error, KeyboardInterrupt) or signals.was_told_to_end()
    return "STOPPED" if is_stopped else "FAILED"


def _what(run: TrainRun) -> str:
    return "sweep" if run.is_tune else "training"


def _tell(run: TrainRun, error: BaseException | None, status: str, failed: str) -> None:
    if status == "STOPPED":
        run.log_message(f"The {_what(run)} was told to end (Ctrl-C or SIGTERM).", "warning")
        return
    is_told = isinstance(error, (ConfigError, SettingsError))  # what to do is all in its text
    text = str(error) if is_told or error is None else last_lines(error, secrets())
    run.log_message(f"{failed}:\n{text}", "error")
