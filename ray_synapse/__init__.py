"""Ray-native pieces that give a plain Ray Tune script logging to a Synapse backend.

The public names are loaded at their first use: importing the package imports neither Ray, nor a
searcher, nor a server.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ray_synapse.action.action import TrainAction
    from ray_synapse.artifact import Artifact
    from ray_synapse.errors import (
        BackendError,
        ConfigError,
        DeniedError,
        LibraryError,
        NoAnswerError,
        NoRunError,
        NoSpaceError,
        NotFoundError,
        PayloadError,
        RefusedError,
        SettingsError,
        StorageError,
        SynapseError,
        TooLargeError,
        TrainableError,
        UnreachableError,
    )
    from ray_synapse.names import encode_name
    from ray_synapse.registry import get_run
    from ray_synapse.results.checkpoints import resolve_checkpoint
    from ray_synapse.results.finish import finish
    from ray_synapse.results.outcome import resolve_trial_id
    from ray_synapse.run import TrainRun
    from ray_synapse.start import init
    from ray_synapse.trial.trainable import wrap_trainable
    from ray_synapse.tuning.callback import _TuneTrialsLoggingCallback
    from ray_synapse.tuning.schedulers.create import create_scheduler
    from ray_synapse.tuning.search_space import create_param_space, describe_param_space
    from ray_synapse.tuning.searchers.create import create_searcher
    from ray_synapse.tuning.tune_config import create_tune_config
    from ray_synapse.views import show

    SynapseLoggerCallback = _TuneTrialsLoggingCallback

_ERRORS = (
    *("BackendError", "ConfigError", "DeniedError", "LibraryError", "NoAnswerError", "NoRunError"),
    *("NoSpaceError", "NotFoundError", "PayloadError", "RefusedError", "SettingsError"),
    *("StorageError", "SynapseError", "TooLargeError", "TrainableError", "UnreachableError"),
)
_WHERE = {
    **dict.fromkeys(_ERRORS, "errors"),
    "Artifact": "artifact",
    "SynapseLoggerCallback": "tuning.callback",
    "TrainAction": "action.action",
    "TrainRun": "run",
    "_TuneTrialsLoggingCallback": "tuning.callback",
    "create_param_space": "tuning.search_space",
    "create_scheduler": "tuning.schedulers.create",
    "create_searcher": "tuning.searchers.create",
    "create_tune_config": "tuning.tune_config",
    "describe_param_space": "tuning.search_space",
    "encode_name": "names",
    "finish": "results.finish",
    "get_run": "registry",
    "init": "start",
    "resolve_checkpoint": "results.checkpoints",
    "resolve_trial_id": "results.outcome",
    "show": "views",
    "wrap_trainable": "trial.trainable",
}

__all__ = [
    "Artifact",
    "BackendError",
    "ConfigError",
    "DeniedError",
    "LibraryError",
    "NoAnswerError",
    "NoRunError",
    "NoSpaceError",
    "NotFoundError",
    "PayloadError",
    "RefusedError",
    "SettingsError",
    "StorageError",
    "SynapseError",
    "SynapseLoggerCallback",
    "TooLargeError",
    "TrainAction",
    "TrainRun",
    "TrainableError",
    "UnreachableError",
    "_TuneTrialsLoggingCallback",
    "__version__",
    "create_param_space",
    "create_scheduler",
    "create_searcher",
    "create_tune_config",
    "describe_param_space",
    "encode_name",
    "finish",
    "get_run",
    "init",
    "resolve_checkpoint",
    "resolve_trial_id",
    "show",
    "wrap_trainable",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
