"""The same sweep with and without us, side by side: how much longer does it take?

Short trials that report often, so that logging is as large a part of it as it can be. The two are
run in turn, several times. Run: python benchmarks/sweep.py
"""

import os
import statistics
import tempfile
import time

import ray
from ray import tune

import ray_synapse

TRIALS = 24
REPORTS = 200
TIMES = 3


def train(config):
    for step in range(REPORTS):
        tune.report({"score": config["x"] * step, "loss": 1.0 / (step + 1)})


def sweep(folder, name, tracked):
    run = ray_synapse.init(name, metric="score", mode="max") if tracked else None
    callbacks = [ray_synapse.SynapseLoggerCallback(run)] if tracked else []
    tuner = tune.Tuner(
        train,
        param_space={"x": tune.grid_search(list(range(TRIALS)))},
        tune_config=tune.TuneConfig(metric="score", mode="max", reuse_actors=True),
        run_config=tune.RunConfig(name=name, storage_path=folder, verbose=0, callbacks=callbacks),
    )
    started = time.perf_counter()
    tuner.fit()
    elapsed = time.perf_counter() - started
    if run is not None:
        run.__exit__(None, None, None)
        assert run.stats()["dropped"] == 0
    return elapsed


def main():
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    times = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RAY_SYNAPSE_HOME"] = os.path.join(folder, "home")
        sweep(folder, "warm-up", False)
        for number in range(TIMES):
            for tracked in (False, True):
                times[tracked].append(sweep(folder, f"{number}-{tracked}", tracked))
    without, with_us = (statistics.median(times[tracked]) for tracked in (False, True))
    print(f"{TRIALS} trials of {REPORTS} reports: {without:.2f} s without, {with_us:.2f} s with us")
    print(f"ratio {with_us / without:.3f} (medians of {TIMES})")


if __name__ == "__main__":
    main()
