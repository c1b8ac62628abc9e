"""Sweep XGBoost models that report through Ray's own callback, tracked by ray_synapse.

A plain Ray Tune script: the lines that mention ray_synapse are all it takes. It needs scikit-learn,
which ships the data, xgboost (on Linux `pip install xgboost-cpu` is the small one), and about ten
seconds on two cores.
"""

import warnings

import ray
import xgboost
from ray import tune
from ray.tune.integration.xgboost import TuneReportCheckpointCallback
from ray.tune.schedulers import ASHAScheduler
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import ray_synapse

ROUNDS = 40
GRACE = 5


def train_cancer(config):
    x_train, x_test, y_train, y_test = train_test_split(
        *load_breast_cancer(return_X_y=True), test_size=0.25, random_state=0
    )
    xgboost.train(
        {"objective": "binary:logistic", "eval_metric": ["logloss", "error"], **config},
        xgboost.DMatrix(x_train, label=y_train),
        num_boost_round=ROUNDS,
        evals=[(xgboost.DMatrix(x_test, label=y_test), "test")],
        verbose_eval=False,
        callbacks=[
            TuneReportCheckpointCallback(
                metrics={"logloss": "test-logloss", "error": "test-error"},
                frequency=GRACE,  # so that the trials which ASHA stops have a model, too
            )
        ],
    )


def main():
    run = ray_synapse.init("cancer:eta,max_depth", metric="logloss", mode="min")
    tuner = tune.Tuner(
        train_cancer,
        param_space={
            "eta": tune.loguniform(1e-2, 5e-1),
            "max_depth": tune.randint(2, 8),
            "subsample": tune.uniform(0.5, 1.0),
        },
        tune_config=tune.TuneConfig(
            metric="logloss",
            mode="min",
            num_samples=6,
            scheduler=ASHAScheduler(max_t=ROUNDS, grace_period=GRACE),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="cancer",
            verbose=0,
            callbacks=[ray_synapse.SynapseLoggerCallback(run)],
        ),
    )
    summary = ray_synapse.finish(run, tuner.fit())

    best = summary["best_trial"]
    print(f"best trial: {best['config']}, log loss {best['metrics']['logloss']:.4f}")
    print(f"models: {len(summary['trial_models'])}, the best one is {summary['model_id']}")


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    ray.init(include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    main()
