"""Where something lies on a file system, and a text with which it is found there again."""

import os
import re
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

FSSPEC = "fsspec+"  # before the protocol in a URI, as pyarrow itself has it

# By pyarrow's name of a file system: the scheme of its URIs, and what they may say after "?".
# Keys, tokens and passwords are not among it.
_NATIVE = {
    "s3": ("s3", ("region", "endpoint_override", "scheme", "tls_ca_file_path")),
    "gcs": ("gs", ("endpoint_override", "scheme", "project_id")),
}
# The options of fsspec's file systems that say where they are. Any other may be a secret.
_FSSPEC_PLACE = ("host", "port", "username", "endpoint_url", "account_name")
_FSSPEC_NESTED = {"fo", "fs", "target_fs", "target_protocol"}  # it lies within something else


def is_local(filesystem: Any) -> bool:
    """Whether that is pyarrow's file system of this machine, or None."""
    return filesystem is None or getattr(filesystem, "type_name", "") == "local"


def is_uri(path: str) -> bool:
    """Whether that is a text for ``open_place`` that leads to another file system than ours."""
    return "://" in path


def beneath(filesystem: Any, path: str) -> tuple[Any, str]:
    """The file system beneath those that only add a prefix, and the path on it.

    Args:
        filesystem: A pyarrow file system, or None for this machine's own.
        path: A path on it.

    Returns:
        None and an absolute path if it is this machine's own beneath.
    """
    if is_local(filesystem):
        return None, path and os.path.join(os.getcwd(), path)
    if getattr(filesystem, "type_name", "") == "subtree":
        return beneath(filesystem.base_fs, _joined(filesystem.base_path, path))
    inner = _fsspec(filesystem)
    if inner is None:
        return filesystem, path.rstrip("/")
    # Their own classes only: one that was derived may do more than that.
    if type(inner).__module__ == "fsspec.implementations.dirfs":
        return beneath(_from_fsspec(inner.fs), _joined(inner.path, path))
    if type(inner).__module__ == "fsspec.implementations.local":
        return beneath(None, inner._strip_protocol(path))
    return filesystem, inner._strip_protocol(path)


def uri_of(filesystem: Any, path: str) -> str | None:
    """A text with which ``open_place`` finds the place again, in any process, on any day.

    There is no secret in it: who opens it has the credentials in the environment, or wherever else
    the library of the file system looks for them.

    Args:
        filesystem: A pyarrow file system, or None for this machine's own.
        path: A path on it.

    Returns:
        The absolute path on this machine; ``s3://`` and ``gs://`` URIs as pyarrow has them;
        ``fsspec+<protocol>://`` for fsspec; None for what no text can say.
    """
    filesystem, path = beneath(filesystem, path)
    if filesystem is None:
        return path or None
    inner = _fsspec(filesystem)
    if inner is not None:
        return _fsspec_uri(inner, path)
    if getattr(filesystem, "type_name", "") not in _NATIVE:
        return None
    scheme, names = _NATIVE[filesystem.type_name]
    options = filesystem.__reduce__()[1][0]  # what it pickles: pyarrow shows them nowhere else
    return _uri(scheme, path, {name: options.get(name) for name in names})


def open_place(uri: str) -> tuple[Any, str]:
    """The file system and the path that ``uri_of`` said; None for this machine's own.

    Raises:
        OSError: The file system cannot be opened here.
    """
    if uri.startswith("/"):
        return None, uri
    try:
        if uri.startswith(FSSPEC):
            return _open_fsspec(uri)
        from pyarrow import fs  # late: it takes long, and few models need it

        filesystem, path = fs.FileSystem.from_uri(uri)
    except Exception as error:  # whatever the library of the file system raises
        raise OSError(
            f"{uri!r} cannot be opened on this machine: {str(error) or type(error).__name__}. "
            "Install the library of its file system and set its credentials here, then try again."
        ) from error
    return None if is_local(filesystem) else filesystem, path


def _fsspec(filesystem: Any) -> Any:
    """The fsspec file system that pyarrow's one only passes on to, if any."""
    if getattr(filesystem, "type_name", "").startswith("py::fsspec+"):
        return filesystem.handler.fs
    return None


def _from_fsspec(inner: Any) -> Any:
    from pyarrow import fs

    return fs.PyFileSystem(fs.FSSpecHandler(inner))


def _fsspec_uri(inner: Any, path: str) -> str | None:
    given = inner.storage_options
    if inner.storage_args or _FSSPEC_NESTED & given.keys() or "://" in path:  # the last: http
        return None
    protocol = inner.protocol if isinstance(inner.protocol, str) else inner.protocol[0]
    options = {**(given.get("client_kwargs") or {}), **given}  # s3fs takes its endpoint in either
    return _uri(FSSPEC + protocol, path, {name: options.get(name) for name in _FSSPEC_PLACE})


def _open_fsspec(uri: str) -> tuple[Any, str]:
    import fsspec

    parts = urlsplit(uri)
    given = dict(parse_qsl(parts.query))
    options: dict[str, Any] = {name: given[name] for name in _FSSPEC_PLACE if name in given}
    if "port" in options:
        options["port"] = int(options["port"])
    inner = fsspec.filesystem(parts.scheme.removeprefix(FSSPEC), **options)
    return _from_fsspec(inner), unquote(parts.netloc + parts.path)


def _uri(scheme: str, path: str, options: dict[str, Any]) -> str:
    # An address may have a login before its @.
    said = {
        name: re.sub(r"[^/]*@", "", str(value)) if name.startswith("endpoint") else str(value)
        for name, value in options.items()
        if value and (name, value) != ("scheme", "https")
    }
    query = urlencode(said, quote_via=quote)
    return f"{scheme}://{quote(path)}" + (f"?{query}" if query else "")


def _joined(prefix: str, path: str) -> str:
    return f"{prefix.rstrip('/')}/{path.lstrip('/')}" if path.strip("/") else prefix
