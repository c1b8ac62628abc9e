"""The Ray cluster that a sweep runs on: connected or started, and what its nodes can give."""

import json
import socket
from typing import Any

import ray
import ray.exceptions

from ray_synapse import console, settings
from ray_synapse.delivery import cluster
from ray_synapse.errors import SettingsError
from ray_synapse.formats import error_line
from ray_synapse.tuning.resources import Request, asked, shortage
from ray_synapse.tuning.waiting import ask_ray

CONNECT_S = 10  # to a node that is there it takes milliseconds; Ray itself tries for 13 minutes
ANSWER_S = 5  # for the autoscaler's status: nothing waits for it but a message
LOCAL, ANY = "local", "auto"  # what Ray takes instead of an address
STATUS_KEY = b"__autoscaling_status"  # where Ray's autoscaler reports (v1)
NODE_TYPE = "node_"  # of each node where no autoscaler runs: Ray makes it up, with the node's id

# What Ray raises for a wrong or a missing token; older ones have no tokens.
_REFUSED: Any = getattr(ray.exceptions, "AuthenticationError", ())

FORM = (
    'give "<host>:<port>" of the head node, as `ray start --head` prints it (the port is 6379 '
    'unless it was set), "auto" for the cluster on this machine, or "local" for a new one.'
)
NO_ANSWER = (
    "Start that cluster (`ray start --head`), correct the address, or give the address "
    '"local" for a new cluster on this machine.'
)
WRONG_TOKEN = (
    "Ray's authentication token is missing or wrong: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN "
    'or RAY_AUTH_TOKEN_PATH to that cluster\'s, or give the address "local" for a new cluster on '
    "this machine."
)


def connect(address: str | None = None) -> None:
    """Connect this process to Ray, or start Ray on this machine. A connected one is kept.

    Args:
        address: Of the cluster, as ``ray.init`` takes it; None for the one that ``RAY_ADDRESS``
            names, that this process's Ray job runs on, or that runs on this machine, in this
            order; without any of these one is started.

    Raises:
        SettingsError: The address has the wrong form, is one of Ray Client, no cluster answers
            there, or this process is connected to another one.
        Exception: What else Ray raises, as it is.
    """
    cluster.refuse_client()
    if ray.is_initialized():
        if address not in (None, LOCAL, ANY):
            _refuse_another(address)
        return
    source, wanted = _wanted(address)
    _check_form(source, wanted)
    try:
        found = _resolved(wanted)
    except ConnectionError as error:  # "auto", and there is none
        raise _no_answer(source, wanted, None, error) from error
    silence = None if found is None else _silence(found, by_ray=wanted in (None, ANY))
    if silence is not None and wanted is None:
        console.say(
            f"the Ray cluster {found}, which was the last one started on this machine, does not "
            f"answer ({silence}): a new one is started"
        )
        wanted = LOCAL
    elif silence is not None:
        raise _no_answer(source, wanted, found, silence) from silence
    try:
        ray.init(address=wanted)
    except ConnectionError as error:
        if wanted == LOCAL or found is None:
            raise
        why = error.__cause__ or error.__context__ or error  # it may have no text of its own
        raise _no_answer(source, wanted, found, why) from error


def trial_resources(num_cpus: float | None, num_gpus: float | None) -> dict[str, float]:
    """What each trial asks for, as ``tune.with_resources`` takes it; empty for Tune's default.

    Args:
        num_cpus: CPUs of a trial; 1 where only GPUs are given, as in Tune's default.
        num_gpus: GPUs of a trial.
    """
    if num_cpus is None and num_gpus is None:
        return {}
    resources = {"cpu": 1.0 if num_cpus is None else float(num_cpus)}
    return resources if num_gpus is None else {**resources, "gpu": float(num_gpus)}


def impossible(num_cpus: float | None, num_gpus: float | None) -> str | None:
    """Why no node of the connected cluster can ever give what a trial asks for.

    Args:
        num_cpus: As for ``trial_resources``.
        num_gpus: Likewise.

    Returns:
        A sentence without its full stop; None if a node can, or Ray does not answer.
    """
    there = ask_ray()
    if there is None:
        return None
    resources = trial_resources(num_cpus, num_gpus) or {"cpu": 1.0}
    request = Request([{name.upper(): each for name, each in resources.items() if each}], "PACK")
    why = shortage(request, there.nodes)
    if why is None:
        return None
    return f"a trial asks for {asked(request)}, which no node of the Ray cluster can give ({why})"


