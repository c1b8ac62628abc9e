"""What the environment says. No other file reads it."""

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ray_synapse.errors import SettingsError

Upload = Literal["all", "best", "none"]
Mode = Literal["min", "max"]

HOME_VARIABLE = "RAY_SYNAPSE_HOME"
UPLOAD_VARIABLE = "RAY_SYNAPSE_UPLOAD"
BACKEND_VARIABLE = "RAY_SYNAPSE_BACKEND"
OFFLINE_VARIABLE = "RAY_SYNAPSE_OFFLINE"
DEADLINE_VARIABLE = "RAY_SYNAPSE_DEADLINE_S"
OUTBOX_VARIABLE = "RAY_SYNAPSE_OUTBOX_BYTES"
JOB_VARIABLE = "SYNAPSE_JOB_ID"
RAY_VARIABLE = "RAY_ADDRESS"  # Ray's own
# Where Synapse's own client looks for each, and in this order (backend-contract, "Connection").
SERVER_VARIABLES = {
    "host": "SYNAPSE_HOST",
    "access_token": "SYNAPSE_ACCESS_TOKEN",
    "user_token": "SYNAPSE_PLUGIN_RUN_USER_TOKEN",
    "tenant": "SYNAPSE_PLUGIN_RUN_TENANT",
}
CONFIG_FILE = Path("~/.synapse/config.json")
UPLOADS: tuple[Upload, ...] = ("all", "best", "none")  # from the most to the least
DEADLINE_S = 30.0  # a restart of a server takes less; nobody waits longer for nothing
OUTBOX_BYTES = 1 << 30  # hours of metrics, or a thousand images
MIN_OUTBOX_BYTES = 1 << 20  # an empty one has 100 KB
MIN_SECRET_CHARS = 6  # what is shorter is found in ordinary words
# Names of variables whose values are secret, and those of them whose values only say where it is.
SECRET_NAME = re.compile(
    r"(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|_PWD)"
    r"S?(?:_|$)",
    re.IGNORECASE,
)
PLACE_NAME = re.compile(r"_(?:FILE|PATH|DIR|URL|URI|ENDPOINT|NAME)$", re.IGNORECASE)


@dataclass(frozen=True)
class Settings:
    """The environment's part of the settings of a run.

    Attributes:
        home: Folder of the embedded backend, and of the outboxes.
        server: What is configured of ``host``, ``access_token``, ``user_token`` and ``tenant``.
        sources: Where each of these was found, for messages.
        job_id: The job on the server, or None.
        backend: ``"local"`` or None.
        offline: Whether no connection may be made.
        deadline_s: How long the end of a run waits without progress, in seconds.
        outbox_bytes: The most that a run may keep on the disk for a server.
        upload: The most that may be uploaded.
    """

    home: Path
    server: Mapping[str, str] = field(repr=False)
    sources: Mapping[str, str]
    job_id: str | None
    backend: str | None
    offline: bool
    deadline_s: float
    outbox_bytes: int
    upload: Upload


def load() -> Settings:
    """Read the environment and ``~/.synapse/config.json``.

    Raises:
        SettingsError: A variable is set to something that it does not take.
    """
    server, sources = _server()
    return Settings(
        home=home(),
        server=server,
        sources=sources,
        job_id=os.environ.get(JOB_VARIABLE) or None,
        backend=check_backend(os.environ.get(BACKEND_VARIABLE) or None, BACKEND_VARIABLE),
        offline=_offline(),
        deadline_s=check_seconds(
            os.environ.get(DEADLINE_VARIABLE) or DEADLINE_S, DEADLINE_VARIABLE
        ),
        outbox_bytes=_outbox_bytes(),
        upload=_upload(),
    )


def home() -> Path:
    """Where the embedded backend lives: ``RAY_SYNAPSE_HOME``, else ``~/.ray_synapse``."""
    return Path(os.environ.get(HOME_VARIABLE) or "~/.ray_synapse").expanduser().absolute()


def ray_address() -> str | None:
    """The Ray cluster that ``RAY_ADDRESS`` names; a Ray job gets it from Ray. Else None."""
    return os.environ.get(RAY_VARIABLE) or None


def secrets() -> list[str]:
    """What no message may show, the longest first. Never raises.

    It is what is configured as Synapse's tokens, used or not, and the values of environment
    variables whose names say that they are secret (``..._TOKEN``, ``..._PASSWORD``), each of 6
    characters or more.
    """
    found: list[Any] = []
    with suppress(Exception):
        names = [name for name in SERVER_VARIABLES if name != "host"]
        found += [os.environ.get(SERVER_VARIABLES[name]) for name in names]
        found += [value for name, value in os.environ.items() if _is_secret(name, value)]
        config = _config_file()  # the last: it may be anything
        found += [config.get(name) for name in names]
    texts = {each.strip() for each in found if isinstance(each, str)}
    long = (each for each in texts if len(each) >= MIN_SECRET_CHARS)
    return sorted(long, key=lambda text: (-len(text), text))


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


def check_backend(value: object, source: str) -> str | None:
    """Return ``value`` if it names a backend, or None.

    Raises:
        SettingsError: It is neither ``local`` nor None.
    """
    if value is None or value == "local":
        return value
    raise SettingsError(
        f'{source} is {value!r}; allowed is "local" (the embedded backend), or leave it out for '
        "the server that is configured."
    )


def check_seconds(value: object, source: str) -> float:
    """Return ``value`` as a number of seconds.

    Raises:
        SettingsError: It is no number, negative, or not finite.
    """
    try:
        seconds = float(value)  # type: ignore[arg-type]  # what it does not take, it says
    except (TypeError, ValueError):
        seconds = -1.0
    if isinstance(value, bool) or not 0 <= seconds < float("inf"):
        raise SettingsError(f"{source} is {value!r}; give a number of seconds, 0 or more.")
    return seconds


def _upload() -> Upload:
    return check_upload(os.environ.get(UPLOAD_VARIABLE) or "all", UPLOAD_VARIABLE)


def _offline() -> bool:
    value = os.environ.get(OFFLINE_VARIABLE, "")
    known = {"": False, "0": False, "false": False, "1": True, "true": True}
    if value.lower() not in known:
        raise SettingsError(f"{OFFLINE_VARIABLE} is {value!r}; allowed are 1 and 0.")
    return known[value.lower()]


def _outbox_bytes() -> int:
    text = os.environ.get(OUTBOX_VARIABLE) or str(OUTBOX_BYTES)
    if not (text.isascii() and text.isdigit() and int(text) >= MIN_OUTBOX_BYTES):
        raise SettingsError(
            f"{OUTBOX_VARIABLE} is {text!r}; give a number of bytes, {MIN_OUTBOX_BYTES} or more."
        )
    return int(text)


def _is_secret(name: str, value: str) -> bool:
    if not SECRET_NAME.search(name) or PLACE_NAME.search(name):
        return False
    return not (value.startswith("/") and os.path.exists(value))  # a file with credentials


def _config_file() -> dict[str, Any]:
    """What Synapse's own file says; nothing if there is none that can be read."""
    try:
        config = json.loads(CONFIG_FILE.expanduser().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _server() -> tuple[dict[str, str], dict[str, str]]:
    """What is configured of a Synapse server, and where each was found."""
    file, config = CONFIG_FILE.expanduser(), _config_file()
    found, sources = {}, {}
    for name, variable in SERVER_VARIABLES.items():
        places = ((os.environ.get(variable), variable), (config.get(name), f"{name} in {file}"))
        for value, source in places:
            if isinstance(value, str) and value:
                found[name], sources[name] = value, source
                break
    return found, sources
