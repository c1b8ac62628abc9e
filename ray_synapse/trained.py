"""What the platform's ``train`` function returned: where its model is, and what else it says."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from ray_synapse.errors import TrainableError
from ray_synapse.values import to_wire

WEIGHTS_PATH = "weights_path"  # the platform's key for it (base-train-action, "Quick Start")


class Trained(NamedTuple):
    """What came of a training.

    Attributes:
        path: Where the model is: a folder, a file or a URI; None if nothing said so.
        metrics: What was returned beside it.
    """

    path: str | None
    metrics: dict[str, Any]


def read_trained(value: Any, checkpoint_output: str | None) -> Trained:
    """Read what ``train`` returned: a path, a dict with ``weights_path``, or nothing.

    Args:
        value: What it returned.
        checkpoint_output: The run's, which holds where nothing was returned.

    Raises:
        TrainableError: It is none of these.
    """
    metrics: dict[str, Any] = {}
    if isinstance(value, Mapping):
        metrics = {str(key): each for key, each in value.items()}
        value = metrics.pop(WEIGHTS_PATH, None)
    if value is None:
        return Trained(checkpoint_output, metrics)
    if isinstance(value, (str, os.PathLike)) and os.fspath(value):
        return Trained(str(os.fspath(value)), metrics)
    raise TrainableError(
        f"train() returned {to_wire(value, max_chars=60)!r} as the place of its model; return the "
        f'path of the folder or file, or a dict with "{WEIGHTS_PATH}": path.'
    )
