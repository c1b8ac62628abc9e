"""A plugin for the platform's train action: it learns to read digits, once or in a sweep.

It needs scikit-learn, which ships the data. In this folder, each in less than 20 seconds:

    ray-synapse run training.json --plugin digits_plugin
    ray-synapse run grid_search.json --plugin digits_plugin
    ray-synapse run hyperopt_hyperband.json --plugin digits_plugin

The second training needs a name of its own, and may start from the model of the first, here 1:

    ray-synapse run training.json --plugin digits_plugin --set name=more --set checkpoint=1
"""

import pickle
import tempfile
from pathlib import Path

import numpy as np
from ray import tune as ray_tune  # under its own name it would hide behind tune() below
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split


def load_dataset(id, run):
    """What train() and tune() get as their dataset. Without it, the events of the backend."""
    digits = load_digits()  # the only dataset there is: its id does not matter
    x_train, x_test, y_train, y_test = train_test_split(
        digits.data / 16, digits.target, test_size=0.25, random_state=0
    )
    return {"train": (x_train, y_train), "validation": (x_test, y_test)}


def train(run, dataset, hyperparameter, checkpoint, seed=0, **kwargs):
    """One training, in the process of the job. Params such as `seed` come as keyword arguments."""
    model = first_model(checkpoint, seed)
    epochs = hyperparameter["epochs"]
    for epoch in range(1, epochs + 1):
        train_one_epoch(model, run, dataset, hyperparameter, epoch)
        run.set_progress(epoch, epochs, "train")
    return save_model(tempfile.mkdtemp(prefix="digits-"), model, epochs)  # uploaded from there


def tune(hyperparameter, run, dataset, checkpoint, seed=0, **kwargs):
    """One trial of a sweep, which the scheduler may pause, resume, or stop at any report."""
    model, done = first_model(checkpoint, seed), 0
    if paused := ray_tune.get_checkpoint():  # what this trial reported last
        with paused.as_directory() as folder:
            model, done = load_model(folder)
    run.checkpoint_output = "weights"  # in the trial's own working folder
    for epoch in range(done + 1, hyperparameter["epochs"] + 1):
        metrics = train_one_epoch(model, run, dataset, hyperparameter, epoch)
        save_model(run.checkpoint_output, model, epoch)
        ray_tune.report(
            metrics, checkpoint=ray_tune.Checkpoint.from_directory(run.checkpoint_output)
        )


def first_model(checkpoint, seed):
    """The model that the job names as its checkpoint, unpacked in a folder; or a new one."""
    if checkpoint is not None:
        model, _ = load_model(checkpoint["path"])
        return model
    return SGDClassifier(loss="log_loss", learning_rate="constant", eta0=1, random_state=seed)


def train_one_epoch(model, run, dataset, hyperparameter, epoch):
    """Learn from each image once; log and return how well the model does now."""
    model.set_params(eta0=hyperparameter["learning_rate"], alpha=hyperparameter["weight_decay"])
    images, labels = dataset["train"]
    model.partial_fit(images, labels, classes=range(10))
    images, labels = dataset["validation"]
    loss, accuracy = log_loss(labels, model.predict_proba(images)), model.score(images, labels)
    run.log_metric("validation", "loss", loss, epoch=epoch)
    run.log_metric("validation", "accuracy", accuracy, epoch=epoch)
    run.log_visualization("weights", "digits", epoch, picture(model))
    return {"loss": loss, "accuracy": accuracy}


def picture(model):
    """Where the model looks for ink, for each digit from 0 to 9: numbers from 0 to 1."""
    weights = np.hstack(model.coef_.reshape(10, 8, 8)).repeat(8, axis=0).repeat(8, axis=1)
    return (weights - weights.min()) / np.ptp(weights)


def save_model(folder, model, epoch):
    Path(folder).mkdir(exist_ok=True)
    Path(folder, "model.pkl").write_bytes(pickle.dumps((model, epoch)))
    return folder


def load_model(folder):
    """Gives the model, and its epochs. A pickle can run code: load only models that you trust."""
    return pickle.loads(Path(folder, "model.pkl").read_bytes())
