"""Servers in processes of their own, so that they do not share Python's lock with what is measured.

``python -m benchmarks.servers HOME DELAY`` is what runs there: a served backend, and before it, if
it shall be slow, the proxy of the tests.
"""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import faults
from tests.proxy import Proxy
from tests.serving import served


@contextmanager
def slow_server(home: Path, delay: float) -> Iterator[str]:
    """The URL of a served backend that takes so many seconds for each answer."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.servers", str(home), str(delay)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()  # its end
        process.wait()


def refusing_url() -> str:
    """A URL at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def main(home: str, delay: str) -> None:
    with served(Path(home)) as server, Proxy(server.url) as proxy:
        proxy.always(faults.slow(float(delay)))
        print(proxy.url if float(delay) else server.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
