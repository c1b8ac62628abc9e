"""The first words with a server: whether it is there, lets us in, and has the job."""

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ray_synapse import console
from ray_synapse.backend.http.credentials import Credentials
from ray_synapse.backend.protocol import JobId
from ray_synapse.delivery.retry import Verdict, verdict, wait_before
from ray_synapse.errors import BackendError, DeniedError, NotFoundError, UnreachableError

TRIED_S = 10.0  # a server that is down: long enough for a hiccup, short for a person who waits
ANSWER_S = 3.0  # for each of these tries: so that a server that hangs is tried more than once
MAX_WAIT_S = 2.0  # between two of them
WAY_TO_LOCAL = 'backend="local" or RAY_SYNAPSE_BACKEND=local takes the embedded backend'
WAY_OUT = f"{WAY_TO_LOCAL}, offline=True or RAY_SYNAPSE_OFFLINE=1 keeps everything for later."


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
