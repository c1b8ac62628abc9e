"""Which backend a run logs to, and the first words with a server."""

import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ray_synapse import console, settings
from ray_synapse.backend.http.credentials import Credentials, check_host
from ray_synapse.backend.local import LocalSpec
from ray_synapse.backend.protocol import BackendSpec, JobId
from ray_synapse.delivery.retry import Verdict, verdict, wait_before
from ray_synapse.delivery.synapse import SynapseSpec
from ray_synapse.errors import (
    BackendError,
    DeniedError,
    NotFoundError,
    SettingsError,
    UnreachableError,
)

TRIED_S = 10.0  # a server that is down: long enough for a hiccup, short for a person who waits
ANSWER_S = 3.0  # for each of these tries: so that a server that hangs is tried more than once
MAX_WAIT_S = 2.0  # between two of them
PUBLIC_HOST = "https://api.synapse.sh"
WAY_TO_LOCAL = 'backend="local" or RAY_SYNAPSE_BACKEND=local takes the embedded backend'
WAY_OUT = f"{WAY_TO_LOCAL}, offline=True or RAY_SYNAPSE_OFFLINE=1 keeps everything for later."


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


def greet(
    credentials: Credentials, job: JobId, sources: Mapping[str, str], if_down: str
) -> Mapping[str, Any] | None:
    """Ask the server for the job.

    Args:
        credentials: The server.
        job: The job.
        sources: Where the host and the tokens were configured.
        if_down: What follows for the user if the server is down.

    Returns:
        What it answers; None if it is down, which is tried for 10 s and then said.

    Raises:
        BackendError: What is wrong is for a person to correct: each in its own words.
    """
    from ray_synapse.backend.http import HttpApi  # late: the embedded backend needs no client

    api = HttpApi(credentials, read_s=ANSWER_S)
    give_up, attempt = time.monotonic() + TRIED_S, 0
    try:
        while True:
            attempt += 1
            try:
                return api.get_job(job)
            except BackendError as error:
                _raise_if_hopeless(error, credentials.host, job, sources)
                wait = min(wait_before(attempt, error), MAX_WAIT_S)
                if time.monotonic() + wait < give_up:
                    time.sleep(wait)
                    continue
                _raise_if_still(error, credentials.host, sources)
                console.say(f"WARNING: {credentials.host} IS DOWN ({error}) {if_down}")
                return None
    finally:
        api.close()


def _raise_if_hopeless(
    error: BackendError, host: str, job: JobId, sources: Mapping[str, str]
) -> None:
    """Raise it in words that say what to correct, unless it may pass by itself."""
    where = sources["host"]
    if isinstance(error, UnreachableError) and error.reason == "name":
        _raise_if_still(error, host, sources)
    if isinstance(error, UnreachableError) and error.reason == "certificate":
        raise _again(
            error,
            f"the certificate of {host} ({where}) is not trusted: {error} Correct the host, or set "
            f"SSL_CERT_FILE to the authority that signed it. {WAY_OUT}",
        )
    if isinstance(error, UnreachableError) and error.reason == "no_tls":
        raise _again(error, f"{host} ({where}) is no https server: {error} {WAY_OUT}")
    if isinstance(error, DeniedError):
        token = "user_token" if "user_token" in sources else "access_token"
        raise _again(
            error,
            f"{host} does not take the token ({sources.get(token, 'none was given')}): {error} "
            f"{WAY_OUT}",
        )
    if isinstance(error, NotFoundError) and error.is_json:
        raise _again(
            error,
            f"there is no job {job!r} on {host} ({where}): {error} Give the id of a job of this "
            f"server as job_id or SYNAPSE_JOB_ID. {WAY_OUT}",
        )
    leads_away = error.status is not None and 300 <= error.status < 400
    if leads_away or verdict(error, repeatable=True) is not Verdict.AGAIN:
        _raise_as_odd(error, host, sources)


def _raise_if_still(error: BackendError, host: str, sources: Mapping[str, str]) -> None:
    """Likewise, for what was given some time to pass."""
    if error.status is not None and error.status < 300 and not error.is_json:
        _raise_as_odd(error, host, sources)
    if isinstance(error, UnreachableError) and error.reason in ("name", "name_later"):
        raise _again(
            error,
            f"there is no host called {urlsplit(host).hostname!r} ({sources['host']}): {error} "
            f"{WAY_OUT}",
        )


def _raise_as_odd(error: BackendError, host: str, sources: Mapping[str, str]) -> None:
    raise _again(
        error,
        f"{host} ({sources['host']}) does not answer as Synapse does: {error} Correct the host. "
        f"{WAY_OUT}",
    )


def _again(error: BackendError, text: str) -> BackendError:
    """The same error with another text."""
    other = type(error)(text)
    for name in ("status", "was_sent", "retry_after", "reason"):
        if hasattr(error, name):
            setattr(other, name, getattr(error, name))
    return other


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
