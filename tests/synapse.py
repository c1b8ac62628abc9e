"""What the tests of runs that log to a server share."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx

from ray_synapse.backend.local import LocalBackend

ANSWER_S = 30


def make_job(url: str, name: str = "digits") -> int:
    """A job on the server at that URL, for a run to log to."""
    # Without HTTPS there is nothing to verify, and to load the certificates takes its time.
    answer = httpx.post(f"{url}/jobs/", json={"name": name}, timeout=ANSWER_S, verify=False)
    return int(answer.raise_for_status().json()["id"])


def kept(home: Path) -> LocalBackend:
    """What the server that serves that folder has kept."""
    return LocalBackend(home)


def metric_values(home: Path, job: int) -> list[Any]:
    """The values of the job's metrics in the order they were kept."""
    return [record["data"]["value"] for record in kept(home).logs(job, "metric")]


def counts_of(values: Iterable[Any]) -> Counter[Any]:
    """How often each value is there: what is doubled has more than 1, what is lost 0."""
    return Counter(values)
