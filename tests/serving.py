"""A served backend for tests: the real command, in a process of its own, over TCP."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

START_S = 30


class Served(NamedTuple):
    """A running ``ray-synapse serve``."""

    url: str
    token: str | None
    process: "subprocess.Popen[str]"
    lines: list[str]

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """End it with a signal, and give its exit code."""
        self.process.send_signal(how)
        return self.process.wait(START_S)


@contextlib.contextmanager
def served(home: Path, *arguments: str) -> Iterator[Served]:
    """``ray-synapse serve --port 0`` with more arguments, until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ray_synapse", "serve", "--port", "0", *arguments],
        env={**os.environ, "RAY_SYNAPSE_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    told = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if "SYNAPSE_HOST=" in line:  # the last one
                told.set()
        told.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert told.wait(START_S), lines
        found = dict(line.strip().split("=", 1) for line in lines if line.startswith("  SYNAPSE_"))
        assert "SYNAPSE_HOST" in found, lines
        yield Served(found["SYNAPSE_HOST"], found.get("SYNAPSE_ACCESS_TOKEN"), process, lines)
    finally:
        process.kill()
        process.wait()
        reader.join(START_S)
        assert process.stdout is not None
        process.stdout.close()
