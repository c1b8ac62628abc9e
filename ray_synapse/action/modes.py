"""What a job does: its dataset and checkpoint, then a training or a sweep."""

from copy import copy
from functools import partial
from typing import Any

from ray import tune

from ray_synapse.action import cluster
from ray_synapse.action.checks import Checked
from ray_synapse.action.dataset import load_events
from ray_synapse.action.plugin import Plugin
from ray_synapse.errors import TrainableError
from ray_synapse.last_lines import first_line
from ray_synapse.results.finish import finish
from ray_synapse.results.training import finish_training
from ray_synapse.run import TrainRun
from ray_synapse.settings import secrets
from ray_synapse.trained import read_trained
from ray_synapse.trial.plugin import train_entry, tune_entry
from ray_synapse.trial.trainable import wrap_trainable
from ray_synapse.tuning.callback import _TuneTrialsLoggingCallback


def trained(run: TrainRun, checked: Checked, plugin: Plugin) -> dict[str, Any]:
    """Train in this process, and upload the model."""
    params = checked.params
    assert plugin.train is not None
    assert params.hyperparameter is not None
    dataset, checkpoint = _dataset(run, checked, plugin), _checkpoint(run, checked)
    run._parent_model = params.checkpoint
    run.set_progress(0, 1, "train")
    value = plugin.train(run, dataset, params.hyperparameter, checkpoint, **params.extras)
    run.set_progress(1, 1, "train")
    return finish_training(run, read_trained(value, run.checkpoint_output), params.hyperparameter)


def tuned(
    run: TrainRun, checked: Checked, plugin: Plugin, run_config: tune.RunConfig | None
) -> dict[str, Any]:
    """Run the sweep, and finish it."""
    params, tune_config = checked.params, checked.tune_config
    assert tune_config is not None
    assert checked.param_space is not None
    trainable = _trainable(run, checked, plugin)
    run._parent_model = params.checkpoint
    resources = cluster.trial_resources(params.num_cpus, params.num_gpus)
    if resources:
        trainable = tune.with_resources(trainable, resources)
    run_config = copy(run_config) if run_config else tune.RunConfig(verbose=0)  # our line does
    run_config.callbacks = [*(run_config.callbacks or ()), _TuneTrialsLoggingCallback(run)]
    tuner = tune.Tuner(
        trainable,
        param_space=checked.param_space,
        tune_config=tune_config,
        run_config=run_config,
    )
    return finish(run, tuner.fit())


def _trainable(run: TrainRun, checked: Checked, plugin: Plugin) -> Any:
    """The plugin's function for Tune. Its dataset is in Ray's object store, and no more here."""
    metric, extras = checked.tune_config and checked.tune_config.metric, checked.params.extras
    if plugin.tune is not None:
        entry = tune_entry(plugin.tune, extras)
    else:
        assert plugin.train is not None
        entry = train_entry(plugin.train, str(metric), extras)
    heavy = {"dataset": _dataset(run, checked, plugin), "checkpoint": _checkpoint(run, checked)}
    try:
        return wrap_trainable(entry, run=run, metric=metric, **heavy)
    except TypeError as error:  # of Ray's pickle
        raise TrainableError(
            f"the dataset, a {type(heavy['dataset']).__name__}, cannot go to the trials: "
            f"{first_line(error, secrets())}. Have load_dataset() return what can be pickled, such "
            "as lists and arrays, or load it within the trial."
        ) from error


def _dataset(run: TrainRun, checked: Checked, plugin: Plugin) -> Any:
    """What the plugin gets as its dataset, from its own function or from the backend."""
    run.set_progress(0, 1, "dataset")
    number = checked.params.dataset
    assert number is not None
    if plugin.load_dataset is not None:
        dataset = plugin.load_dataset(number, run)
    else:
        with checked.destination.api() as api:
            assert api is not None
            dataset = load_events(api, number, partial(_moved, run))
    run.set_progress(1, 1, "dataset")
    return dataset


def _moved(run: TrainRun, done: int, total: int | None) -> None:
    run.set_progress(done, total, "dataset")


def _checkpoint(run: TrainRun, checked: Checked) -> dict[str, Any] | None:
    """The model to start from, or None."""
    number = checked.params.checkpoint
    return None if number is None else run.get_model(number)
