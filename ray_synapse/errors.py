"""Every error that this package raises, split by what the caller can do about it.

::

    SynapseError
    ├── SettingsError (ValueError)       an argument or setting is wrong: correct it, run again
    ├── ConfigError (ValueError)         the JSON of a sweep is wrong: it names each fault
    ├── LibraryError (ImportError)       a searcher needs a library: it names the pip line
    ├── PayloadError (ValueError)        what was to be logged has the wrong form: correct the call
    ├── NoRunError (RuntimeError)        asked for the current run where there is none
    ├── TrainableError (ValueError)      the trainable cannot be wrapped, or never gave its metric
    └── BackendError                     the place where the run is kept says no
        ├── NotFoundError (LookupError)  no such job or model: look at what is there
        ├── RefusedError (ValueError)    what was sent has the wrong form: it names each field
        ├── TooLargeError (ValueError)   what was sent has too many bytes: send less at once
        ├── StorageError (OSError)       cannot be read or written now: make it possible, try again
        ├── NoSpaceError (OSError)       the disk is too full for this: free space, try again
        ├── DeniedError (PermissionError)       the server refuses the token: give another
        ├── UnreachableError (ConnectionError)  no connection to the server: it says why
        └── NoAnswerError (TimeoutError)        sent, but maybe not done: its answer was lost
"""

from typing import Literal


class SynapseError(Exception):
    """The base of every error of this package."""


class SettingsError(SynapseError, ValueError):
    """An argument, environment variable or combination of settings is wrong."""


class ConfigError(SynapseError, ValueError):
    """The JSON of a sweep is wrong: its search space, searcher, scheduler or tune_config.

    Attributes:
        faults: All that is wrong, one sentence each.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__(*faults)
        self.faults = faults

    def __str__(self) -> str:
        if len(self.faults) == 1:
            return self.faults[0]
        return "\n  - ".join((f"{len(self.faults)} faults:", *self.faults))


class LibraryError(SynapseError, ImportError):
    """A library that a searcher or scheduler needs is missing, or its release does not work."""


class PayloadError(SynapseError, ValueError):
    """A value that was to be logged does not have the form that its event needs."""


class NoRunError(SynapseError, RuntimeError):
    """The current run was asked for in a process that has none."""


class TrainableError(SynapseError, ValueError):
    """A trainable cannot be wrapped, or ended without the metric that is optimized."""


class BackendError(SynapseError):
    """The backend refused or could not do what it was asked.

    Attributes:
        status: The HTTP status of the server's answer; None if it gave none.
        was_sent: False when it is certain that the request did not reach the server, so that it
            can be repeated.
        retry_after: For how many seconds the server asked to wait; None if it did not.
        is_json: False for an answer that is no JSON, and so may not be Synapse's at all.
    """

    status: int | None = None
    was_sent: bool = True
    retry_after: float | None = None
    is_json: bool = True


class NotFoundError(BackendError, LookupError):
    """The job or model does not exist in this backend."""


class RefusedError(BackendError, ValueError):
    """What was sent to the backend does not have the form that its API documents.

    Attributes:
        faults: What is wrong with each field; empty where it is not about one.
        answer: Which request got which answer (``POST /logs/: 400 Bad Request``); empty where
            it was not HTTP.
    """

    answer: str = ""

    def __init__(self, faults: "dict[str, list[str]] | str") -> None:
        super().__init__(faults)
        self.faults = faults if isinstance(faults, dict) else {}

    def __str__(self) -> str:
        said = str(self.args[0])
        if self.faults:
            said = "; ".join(f"{field}: {' '.join(each)}" for field, each in self.faults.items())
        return f"{self.answer}: {said}" if self.answer else said


class TooLargeError(BackendError, ValueError):
    """What was sent to the backend has more bytes than it takes at once."""


class StorageError(BackendError, OSError):
    """The embedded backend's database or folder, or a server, cannot be used now."""


class NoSpaceError(BackendError, OSError):
    """Storing this would leave the disk with less than the reserve free."""


class DeniedError(BackendError, PermissionError):
    """The server does not accept the token (401), or not for this (403)."""


Unreachable = Literal["name", "name_later", "certificate", "no_tls", "refused", "timeout", "other"]


class UnreachableError(BackendError, ConnectionError):
    """There is no connection to the server; nothing was sent.

    Attributes:
        reason: ``name`` (DNS says that there is no such host), ``name_later`` (DNS does not answer
            now), ``certificate`` (it cannot be verified), ``no_tls`` (it speaks http only),
            ``refused`` (nothing listens there), ``timeout`` or ``other``.
    """

    was_sent: bool = False
    reason: Unreachable = "other"


class NoAnswerError(BackendError, TimeoutError):
    """The request may have been processed, but its answer was lost or is none.

    ``status`` is set if the answer had begun, or came and was no JSON.
    """
