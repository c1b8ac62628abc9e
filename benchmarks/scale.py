"""What does not fit one machine: 100,000 trials, and 1,000 results a second for a minute.

The callback is driven as Tune would, in real time; what it logs goes to the embedded backend, and
then to a server by way of the outbox. All records and the last table must arrive.
"""

import resource
import statistics
import time

import httpx

import ray_synapse
from benchmarks.driving import Drive
from benchmarks.measuring import Row, home, percentile, tell
from benchmarks.sink import sink

TRIALS, PER_SECOND, SECONDS = 100_000, 1_000, 60
WAIT_S = 300


def main(pairs: int) -> list[Row]:
    rows = []
    with home() as folder, sink() as url:

        def embedded() -> ray_synapse.TrainRun:
            return ray_synapse.init("scale", backend="local", upload="none")

        def server() -> ray_synapse.TrainRun:
            return ray_synapse.init("scale", host=url, job_id=1, upload="none", deadline_s=WAIT_S)

        def on_disk() -> int:
            return sum(path.stat().st_size for path in (folder / "home").glob("ray_synapse.db*"))

        def sent() -> int:
            return int(httpx.get(f"{url}/counts/").json()["bytes"])

        for name, make_run, what, count in (
            ("embedded", embedded, "on the disk", on_disk),
            ("server", server, "sent", sent),
        ):
            rows += drive(name, make_run())
            rows.append(Row(f"{what}, {name}", f"{count() / 1e6:.0f} MB"))
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        *rows,
        Row("memory of the process at most, Tune's own trials included", f"{mib:.0f} MiB"),
    ]


def drive(name: str, run: ray_synapse.TrainRun) -> list[Row]:
    """One minute of it."""
    sweep = Drive(run, TRIALS)
    sweep.start()
    cpu, building = time.process_time(), sweep.recorder.building_s
    sweep.results(PER_SECOND * SECONDS, PER_SECOND)
    share = (time.process_time() - cpu) / SECONDS
    building, late_s = sweep.recorder.building_s - building, sweep.late_s
    end_s = sweep.end()
    run.__exit__(None, None, None)
    sweep.check(run._backend, run.job_id)
    hooks = sweep.hook_s
    tell(f"{name}: {late_s:.2f} s late, {end_s:.1f} s at the end")
    return [
        Row(
            f"{TRIALS:,} trials, {PER_SECOND:,} results a second for {SECONDS} s, {name}",
            f"hooks: median {statistics.median(hooks) * 1e6:.1f} us, p99 "
            f"{percentile(hooks, 0.99) * 1e6:.0f} us, longest {max(hooks) * 1e3:.1f} ms; tables "
            f"took {building / SECONDS:.1%} of the time, all that is in the process {share:.0%}",
        ),
    ]
