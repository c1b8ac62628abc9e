"""Says why trials wait: for what no node can give, or for something while nothing runs."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import ray

from ray_synapse import console
from ray_synapse.formats import age
from ray_synapse.tuning.resources import (
    SHOWN,
    Cluster,
    Request,
    asked,
    has_room,
    holdings,
    request_of,
    shortage,
)

IDLE_S = 60  # without a running trial: starting a trial's process takes up to 20 s
MAX_IDLE = 5  # messages of a sweep that nothing runs: whoever reads the fifth knows it
MAX_JUDGED = 100  # kinds of requests for a message: each is held against every node
MAX_REQUESTS = 5  # messages of a sweep on what no node can give: likewise

WITHOUT_NODE = (
    "An autoscaler may still add a node; without one, stop the sweep and ask for less with "
    "tune.with_resources(), or add nodes to the Ray cluster."
)
ENOUGH_FREE = (
    "So much is free, though perhaps not on one node: the processes of trials may be slow to start "
    "(a runtime environment that is installed, a slow import); Ray's own output says more."
)
NOT_FREE = (
    "What is not free is held by other work, or by trials whose processes are still starting: "
    "`ray status` tells. If it is another sweep, give that one TuneConfig(max_concurrent_trials=); "
    "else ask for less with tune.with_resources(), or add nodes (an autoscaler may do so)."
)
ALL_PAUSED = (
    "Only the scheduler can resume a paused trial, or end it. If this goes on, check that it was "
    "given as many trials as it needs, or set TuneConfig(time_budget_s=)."
)


def ask_ray() -> Cluster | None:
    """What the cluster has now; None when Ray does not run, or is just shutting down."""
    try:
        if not ray.is_initialized():
            return None
        # Neither starts Ray, if another thread shuts it down just now: they raise.
        nodes = [each["Resources"] for each in ray.nodes() if each["Alive"]]
        return Cluster(nodes, ray.available_resources()) if nodes else None
    except Exception:
        return None


class Waiting:
    """Follows the trials of one sweep that wait. For one thread, which is not Tune's loop.

    Args:
        ask: Says what the cluster has, or None if that cannot be known now. It is called only for
            a request that was not judged before, and for a message.
    """

    def __init__(self, ask: Callable[[], Cluster | None] = ask_ray) -> None:
        self._ask = ask
        self._seen: dict[str, Any] = {}  # by trial: its request, which a scheduler may replace
        self._judged: set[Any] = set()
        self._requests_told = self._idle_told = 0
        self._idle_since: float | None = None
        self._progress: tuple[Any, ...] = ()
        self._said_idle = False

    def look(self, trials: Sequence[Any], now: float) -> list[str]:
        """Look at Tune's trials, about once a second.

        Args:
            trials: All trials of the sweep.
            now: The time in seconds, of a clock that only goes forward.

        Returns:
            What is to be told now and was not told before. Never raises.
        """
        trials = list(trials)  # Tune's own list, which grows
        told: list[str] = []
        try:
            told += self._impossible(trials)
            told += self._idle(trials, now)
        except Exception as error:
            console.say_once(
                f"what trials wait for cannot be told: {type(error).__name__}: {error}"
            )
        return told

    def _impossible(self, trials: Sequence[Any]) -> list[str]:
        """A message for each new request that no node can give."""
        if self._requests_told >= MAX_REQUESTS:
            return []
        looked_at: dict[str, Any] = {}
        groups: dict[Any, list[str]] = {}
        for trial in trials:
            if trial.status != "PENDING":
                continue
            trial_id, factory = trial.trial_id, trial.placement_group_factory
            if factory is None or self._seen.get(trial_id) is factory:
                continue
            looked_at[trial_id] = factory
            if factory not in self._judged:
                groups.setdefault(factory, []).append(trial_id)
        cluster = self._ask() if groups else None
        if groups and cluster is None:
            return []  # they are judged when Ray answers
        self._seen.update(looked_at)
        told = [self._judge(each, ids, cluster) for each, ids in groups.items() if cluster]
        return [text for text in told if text]

    def _judge(self, factory: Any, ids: list[str], cluster: Cluster) -> str:
        self._judged.add(factory)
        if self._requests_told >= MAX_REQUESTS:
            return ""
        request = request_of(factory)
        why = shortage(request, cluster.nodes)
        if why is None:
            return ""
        self._requests_told += 1
        many = "asks" if len(ids) == 1 else "ask"
        text = (
            f"{_trials(ids)} {many} for {asked(request)}, which the cluster cannot give: {why}. "
            f"{WITHOUT_NODE}"
        )
        return _last(text, self._requests_told, MAX_REQUESTS)

    def _idle(self, trials: Sequence[Any], now: float) -> list[str]:
        """A message when nothing has run for long, while trials wait."""
        waiting = [each for each in trials if each.status in ("PENDING", "PAUSED")]
        if not waiting or any(each.status == "RUNNING" for each in trials):
            self._idle_since = None
            return []
        progress = (len(trials) - len(waiting), *_runs(waiting))
        if self._idle_since is None or progress != self._progress:  # a short run, between two looks
            self._idle_since, self._progress, self._said_idle = now, progress, False
        idle_s = now - self._idle_since
        if self._said_idle or idle_s < IDLE_S or self._idle_told >= MAX_IDLE:
            return []
        text = self._why_idle(waiting)
        if not text:
            return []
        self._said_idle = True
        self._idle_told += 1
        text = f"nothing has run for {age(idle_s)}. {text}"
        return [_last(text, self._idle_told, MAX_IDLE)]

    def _why_idle(self, waiting: Sequence[Any]) -> str:
        pending = [each for each in waiting if each.status == "PENDING"]
        paused = [each.trial_id for each in waiting if each.status == "PAUSED"]
        if not pending:
            is_paused = "is paused and waits" if len(paused) == 1 else "are paused and wait"
            return f"{_trials(paused)} {is_paused} for the scheduler. {ALL_PAUSED}"
        cluster = self._ask()
        if cluster is None:
            return ""
        waits = "waits" if len(pending) == 1 else "wait"
        also = f" ({len(paused)} more paused, by the scheduler)" if paused else ""
        trials = _trials([each.trial_id for each in pending])
        return f"{trials} {waits}{also}: {_wishes(pending, cluster)}"


def _wishes(pending: Sequence[Any], cluster: Cluster) -> str:
    """What the trials ask for, what the cluster has, and what to do."""
    kinds = Counter(each.placement_group_factory for each in pending)
    kinds.pop(None, None)  # of trials for which Tune has not settled it
    wanted = [(request_of(each), count) for each, count in kinds.most_common(MAX_JUDGED)]
    texts = [_wish(request, count, cluster) for request, count in wanted[:SHOWN]]
    if len(kinds) > SHOWN:
        texts.append(f"and {len(kinds) - SHOWN} other requests")
    requests = [request for request, _ in wanted]
    there = holdings(cluster, requests[:SHOWN])
    advice = _advice(requests, cluster)
    return f"{'; '.join(texts) or 'to start'}. The cluster has {there}. {advice}"


def _wish(request: Request, count: int, cluster: Cluster) -> str:
    why = shortage(request, cluster.nodes)
    cannot = f", which the cluster cannot give ({why})" if why else ""
    return f"{count} for {asked(request)}{cannot}"


def _advice(requests: Sequence[Request], cluster: Cluster) -> str:
    possible = [each for each in requests if shortage(each, cluster.nodes) is None]
    if requests and not possible:
        return WITHOUT_NODE
    if any(has_room(each, cluster.free) for each in possible):
        return ENOUGH_FREE
    return NOT_FREE


def _runs(waiting: Sequence[Any]) -> tuple[int, float]:
    """What changes when one of these trials has run and waits again."""
    failures, newest = 0, 0.0
    for trial in waiting:
        failures += getattr(trial, "num_failures", 0)
        kept = getattr(trial, "run_metadata", None)
        newest = max(newest, getattr(kept, "last_result_time", 0.0))
    return failures, newest


def _trials(ids: Sequence[str]) -> str:
    names = ", ".join(ids[:SHOWN]) + (", ..." if len(ids) > SHOWN else "")
    return f"{len(ids)} trial{'' if len(ids) == 1 else 's'} ({names})"


def _last(text: str, told: int, limit: int) -> str:
    return f"{text} Said {told} times: not said again in this sweep." if told == limit else text
