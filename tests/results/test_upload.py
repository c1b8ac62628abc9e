"""Models as zip archives in the backend."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from ray_synapse.backend.local import LocalBackend
from ray_synapse.backend.protocol import JobId
from ray_synapse.errors import NoSpaceError
from ray_synapse.results.checkpoints import Artifact
from ray_synapse.results.upload import COPY_BYTES, upload_model, write_archive

FILES = {"model.pt": b"weights", "sub/größe.json": b"{}", "empty": b""}


def folder(path: Path, files: dict[str, bytes] = FILES) -> Artifact:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return Artifact(str(path))


def archived(backend: LocalBackend, name: str) -> dict[str, bytes]:
    model = backend.find_model(name)
    assert model is not None
    with zipfile.ZipFile(model["file"]) as bundle:
        assert bundle.testzip() is None
        return {entry: bundle.read(entry) for entry in bundle.namelist()}


class OneWay(io.RawIOBase):
    """A stream that can only be written, such as a socket."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, data: Any) -> int:
        self.content += data
        self.written.append(len(data))
        return len(data)


def test_a_model_is_a_zip_archive_of_its_files(
    backend: LocalBackend, job: JobId, tmp_path: Path
) -> None:
    number = upload_model(backend, job, "digits_t1", folder(tmp_path / "x"), {"config": {"lr": 1}})
    assert archived(backend, "digits_t1") == FILES
    model = backend.find_model("digits_t1")
    assert model is not None
    assert model["id"] == number
    assert model["job"] == job
    artifact = model["configuration"].pop("artifact")
    assert model["configuration"] == {"config": {"lr": 1}}
    assert (artifact["path"], artifact["files"], artifact["bytes"]) == (str(tmp_path / "x"), 3, 9)


def test_a_single_file_is_an_archive_of_one(
    backend: LocalBackend, job: JobId, tmp_path: Path
) -> None:
    folder(tmp_path / "x")
    upload_model(backend, job, "m", Artifact(str(tmp_path / "x" / "model.pt")), {})
    assert archived(backend, "m") == {"model.pt": b"weights"}


def test_a_model_on_a_remote_file_system_is_uploaded(
    backend: LocalBackend, job: JobId, tmp_path: Path
) -> None:
    folder(tmp_path / "root" / "ck")
    remote = fs.SubTreeFileSystem(str(tmp_path / "root"), fs.LocalFileSystem())
    upload_model(backend, job, "m", Artifact("ck", remote, "checkpoint"), {})
    assert archived(backend, "m") == FILES


def test_a_second_upload_of_the_same_model_keeps_the_first(
    backend: LocalBackend, job: JobId, tmp_path: Path
) -> None:
    artifact = folder(tmp_path / "x")
    first = upload_model(backend, job, "m", artifact, {})
    assert upload_model(backend, job, "m", artifact, {"other": 1}) == first
    assert len(backend.models(job)) == 1


def test_a_trial_that_went_on_has_its_new_model_beside_the_old_one(
    backend: LocalBackend, job: JobId, tmp_path: Path
) -> None:
    numbers = [
        upload_model(backend, job, "m", folder(tmp_path / str(step), {"a": b"x" * step}), {})
        for step in (1, 2, 3)
    ]
    assert [model["name"] for model in backend.models(job)] == ["m", "m_2", "m_3"]
    assert archived(backend, "m_2") == {"a": b"xx"}
    again = [
        upload_model(backend, job, "m", Artifact(str(tmp_path / str(step))), {})
        for step in (1, 2, 3)
    ]
    assert again == numbers


def test_the_same_name_in_another_job_is_another_model(
    backend: LocalBackend, job: JobId, tmp_path: Path
) -> None:
    artifact = folder(tmp_path / "x")
    upload_model(backend, job, "m", artifact, {})
    other = backend.create_job("other", {})
    upload_model(backend, other, "m", artifact, {})
    assert [model["name"] for model in backend.models(other)] == ["m_2"]


def test_equal_models_are_equal_archives(tmp_path: Path) -> None:
    archives = []
    for name in ("a", "b"):
        artifact, archive = folder(tmp_path / name), io.BytesIO()
        write_archive(artifact, artifact.files(), archive)
        archives.append(archive.getvalue())
    assert archives[0] == archives[1]


def test_an_archive_is_written_in_one_pass_and_in_pieces(tmp_path: Path) -> None:
    large = {"large": b"x" * (3 * COPY_BYTES + 1), "small": b"y"}
    artifact, stream = folder(tmp_path / "x", large), OneWay()
    write_archive(artifact, artifact.files(), stream)  # type: ignore[arg-type]
    with zipfile.ZipFile(io.BytesIO(bytes(stream.content))) as bundle:
        assert {name: bundle.read(name) for name in bundle.namelist()} == large
    assert max(stream.written) <= COPY_BYTES


def test_the_files_in_an_archive_can_be_read_by_their_owner(tmp_path: Path) -> None:
    artifact, archive = folder(tmp_path / "x"), io.BytesIO()
    write_archive(artifact, artifact.files(), archive)
    with zipfile.ZipFile(archive) as bundle:
        assert {entry.external_attr >> 16 for entry in bundle.infolist()} == {0o644}


def test_a_model_whose_files_are_gone_is_an_os_error_and_leaves_nothing(
    backend: LocalBackend, job: JobId, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="gone"):
        upload_model(backend, job, "m", Artifact(str(tmp_path / "gone")), {})
    assert backend.models(job) == []


def test_a_model_that_the_disk_has_no_room_for_is_refused_before_it_is_read(
    backend: LocalBackend, job: JobId, tmp_path: Path
) -> None:
    artifact = folder(tmp_path / "x", {"huge": b""})
    with open(tmp_path / "x" / "huge", "wb") as stream:
        stream.truncate(1 << 42)  # sparse: it takes no space
    with pytest.raises(NoSpaceError, match="model m has 4398"):
        upload_model(backend, job, "m", artifact, {})
    assert backend.models(job) == []
