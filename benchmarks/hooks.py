"""What the hooks of the callback cost on Tune's loop, with 10, 100, 1,000 and 10,000 trials.

The results come at 1,000 a second, more than Tune itself gets through. All garbage collections are
those of a whole process in which Ray is imported and the trials live.
"""

import gc
import statistics
import tracemalloc
from functools import partial

import ray.tune  # noqa: F401 - what it keeps is what the garbage collector has to look at

import ray_synapse
from benchmarks.driving import Drive
from benchmarks.measuring import Row, home, interleaved, percentile, ratio

TRIALS = (10, 100, 1_000, 10_000)
RESULTS = 5_000
PER_SECOND = 1_000
MAX_US, MAX_P99_US, MAX_MS, MAX_RATIO, MAX_KIB = 15, 100, 10, 1.3, 4


def main(pairs: int) -> list[Row]:
    with home():
        found = interleaved(
            {f"{trials:,} trials": partial(drive, trials) for trials in TRIALS}, pairs
        )
        kib = memory(TRIALS[-1])
    rows, medians = [], {}
    for name, each in found.items():
        together = [seconds for hooks in each for seconds in hooks.seconds]
        medians[name] = [statistics.median(hooks.seconds) for hooks in each]
        median, p99 = statistics.median(together) * 1e6, percentile(together, 0.99) * 1e6
        longest = max(together) * 1e3
        rows.append(
            Row(
                f"on_trial_result + on_step_end, {name}",
                f"median {median:.1f} us, p99 {p99:.0f} us, longest {longest:.2f} ms",
                f"{MAX_US} us, {MAX_P99_US} us, {MAX_MS} ms",
                median < MAX_US and p99 < MAX_P99_US and longest < MAX_MS,
            )
        )
    first, *_, last = medians
    grown = ratio(medians[last], medians[first])
    rows.append(
        Row(f"{last} against {first}", f"{grown}", f"{MAX_RATIO}", grown.median <= MAX_RATIO)
    )
    rows.append(
        Row("memory of a trial in the driver", f"{kib:.1f} KiB", f"{MAX_KIB} KiB", kib < MAX_KIB)
    )
    return rows


class Hooks:
    """How long each round of hooks took."""

    def __init__(self, seconds: list[float]) -> None:
        self.seconds = seconds

    def __str__(self) -> str:
        median, longest = statistics.median(self.seconds) * 1e6, max(self.seconds) * 1e3
        return f"{median:.1f} us, longest {longest:.2f} ms"


def drive(trials: int) -> Hooks:
    """A sweep of so many trials, all of whose records must arrive."""
    with ray_synapse.init(f"hooks {trials}", metric="score", mode="max", upload="none") as run:
        sweep = Drive(run, trials)
        sweep.start()
        gc.collect()  # what the benchmark itself has left
        sweep.results(RESULTS, PER_SECOND)
        assert sweep.late_s < 1, f"the results came {sweep.late_s:.1f} s late"
        sweep.end()
        sweep.check(run._backend, run.job_id)
    return Hooks(sweep.hook_s)


def memory(trials: int) -> float:
    """KiB of Python's memory that a trial takes beside Tune's own, with its last table sent."""
    with ray_synapse.init("memory", metric="score", mode="max", upload="none") as run:
        sweep = Drive(run, trials)
        tracemalloc.start()
        sweep.start()
        sweep.results(trials, 10_000)
        sweep.recorder.stop(60)
        run._channel.flush(60)
        for trial in sweep.trials:
            trial.run_metadata.last_result = {}  # Tune's
        gc.collect()
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return used / trials / 1024
