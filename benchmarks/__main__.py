"""The command of the benchmarks.

    python -m benchmarks NAME ... [--pairs N]

Each runs in a process of its own. Standard output is one Markdown table, with the machine in its
first line; what a benchmark has to say beside its numbers goes to standard error.
"""

import argparse
import importlib
import os
import subprocess
import sys

from benchmarks.measuring import HEAD, machine

NAMES = {
    "hooks": "our callback with 10 to 10,000 trials: the time of its hooks, the memory of a trial",
    "table": "one snapshot of 10,000 trials",
    "sweep": "real sweeps with and without us, and with a server that is slow or refuses",
    "loggers": "a real sweep with us, with Ray's own loggers, with W&B, with MLflow",
    "results": "results a second with 16 and 48 trials at once",
    "log": "log_metric inside a trial, and what arrives a second",
    "delivery": "from the outbox to a server",
    "upload": "a model of 1 GiB",
    "wire": "bytes to a server",
    "start": "import, and from init to the first trial",
    "scale": "100,000 trials and 1,000 results a second, for a minute",
    "faults": "a real sweep with a server that does wrong, in nine ways",
    "serve": "what `ray-synapse serve` takes",
    "searchers": "how good the searchers are",
}
TARGETS = (  # what has a target, and together is the table of the README
    *("hooks", "table", "sweep", "loggers", "results", "log", "delivery", "upload", "wire"),
    *("start", "scale"),
)


def main() -> int:
    """Run what was asked for. Returns 1 if one failed; a target that is missed is no failure."""
    lines = [f"  {name:10}{what}" for name, what in NAMES.items()]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"{__doc__.splitlines()[0]}\n\n" + "\n".join(lines),
    )
    parser.add_argument("names", nargs="+", choices=[*NAMES, "all"], metavar="NAME")
    parser.add_argument("--pairs", type=int, default=5, help="how often each arm runs (default 5)")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = TARGETS if "all" in options.names else options.names
    if options.alone:
        table = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # where Ray, and all that it starts, print what is no row
        for row in importlib.import_module(f"benchmarks.{names[0]}").main(options.pairs):
            print(row.line(names[0]), file=table, flush=True)
        return 0
    print(f"{machine()}\n\n{HEAD}", flush=True)
    command = [sys.executable, "-m", "benchmarks", "--alone", "--pairs", str(options.pairs)]
    # What would count its users over the network.
    quiet = {
        "WANDB_SILENT": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    codes = [subprocess.call([*command, name], env={**os.environ, **quiet}) for name in names]
    return int(any(codes))


if __name__ == "__main__":
    raise SystemExit(main())
