"""What a hook of the callback costs on Tune's loop, with 10 and with 10,000 trials.

Prints the time of one round of hooks for both, and their ratio; and how much of the time the table
takes beside the loop. Run: python benchmarks/hooks.py
"""

import os
import statistics
import tempfile
import threading
import time
from types import SimpleNamespace

from ray_synapse import SynapseLoggerCallback
from ray_synapse.start import init_embedded
from ray_synapse.tuning.ledger import Ledger
from ray_synapse.tuning.recorder import Recorder
from ray_synapse.tuning.sink import Sink

ROUNDS = 8_000
PAUSE_S = 0.005  # 200 results a second: more than Tune itself gets through with short trials


def trial(number):
    return SimpleNamespace(
        trial_id=f"a1b2c_{number:05}",
        status="RUNNING",
        config={"lr": number / 7, "width": number, "optimizer": "adam"},
        last_result={},
        experiment_dir_name="benchmark",
    )


class Counting(Sink):
    """Our own run, with its tables counted."""

    tables = 0

    def log_trials(self, snapshot):
        """Count it, and log it."""
        super().log_trials(snapshot)
        self.tables += 1


def measure(number):
    run = init_embedded(f"hooks {number}", metric="score", mode="max")
    callback = SynapseLoggerCallback(run)
    sink = Counting(run, "benchmark")
    callback._recorder = recorder = Recorder(
        lambda trial: sink,
        Ledger("score", None),
        metric="score",
        mode="max",
        total=number,
        place=None,
        is_restored=False,
        log_results=True,
        show_progress=False,
    )
    trials = [trial(index) for index in range(number)]
    rounds, started = [], time.perf_counter()
    for index in range(ROUNDS):
        mine = trials[index % number]
        result = {
            "score": index,
            "loss": 1 / (index + 1),
            "training_iteration": index,
            "config": {},
        }
        before = time.perf_counter()
        callback.on_trial_result(index, trials, mine, result)
        callback.on_step_end(index, trials)
        rounds.append(time.perf_counter() - before)
        threading.Event().wait(PAUSE_S)
    elapsed = time.perf_counter() - started
    building = recorder.building_s
    recorder.stop(60)
    return statistics.median(rounds), building / elapsed, sink.tables


def main():
    with tempfile.TemporaryDirectory() as home:
        os.environ["RAY_SYNAPSE_HOME"] = home
        few, share_few, tables_few = measure(10)
        many, share_many, tables_many = measure(10_000)
    print(f"a round of hooks, median: {few * 1e6:.1f} us with 10 trials,")
    print(f"{many * 1e6:.1f} us with 10,000: ratio {many / few:.2f}")
    print(f"building tables took {share_few:.2%} and {share_many:.2%} of the time")
    print(f"tables sent in the time of {ROUNDS:,} results: {tables_few} and {tables_many}")


if __name__ == "__main__":
    main()
