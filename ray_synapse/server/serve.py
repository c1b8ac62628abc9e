"""``ray-synapse serve``: the sockets, the token, and the loop."""

import contextlib
import errno
import ipaddress
import resource
import secrets
import signal
import socket
from pathlib import Path

import uvicorn

from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.errors import SettingsError
from ray_synapse.server.app import create_app
from ray_synapse.server.patience import PatientProtocol

DEFAULT_PORT = 8470  # none of Ray's: 6379, 8000, 8076, 8265, 9000, 10001-19999, 44217, 52365
KEEP_ALIVE_S = 75  # longer than any client: a connection closed as a POST comes leaves it in doubt
SHUTDOWN_S = 5  # within which requests may end after Ctrl-C
BACKLOG = 128
MIN_TOKEN_CHARS = 8


def serve(home: Path, host: str, port: int | None, token: str | None) -> None:
    """Serve the embedded backend until Ctrl-C or SIGTERM.

    Args:
        home: Its folder.
        host: The address to listen on, or a name of it.
        port: The port; without one 8470, or any free one if that is taken.
        token: What clients must send. Without one, none is needed on the loopback, and one is made
            for any other address.

    Raises:
        SettingsError: It cannot listen there, or the token cannot stand in a header.
        StorageError: The folder cannot be used.
    """
    if token is not None:
        _check_token(token)
    sock, is_local = _listen(host, port)
    if token is None and not is_local:
        token = secrets.token_urlsafe(24)
    _allow_many_connections()
    api = EmbeddedApi(home)
    api.list_jobs()  # what is wrong with the folder shows now
    _say_where(home, sock, host, port, token)
    config = uvicorn.Config(
        create_app(api, _names(host, is_local), token),
        http=PatientProtocol,
        ws="none",
        lifespan="on",
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    # uvicorn ends at either signal, and then raises it again.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        uvicorn.Server(config).run(sockets=[sock])
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
        sock.close()
    print(f"stopped; everything is in {home}")


def _allow_many_connections() -> None:
    """Each takes a file descriptor, of which a process may have 1,024 if it does not ask."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS says "unlimited" and takes less
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _check_token(token: str) -> None:
    is_plain = token.isascii() and token.isprintable() and " " not in token
    if len(token) < MIN_TOKEN_CHARS or not is_plain:
        raise SettingsError(
            f"--token: it must have at least {MIN_TOKEN_CHARS} printable ASCII characters and no "
            "blanks. Without it none is needed on 127.0.0.1, and one is made for other addresses."
        )


def _listen(host: str, port: int | None) -> tuple[socket.socket, bool]:
    """A socket that listens, and whether only this machine can reach it."""
    try:
        family, *_, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise SettingsError(
            f"--host {host!r} is no address of this machine: {error}. Give 127.0.0.1 for this "
            "machine only, or 0.0.0.0 for all that can reach it."
        ) from error
    ip = str(address[0])
    try:
        sock = _bound(family, ip, port)
    except OSError as error:
        advice = "Give a --host of this machine: 127.0.0.1, or 0.0.0.0 for others, too."
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            advice = "Give another --port, or none for a free one."
        raise SettingsError(
            f"cannot listen on {host!r}, port {port or DEFAULT_PORT}: {error.strerror}. {advice}"
        ) from error
    return sock, ipaddress.ip_address(ip.partition("%")[0]).is_loopback


def _bound(family: int, ip: str, port: int | None) -> socket.socket:
    if port is None:
        try:
            return _bound(family, ip, DEFAULT_PORT)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            port = 0
    # asyncio sends answers without delay only if the protocol is said: 40 ms each otherwise.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((ip, port))
        sock.listen(BACKLOG)  # two servers can bind one port before they listen
    except BaseException:
        sock.close()
        raise
    return sock


def _names(host: str, is_local: bool) -> frozenset[str]:
    """The host names by which clients may ask for this server."""
    ours = () if is_local else (socket.gethostname(), socket.getfqdn())
    return frozenset(name.lower() for name in ("localhost", host, *ours))


def _say_where(
    home: Path, sock: socket.socket, host: str, port: int | None, token: str | None
) -> None:
    ip, bound = sock.getsockname()[:2]
    name = _outer_address() if ipaddress.ip_address(ip).is_unspecified else host
    url = f"http://{f'[{name}]' if ':' in name else name}:{bound}"
    if port is None and bound != DEFAULT_PORT:
        print(f"port {DEFAULT_PORT} is taken, maybe by another `ray-synapse serve`")
    print(f"serving {home} at {url} (Ctrl-C stops it)")
    if token is not None:
        print(f"  SYNAPSE_ACCESS_TOKEN={token}")
    print(f"  SYNAPSE_HOST={url}", flush=True)


def _outer_address() -> str:
    """The address by which other machines most likely know this one. Nothing is sent for that."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address that is nobody's (RFC 5737)
            return str(probe.getsockname()[0])
        except OSError:  # no network
            return socket.gethostname()
