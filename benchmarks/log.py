"""``log_metric`` inside a trial: what the caller waits, and what two trials get through."""

import itertools
import statistics
import time
from pathlib import Path
from typing import Any

from ray import tune

import ray_synapse
from benchmarks.measuring import Row, home, interleaved, percentile
from benchmarks.sweeps import start_ray
from ray_synapse.backend.local import LocalBackend

TRIALS = 2
RECORDS = 30_000  # of each trial
PACED_RECORDS, PACE_S = 3_000, 0.001  # with a report after each hundredth
MAX_US, MIN_PER_SECOND = 60, 10_000
FAST = "as fast as they can"


class Logged:
    """What two trials measured.

    Attributes:
        seconds: How long each call took.
        per_second: Records that arrived in the embedded backend a second, from the first call on.
    """

    def __init__(self, seconds: list[float], per_second: float) -> None:
        self.seconds, self.per_second = seconds, per_second

    def __str__(self) -> str:
        return f"{statistics.median(self.seconds) * 1e6:.0f} us, {self.per_second:,.0f} a second"


def log(config: dict[str, Any], run: ray_synapse.TrainRun) -> None:
    """Log many records, and report how long each took."""
    took, begin = [], time.time()
    for number in range(config["records"]):
        before = time.perf_counter()
        run.log_metric("training", "loss", 1 / (number + 1), epoch=number)
        took.append(time.perf_counter() - before)
        if config["pace_s"]:
            time.sleep(config["pace_s"])
            if number % 100 == 99:
                tune.report({"score": number})
    tune.report({"score": 1, "took": took, "begin": begin})


def main(pairs: int) -> list[Row]:
    with home() as folder:
        start_ray(folder)
        number = itertools.count()

        def arm(records: int, pace_s: float) -> Logged:
            return logged(folder, f"log-{next(number)}", records, pace_s)

        found = interleaved(
            {
                "1 ms between two calls": lambda: arm(PACED_RECORDS, PACE_S),
                FAST: lambda: arm(RECORDS, 0.0),
            },
            pairs,
        )
    rows = []
    for name, runs in found.items():
        seconds = [each for run in runs for each in run.seconds]
        median, p99 = statistics.median(seconds) * 1e6, percentile(seconds, 0.99) * 1e6
        rows.append(
            Row(
                f"log_metric in two trials, {name}",
                f"median {median:.0f} us, p99 {p99:.0f} us",
                f"{MAX_US} us",
                median < MAX_US,
            )
        )
    rate = statistics.median(run.per_second for run in found[FAST])
    rows.append(
        Row(
            "records that arrive from two trials",
            f"{rate:,.0f} a second",
            f"{MIN_PER_SECOND:,} a second",
            rate >= MIN_PER_SECOND,
        )
    )
    return rows


def logged(folder: Path, name: str, records: int, pace_s: float) -> Logged:
    """A sweep of two trials that log; every record must arrive, in order."""
    with ray_synapse.init(name, metric="score", mode="max", upload="none") as run:
        grid = tune.Tuner(
            ray_synapse.wrap_trainable(log, run=run),
            param_space={
                "x": tune.grid_search([*range(TRIALS)]),
                "records": records,
                "pace_s": pace_s,
            },
            run_config=tune.RunConfig(name=name, storage_path=str(folder), verbose=0),
        ).fit()
        begin = min(result.metrics["begin"] for result in grid)
        backend = LocalBackend(folder / "home")
        while True:
            now = time.time()
            stored = backend.logs(run.job_id, "metric")
            if len(stored) >= TRIALS * records:
                break
            assert now - begin < 120, len(stored)
            time.sleep(0.05)
        for result in grid:
            mine = [
                each["data"]
                for each in stored
                if each["data"]["trial_id"] == result.metrics["trial_id"]
            ]
            assert [each["metrics"]["epoch"] for each in mine] == [*range(records)]
    seconds = [each for result in grid for each in result.metrics["took"]]
    return Logged(seconds, TRIALS * records / (now - begin))