def has_autoscaler() -> bool:
    """Whether an autoscaler may add nodes to the connected cluster.

    False also where that cannot be known, such as in the first seconds of a cluster. Never raises.
    """
    try:
        if not ray.is_initialized():
            return False
        from ray.experimental.internal_kv import internal_kv_get_gcs_client

        gcs = internal_kv_get_gcs_client()
        status = gcs.internal_kv_get(STATUS_KEY, None, timeout=ANSWER_S)
        if status:
            return is_real(json.loads(status))
        return _has_autoscaler_v2(gcs)
    except Exception:  # a Ray that has it elsewhere, or that shuts down
        return False


def is_real(status: dict[str, Any]) -> bool:
    """Whether the status that Ray's monitor writes is one of an autoscaler.

    The monitor also runs where nothing can be added. There it gives each node a type of its own;
    an autoscaler has the types of its configuration.
    """
    report = status.get("autoscaler_report") or {}
    types = [*(report.get("active_nodes") or {}), *(report.get("pending_launches") or {})]
    return any(not each.startswith(NODE_TYPE) for each in types)


def _has_autoscaler_v2(gcs: Any) -> bool:
    """Likewise for Ray's second autoscaler, which writes no such status.

    Its nodes have the ids that their launcher (a cluster launcher, or KubeRay) gave them.
    """
    from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply

    reply = GetClusterStatusReply()
    reply.ParseFromString(gcs.get_cluster_status(timeout_s=ANSWER_S))
    reports = reply.autoscaling_state.last_seen_cluster_resource_state_version > 0
    return reports and any(each.instance_id for each in reply.cluster_resource_state.node_states)


def _wanted(address: str | None) -> tuple[str, str | None]:
    """The address by Ray's own rule, and where it comes from."""
    if address is None or address == ANY:
        variable = settings.ray_address()
        if variable is not None:
            return settings.RAY_VARIABLE, variable
    return "address", address


def _check_form(source: str, wanted: str | None) -> None:
    if wanted is None or wanted in (LOCAL, ANY):
        return
    if wanted.startswith("ray://"):
        raise SettingsError(f"{source} is {wanted!r}: that is {cluster.RAY_CLIENT}")
    host, colon, port = wanted.rpartition(":")
    is_number = port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16
    if "://" in wanted or not (host and colon and is_number):
        raise SettingsError(f"{source} is {wanted!r}; {FORM}")


def _resolved(wanted: str | None) -> str | None:
    """``host:port`` of the cluster that ``ray.init`` will connect to; None if it starts one."""
    try:
        from ray._private.services import canonicalize_bootstrap_address
    except ImportError:  # a Ray that has it elsewhere: what was given, as it is
        return wanted if wanted not in (None, LOCAL, ANY) else None
    found: str | None = canonicalize_bootstrap_address(wanted)
    return found


def _silence(found: str, *, by_ray: bool) -> Exception | None:
    """Why no cluster answers there, or None. Ray would try for many minutes, and not say why.

    Args:
        found: ``host:port``.
        by_ray: Whether Ray has found it on this machine: then it has the cluster's token, too.
    """
    host, _, port = found.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except OSError as error:
        return error
    if by_ray:
        return None
    try:
        _cluster_id(found)
    except ray.exceptions.RayError as error:  # also what is no GCS: 40 s, as Ray tries once
        refusal: Exception = error
        return refusal
    except Exception:  # what it means is for ray.init to say
        return None
    return None


def _cluster_id(found: str) -> str:
    raylet: Any = ray._raylet
    return str(raylet.GcsClient(address=found).cluster_id)


def _refuse_another(address: str) -> None:
    """Raise SettingsError if it is certain that this process is connected to another cluster."""
    _check_form("address", address)
    found, connected = _resolved(address), ray.get_runtime_context().gcs_address
    if found is None or found == connected:
        return
    if _silence(found, by_ray=False) is None and _is_same(found, connected):
        return
    raise SettingsError(
        f"address is {address!r}, but this process is already connected to the Ray cluster "
        f"{connected}; leave the address out, or call ray.shutdown() first."
    )


def _is_same(one: str, other: str) -> bool:
    """Whether these are addresses of one cluster, which may have several."""
    try:
        return _cluster_id(one) == _cluster_id(other)
    except Exception:  # it cannot be known: the connected one is used, as always
        return True


def _no_answer(source: str, wanted: str | None, found: str | None, why: object) -> SettingsError:
    there = f"{source} is {wanted!r}" if wanted else f"a Ray cluster runs on this machine, {found}"
    if "InvalidAuthToken" in str(why):
        return SettingsError(f"{there}, but that cluster refuses this process. {WRONG_TOKEN}")
    line = error_line(str(why))
    return SettingsError(f"{there}, but no Ray cluster answers there ({line}). {NO_ANSWER}")
