"""How a sweep ended."""

import time
from typing import Any, NamedTuple

from ray_synapse.last_lines import first_line
from ray_synapse.settings import secrets
from ray_synapse.tuning import loop


class End(NamedTuple):
    """How a sweep ended.

    Attributes:
        why: What ended it, as a sentence, for the trials that had not ended.
        interrupted: Whether that was a signal.
        error: What came out of ``fit()``; empty if nothing did.
        failed: The id of the trial that has raised that, if it was one.
    """

    why: str
    interrupted: bool = False
    error: str = ""
    failed: str | None = None

    @property
    def is_early(self) -> bool:
        """Whether it did not come to an end that its settings foresee."""
        return self.interrupted or bool(self.error)


CUT_OFF = End("The end of the script cut the sweep off", interrupted=True)


def how_it_ended(began: float, time_budget_s: Any) -> End:
    """How the sweep ended whose ``on_experiment_end`` calls this.

    Args:
        began: When it was set up, by ``time.monotonic``.
        time_budget_s: Tune's own setting, or None.
    """
    error, failed = loop.raised()
    if error is not None:
        text = first_line(error, secrets())
        return End(f"fit() ended with {text}", error=text, failed=failed)
    if loop.is_interrupted():
        return End("A signal (Ctrl-C, SIGUSR1) interrupted the sweep", interrupted=True)
    budget = getattr(time_budget_s, "total_seconds", lambda: time_budget_s)()
    if budget and time.monotonic() - began >= budget:
        return End(f"The time budget of {budget:g} s is over")
    if loop.fails_fast():
        return End("A trial failed, and fail_fast ended the sweep")
    return End("Tune ended the sweep before all trials were done, as a stopper told it to")
