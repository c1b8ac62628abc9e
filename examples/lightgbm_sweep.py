"""Sweep LightGBM models that report through Ray's own callback, tracked by ray_synapse.

A plain Ray Tune script: the lines that mention ray_synapse are all it takes. It needs scikit-learn,
which ships the data, lightgbm, and about ten seconds on two cores.
"""

import warnings

import lightgbm
import ray
from ray import tune
from ray.tune.integration.lightgbm import TuneReportCheckpointCallback
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

import ray_synapse

ROUNDS = 40


def train_diabetes(config):
    x_train, x_test, y_train, y_test = train_test_split(
        *load_diabetes(return_X_y=True), test_size=0.25, random_state=0
    )
    train = lightgbm.Dataset(x_train, label=y_train)
    lightgbm.train(
        {"objective": "regression", "metric": ["rmse", "mae"], "verbosity": -1, **config},
        train,
        num_boost_round=ROUNDS,
        valid_sets=[lightgbm.Dataset(x_test, label=y_test, reference=train)],
        valid_names=["test"],
        callbacks=[TuneReportCheckpointCallback({"rmse": "test-rmse", "mae": "test-l1"})],
    )


def main():
    run = ray_synapse.init("diabetes:learning_rate,num_leaves", metric="rmse", mode="min")
    tuner = tune.Tuner(
        train_diabetes,
        param_space={
            "learning_rate": tune.loguniform(1e-2, 3e-1),
            "num_leaves": tune.choice([4, 8, 16]),
            "feature_fraction": tune.uniform(0.5, 1.0),
        },
        tune_config=tune.TuneConfig(metric="rmse", mode="min", num_samples=4, reuse_actors=True),
        run_config=tune.RunConfig(
            name="diabetes",
            verbose=0,
            callbacks=[ray_synapse.SynapseLoggerCallback(run)],
        ),
    )
    summary = ray_synapse.finish(run, tuner.fit())

    best = summary["best_trial"]
    print(f"best trial: {best['config']}, RMSE {best['metrics']['rmse']:.2f}")
    print(f"models: {len(summary['trial_models'])}, the best one is {summary['model_id']}")


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    ray.init(include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    main()
