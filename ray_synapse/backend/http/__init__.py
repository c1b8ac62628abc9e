"""A Synapse server, asked over HTTP."""

from typing import TYPE_CHECKING, Any

from ray_synapse.backend.http.credentials import Credentials, check_host

if TYPE_CHECKING:
    from ray_synapse.backend.http.client import HttpApi

__all__ = ["Credentials", "HttpApi", "check_host"]


def __getattr__(name: str) -> Any:
    if name == "HttpApi":  # with httpx, which takes a while and most processes do not need
        from ray_synapse.backend.http.client import HttpApi

        return HttpApi
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
