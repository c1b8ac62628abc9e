"""One real sweep, 16 trials of 20 reports, with ours and with what else Ray can log to."""

import itertools
import os
import statistics

from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.air.integrations.wandb import WandbLoggerCallback

from benchmarks.measuring import Row, beside, home, tell
from benchmarks.processes import most
from benchmarks.sweeps import Fit, Place, Sweep, against_itself, fit, start_ray, times_of, works

SWEEP = Sweep(works, 16, 20, True)
OURS = "ours, embedded"
NO_FILES = "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"  # Ray's own csv, json and tensorboard
MAX_RATIO = 1.02


def main(pairs: int) -> list[Row]:
    with home() as folder:
        start_ray(folder)
        number = itertools.count()
        os.environ |= {"WANDB_MODE": "offline", "WANDB_DIR": str(folder)}

        def arm(*callbacks: object, files: bool = False) -> Fit:
            os.environ[NO_FILES] = "" if files else "1"
            return fit(SWEEP, folder, f"loggers-{next(number)}", callbacks)[1]

        def ours() -> Fit:
            os.environ[NO_FILES] = "1"
            return Place(None, folder / "home").fit(SWEEP, folder, f"loggers-{next(number)}")

        def mlflow() -> Fit:
            return arm(MLflowLoggerCallback(f"sqlite:///{folder}/mlflow.db", experiment_name="b"))

        arms = {
            OURS: ours,
            "Ray's csv, json and tensorboard": lambda: arm(files=True),
            "W&B, offline": lambda: arm(WandbLoggerCallback(project="b", mode="offline")),
            "MLflow, sqlite": mlflow,
        }
        arm()  # to begin with: Ray keeps some workers for later
        before = most(arm)
        processes = {name: max(most(each) - before, 0) for name, each in arms.items()}
        tell(f"processes: {processes}")
        found, bases = beside(arm, arms, pairs)
    rows = against_itself("functions, 16 x 20: without a callback", bases)
    for name, fits in found.items():
        times = times_of(fits)
        text = f"{times} times; {processes[name]} more processes"
        if name == OURS:
            after_s = statistics.median(mine.after_s for mine, _ in fits)
            is_met = times.median <= MAX_RATIO and processes[name] <= 1
            target = f"{MAX_RATIO} times, 1 more"
            rows.append(Row(name, f"{text}; {after_s:.1f} s at the end", target, is_met))
        else:
            rows.append(Row(name, text))
    return rows
