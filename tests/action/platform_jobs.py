"""The jobs that the platform's documents give as examples, as they are written there."""

from typing import Any

MODEL: dict[str, Any] = {
    "action": "train",
    "params": {
        "name": "my_model",
        "dataset": 123,
        "checkpoint": None,
        "is_tune": False,
        "hyperparameter": {
            "epochs": 100,
            "batch_size": 32,
            "learning_rate": 0.001,
            "optimizer": "adam",
        },
    },
}
SIMPLE: dict[str, Any] = {
    "action": "train",
    "params": {
        "name": "resnet50_training",
        "dataset": 456,
        "checkpoint": None,
        "hyperparameter": {
            "epochs": 100,
            "batch_size": 32,
            "learning_rate": 0.001,
            "optimizer": "adam",
            "weight_decay": 0.0001,
        },
    },
}
RESUMED: dict[str, Any] = {
    "action": "train",
    "params": {
        "name": "resnet50_continued",
        "dataset": 456,
        "checkpoint": 789,
        "hyperparameter": {
            "epochs": 50,
            "batch_size": 32,
            "learning_rate": 0.0001,
            "optimizer": "adam",
        },
    },
}
TUNING: dict[str, Any] = {
    "action": "train",
    "params": {
        "name": "my_tuning_job",
        "dataset": 123,
        "checkpoint": None,
        "is_tune": True,
        "hyperparameters": [
            {"name": "batch_size", "type": "choice", "options": [16, 32, 64]},
            {
                "name": "learning_rate",
                "type": "loguniform",
                "min": 0.0001,
                "max": 0.01,
                "base": 10,
            },
            {"name": "optimizer", "type": "choice", "options": ["adam", "sgd"]},
        ],
        "tune_config": {
            "mode": "max",
            "metric": "accuracy",
            "num_samples": 10,
            "max_concurrent_trials": 2,
        },
    },
}
GRID: dict[str, Any] = {
    "action": "train",
    "params": {
        "name": "resnet50_tuning",
        "dataset": 456,
        "is_tune": True,
        "hyperparameters": [
            {"name": "batch_size", "type": "grid_search", "options": [16, 32, 64]},
            {"name": "learning_rate", "type": "grid_search", "options": [0.001, 0.0001]},
            {"name": "optimizer", "type": "grid_search", "options": ["adam", "sgd"]},
        ],
        "tune_config": {
            "mode": "max",
            "metric": "validation_accuracy",
            "num_samples": 12,
            "max_concurrent_trials": 4,
        },
    },
}
HYPEROPT: dict[str, Any] = {
    "action": "train",
    "params": {
        "name": "resnet50_hyperopt_tuning",
        "dataset": 456,
        "is_tune": True,
        "num_cpus": 2,
        "num_gpus": 0.5,
        "hyperparameters": [
            {"name": "batch_size", "type": "choice", "options": [16, 32, 64, 128]},
            {
                "name": "learning_rate",
                "type": "loguniform",
                "min": 0.00001,
                "max": 0.01,
                "base": 10,
            },
            {
                "name": "weight_decay",
                "type": "loguniform",
                "min": 0.00001,
                "max": 0.001,
                "base": 10,
            },
            {"name": "optimizer", "type": "choice", "options": ["adam", "sgd", "rmsprop"]},
        ],
        "tune_config": {
            "mode": "max",
            "metric": "validation_accuracy",
            "num_samples": 50,
            "max_concurrent_trials": 8,
            "search_alg": {"name": "hyperoptsearch"},
            "scheduler": {"name": "hyperband", "options": {"max_t": 100}},
        },
    },
}
