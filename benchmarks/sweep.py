"""Real sweeps without a callback and with ours, wherever it logs to.

Only ``fit()`` is compared: what comes after it, until all has arrived, is told beside it.
"""

import itertools
import statistics
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measuring import Row, home, interleaved, ratio, tell
from benchmarks.processes import most
from benchmarks.sweeps import SWEEPS, Place, Sweep, fit, places, start_ray

MAX_RATIO = 1.02
WITHOUT = "without a callback"


def main(pairs: int) -> list[Row]:
    with home() as folder, places(folder) as known:
        start_ray(folder)
        return [
            row
            for title, sweep in SWEEPS.items()
            for row in compared(title, sweep, folder, known, pairs)
        ]


def compared(
    title: str, sweep: Sweep, folder: Path, known: Mapping[str, Place], pairs: int
) -> list[Row]:
    """One sweep, in all arms."""
    names = (f"{title[:5].replace(' ', '')}-{number}" for number in itertools.count())
    arms = {WITHOUT: lambda: fit(sweep, folder, next(names), [])[1]}
    for where, place in known.items():
        arms[where] = lambda place=place: place.fit(sweep, folder, next(names))
    arms[WITHOUT]()  # to begin with: Ray keeps some workers for later
    before = most(arms[WITHOUT])
    more = most(arms["embedded"]) - before
    tell(f"{title}: {more} more processes")
    found = interleaved(arms, pairs)
    base = [each.seconds for each in found[WITHOUT]]
    rows = [Row(f"{title}: {WITHOUT}", f"{statistics.median(base):.2f} s")]
    for where in known:
        times = ratio([each.seconds for each in found[where]], base)
        cpu = ratio([each.cpu_s for each in found[where]], [each.cpu_s for each in found[WITHOUT]])
        after_s = statistics.median(each.after_s for each in found[where])
        rows.append(
            Row(
                f"{title}: ours, {where}",
                f"{times} times, CPU {cpu.median:.3f}; {after_s:.1f} s at the end",
                f"{MAX_RATIO} times",
                times.median <= MAX_RATIO,
            )
        )
    return [*rows, Row(f"{title}: more processes", f"{more}", "1", more <= 1)]
