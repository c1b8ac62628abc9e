"""The real sweeps that are measured, and what they log to."""

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray import tune

import ray_synapse
from benchmarks.measuring import Ratio, Row, ratio
from benchmarks.ourselves import Ourselves
from benchmarks.servers import refusing_url, slow_server
from ray_synapse.backend.local import LocalBackend
from tests.synapse import make_job

CPUS = 2
STAT = Path("/proc/stat")
DELIVERY_S = 120  # for what a slow server is still to get


class Sweep(NamedTuple):
    """One kind of sweep.

    Attributes:
        trainable: Its trainable.
        trials: How many trials it has.
        reports: How many results each of them reports.
        reuse_actors: Tune's own setting.
    """

    trainable: Any
    trials: int
    reports: int
    reuse_actors: bool


def works(config: dict[str, Any]) -> None:
    """A function that works for 20 ms a step."""
    for step in range(config["reports"]):
        _busy(0.02)
        tune.report({"score": config["x"] * step, "loss": 1 / (step + 1)})


def idles(config: dict[str, Any]) -> None:
    """A function that only reports."""
    for step in range(config["reports"]):
        tune.report({"score": config["x"] * step, "loss": 1 / (step + 1)})


class Steps(tune.Trainable):
    """A class whose actor is used again, and whose steps do nothing."""

    def setup(self, config: dict[str, Any]) -> None:
        """Keep the config."""
        self.now = config

    def step(self) -> dict[str, Any]:
        """One result."""
        number = self.iteration
        done = number + 1 >= self.now["reports"]
        return {"score": self.now["x"] * number, "loss": 1 / (number + 1), "done": done}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: Tune asks for one at the end."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Be the next trial."""
        self.now = new_config
        return True


SWEEPS = {
    "functions, 12 x 20": Sweep(works, 12, 20, True),
    "a class, 32 x 200": Sweep(Steps, 32, 200, True),
    "idle functions, 12 x 200": Sweep(idles, 12, 200, True),
}


class Fit(NamedTuple):
    """What a sweep took.

    Attributes:
        seconds: How long it took.
        cpu_s: What all processes of the machine worked in that time, in seconds; 0 if not known.
        after_s: How long it took after that until all that it logged had arrived.
        threads_s: What our threads worked within it.
        hooks_s: How long Tune's loop was in our hooks.
    """

    seconds: float
    cpu_s: float
    after_s: float = 0.0
    threads_s: float = 0.0
    hooks_s: float = 0.0

    def __str__(self) -> str:
        ours = f"ours {self.threads_s:.2f} s and {self.hooks_s:.2f} s in hooks"
        return f"{self.seconds:.2f} s, CPU {self.cpu_s:.2f} s, {ours}, {self.after_s:.2f} s after"


def times_of(fits: Sequence[tuple[Fit, Fit]]) -> Ratio:
    """How many times as long each took as the one beside it."""
    return ratio([mine.seconds for mine, _ in fits], [base.seconds for _, base in fits])


def against_itself(what: str, bases: Sequence[Sequence[Fit]]) -> list[Row]:
    """What a sweep took that logs to nothing, and how much that varied."""
    seconds = [[each.seconds for each in round_] for round_ in bases]
    earlier = [each for round_ in seconds for each in round_[:-1]]
    later = [each for round_ in seconds for each in round_[1:]]
    return [
        Row(what, f"{statistics.median([*earlier, *later]):.2f} s"),
        Row(f"{what}, against itself: what this machine varies", f"{ratio(later, earlier)} times"),
    ]


def start_ray(folder: Path) -> None:
    """Start Ray; a first sweep with a callback makes Tune import all integrations it knows."""
    ray.init("local", num_cpus=CPUS, include_dashboard=False, log_to_driver=False)
    fit(Sweep(idles, 2, 2, False), folder, "to-begin-with", [tune.Callback()])


