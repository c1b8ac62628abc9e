"""Bytes to a server for 4,000 results of 1,000 trials, over a minute."""

import json

import httpx

import ray_synapse
from benchmarks.driving import Drive
from benchmarks.measuring import Row, home, tell
from benchmarks.sink import sink

TRIALS, RESULTS, SECONDS = 1_000, 4_000, 60
MAX_MB = 8
WAIT_S = 60


def main(pairs: int) -> list[Row]:
    with home(), sink() as url:
        run = ray_synapse.init("wire", host=url, job_id=1, upload="none", deadline_s=WAIT_S)
        sweep = Drive(run, TRIALS)
        sweep.start()
        sweep.results(RESULTS, RESULTS / SECONDS)
        sweep.end()
        run.__exit__(None, None, None)
        assert run.stats()["delivered"] + run.stats()["replaced"] == run.stats()["logged"]
        sweep.check(run._backend, run.job_id)
        counts = httpx.get(f"{url}/counts/").json()
    tell(json.dumps(counts))
    megabytes = counts["bytes"] / 1e6
    return [
        Row(
            f"{RESULTS:,} results of {TRIALS:,} trials in {SECONDS} s, tables and records",
            f"{megabytes:.1f} MB in {counts['requests']} requests",
            f"{MAX_MB} MB",
            megabytes < MAX_MB,
        )
    ]
