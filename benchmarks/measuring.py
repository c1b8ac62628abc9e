"""What the benchmarks share: arms that run in turn, ratios of pairs, rows of a table."""

import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

Measured = TypeVar("Measured")

HEAD = "| benchmark | what | measured | target |\n| --- | --- | --- | --- |"


class Row(NamedTuple):
    """A line of the table.

    Attributes:
        what: What was measured.
        measured: What came out.
        target: What it should be; empty if it is only told.
        met: Whether it is.
    """

    what: str
    measured: str
    target: str = ""
    met: bool | None = None

    def line(self, benchmark: str) -> str:
        """The row in Markdown."""
        missed = " **missed**" if self.met is False else ""
        return f"| {benchmark} | {self.what} | {self.measured}{missed} | {self.target} |"


class Ratio(NamedTuple):
    """Of pairs that were measured right after each other."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.least:.3f} to {self.most:.3f})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """How many times as much the first takes as the second, pair by pair."""
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Ratio(statistics.median(each), min(each), max(each))


def interleaved(
    arms: Mapping[str, Callable[[], Measured]], pairs: int
) -> dict[str, list[Measured]]:
    """Run all arms in turn, ``pairs`` times; every second time backwards, so that drift cancels."""
    found: dict[str, list[Measured]] = {name: [] for name in arms}
    for number in range(pairs):
        for name in [*arms][:: 1 if number % 2 == 0 else -1]:
            found[name].append(arms[name]())
            tell(f"{number + 1}/{pairs} {name}: {found[name][-1]}")
    return found


def beside(
    base: Callable[[], Measured], arms: Mapping[str, Callable[[], Measured]], pairs: int
) -> tuple[dict[str, list[tuple[Measured, Measured]]], list[list[Measured]]]:
    """Run each arm right before or right after the base, ``pairs`` times: base, a, b, base, c, ….

    Every second time all goes backwards.

    Returns:
        Each arm with the base next to it, and the bases of each time.
    """
    plan: list[str | None] = []
    for index, name in enumerate(arms):
        plan += [name] if index % 2 else [None, name]
    if len(arms) % 2 == 0:
        plan.append(None)
    found: dict[str, list[tuple[Measured, Measured]]] = {name: [] for name in arms}
    bases = []
    for number in range(pairs):
        order = range(len(plan))[:: 1 if number % 2 == 0 else -1]
        ran = {}
        for place in order:
            name = plan[place]
            ran[place] = base() if name is None else arms[name]()
            tell(f"{number + 1}/{pairs} {name or 'base'}: {ran[place]}")
        for index, (name, mine) in enumerate(found.items()):
            place = plan.index(name)
            mine.append((ran[place], ran[place + (1 if index % 2 else -1)]))
        bases.append([ran[place] for place in sorted(ran) if plan[place] is None])
    return found, bases


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all is below."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def tell(text: str) -> None:
    """Say how it goes; standard output is for the table."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def home() -> Iterator[Path]:
    """An empty folder, in which the embedded backend and the outboxes are for so long."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["RAY_SYNAPSE_HOME"] = str(Path(folder) / "home")
        yield Path(folder)


def machine() -> str:
    """What this was measured on."""
    import ray

    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else ():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}, Ray {ray.__version__}"
    )
