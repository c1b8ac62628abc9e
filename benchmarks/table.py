"""One table of 10,000 trials with 6 hyperparameters and 4 metrics: made, and turned into JSON.

It is measured as the recorder does it, with Ray imported: once when every row is new, and once when
every trial had a result since the last one.
"""

import json
import statistics
import time
from typing import Any

import ray.tune  # noqa: F401 - as in a sweep

import ray_synapse
from benchmarks.driving import METRICS, Drive, a_result, a_trial
from benchmarks.measuring import Row, home, tell
from ray_synapse.tuning.ledger import Event, Ledger, beginning

TRIALS = 10_000
MAX_MS = 30
TIMES = 7
PER_SECOND, SECONDS = 1_000, 20
NEW, AGAIN = "every row is new", "every row has new metrics"


def main(pairs: int) -> list[Row]:
    trials = [a_trial(number) for number in range(TRIALS)]
    made: dict[str, list[float]] = {NEW: [], AGAIN: []}
    looked: list[float] = []
    dumped: list[float] = []
    text = ""
    for index in range(max(pairs, TIMES)):
        ledger = Ledger("score", None)
        for trial in trials:
            ledger.take(Event("start", trial, None, beginning(trial)))
        for when, found in made.items():
            number = 2 * index + (when == AGAIN)
            for trial in trials:
                result = a_result(trial, number)
                trial.run_metadata.last_result = result
                ledger.take(Event("result", trial, result))
            began = time.perf_counter()
            ledger.look(trials)
            ledger.table.best("max")
            then = time.perf_counter()
            text = ledger.table.to_json()
            found.append((time.perf_counter() - then) * 1e3)
            looked.append((then - began) * 1e3)
            check(text, trials)
            whole = json.loads(text)
            began = time.perf_counter()
            json.dumps(whole)
            dumped.append((time.perf_counter() - began) * 1e3)
        tell(", ".join(f"{found[-1]:.1f} ms" for found in made.values()))
    what = f"{TRIALS:,} trials x 6 hyperparameters x 4 metrics, {len(text) / 1e6:.1f} MB of JSON"
    rows = [
        Row(f"{what}, {when}", times(found), f"{MAX_MS} ms", statistics.median(found) < MAX_MS)
        for when, found in made.items()
    ]
    rows.append(Row("the same by json.dumps, from objects that are there", times(dumped)))
    rows.append(Row("before it, the look at Tune's trials, and for the best", times(looked)))
    share = share_of_a_sweep()
    return [*rows, Row("of a sweep's time, after the first", f"{share:.2%}", "1 %", share < 0.01)]


def share_of_a_sweep() -> float:
    """How much of a sweep's time its tables take, when each shows as many results as may be."""
    with home(), ray_synapse.init("table", metric="score", mode="max", upload="none") as run:
        sweep = Drive(run, TRIALS)
        sweep.start()
        sweep.results(PER_SECOND * 2, PER_SECOND)  # with the first tables, of all that is new
        before = sweep.recorder.building_s
        sweep.results(PER_SECOND * SECONDS, PER_SECOND)
        share = (sweep.recorder.building_s - before) / SECONDS
        sweep.end()
        sweep.check(run._backend, run.job_id)
    return float(share)


def times(milliseconds: list[float]) -> str:
    """The median, the least and the most."""
    median = statistics.median(milliseconds)
    return f"{median:.1f} ms ({min(milliseconds):.1f} to {max(milliseconds):.1f})"


def check(text: str, trials: list[Any]) -> None:
    """See that it is all there."""
    table = json.loads(text)
    for trial in trials:
        assert table["trials"][trial.trial_id] == {
            "base": [trial.trial_id, "RUNNING"],
            "hyperparameters": [*trial.config.values()],
            "metrics": [trial.run_metadata.last_result[name] for name in METRICS],
        }