def fit(sweep: Sweep, folder: Path, name: str, callbacks: Sequence[Any]) -> tuple[Any, Fit]:
    """Run it. Returns its results, and what ``fit()`` took."""
    tuner = tune.Tuner(
        sweep.trainable,
        param_space={"x": tune.grid_search([*range(sweep.trials)]), "reports": sweep.reports},
        tune_config=tune.TuneConfig(metric="score", mode="max", reuse_actors=sweep.reuse_actors),
        run_config=tune.RunConfig(
            name=name, storage_path=str(folder), verbose=0, callbacks=[*callbacks]
        ),
    )
    cpu_s, begin = _cpu_s(), time.perf_counter()
    grid = tuner.fit()
    took = Fit(time.perf_counter() - begin, _cpu_s() - cpu_s)
    assert len(grid) == sweep.trials
    assert grid.num_errors == 0
    return grid, took


class Place:
    """Where a sweep logs to: a way to make a run, and to see what has arrived.

    Args:
        url: The server; None for the embedded backend.
        home: Where what arrives is kept.
        is_reached: Whether anything arrives.
    """

    def __init__(self, url: str | None, home: Path, is_reached: bool = True) -> None:
        self._url, self._home, self._is_reached = url, home, is_reached

    def fit(self, sweep: Sweep, folder: Path, name: str, *more: Any) -> Fit:
        """Run a sweep that logs here; every record and the whole table must arrive."""
        run = self._run(name)
        ourselves = Ourselves()
        with ourselves.watched():
            grid, took = fit(sweep, folder, name, [*more, ourselves.callback(run)])
        begin = time.perf_counter()
        with run:
            ray_synapse.finish(run, grid)
        after_s = time.perf_counter() - begin
        self._check(run, sweep)
        return took._replace(
            after_s=after_s, threads_s=ourselves.threads_s, hooks_s=ourselves.hooks_s
        )

    def _run(self, name: str) -> Any:
        if self._url is None:
            return ray_synapse.init(name, backend="local")
        job = make_job(self._url, name) if self._is_reached else 0
        return ray_synapse.init(
            name, host=self._url, job_id=job, deadline_s=DELIVERY_S if job else 0
        )

    def _check(self, run: Any, sweep: Sweep) -> None:
        results = sweep.trials * sweep.reports
        counts = run.stats()
        assert counts["dropped"] == counts["in_doubt"] == counts["parked"] == 0, counts
        assert counts["logged"] > results, counts
        if not self._is_reached:
            return
        backend = LocalBackend(self._home)
        scores = [each["data"]["metrics"]["score"] for each in backend.logs(run.job_id, "metric")]
        assert sorted(scores) == sorted(
            x * step for x in range(sweep.trials) for step in range(sweep.reports)
        )
        table = backend.trials(run.job_id)
        assert table is not None
        place, last = table["metrics"].index("score"), sweep.reports - 1
        assert {row["base"][1] for row in table["trials"].values()} == {"TERMINATED"}
        assert sorted(row["metrics"][place] for row in table["trials"].values()) == [
            x * last for x in range(sweep.trials)
        ]


@contextmanager
def places(folder: Path) -> Iterator[dict[str, Place]]:
    """The embedded backend, servers that take 0, 100 and 1,000 ms, and one that refuses."""
    home = folder / "home"
    found = {"embedded": Place(None, home)}
    servers = {
        f"server, {ms:,} ms": slow_server(folder / f"{ms}", ms / 1e3) for ms in (0, 100, 1000)
    }
    with (
        servers["server, 0 ms"] as a,
        servers["server, 100 ms"] as b,
        servers["server, 1,000 ms"] as c,
    ):
        for name, url, ms in zip(servers, (a, b, c), (0, 100, 1000), strict=True):
            found[name] = Place(url, folder / f"{ms}")
        found["server refuses"] = Place(refusing_url(), folder / "nothing", is_reached=False)
        yield found


def _cpu_s() -> float:
    """What all processes of this machine have worked; less disturbed by others than the time is."""
    if not STAT.exists():
        return 0.0
    user, nice, system, *_ = map(int, STAT.read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def _busy(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
