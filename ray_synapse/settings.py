"""What the environment says. No other file reads it."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ray_synapse.errors import SettingsError

Upload = Literal["all", "best", "none"]
Mode = Literal["min", "max"]

HOME_VARIABLE = "RAY_SYNAPSE_HOME"
UPLOAD_VARIABLE = "RAY_SYNAPSE_UPLOAD"
HOST_VARIABLE = "SYNAPSE_HOST"
UPLOADS: tuple[Upload, ...] = ("all", "best", "none")  # from the most to the least


@dataclass(frozen=True)
class Settings:
    """The environment's part of the settings of a run.

    Attributes:
        home: Folder of the embedded backend.
        host: Address of the configured Synapse server, or None.
        host_from: Where ``host`` was found, for messages.
        upload: The most that may be uploaded.
    """

    home: Path
    host: str | None
    host_from: str
    upload: Upload


def load() -> Settings:
    """Read the environment and ``~/.synapse/config.json``.

    Raises:
        SettingsError: ``RAY_SYNAPSE_UPLOAD`` is set to something unknown.
    """
    host, host_from = _host()
    return Settings(home=home(), host=host, host_from=host_from, upload=_upload())


def home() -> Path:
    """Where the embedded backend lives: ``RAY_SYNAPSE_HOME``, else ``~/.ray_synapse``."""
    return Path(os.environ.get(HOME_VARIABLE) or "~/.ray_synapse").expanduser().absolute()


def check_upload(value: object, source: str) -> Upload:
    """Return ``value`` if it says how much to upload.

    Raises:
        SettingsError: It is not one of ``all``, ``best`` and ``none``.
    """
    if value in UPLOADS:
        return value
    raise SettingsError(
        f'{source} is {value!r}; allowed are "all" (every trial\'s model), "best" and "none".'
    )


def check_mode(value: object, source: str) -> Mode | None:
    """Return ``value`` if it is a direction to optimize in, or None.

    Raises:
        SettingsError: It is neither ``min`` nor ``max`` nor None.
    """
    if value is None or value in ("min", "max"):
        return value
    raise SettingsError(f'{source} is {value!r}; allowed are "min" and "max", in lower case.')


def _upload() -> Upload:
    return check_upload(os.environ.get(UPLOAD_VARIABLE) or "all", UPLOAD_VARIABLE)


def _host() -> tuple[str | None, str]:
    """The configured Synapse server and where that was said (the order is Synapse's own)."""
    if host := os.environ.get(HOST_VARIABLE):
        return host, HOST_VARIABLE
    file = Path("~/.synapse/config.json").expanduser()
    try:
        config = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None, ""
    host = config.get("host") if isinstance(config, dict) else None
    return (host, str(file)) if isinstance(host, str) and host else (None, "")
