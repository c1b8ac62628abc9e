"""What the tests that run real sweeps share."""

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from ray import tune

from ray_synapse.backend.local import LocalBackend

QUIET = {"verbose": 0}


def home() -> Path:
    return Path(os.environ["RAY_SYNAPSE_HOME"])


def backend() -> LocalBackend:
    return LocalBackend(home())


def fit(trainable, *callbacks, storage, space=None, name="sweep", **options):
    """Run a sweep on the shared cluster; `options` are TuneConfig's, `run_config` RunConfig's."""
    run_config = options.pop("run_config", {})
    tuner = tune.Tuner(
        trainable,
        param_space=space or {},
        tune_config=tune.TuneConfig(**options),
        run_config=tune.RunConfig(
            name=name, storage_path=str(storage), callbacks=list(callbacks), **QUIET, **run_config
        ),
    )
    return tuner.fit()


def write_model(folder, text):
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    (path / "weights.txt").write_text(str(text))
    return path


def run_script(code, *, timeout=240, check=True, env=None, **options):
    """Run Python code in a process of its own, with the environment of the test."""
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(env or {})},
        check=False,
        **options,
    )
    if check and result.returncode != 0:
        raise AssertionError(f"exit code {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result


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
