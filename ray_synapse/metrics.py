"""Which keys of a Tune result are the user's own metrics."""

from collections.abc import Mapping
from typing import Any

from ray_synapse.values import as_number, flatten

CHECKPOINT_OUTPUT = "checkpoint_output"  # where the trial writes its model: run.checkpoint_output
CHECKPOINT_SOURCE = "checkpoint_source"  # the folder that Tune's checkpoint is a copy of

# What Tune fills in by itself (ray.tune.result: AUTO_RESULT_KEYS, DEBUG_METRICS and the control
# keys; a test compares), and what our wrapper adds.
AUTO_KEYS = frozenset(
    (
        *("training_iteration", "timestamp", "time_total_s", "time_this_iter_s", "date"),
        *("time_since_restore", "timesteps_since_restore", "iterations_since_restore"),
        *("episodes_total", "timesteps_total", "episodes_this_iter", "timesteps_this_iter"),
        *("node_ip", "hostname", "pid", "config", "trial_id", "experiment_id", "experiment_tag"),
        *("done", "should_checkpoint", "checkpoint_dir_name", "trainable_name", "__duplicate__"),
        *("__trial_info__", CHECKPOINT_SOURCE),
    )
)


def is_of(result: Mapping[str, Any], trial_id: str) -> bool:
    """Whether a result that Tune has for a trial is the trial's own.

    After an exploit of PBT, and when a reused actor could not be reset, it is another one's.
    """
    return bool(result.get("trial_id", trial_id) == trial_id)


def own_metrics(result: Mapping[str, Any], metric: str | None = None) -> dict[str, Any]:
    """The result without what Tune fills in, unless that is the metric that is optimized."""
    return {
        key: value
        for key, value in result.items()
        if key == metric or not (key in AUTO_KEYS or str(key).startswith("config/"))
    }


def measured(result: Mapping[str, Any], metric: str | None = None) -> dict[str, int | float | None]:
    """The user's metrics by their flattened names, in the order of the result.

    What is no number is None. A bool is none, unless it is the metric that is optimized (Tune takes
    it as 0 or 1).
    """
    return {
        key: metric_value(value) if key == metric else as_number(value)
        for key, value in flatten(own_metrics(result, metric)).items()
    }


def metric_value(value: Any) -> int | float | None:
    """The number that a value of the optimized metric stands for; Tune takes a bool as 0 or 1."""
    return int(value) if isinstance(value, bool) else as_number(value)


def lookup(result: Mapping[str, Any], metric: str) -> Any:
    """The value of a metric by its name, which may be a flattened one; None if it is not there."""
    if metric in result:
        return result[metric]
    return flatten(result).get(metric) if "/" in metric else None
