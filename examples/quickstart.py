"""Sweep a small neural network on the digits data set, tracked by ray_synapse.

A plain Ray Tune script: the lines that mention ray_synapse are all it takes. It needs scikit-learn,
which ships the data, and about a minute on two cores.
"""

import pickle
import sys
import tempfile
import warnings
from pathlib import Path
from pprint import pprint

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import ray_synapse

EPOCHS = 12


def train_digits(config):
    digits = load_digits()
    x_train, x_test, y_train, y_test = train_test_split(
        digits.data / 16, digits.target, test_size=0.25, random_state=0
    )
    model = MLPClassifier(
        hidden_layer_sizes=(config["width"],),
        learning_rate_init=config["lr"],
        batch_size=config["batch_size"],
        random_state=0,
    )
    for epoch in range(1, EPOCHS + 1):
        model.partial_fit(x_train, y_train, classes=range(10))
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "model.pkl").write_bytes(pickle.dumps(model))
            tune.report(
                {"accuracy": model.score(x_test, y_test), "loss": model.loss_, "epoch": epoch},
                checkpoint=tune.Checkpoint.from_directory(folder),
            )


def main():
    run = ray_synapse.init("digits:lr,width", metric="accuracy", mode="max")
    tuner = tune.Tuner(
        train_digits,
        param_space={
            "lr": tune.loguniform(1e-4, 1e-1),
            "width": tune.choice([16, 32, 64, 128]),
            "batch_size": tune.choice([32, 64]),
        },
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            num_samples=8,
            scheduler=ASHAScheduler(max_t=EPOCHS, grace_period=3),
            reuse_actors=True,  # a new process for each trial takes longer than the trial
        ),
        run_config=tune.RunConfig(
            name="digits",
            verbose=0,
            callbacks=[ray_synapse.SynapseLoggerCallback(run)],
        ),
    )
    summary = ray_synapse.finish(run, tuner.fit())

    ray_synapse.show(run)
    print("\nsummary")
    pprint(summary, sort_dicts=False, width=100)
    print(f"\nshow it again: {sys.executable} -m ray_synapse show {run.job_id}")


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    ray.init(include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    main()
