"""What it takes until something happens: the import, and from ``init`` to the first trial."""

import os
import statistics
import subprocess
import sys
from functools import partial

from benchmarks.measuring import Row, home, interleaved

MAX_IMPORT_MS, MAX_MORE_MS = 50, 200
IMPORT = """
import time
begin = time.perf_counter()
import ray_synapse
print(time.perf_counter() - begin)
"""
# Tune imports its integrations for any callback: so both have one, which tells when a trial starts.
FIRST_TRIAL = """
import sys, tempfile, time
import ray
from ray import tune
ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)

class First(tune.Callback):
    def on_trial_start(self, iteration, trials, trial, **info):
        print(time.perf_counter() - begin)

def train(config):
    tune.report({"score": 1})

begin = time.perf_counter()
callbacks = [First()]
if sys.argv[1] == "ours":
    import ray_synapse
    run = ray_synapse.init("start", metric="score", mode="max")
    callbacks.append(ray_synapse.SynapseLoggerCallback(run))
grid = tune.Tuner(
    train,
    run_config=tune.RunConfig(storage_path=tempfile.mkdtemp(), verbose=0, callbacks=callbacks),
).fit()
if sys.argv[1] == "ours":
    ray_synapse.finish(run, grid)
    assert len(run._backend.logs(run.job_id, "metric")) == 1
"""


def main(pairs: int) -> list[Row]:
    with home():
        run_python(IMPORT)  # what is compiled at the first time
        imports = [run_python(IMPORT) * 1e3 for _ in range(max(pairs, 5))]
        arms = {name: partial(run_python, FIRST_TRIAL, name) for name in ("without", "ours")}
        found = interleaved(arms, 2 * pairs)  # what Ray needs varies by a second
    pairs_ms = [(a - b) * 1e3 for a, b in zip(found["ours"], found["without"], strict=True)]
    median, more = statistics.median(imports), statistics.median(pairs_ms)
    return [
        Row(
            "import ray_synapse", f"{median:.0f} ms", f"{MAX_IMPORT_MS} ms", median < MAX_IMPORT_MS
        ),
        Row(
            "from init to the first trial, on top of Ray's own "
            f"{statistics.median(found['without']):.2f} s",
            f"{more:.0f} ms ({min(pairs_ms):.0f} to {max(pairs_ms):.0f})",
            f"{MAX_MORE_MS} ms",
            more < MAX_MORE_MS,
        ),
    ]


def run_python(script: str, *arguments: str) -> float:
    """The seconds that a script prints first."""
    command = [sys.executable, "-c", script, *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ})
    return float(next(line for line in output.stdout.splitlines() if _is_number(line)))


def _is_number(line: str) -> bool:
    return line.replace(".", "", 1).replace("e-", "", 1).isdigit()
