"""Every error that this package raises, split by what the caller can do about it.

::

    SynapseError
    ├── SettingsError (ValueError)       an argument or setting is wrong: correct it, run again
    ├── PayloadError (ValueError)        what was to be logged has the wrong form: correct the call
    ├── NoRunError (RuntimeError)        asked for the current run where there is none
    ├── TrainableError (ValueError)      the trainable cannot be wrapped, or never gave its metric
    └── BackendError                     the place where the run is kept says no
        ├── NotFoundError (LookupError)  no such job or model: look at what is there
        ├── StorageError (OSError)       cannot be read or written now: make it possible, try again
        └── NoSpaceError (OSError)       the disk is too full for this: free space, try again
"""


class SynapseError(Exception):
    """The base of every error of this package."""


class SettingsError(SynapseError, ValueError):
    """An argument, environment variable or combination of settings is wrong."""


class PayloadError(SynapseError, ValueError):
    """A value that was to be logged does not have the form that its event needs."""


class NoRunError(SynapseError, RuntimeError):
    """The current run was asked for in a process that has none."""


class TrainableError(SynapseError, ValueError):
    """A trainable cannot be wrapped, or ended without the metric that is optimized."""


class BackendError(SynapseError):
    """The backend refused or could not do what it was asked."""


class NotFoundError(BackendError, LookupError):
    """The job or model does not exist in this backend."""


class StorageError(BackendError, OSError):
    """The embedded backend's database or folder cannot be read or written now."""


class NoSpaceError(BackendError, OSError):
    """Storing this would leave the disk with less than the reserve free."""
