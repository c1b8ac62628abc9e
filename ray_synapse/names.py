"""How a run's name is written where ``:`` and ``,`` mean something else."""

from collections.abc import Iterator

from ray_synapse.errors import SettingsError

MAX_VERSIONS = 1_000  # of one trial's model: beyond that something else is wrong
MAX_NAME_CHARS = 200  # a name becomes part of file names, which end at 255 bytes


def encode_name(name: str) -> str:
    """Write a name so that it can stand in a job filter, a folder or a file name.

    ``:`` becomes ``%3A`` and ``,`` becomes ``%2C``: both separate the parts of Synapse's job
    filter (``GET /jobs/?params=name:...``). Everything else stays as it is.

    Args:
        name: The name as the user wrote it.

    Returns:
        The encoded name. Encoding an encoded name changes nothing.

    Raises:
        SettingsError: The name is no text, empty or blank, not printable, or longer than 200
            characters.
    """
    if not isinstance(name, str):
        raise SettingsError(
            f"name: a run's name is text, not {type(name).__name__} ({name!r}). "
            'Give one such as "digits:lr,width".'
        )
    if not name.strip():
        raise SettingsError(
            f"name: a run's name must not be empty or blank, but it is {name!r}. "
            'Give one such as "digits:lr,width".'
        )
    if not name.strip().isprintable():
        raise SettingsError(
            f"name: a run's name must be of printable characters, but it is {name!r}. Take out the "
            "line breaks, control characters and no-break spaces."
        )
    if len(name) > MAX_NAME_CHARS:
        raise SettingsError(
            f"name: a run's name has at most {MAX_NAME_CHARS} characters, but {name[:40]!r}… has "
            f"{len(name)}. Shorten it."
        )
    return name.strip().replace(":", "%3A").replace(",", "%2C")


def display_name(encoded: str) -> str:
    """The name as the user wrote it, for a person to read."""
    return encoded.replace("%3A", ":").replace("%2C", ",")


def versions(name: str) -> Iterator[str]:
    """The names that a trial's model may get, each when the ones before it are taken."""
    yield name
    for version in range(2, MAX_VERSIONS):
        yield f"{name}_{version}"
