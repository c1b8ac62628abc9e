"""What the tests that run real sweeps share."""

import json
import os
import pickle
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.execution import class_cache

from ray_synapse import SynapseLoggerCallback
from ray_synapse.backend.local import LocalBackend
from ray_synapse.delivery.synapse import SynapseSpec
from ray_synapse.run import TrainRun
from ray_synapse.run_spec import RunSpec
from tests.agreement import agree
from tests.tuned import Tuned, tuned

QUIET = {"verbose": 0}
ROOT = str(Path(__file__).parents[1])
# Tune sets a variable for PyTorch Lightning in each trial's process, for which Ray starts Python
# twice. No test looks at it; the examples and the guide run with it.
class_cache.DEFAULT_ENV_VARS.clear()
HANDED_OVER = "SWEEPS_HANDED_OVER"  # the environment variable: where a script leaves its sweeps


def home() -> Path:
    return Path(os.environ["RAY_SYNAPSE_HOME"])


def backend() -> LocalBackend:
    return LocalBackend(home())


def fit(
    trainable,
    *callbacks,
    storage,
    space=None,
    name="sweep",
    compare=True,
    interrupted=False,
    kept_in=None,
    **options,
):
    """Run a sweep on the shared cluster; `options` are TuneConfig's, `run_config` RunConfig's.

    When the test is over, the job must tell what Tune tells (`agree`): but not where no run of ours
    is logged to, nor with `compare=False`, for a test that itself takes the job away.

    Args:
        interrupted: Whether the test interrupts it.
        kept_in: The folder of the server that it is logged to, if it is.
    """
    run_config = options.pop("run_config", {})
    tuner = tune.Tuner(
        trainable,
        param_space=space or {},
        tune_config=tune.TuneConfig(**options),
        run_config=tune.RunConfig(
            name=name, storage_path=str(storage), callbacks=list(callbacks), **QUIET, **run_config
        ),
    )
    grid = None
    try:
        grid = tuner.fit()
    finally:
        logger = logging_one(callbacks) if compare else None
        if logger is not None and (grid is not None or logger._run is not None):
            how = {"interrupted": interrupted, "kept_in": kept_in}
            remember(grid, logger, is_open=options.get("num_samples") == -1, **how)
    return grid


# Every sweep ends with the question whether its job tells what Tune tells.


@dataclass(frozen=True)
class Sweep:
    """A sweep whose job is compared when its run has ended."""

    told: Tuned | None
    spec: RunSpec
    kept_in: Path | None
    interrupted: bool
    is_open: bool

    def agrees(self) -> None:
        is_served = isinstance(self.spec.backend, SynapseSpec)
        assert not is_served or self.kept_in, "say kept_in=<the server's folder>, or compare=False"
        agree(
            self.told,
            self.spec.job_id,
            LocalBackend(self.kept_in or Path(self.spec.backend.home)),
            spec=self.spec,
            fit_raised=self.told is None,
            interrupted=self.interrupted,
            is_open=self.is_open,
        )


_remembered: list[Sweep] = []
OWN_RUN_S = 20  # until a callback that was given no run has made one, on its thread


def remember(grid, logger, *, interrupted=False, is_open=False, kept_in=None, goes_on=False):
    """Have a sweep compared at the end of the test; call it right after `fit()`.

    Args:
        grid: What `fit()` gave; None if it raised.
        logger: The run, or the callback that logged the sweep.
        is_open: Whether nobody knew how many trials there would be (`num_samples=-1`).
        goes_on: Whether it is the rest of a sweep of this test, which then is not compared.
    """
    sweep = _sweep(grid, logger, interrupted, is_open, kept_in)
    if goes_on or kept_in is not None:  # a job on a server has the table of its last sweep
        forget(sweep.spec)
    _remembered.append(sweep)


def forget(spec):
    """Leave the sweeps of that job out."""
    job = (spec.backend, spec.job_id)
    _remembered[:] = [each for each in _remembered if (each.spec.backend, each.spec.job_id) != job]


def all_agree():
    """Compare all that are remembered; their runs must have ended."""
    sweeps, _remembered[:] = list(_remembered), []
    for sweep in sweeps:
        sweep.agrees()


def hand_over(grid, logger, *, interrupted=False, kept_in=None):
    """In a script: have a sweep compared when the script has ended; call it right after `fit()`."""
    sweep = _sweep(grid, logger, interrupted, False, kept_in)
    path = Path(os.environ[HANDED_OVER], f"{time.time_ns()}.pickle")
    path.write_bytes(pickle.dumps(sweep))


def takes_over(folder) -> dict[str, str]:
    """The environment for a script that calls `hand_over`, beside the test's own."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH"))))
    return {HANDED_OVER: str(folder), "PYTHONPATH": paths}


def handed_over_agree(folder) -> int:
    """Compare what a script handed over, which has ended. Gives how many sweeps there were."""
    files = sorted(Path(folder).glob("*.pickle"))
    for file in files:
        pickle.loads(file.read_bytes()).agrees()
    return len(files)


def logging_one(callbacks: Iterable[Any]) -> SynapseLoggerCallback | None:
    """The callback that logs to a run of ours, if there is one."""
    ours = [each for each in callbacks if isinstance(each, SynapseLoggerCallback)]
    chosen = next((each for each in ours if each._run is not None), ours[0] if ours else None)
    is_foreign = chosen is not None and not isinstance(chosen._run, TrainRun | None)
    return None if is_foreign else chosen


def _sweep(grid, logger, interrupted, is_open, kept_in) -> Sweep:
    run = logger if isinstance(logger, TrainRun) else logger._run
    if run is None:
        wait_for(lambda: logger._own_run is not None, OWN_RUN_S)
        run = logger._own_run
    spec = run._as_spec()
    # A script may give its folder in a way that means another one elsewhere.
    home = str(Path(spec.backend.home).resolve())
    spec = replace(spec, backend=replace(spec.backend, home=home))
    told = None if grid is None else tuned(grid)
    return Sweep(told, spec, None if kept_in is None else Path(kept_in), interrupted, is_open)


# Scripts, models, patience


def write_model(folder, text):
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    (path / "weights.txt").write_text(str(text))
    return path


def run_script(code, *, timeout=240, check=True, env=None, **options):
    """Run Python code in a process of its own, with the environment of the test.

    The sweeps that it hands over (`hand_over`) are compared when it has ended.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **takes_over(folder), **(env or {})},
            check=False,
            **options,
        )
        if check and result.returncode != 0:
            raise AssertionError(f"exit code {result.returncode}\n{result.stdout}\n{result.stderr}")
        handed_over_agree(folder)
    return result


def begin_script(code, env, said):
    """Start Python code in a process and a session of its own; what it prints goes into a file."""
    with open(said, "w") as file:
        return subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, **env},
            start_new_session=True,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def last_json(result):
    """The last line that a script printed, as JSON."""
    return json.loads(result.stdout.strip().splitlines()[-1])


def wait_for(condition, seconds=120):
    """Until it comes about; a test that it never does for fails."""
    for _ in range(seconds * 20):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come about")
