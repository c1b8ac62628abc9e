"""The end of a run in the process that drives it."""

from ray_synapse import console, signals
from ray_synapse.delivery.report import undelivered
from ray_synapse.delivery.synapse import SynapseBackend
from ray_synapse.last_lines import first_line, last_lines
from ray_synapse.run import FLUSH_S, TrainRun
from ray_synapse.settings import secrets


def end_job(run: TrainRun, error: BaseException | None) -> None:
    """Finish what the script did not, tell the backend how it ended, deliver what can be.

    Args:
        run: The run, which this process drives.
        error: What made the script end, if something did.
    """
    from ray_synapse.results.finish import finish_at_exit  # the one import upwards: only at the end

    try:
        ended_by_finish = finish_at_exit(run) or run._is_ended
    except Exception as failure:  # whatever it is: the job must not stay RUNNING
        ended_by_finish, error = False, error or failure
    if error is run._told_error or (isinstance(error, SystemExit) and not error.code):
        error = None
    if isinstance(error, KeyboardInterrupt) or signals.was_told_to_end():
        if not ended_by_finish:
            run.log_message("The script was told to end (Ctrl-C or SIGTERM)", "warning")
            run._patch_job(status="STOPPED")
    elif error is not None:
        run.log_message(f"The script ended with {_told(error)}", "error")
        run._patch_job(status="FAILED")
    elif run._refused and not ended_by_finish:
        run.log_message(f"The sweep could not begin: {run._refused}", "error")
        run._patch_job(status="FAILED")
    elif not ended_by_finish:
        run._patch_job(status="SUCCEEDED")
    try:
        if not run._channel.flush(FLUSH_S):
            left = run.stats()["waiting"]
            console.say(
                f"job {run.job_id}: {left:,} records could not be written within {FLUSH_S:g} s and "
                f"are lost; is {run._spec.backend.home} writable and its disk not full?"
            )
        if run._channel.courier is not None:
            run._channel.courier.wait(run._patience)
    finally:
        _close(run)


def _told(error: BaseException) -> str:
    """The error, and below it where it comes from."""
    hidden = secrets()
    first, last = first_line(error, hidden), last_lines(error, hidden)
    return first if last == first else f"{first}\n{last}"


def _close(run: TrainRun) -> None:
    """Send no more, and say what the server has not got."""
    run._leave()  # a sign of life after this would open the outbox again
    if run._early is not None:
        run._early.close()
    courier, backend = run._channel.courier, run._backend
    if courier is not None:
        courier.close(at_once=run._patience.left <= 0)
    run._channel.close_relay()
    if isinstance(backend, SynapseBackend):
        backend.is_over = True
        for note in backend.outbox.take_notes():
            console.say(note)
        text = undelivered(run.job_id, run._channel.counts().values(), backend.left(run.job_id))
        if text:
            console.say(text)
        backend.outbox.close()
