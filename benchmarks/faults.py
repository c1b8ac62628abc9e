"""The same sweep without us, and logged to a server that does wrong: how much longer does it take?

A real `ray-synapse serve` stands behind the faulty proxy of the tests. Only the sweep is timed, not
the end of the run, which waits for the server.
"""

import itertools
import statistics
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import ray
from ray import tune

import ray_synapse
from benchmarks.measuring import Row, home, interleaved, ratio
from tests import faults
from tests.proxy import Proxy
from tests.serving import served
from tests.synapse import make_job

WITHOUT = "without a callback"
TRIALS = 12
REPORTS = 100
FAULTS = {
    "is healthy": None,
    "refuses": None,
    "hangs": faults.hang(),
    "takes 1 s": faults.slow(1),
    "answers 503": faults.status(503),
    "answers 500": faults.status(500),
    "answers 401": faults.status(401),
    "loses its answers": faults.lost(),
    "drips": faults.drip(2),
}


def train(config: dict[str, Any]) -> None:
    for step in range(REPORTS):
        tune.report({"score": config["x"] * step, "loss": 1.0 / (step + 1)})


def sweep(folder: str, name: str, run: Any = None) -> float:
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


def logged_sweep(folder: str, number: Iterator[int], url: str, fault: str) -> float:
    name = f"{next(number)}-{fault.replace(' ', '-')}"
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


def main(pairs: int) -> list[Row]:
    rows = []
    with home() as folder, served(folder / "server") as server:
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        sweep(str(folder), "warm-up")
        number = itertools.count()
        arms = {WITHOUT: lambda: sweep(str(folder), f"{next(number)}")}
        for fault in FAULTS:
            arms[fault] = partial(logged_sweep, str(folder), number, server.url, fault)
        found = interleaved(arms, pairs)
    base = found.pop(WITHOUT)
    rows.append(Row(f"{TRIALS} x {REPORTS} reports, {WITHOUT}", f"{statistics.median(base):.2f} s"))
    rows += [
        Row(f"the server {fault}", f"{ratio(each, base)} times") for fault, each in found.items()
    ]
    return rows
