"""Real sweeps without a callback and with ours, wherever it logs to.

Only ``fit()`` is compared: what comes after it, until all has arrived, is told beside it. How much
the machine varies is told by the sweep without a callback, against the one two sweeps before it;
what we take of it, whatever it does meanwhile, by what our threads worked and our hooks waited.
"""

import itertools
import statistics
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measuring import Row, beside, home, ratio, tell
from benchmarks.processes import most
from benchmarks.sweeps import (
    SWEEPS,
    Fit,
    Place,
    Sweep,
    against_itself,
    fit,
    places,
    start_ray,
    times_of,
)

MAX_RATIO = 1.02


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
    arms = {
        where: lambda place=place: place.fit(sweep, folder, next(names))
        for where, place in known.items()
    }

    def without() -> Fit:
        return fit(sweep, folder, next(names), [])[1]

    without()  # to begin with: Ray keeps some workers for later
    before = most(without)
    more = max(most(arms["embedded"]) - before, 0)
    tell(f"{title}: {more} more processes")
    found, bases = beside(without, arms, pairs)
    rows = against_itself(f"{title}: without a callback", bases)
    for where, fits in found.items():
        times = times_of(fits)
        cpu = ratio([mine.cpu_s for mine, _ in fits], [base.cpu_s for _, base in fits])
        after_s = statistics.median(mine.after_s for mine, _ in fits)
        threads = statistics.median(mine.threads_s / mine.seconds for mine, _ in fits)
        hooks = statistics.median(mine.hooks_s / mine.seconds for mine, _ in fits)
        rows.append(
            Row(
                f"{title}: ours, {where}",
                f"{times} times, CPU {cpu.median:.3f}; {after_s:.1f} s at the end; our threads "
                f"worked {threads:.1%} of the time, Tune's loop was in our hooks {hooks:.1%}",
                f"{MAX_RATIO} times",
                times.median <= MAX_RATIO,
            )
        )
    return [*rows, Row(f"{title}: more processes, embedded", f"{more}", "1", more <= 1)]
