"""Which files are a trial's model: the resolver."""

import filecmp
import os
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from ray_synapse.artifact import Artifact, artifact_at
from ray_synapse.metrics import CHECKPOINT_OUTPUT, CHECKPOINT_SOURCE
from ray_synapse.places import is_local, is_uri
from ray_synapse.results.outcome import Outcome, outcome_of


def resolve_checkpoint(result: Any, *, shared: Collection[str] = ()) -> Artifact:
    """Find the model of a trial. Never raises.

    In this order, the first that can be read here and has files:

    1. ``checkpoint_output`` in the metrics: the path that the trial said. Not if it is one of
       ``shared``, since then it holds what the last of several trials wrote; and where Tune holds a
       copy that was reported from that very folder, the copy, since it belongs to the result.
    2. Ray's checkpoint, on any pyarrow file system.
    3. The newest of ``best_checkpoints``.

    Tune's log folder of the trial is never taken.

    Args:
        result: A ``ray.tune.Result``, a ``Trial``, or any object with the same attributes.
        shared: Paths that several trials gave as theirs. ``finish`` knows them; a single result
            does not say.

    Returns:
        The artifact, or an empty one with the reason.
    """
    return resolve(outcome_of(result), shared)


def resolve(outcome: Outcome, shared: Collection[str] = ()) -> Artifact:
    """``resolve_checkpoint`` for what was read already."""
    reasons: list[str] = []
    output = outcome.metrics.get(CHECKPOINT_OUTPUT)
    if output:
        artifact = _from_output(str(output), outcome, shared)
        if artifact:
            return artifact
        reasons.append(artifact.reason)
    kept = [checkpoint for checkpoint, _ in reversed(outcome.kept)]
    for source, checkpoint in [("checkpoint", outcome.checkpoint)] + [
        ("best_checkpoints", each) for each in kept
    ]:
        if checkpoint is None:
            continue
        artifact = _from_checkpoint(checkpoint, source)
        if artifact and not _is_log_folder(_real(artifact.path or ""), outcome):
            return artifact
        reasons.append(artifact.reason or f"its {source} is Tune's log folder of the trial")
    return Artifact(None, reason="; ".join(dict.fromkeys(reasons)) or _nothing_reported(outcome))


def shared_outputs(outcomes: Iterable[Outcome]) -> set[str]:
    """The values of ``checkpoint_output`` that more than one trial gave."""
    given = (outcome.metrics.get(CHECKPOINT_OUTPUT) for outcome in outcomes)
    times = Counter(_real(str(path)) for path in given if path)
    return {path for path, number in times.items() if number > 1}


def _from_output(output: str, outcome: Outcome, shared: Collection[str]) -> Artifact:
    if is_uri(output):
        return _from_uri(output)
    path = _real(output)
    if path in {_real(each) for each in shared}:
        return Artifact(None, reason=f"several trials wrote to {output}: it is the last one's")
    if _is_log_folder(path, outcome):
        return Artifact(None, reason=f"{output} holds Tune's log folder of the trial")
    copy = outcome.checkpoint
    if copy is not None and _is_copy(copy, output, outcome):
        artifact = _from_checkpoint(copy, "checkpoint")
        if artifact:
            return artifact
    return _readable(Artifact(output, None, "checkpoint_output"))


def _from_uri(uri: str) -> Artifact:
    try:
        found = artifact_at(uri)
    except OSError as error:
        return Artifact(None, reason=f"checkpoint_output {error}")
    return _readable(Artifact(found.path, found.filesystem, "checkpoint_output"))


def _is_log_folder(path: str, outcome: Outcome) -> bool:
    """Whether the trial's log folder is there or below; Tune has one more while a trial runs."""
    if not outcome.log_folder:
        return False
    log_folder = _real(outcome.log_folder)
    if (log_folder + os.sep).startswith(path.rstrip(os.sep) + os.sep):
        return True
    parts = Path(path).parts
    return "driver_artifacts" in parts and os.path.basename(log_folder) in parts


def _is_copy(checkpoint: Any, output: str, outcome: Outcome) -> bool:
    """Whether Tune's checkpoint was reported from that folder.

    Our wrapper says so in the result; without it the same files with the same content say so.
    """
    if outcome.metrics.get(CHECKPOINT_SOURCE) == output:
        return True
    try:
        mine = Artifact(output).files()
        its = Artifact(checkpoint.path, checkpoint.filesystem).files()
    except Exception:  # a URI, a file system that is down: then they cannot be compared
        return False
    if not mine or not is_local(checkpoint.filesystem):
        return False
    if [(each.name, each.size) for each in mine] != [(each.name, each.size) for each in its]:
        return False
    pairs = zip(mine, its, strict=True)
    return all(filecmp.cmp(one.path, other.path, shallow=False) for one, other in pairs)


def _from_checkpoint(checkpoint: Any, source: str) -> Artifact:
    path = getattr(checkpoint, "path", None)
    if path is None:
        return Artifact(None, reason=f"its {source} is a {type(checkpoint).__name__} without path")
    filesystem = getattr(checkpoint, "filesystem", None)
    return _readable(Artifact(str(path), None if is_local(filesystem) else filesystem, source))


def _readable(artifact: Artifact) -> Artifact:
    """The artifact, or an empty one with the reason why it cannot be read."""
    filesystem = artifact.filesystem
    where = "" if filesystem is None else f" on {getattr(filesystem, 'type_name', filesystem)}"
    what = f"{artifact.source} {artifact.path}{where}"
    try:
        files, left_out = artifact.listing()
        if files:
            artifact.open(files[0]).close()
    except FileNotFoundError:
        hint = " (it may be on another node)" if not where else ""
        return Artifact(None, reason=f"{what} does not exist here{hint}")
    except Exception as error:  # a file system that is none also raises what it likes
        return Artifact(None, reason=f"{what} cannot be read: {error}")
    if not files:
        holds = "holds only links that lead out of it" if left_out else "is empty"
        return Artifact(None, reason=f"{what} {holds}")
    return artifact


def _nothing_reported(outcome: Outcome) -> str:
    if not outcome.metrics.get("training_iteration"):
        return "it reported nothing"
    return "it reported no checkpoint"


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except ValueError:  # a NUL in it
        return path
