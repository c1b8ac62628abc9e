"""Results a second that a sweep sustains when all trials report as fast as they can.

Counted by a callback that both arms have, from when all trials report until the first one ends.
"""

import itertools
import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune

from benchmarks.measuring import Row, home, interleaved, ratio
from benchmarks.sweeps import CPUS, Place, Sweep, fit, start_ray

TRIALS = {16: 250, 48: 100}  # and how many results each of them reports
MIN_RATIO = 0.98


class Rate(tune.Callback):
    """Lets the trials go when all of them are there, and counts their results."""

    def __init__(self, trials: int, go: Path) -> None:
        self._trials, self._go = trials, go
        self._first, self._last, self._count = 0.0, 0.0, 0
        self._there: set[str] = set()

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any
    ) -> None:
        """Count it."""
        if self._first:
            self._count += not self._last
            return
        self._there.add(trial.trial_id)
        if len(self._there) == self._trials:
            self._go.touch()
            self._first = time.perf_counter()

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        """The first end of a trial is the end of the count."""
        self._last = self._last or time.perf_counter()

    @property
    def per_second(self) -> float:
        """Results a second."""
        return self._count / (self._last - self._first)


def main(pairs: int) -> list[Row]:
    with home() as folder:
        start_ray(folder)
        arms = {
            (trials, is_ours): partial(run, folder, itertools.count(), trials, reports, is_ours)
            for trials, reports in TRIALS.items()
            for is_ours in (False, True)
        }
        found = interleaved(arms, pairs)
    rows = []
    for trials in TRIALS:
        without, ours = found[trials, False], found[trials, True]
        times = ratio(ours, without)
        rows.append(
            Row(
                f"{trials} trials at once",
                f"{statistics.median(ours):.0f} results a second, without a callback "
                f"{statistics.median(without):.0f}: {times} times",
                f"{MIN_RATIO} times",
                times.median >= MIN_RATIO,
            )
        )
    return rows


def run(folder: Path, number: Iterator[int], trials: int, reports: int, is_ours: bool) -> float:
    """Results a second of one sweep."""
    name = f"results-{trials}-{is_ours}-{next(number)}"
    rate = Rate(trials, folder / f"{name}-go")
    sweep = Sweep(reporting(folder / f"{name}-go", trials), trials, reports, False)
    if is_ours:
        Place(None, folder / "home").fit(sweep, folder, name, rate)
    else:
        fit(sweep, folder, name, [rate])
    return rate.per_second


def reporting(go: Path, trials: int) -> Any:
    """A function that reports as fast as it can, once all the others do."""

    def train(config: dict[str, Any]) -> None:
        tune.report({"score": 0.0, "loss": 1.0})
        while not go.exists():
            time.sleep(0.05)
        for step in range(1, config["reports"]):
            tune.report({"score": config["x"] * step, "loss": 1 / (step + 1)})

    return tune.with_resources(train, {"cpu": CPUS / trials})
