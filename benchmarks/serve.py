"""What a served backend takes: log entries, alone and beside readers, and a large model.

One client sends entries in batches, beside readers that ask all the time; then a file of 2 GiB goes
up, by which the memory of the server should hardly grow.
"""

import hashlib
import os
import re
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from benchmarks.measuring import Row, home
from tests.serving import served

BATCH = 250  # "at most a few hundred a request", as the published client
READERS = 2
ALONE_S, BESIDE_S = 15.0, 60.0
UPLOAD_BYTES = 2 << 30
CHUNK_BYTES = 50 << 20  # as the published client
BOUNDARY = "a-boundary"


def main(pairs: int) -> list[Row]:
    with home() as folder, served(folder) as server:
        alone, rows = write_logs(server.url, ALONE_S, readers=0)
        beside, more = write_logs(server.url, BESIDE_S, readers=READERS)
        rows += [
            *more,
            Row(f"entries beside {READERS} readers, against alone", f"{beside / alone:.2f}"),
        ]
        return [*rows, upload(server.url, server.process.pid, UPLOAD_BYTES)]


def write_logs(url: str, seconds: float, readers: int) -> tuple[float, list[Row]]:
    """Send batches for a while. Returns how many entries a second, and the row of it."""
    client = httpx.Client(base_url=url, timeout=30)
    job = client.post("/jobs/", json={"name": "benchmark"}).json()["id"]
    entry = {
        "event": "metric",
        "data": {"category": "training", "key": "loss", "value": 0.5, "metrics": {"epoch": 10}},
        "datetime": "2026-01-02T03:04:05.678+00:00",
        "job": job,
    }
    done, reads = threading.Event(), [0] * readers
    threads = [
        threading.Thread(target=read, args=(url, job, done, reads, i)) for i in range(readers)
    ]
    for thread in threads:
        thread.start()
    times, start = list[float](), time.perf_counter()
    while time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        answer = client.post("/logs/", json=[entry] * BATCH)
        times.append(time.perf_counter() - begin)
        assert answer.json() == {"count": BATCH}, answer.text
    rate = BATCH * len(times) / (time.perf_counter() - start)
    done.set()
    for thread in threads:
        thread.join()
    return rate, [
        Row(
            f"{readers} readers, batches of {BATCH}",
            f"{rate:,.0f} entries a second; a batch takes {1e3 * statistics.median(times):.1f} ms, "
            f"at most {1e3 * max(times):.0f} ms; {sum(reads) / seconds:,.0f} reads a second beside",
        )
    ]


def read(url: str, job: int, done: threading.Event, reads: list[int], number: int) -> None:
    client = httpx.Client(base_url=url, timeout=30)
    while not done.is_set():
        client.get("/jobs/").raise_for_status()
        client.get(f"/jobs/{job}/").raise_for_status()
        reads[number] += 2


def upload(url: str, server: int, size: int) -> Row:
    """Send a file of random bytes in chunks, each of them as a stream."""
    client = httpx.Client(base_url=url, timeout=600)
    piece = os.urandom(1 << 20)
    before, begin, digest, path, offset = peak(server), time.perf_counter(), hashlib.md5(), "", 0
    while offset < size:
        length = min(CHUNK_BYTES, size - offset)
        for _ in range(length // len(piece)):
            digest.update(piece)
        answer = client.put(
            path or "/chunked_upload/",
            content=form(piece, length),
            headers={
                "Content-Range": f"bytes {offset}-{offset + length - 1}/{size}",
                "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
            },
        ).json()
        path, offset = answer["url"], answer["offset"]
    sent = time.perf_counter() - begin
    client.post(path, json={"md5": digest.hexdigest()}).raise_for_status()
    whole = time.perf_counter() - begin
    grown = (peak(server) - before) / CHUNK_BYTES
    return Row(
        f"a file of {size / (1 << 30):.2g} GiB",
        f"{sent:.1f} s, {whole:.1f} s with its check; the server's peak memory grew by {grown:.2f} "
        "chunks of 50 MiB",
    )


def form(piece: bytes, length: int) -> Iterator[bytes]:
    part = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
    yield f'{part}"filename"\r\n\r\nmodel.zip\r\n{part}"file"; filename="file"\r\n\r\n'.encode()
    for _ in range(length // len(piece)):
        yield piece
    yield f"\r\n--{BOUNDARY}--\r\n".encode()


def peak(process: int) -> int:
    """The most memory that a process had, in bytes (Linux)."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found.group(1)) << 10
