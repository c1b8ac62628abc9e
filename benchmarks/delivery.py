"""From the outbox to a server on the loopback, beside httpx with the same bodies alone."""

import re
import statistics
import time
import uuid

import httpx

import ray_synapse
from benchmarks.measuring import Row, home, interleaved, ratio
from benchmarks.servers import slow_server
from ray_synapse.backend.http import Credentials
from ray_synapse.backend.local import LocalBackend
from ray_synapse.delivery.holder import Holder
from ray_synapse.delivery.letters import MAX_ENTRIES, MAX_LETTER_BYTES
from tests.synapse import make_job

RECORDS = 50_000
MIN_SHARE = 0.8
WAIT_S = 120


def main(pairs: int) -> list[Row]:
    sizes: list[float] = []
    with home() as folder, slow_server(folder / "server", 0) as url:
        backend = LocalBackend(folder / "server")

        def ours() -> float:
            return delivered(url, backend, sizes)

        bodies = bodies_of(url)

        def raw() -> float:
            return sent(url, bodies, backend)

        def keyed() -> float:
            return sent(url, bodies, backend, with_keys=True)

        found = interleaved({"ours": ours, "httpx": raw, "httpx with keys": keyed}, pairs)
        in_outbox = [emptied(url) for _ in range(pairs)]
    times = ratio(found["ours"], found["httpx"])
    keys = ratio(found["httpx with keys"], found["httpx"])
    return [
        Row(
            f"{RECORDS:,} records from the outbox to `ray-synapse serve`",
            f"{statistics.median(found['ours']):,.0f} a second, httpx "
            f"{statistics.median(found['httpx']):,.0f}: {times} times",
            f"{MIN_SHARE} times",
            times.median >= MIN_SHARE,
        ),
        Row("to take and remove a record in the outbox, alone", us(in_outbox)),
        Row("httpx with idempotency keys, as ours", f"{keys} times httpx without"),
        Row("disk of a record in the outbox", f"{statistics.median(sizes):.0f} bytes"),
    ]


def filled(url: str) -> ray_synapse.TrainRun:
    """A run whose records all wait in its outbox."""
    run = ray_synapse.init("delivery", host=url, job_id=make_job(url), offline=True)
    with run._channel.gathered():
        for number in range(RECORDS):
            run.log_metric("training", "loss", 1 / (number + 1), epoch=number, lr=0.001)
    assert run._channel.flush(WAIT_S)
    return run


def delivered(url: str, backend: LocalBackend, sizes: list[float]) -> float:
    """Records a second that the holder of an outbox sends; each must be at the server, in order."""
    run = filled(url)
    outbox = run._backend.outbox
    sizes.append(
        sum(each.stat().st_size for each in outbox.path.parent.glob(f"{outbox.path.name}*"))
        / RECORDS
    )
    holder = Holder(outbox, run.job_id, Credentials(url))
    begin = time.perf_counter()
    holder.resume()
    while not outbox.is_empty():
        assert time.perf_counter() - begin < WAIT_S, run.stats()
        time.sleep(0.02)
    seconds = time.perf_counter() - begin
    holder.close(WAIT_S)
    run.__exit__(None, None, None)
    check(backend, run.job_id)
    return RECORDS / seconds


def bodies_of(url: str) -> list[bytes]:
    """What the sender would send."""
    outbox, bodies = filled(url)._backend.outbox, []
    while letter := outbox.take_letter(MAX_ENTRIES, MAX_LETTER_BYTES, 0.0):
        bodies.append(letter.body)
    return bodies


def emptied(url: str) -> float:
    """Seconds that the outbox alone takes for a record, when nothing is sent."""
    outbox = filled(url)._backend.outbox
    begin = time.perf_counter()
    while letter := outbox.take_letter(MAX_ENTRIES, MAX_LETTER_BYTES, 0.0):
        outbox.letter_delivered(letter)
    return (time.perf_counter() - begin) / RECORDS


def us(seconds: list[float]) -> str:
    """A time in microseconds."""
    return f"{statistics.median(seconds) * 1e6:.1f} us"


def sent(url: str, bodies: list[bytes], backend: LocalBackend, with_keys: bool = False) -> float:
    """Records a second that httpx sends."""
    job = make_job(url)
    mine = [re.sub(rb'"job":\d+', b'"job":%d' % job, body) for body in bodies]
    with httpx.Client() as client:
        begin = time.perf_counter()  # a client and a greeting count for ours only
        for body in mine:
            headers = {"Content-Type": "application/json"}
            if with_keys:
                headers["Idempotency-Key"] = uuid.uuid4().hex
            client.post(f"{url}/logs/", content=body, headers=headers).raise_for_status()
        seconds = time.perf_counter() - begin
    check(backend, job)
    return RECORDS / seconds


def check(backend: LocalBackend, job: int | str) -> None:
    """See that each record has arrived once, in order."""
    numbers = [each["data"]["metrics"]["epoch"] for each in backend.logs(job, "metric")]
    assert numbers == [*range(RECORDS)], len(numbers)
