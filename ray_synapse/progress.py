"""A job's progress record, computed from the steps that were reported."""

from ray_synapse.values import Wire, as_number, is_finite

# The steps of a job in their order, each with its share in the whole as the platform draws it
# (platform documentation, "Progress Tracking"). The shares are weights: no sum is needed.
TRAINING_STEPS = {"dataset": 20, "train": 75, "model_upload": 5}
TUNING_STEPS = {"dataset": 20, "train": 75, "trials": 90, "model_upload": 5}
IN_TRIALS = "train"  # when tuning, this step is within the trials: to count it would be twice


class Progress:
    """Follows the steps of one job.

    The whole is the weighted progress of the steps that count. One that is still to come counts.
    Once a step has begun, an earlier one that was reported counts as done, and one that was not is
    left out; what is reported of an earlier one then is shown, and moves the whole no more. So the
    whole starts at 0 and ends at 100, whichever steps a job has.

    Args:
        overall: Where an earlier process of the same job had come to, 0 to 100. The whole never
            goes back below it.
    """

    def __init__(self, overall: float = 0.0) -> None:
        self._overall = overall
        self._started: dict[str, tuple[float, float]] = {}  # step -> when, and at which percent
        self._percents: dict[str, float | None] = {}
        self._begun: set[str] = set()  # the steps that count

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
            tuning: Whether the job tunes or trains. When it tunes, ``train`` is only shown too.
        """
        shares = TUNING_STEPS if tuning else TRAINING_STEPS
        percent = _percent(as_number(current) or 0, as_number(total))
        self._percents[step] = percent
        started, first = self._started.setdefault(step, (now, percent or 0.0))
        remaining = _remaining(percent, first, now - started)
        counted = {each: shares[each] for each in shares if not (tuning and each == IN_TRIALS)}
        if step in counted:
            self._move_whole(counted, step, percent or 0.0)
        names = list(dict.fromkeys([*shares, *self._percents]))
        steps: dict[str, Wire] = {
            name: {"proportion": shares.get(name), "percent": self._percents.get(name)}
            for name in names
        }
        where: dict[str, Wire] = {"percent": percent, "time_remaining": remaining}
        steps[step] = {"proportion": shares.get(step), **where}
        return {
            "record": {"steps": steps},
            "current_progress": {"overall": _rounded(self._overall), "step": step, **where},
        }

    def _move_whole(self, shares: dict[str, int], step: str, percent: float) -> None:
        names = list(shares)
        at = names.index(step)
        if not self._begun.isdisjoint(names[at + 1 :]):
            return
        self._begun.add(step)
        done = sum(shares[name] for name in names[:at] if name in self._begun)
        to_do = sum(shares[name] for name in names[at:])
        overall = (100.0 * done + shares[step] * percent) / (done + to_do)
        self._overall = max(self._overall, overall)


def _percent(current: float, total: float | None) -> float | None:
    if total is None or not (is_finite(total) and total > 0 and is_finite(current)):
        return None
    return _rounded(min(max(100.0 * (current / total), 0.0), 100.0))


def _rounded(percent: float) -> float:
    """With two digits; 100 only for what is complete."""
    return round(percent, 2) if percent >= 100 else min(round(percent, 2), 99.99)


def _remaining(percent: float | None, first: float, elapsed: float) -> float | None:
    if percent is None or percent <= first:
        return None
    return round(elapsed * (100.0 - percent) / (percent - first), 1)
