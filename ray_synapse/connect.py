"""Which backend a run logs to: from the arguments, the environment and the config file."""

import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ray_synapse import console, settings
from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.backend.http.credentials import Credentials, check_host
from ray_synapse.backend.local import LocalSpec
from ray_synapse.backend.protocol import BackendSpec, JobId
from ray_synapse.delivery.synapse import SynapseSpec
from ray_synapse.errors import SettingsError
from ray_synapse.greeting import WAY_OUT, WAY_TO_LOCAL, greet

if TYPE_CHECKING:
    from ray_synapse.backend.http import HttpApi

PUBLIC_HOST = "https://api.synapse.sh"


@dataclass(frozen=True)
class Destination:
    """Where a run logs to.

    Attributes:
        spec: The backend.
        credentials: How to be let in by its server; None without one, and offline.
        job: What the server said about the job; None if it was not asked or did not answer.
    """

    spec: BackendSpec
    credentials: Credentials | None = None
    job: Mapping[str, Any] | None = None

    @property
    def is_server(self) -> bool:
        """Whether it is a server, and not the embedded backend."""
        return isinstance(self.spec, SynapseSpec)

    @contextmanager
    def api(self) -> "Iterator[EmbeddedApi | HttpApi | None]":
        """What can be asked there, as long as the block runs; None without a connection to it."""
        if isinstance(self.spec, LocalSpec):
            yield EmbeddedApi(Path(self.spec.home))
        elif self.credentials is None:
            yield None
        else:
            from ray_synapse.backend.http import HttpApi  # late: the embedded backend needs none

            with closing(HttpApi(self.credentials)) as api:
                yield api


def choose(
    environment: settings.Settings,
    *,
    backend: str | None,
    offline: bool,
    job_id: JobId | None,
    server: Mapping[str, str | None],
) -> Destination:
    """Find the backend from the arguments and the environment, and ask a server for the job.

    Args:
        environment: What is configured.
        backend: The argument ``backend``.
        offline: The argument ``offline``.
        job_id: The argument ``job_id``.
        server: The arguments ``host``, ``access_token``, ``user_token`` and ``tenant``.

    Raises:
        SettingsError: Something is wrong or missing.
        BackendError: The server says no, or there is none of that name.
    """
    local = Destination(LocalSpec(str(environment.home)))
    if settings.check_backend(backend, "backend") or environment.backend:
        return local
    given = {name: value for name, value in server.items() if value is not None}
    found = {**environment.server, **given}
    sources = {**environment.sources, **{name: f"the argument {name}" for name in given}}
    is_offline = offline or environment.offline
    if "host" not in found and not is_offline:
        if "access_token" in found or "user_token" in found:
            console.say_once(
                "a token of Synapse is configured, but no host: this run is kept in the embedded "
                f"backend. To log to the public service, set SYNAPSE_HOST={PUBLIC_HOST}."
            )
        return local
    host = check_host(found["host"], sources["host"]) if "host" in found else None
    credentials = None
    if host is not None and not is_offline:
        credentials = credentials_from({**found, "host": host}, sources["host"])
    job = _job(job_id, environment)
    home, limit = str(environment.home), environment.outbox_bytes
    spec = SynapseSpec(host, home, job, limit, offline=credentials is None)
    if credentials is None:
        return Destination(spec)
    if_down = (
        "The run goes on: everything that it logs is kept on this disk and delivered when the "
        f"server is back. `ray-synapse sync {job}` sends what is left after the end."
    )
    return Destination(spec, credentials, greet(credentials, job, sources, if_down))


def configured(environment: settings.Settings) -> Destination:
    """The destination that ``choose`` finds without any argument. Raises what that raises."""
    return choose(environment, backend=None, offline=False, job_id=None, server={})


def credentials_for(host: str | None, environment: settings.Settings) -> Credentials | None:
    """What is configured for a server that a run was begun with; None if that is another one."""
    configured = environment.server.get("host")
    if configured is None:
        return None
    source = environment.sources["host"]
    configured = check_host(configured, source)
    if host is not None and not _is_same(host, configured):
        return None
    return credentials_from({**environment.server, "host": configured}, source)


def credentials_from(found: Mapping[str, str], host_source: str) -> Credentials:
    """The credentials, if they can do.

    Raises:
        SettingsError: There is no token, and the server is not on this machine.
    """
    host = found["host"]
    if not (found.get("access_token") or found.get("user_token") or is_this_machine(host)):
        raise SettingsError(
            f"{host_source} names the Synapse server {host}, but there is no token for it. Set "
            f"SYNAPSE_ACCESS_TOKEN, or give access_token=. {WAY_OUT}"
        )
    return Credentials(
        host, found.get("access_token"), found.get("user_token"), found.get("tenant")
    )


def is_this_machine(host: str) -> bool:
    """Whether an address leads back to this machine: `ray-synapse serve` needs no token there."""
    name = urlsplit(host).hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _is_same(one: str, other: str) -> bool:
    """Whether two addresses are of one server; this machine has several names."""
    if one == other:
        return True
    first, second = urlsplit(one), urlsplit(other)
    is_alike = (first.scheme, first.port, first.path) == (second.scheme, second.port, second.path)
    return is_alike and is_this_machine(one) and is_this_machine(other)


def _job(job_id: JobId | None, environment: settings.Settings) -> JobId:
    job = environment.job_id if job_id is None else job_id
    if job is None:
        raise SettingsError(
            "job_id is missing: a server of Synapse has no call that makes a job, so a run must "
            "name the one that it belongs to. Give job_id=, or set SYNAPSE_JOB_ID (a plugin run "
            "has it from the platform; `ray-synapse serve` makes one at POST /jobs/). "
            f"{WAY_TO_LOCAL}."
        )
    is_number = isinstance(job, str) and job.isascii() and job.isdigit()
    return int(job) if is_number else job
