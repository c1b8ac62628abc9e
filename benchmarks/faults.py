"""The same sweep without us, and logged to a server that does wrong: how much longer does it take?

A real `ray-synapse serve` stands behind the faulty proxy of the tests. Only the sweep is timed, not
the end of the run, which waits for the server.
"""

import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import ray_synapse
from benchmarks.measuring import Row, beside, home
from benchmarks.sweeps import Fit, Sweep, against_itself, fit, idles, start_ray, times_of
from tests import faults
from tests.proxy import Proxy
from tests.serving import served
from tests.synapse import make_job

SWEEP = Sweep(idles, 12, 100, True)
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


def logged_sweep(folder: Path, number: Iterator[int], url: str, fault: str) -> Fit:
    name = f"{next(number)}-{fault.replace(' ', '-')}"
    with Proxy(url) as proxy:
        run = ray_synapse.init(name, host=proxy.url, job_id=make_job(url), deadline_s=0)
        if fault == "refuses":
            proxy.stop()
        elif FAULTS[fault] is not None:
            proxy.always(FAULTS[fault])
        took = fit(SWEEP, folder, name, [ray_synapse.SynapseLoggerCallback(run)])[1]
        run.__exit__(None, None, None)
        stats = run.stats()
        assert stats["logged"] > SWEEP.trials * SWEEP.reports
        assert stats["dropped"] == 0
    return took


def main(pairs: int) -> list[Row]:
    with home() as folder, served(folder / "server") as server:
        start_ray(folder)
        number = itertools.count()
        arms = {fault: partial(logged_sweep, folder, number, server.url, fault) for fault in FAULTS}
        found, bases = beside(lambda: fit(SWEEP, folder, f"{next(number)}", [])[1], arms, pairs)
    rows = against_itself(
        f"idle functions, {SWEEP.trials} x {SWEEP.reports}: without a callback", bases
    )
    for fault, fits in found.items():
        times = times_of(fits)
        rows.append(Row(f"the server {fault}", f"{times} times"))
    return rows
