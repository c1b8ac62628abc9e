"""A job's progress record, computed from the steps that were reported."""

import math

from ray_synapse.values import Wire, as_number

# The share of each step in the whole, in percent, as the platform draws it
# (platform documentation, "Progress Tracking", and the progress_record of the backend's API).
TRAINING_STEPS = {"dataset": 20, "train": 75, "model_upload": 5}
TUNING_STEPS = {"dataset": 20, "trials": 75, "model_upload": 5}


class Progress:
    """Follows the steps of one job.

    Args:
        overall: Where an earlier process of the same job had come to, 0 to 100. The whole never
            goes back below it.
    """

    def __init__(self, overall: float = 0.0) -> None:
        self._overall = overall
        self._started: dict[str, tuple[float, float]] = {}  # step -> when, and at which percent
        self._percents: dict[str, float | None] = {}

    def move(
        self, current: float, total: float | None, step: str, *, now: float, tuning: bool
    ) -> dict[str, Wire]:
        """Note where a step is, and return the whole ``progress_record``.

        Args:
            current: How much of the step is done.
            total: Out of how much; None (or what is not positive) when that is open.
            step: ``dataset``, ``train``, ``trials``, ``model_upload`` or another word, which is
                shown but has no share in the whole.
            now: A clock in seconds.
            tuning: Whether the job tunes or trains.
        """
        current, total = as_number(current) or 0, as_number(total)
        shares = TUNING_STEPS if tuning else TRAINING_STEPS
        percent = _percent(current, total)
        self._percents[step] = percent
        started, first = self._started.setdefault(step, (now, percent or 0.0))
        remaining = _remaining(percent, first, now - started)
        self._overall = max(self._overall, _overall(shares, step, percent))
        names = list(dict.fromkeys([*shares, *self._percents]))
        steps: dict[str, Wire] = {
            name: {"proportion": shares.get(name), "percent": self._percents.get(name)}
            for name in names
        }
        where: dict[str, Wire] = {"percent": percent, "time_remaining": remaining}
        steps[step] = {"proportion": shares.get(step), **where}
        return {
            "record": {"steps": steps},
            "current_progress": {"overall": round(self._overall, 2), "step": step, **where},
        }


def _percent(current: float, total: float | None) -> float | None:
    if total is None or not total > 0 or not math.isfinite(total) or not math.isfinite(current):
        return None
    return round(min(max(100.0 * current / total, 0.0), 100.0), 2)


def _remaining(percent: float | None, first: float, elapsed: float) -> float | None:
    if percent is None or percent <= first:
        return None
    return round(elapsed * (100.0 - percent) / (percent - first), 1)


def _overall(shares: dict[str, int], step: str, percent: float | None) -> float:
    """The steps before this one count as done, also when they were not reported."""
    if step not in shares:
        return 0.0
    names = list(shares)
    before = sum(shares[name] for name in names[: names.index(step)])
    return before + shares[step] * (percent or 0.0) / 100.0
