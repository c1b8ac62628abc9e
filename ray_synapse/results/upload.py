"""Send the models of the trials to the backend, each as one stream."""

import hashlib
import shutil
import zipfile
from collections.abc import Mapping
from typing import BinaryIO

from ray_synapse.backend.protocol import Backend, JobId
from ray_synapse.results.checkpoints import COPY_BYTES, Artifact, ModelFile
from ray_synapse.values import Wire

EARLIEST = (1980, 1, 1, 0, 0, 0)  # a zip archive knows no earlier time; so equal models are equal
MAX_VERSIONS = 1_000  # of one trial's model: beyond that something else is wrong


def upload_model(
    backend: Backend, job: JobId, name: str, artifact: Artifact, configuration: Mapping[str, Wire]
) -> int:
    """Keep a trial's model, unless it is kept already.

    A model of that name that came from another artifact (the trial went on after a restore) is
    left as it is; the new one is called ``<name>_2`` and so on.

    Args:
        backend: Where to.
        job: The job it belongs to.
        name: Its name, ``<run name>_<trial id>``.
        artifact: Its files.
        configuration: What is to be known of it; ``artifact`` is added.

    Returns:
        The id of the model, new or not.

    Raises:
        OSError: The files cannot be read, or the backend cannot take them.
        BackendError: The backend refuses them.
    """
    files = artifact.files()
    size = sum(file.size for file in files)
    identity: dict[str, Wire] = {
        "path": artifact.path,
        "files": len(files),
        "bytes": size,
        "fingerprint": _fingerprint(files),
    }
    for version in range(1, MAX_VERSIONS):
        versioned = name if version == 1 else f"{name}_{version}"
        known = backend.find_model(versioned)
        if known is None:
            break
        if known["job"] == job and known["configuration"].get("artifact") == identity:
            return int(known["id"])
    return backend.add_model(
        job,
        versioned,
        {**configuration, "artifact": identity},
        size,
        lambda archive: write_archive(artifact, files, archive),
    )


def _fingerprint(files: list[ModelFile]) -> str:
    """Changes when a file is written again, also with content of the same size."""
    parts = [f"{file.name}\0{file.size}\0{file.mtime_ns}" for file in files]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:16]


def write_archive(artifact: Artifact, files: list[ModelFile], archive: BinaryIO) -> None:
    """Write the files as a zip archive, in one pass.

    They are stored as they are: weights hardly shrink, and deflating them takes far longer than
    the disk does.
    """
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, allowZip64=True) as bundle:
        for file in files:
            entry = zipfile.ZipInfo(file.name, EARLIEST)
            entry.external_attr = 0o644 << 16
            with (
                artifact.open(file) as source,
                bundle.open(entry, "w", force_zip64=True) as target,
            ):
                shutil.copyfileobj(source, target, COPY_BYTES)
