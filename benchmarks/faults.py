"""The same sweep without us, and logged to a server that does wrong: how much longer does it take?

A real `ray-synapse serve` stands behind the faulty proxy of the tests. All are run in turn, several
times; only the sweep is timed, not the end of the run, which waits for the server.
Run: python benchmarks/faults.py [TIMES [FAULT ...]]
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the tests' proxy

import ray
from ray import tune

import ray_synapse
from tests import faults
from tests.proxy import Proxy
from tests.serving import served
from tests.synapse import make_job

TRIALS = 12
REPORTS = 100
FAULTS = {
    "healthy": None,
    "refuses": None,
    "hangs": faults.hang(),
    "takes 1 s": faults.slow(1),
    "503": faults.status(503),
    "500": faults.status(500),
    "401": faults.status(401),
    "answers get lost": faults.lost(),
    "drips": faults.drip(2),
}


def train(config):
    for step in range(REPORTS):
        tune.report({"score": config["x"] * step, "loss": 1.0 / (step + 1)})


def sweep(folder, name, run=None):
    callbacks = [ray_synapse.SynapseLoggerCallback(run)] if run else []
    tuner = tune.Tuner(
        train,
        param_space={"x": tune.grid_search(list(range(TRIALS)))},
        tune_config=tune.TuneConfig(metric="score", mode="max", reuse_actors=True),
        run_config=tune.RunConfig(name=name, storage_path=folder, verbose=0, callbacks=callbacks),
    )
    started = time.perf_counter()
    tuner.fit()
    return time.perf_counter() - started


def logged_sweep(folder, name, url, fault):
    with Proxy(url) as proxy:
        run = ray_synapse.init(name, host=proxy.url, job_id=make_job(url), deadline_s=0)
        if fault == "refuses":
            proxy.stop()
        elif FAULTS[fault] is not None:
            proxy.always(FAULTS[fault])
        elapsed = sweep(folder, name, run)
        run.__exit__(None, None, None)
        stats = run.stats()
        assert stats["logged"] > TRIALS * REPORTS
        assert stats["dropped"] == 0
    return elapsed


def main():
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    chosen = sys.argv[2:] or list(FAULTS)
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    found = {arm: [] for arm in ("without us", *chosen)}
    with tempfile.TemporaryDirectory() as folder, served(Path(folder) / "server") as server:
        os.environ["RAY_SYNAPSE_HOME"] = os.path.join(folder, "home")
        sweep(folder, "warm-up")
        for number in range(times):
            found["without us"].append(sweep(folder, f"{number}-without"))
            for fault in chosen:
                name = f"{number}-{fault.replace(' ', '-')}"
                found[fault].append(logged_sweep(folder, name, server.url, fault))
    print(f"{TRIALS} trials of {REPORTS} reports, {times} times in turn")
    for arm, seconds in found.items():
        ratios = [a / b for a, b in zip(seconds, found["without us"], strict=True)]
        print(
            f"{arm:17} {statistics.median(seconds):6.2f} s  ratio {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f})"
        )


if __name__ == "__main__":
    main()
