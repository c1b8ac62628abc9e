"""Send the models of the trials to the backend, each as one stream."""

from collections.abc import Mapping
from typing import BinaryIO

from ray_synapse.archive import Archive
from ray_synapse.artifact import Artifact, identity
from ray_synapse.backend.protocol import JobId, ModelStore
from ray_synapse.names import versions
from ray_synapse.values import Wire


def upload_model(
    backend: ModelStore,
    job: JobId,
    name: str,
    artifact: Artifact,
    configuration: Mapping[str, Wire],
    *,
    parent: int | str | None = None,
) -> int:
    """Keep a model, unless it is kept already.

    A model of that name that came from another artifact (the trial went on after a restore) is
    left as it is; the new one is called ``<name>_2`` and so on.

    Args:
        backend: Where to.
        job: The job it belongs to.
        name: Its name, ``<run name>_<trial id>``.
        artifact: Its files.
        configuration: What is to be known of it; ``artifact`` is added.
        parent: The id of the model that it was trained from, if there is one.

    Returns:
        The id of the model, new or not.

    Raises:
        OSError: The files cannot be read, or the backend cannot take them.
        BackendError: The backend refuses them.
    """
    files = artifact.files()
    its = identity(artifact, files)
    for versioned in versions(name):
        known = backend.find_model(versioned)
        if known is None:
            break
        if known["job"] == job and known["configuration"].get("artifact") == its:
            return int(known["id"])
    archive = Archive(files, artifact.open)

    def write(target: BinaryIO) -> None:
        for piece in archive.pieces():
            target.write(piece)

    return backend.add_model(
        job, versioned, {**configuration, "artifact": its}, archive.size, write, parent
    )
