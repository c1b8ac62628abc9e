"""A model of 1 GiB: archived and uploaded by us, and the same bytes by httpx in the same chunks.

The server of the pairs takes everything and keeps nothing, so that what it needs itself hides
nothing. All send forms of 50 MiB as the published client does; httpx ends the upload with an MD5
that it is given, curl only sends the forms, from files. Before that one upload to `ray-synapse
serve` is compared byte by byte.
"""

import hashlib
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
import zipfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import httpx
import psutil

import ray_synapse
from benchmarks.measuring import Row, home, interleaved, ratio, tell
from benchmarks.servers import slow_server
from benchmarks.sink import sink
from ray_synapse.archive import Archive
from ray_synapse.artifact import Artifact
from ray_synapse.delivery.stream import CHUNK_BYTES

MODEL_BYTES = 1 << 30
MAX_RATIO, MAX_MIB = 1.15, 160
LOOK_S = 0.05


class Upload(NamedTuple):
    """How it went.

    Attributes:
        seconds: How long it took, until the server has said that it has all.
        mib: By how much the memory of the process grew.
        temporary: The most bytes on the disk that it needed meanwhile.
    """

    seconds: float
    mib: float = 0.0
    temporary: int = 0


def main(pairs: int) -> list[Row]:
    with home() as folder:
        model, archive = folder / "model" / "weights.bin", folder / "archive.zip"
        write(model, archive)
        check(folder, model)
        arms = {"ours": (by_us, model), "httpx": (by_httpx, archive)}
        if shutil.which("curl"):
            arms["curl"] = (by_curl, archive)
        with sink() as url:
            found = interleaved(
                {name: partial(alone, how, url, path) for name, (how, path) in arms.items()}, pairs
            )
    seconds = {name: [each.seconds for each in uploads] for name, uploads in found.items()}
    times = ratio(seconds["ours"], seconds["httpx"])
    rows = [
        Row(
            "1 GiB, archived and uploaded, against httpx with the archive's bytes",
            f"{statistics.median(seconds['ours']):.2f} s and "
            f"{statistics.median(seconds['httpx']):.2f} s: {times} times",
            f"{MAX_RATIO} times",
            times.median <= MAX_RATIO,
        )
    ]
    if "curl" in seconds:
        floor = ratio(seconds["curl"], seconds["httpx"])
        rows.append(Row("curl, against httpx", f"{floor} times"))
    mib = max(each.mib for each in found["ours"])
    temporary = max(each.temporary for each in found["ours"])
    rows.append(Row("memory above the start", f"{mib:.0f} MiB", f"{MAX_MIB} MiB", mib < MAX_MIB))
    rows.append(Row("temporary bytes on the disk", f"{temporary:,}", "0", temporary == 0))
    return rows


def write(model: Path, archive: Path) -> None:
    """Weights, nothing that shrinks, and the archive that we make of them."""
    model.parent.mkdir()
    with open(model, "wb") as file:
        for _ in range(MODEL_BYTES >> 24):
            file.write(os.urandom(1 << 24))
    artifact = Artifact(str(model.parent))
    with open(archive, "wb") as file:
        file.writelines(Archive(artifact.files(), artifact.open).pieces())


def check(folder: Path, model: Path) -> None:
    """See that what arrives is what was sent."""
    with slow_server(folder / "server", 0) as url:
        told = alone(by_us, url, model)
        tell(f"to `ray-synapse serve`: {told.seconds:.2f} s")
        stored = max((folder / "server").rglob("*"), key=lambda path: path.stat().st_size)
        with (
            zipfile.ZipFile(stored) as archive,
            archive.open(model.name) as theirs,
            open(model, "rb") as ours,
        ):
            while piece := ours.read(1 << 24):
                assert piece == theirs.read(1 << 24)
            assert not theirs.read(1)
        stored.unlink()


def alone(how: Any, url: str, path: Path) -> Upload:
    """In a process of its own, so that its memory is that of the upload."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        upload: Upload = pool.apply(how, (url, path))
    return upload


def by_us(url: str, model: Path) -> Upload:
    """A trial's model, as the end of a sweep uploads it."""
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["TMPDIR"] = tempfile.tempdir = temporary
        os.environ["RAY_SYNAPSE_HOME"] = f"{temporary}/home"
        job = httpx.post(f"{url}/jobs/", json={"name": "upload"}).json()["id"]
        run = ray_synapse.init("upload", host=url, job_id=job, deadline_s=300)
        metrics = {"trial_id": "a", "score": 1, "checkpoint_output": str(model.parent)}
        result = SimpleNamespace(
            metrics=metrics, config={}, error=None, path=None, checkpoint=None, best_checkpoints=[]
        )
        ray_synapse.resolve_checkpoint(result)  # what is imported at the first use
        used = psutil.Process().memory_info().rss
        watch = Watch(Path(temporary))
        begin = time.perf_counter()
        summary = ray_synapse.finish(run, [result])
        seconds = time.perf_counter() - begin
        mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - used) / (1 << 20)
        most = watch.end()
        assert summary["trial_models"][0]["model_id"] is not None, summary
        run.__exit__(None, None, None)
    return Upload(seconds, mib, most)


def by_httpx(url: str, archive: Path) -> Upload:
    """The bytes of the archive, and nothing else."""
    digest = md5(archive)
    with httpx.Client(timeout=60) as client, open(archive, "rb") as file:
        begin = time.perf_counter()
        size, start, path = archive.stat().st_size, 0, "/chunked_upload/"
        while chunk := file.read(CHUNK_BYTES):
            span = f"bytes {start}-{start + len(chunk) - 1}/{size}"
            answer = client.put(
                f"{url}{path}",
                data={"filename": archive.name},
                files={"file": chunk},
                headers={"Content-Range": span},
            )
            path, start = answer.raise_for_status().json()["url"], start + len(chunk)
        client.post(f"{url}{path}", json={"md5": digest}).raise_for_status()
        return Upload(time.perf_counter() - begin)


def by_curl(url: str, archive: Path) -> Upload:
    """The same forms by curl, which takes its chunks from files; making these is not counted."""
    with tempfile.TemporaryDirectory() as folder, open(archive, "rb") as file:
        size, start, command = archive.stat().st_size, 0, ["curl", "-sf"]
        while chunk := file.read(CHUNK_BYTES):
            part = Path(folder, str(start))
            part.write_bytes(chunk)
            span = f"Content-Range: bytes {start}-{start + len(chunk) - 1}/{size}"
            command += ["--next"] if start else []
            command += [
                "-s",
                "-o",
                os.devnull,
                "-X",
                "PUT",
                "-H",
                span,
                "-F",
                "filename=a",
                "-F",
                f"file=@{part}",
            ]
            command += [f"{url}/chunked_upload/u/"]
            start += len(chunk)
        begin = time.perf_counter()
        subprocess.run(command, check=True)
        return Upload(time.perf_counter() - begin)


def md5(path: Path) -> str:
    """The MD5 of a file."""
    with open(path, "rb") as file:
        digest = hashlib.md5(usedforsecurity=False)
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


class Watch:
    """Looks how many bytes lie in a folder beside the databases of the outbox."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._most, self._done = folder, 0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def end(self) -> int:
        """The most bytes there were."""
        self._done.set()
        self._thread.join()
        return self._most

    def _look(self) -> None:
        while not self._done.wait(LOOK_S):
            files = [path for path in self._folder.rglob("*") if ".db" not in path.name]
            self._most = max(
                self._most, sum(path.stat().st_size for path in files if path.is_file())
            )
