"""Which files a model has, on real file systems of every kind."""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import fs

from ray_synapse.artifact import REQUEST_BYTES, Artifact, ModelFile, artifact_at, identity
from tests.storage import (
    ELSEWHERE,
    FILES,
    ON_THIS_MACHINE,
    S3,
    contents,
    folder,
    s3_server,
    stored,
    through_fsspec,
)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture(params=[*ON_THIS_MACHINE, *ELSEWHERE])
def artifact(request: pytest.FixtureRequest, tmp_path: Path) -> Artifact:
    """A model on a file system of each kind."""
    kind = request.param
    return stored(kind, tmp_path, request.getfixturevalue("s3") if "s3" in kind else None)


class Broken(AbstractFileSystem):  # type: ignore[misc]
    """A remote file system whose library raises what it likes."""

    protocol = "broken"

    def info(self, path: str, **options: Any) -> Any:
        raise RuntimeError("no credentials")

    def isfile(self, path: str) -> bool:
        return True

    def open(self, *arguments: Any, **options: Any) -> Any:
        raise LookupError


class TestFiles:
    def test_a_model_has_its_files_on_every_file_system(self, artifact: Artifact) -> None:
        assert contents(artifact) == FILES

    def test_files_come_in_the_order_of_their_names(self, artifact: Artifact) -> None:
        assert [file.name for file in artifact.files()] == sorted(FILES)

    def test_a_single_file_is_a_model_of_one(self, artifact: Artifact) -> None:
        alone = Artifact(f"{artifact.path}/model.pt", artifact.filesystem)
        assert contents(alone) == {"model.pt": b"weights"}

    def test_one_that_is_gone_is_not_found(self, artifact: Artifact) -> None:
        with pytest.raises(FileNotFoundError, match="gone"):
            Artifact(f"{artifact.path}/gone", artifact.filesystem).files()

    def test_a_file_that_went_after_it_was_listed_is_an_os_error(self, tmp_path: Path) -> None:
        artifact = Artifact(str(folder(tmp_path / "ck")))
        file = artifact.files()[0]
        os.remove(file.path)
        with pytest.raises(FileNotFoundError, match=file.name):
            artifact.open(file)

    @pytest.mark.parametrize("path", [None, "", "a\0b"])
    def test_no_path_is_an_os_error(self, path: str | None) -> None:
        with pytest.raises(OSError, match=r"No such file|null"):
            Artifact(path).files()

    def test_an_empty_folder_has_no_files(self, tmp_path: Path) -> None:
        assert Artifact(str(folder(tmp_path / "ck", {}))).files() == []

    def test_only_files_are_files(self, tmp_path: Path) -> None:
        path = folder(tmp_path / "ck", {"a": b"1"})
        (path / "empty folder").mkdir()
        os.mkfifo(path / "pipe")
        assert contents(Artifact(str(path))) == {"a": b"1"}

    def test_a_folder_on_s3_that_was_made_by_hand_is_no_file(self, s3: S3) -> None:
        filesystem = s3.filesystem()
        filesystem.create_dir(f"{s3.bucket}/by-hand/sub")
        assert Artifact(f"{s3.bucket}/by-hand", filesystem).files() == []

    def test_an_empty_object_that_stands_for_a_folder_is_no_file(self, tmp_path: Path) -> None:
        artifact = stored("memory", tmp_path)
        memory = MemoryFileSystem()
        memory.store[f"{artifact.path}/sub/"] = memory.store[f"{artifact.path}/empty"]
        assert contents(artifact) == FILES

    @pytest.mark.parametrize("form", ["{}/", "{}//", "{}/../ck", "{}/./", "{}/sub/.."])
    def test_names_are_within_the_folder_however_its_path_is_written(
        self, tmp_path: Path, form: str
    ) -> None:
        assert contents(Artifact(form.format(folder(tmp_path / "ck")))) == FILES

    def test_size_and_time_of_a_file_are_those_that_pyarrow_says(self, tmp_path: Path) -> None:
        path = folder(tmp_path / "ck")
        os.utime(path / "model.pt", ns=(1, 1_700_000_000_123_456_789))
        found = fs.LocalFileSystem().get_file_info(fs.FileSelector(str(path), recursive=True))
        theirs = {each.path: (each.size, each.mtime_ns) for each in found if each.is_file}
        mine = {file.path: (file.size, file.mtime_ns) for file in Artifact(str(path)).files()}
        assert mine == theirs

    def test_listing_a_model_of_this_machine_does_not_import_pyarrow(self, tmp_path: Path) -> None:
        code = (
            "import sys; from ray_synapse.artifact import Artifact\n"
            f"artifact = Artifact({str(folder(tmp_path / 'ck'))!r})\n"
            "artifact.open(artifact.files()[0]).close(); artifact.uri()\n"
            "sys.exit('pyarrow' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0

    def test_a_large_file_elsewhere_is_read_with_few_requests(self) -> None:
        asked: list[int] = []

        class Counting(MemoryFileSystem):  # type: ignore[misc]
            def _open(self, *arguments: Any, **options: Any) -> Any:
                stream = super()._open(*arguments, **options)
                read = stream.read
                stream.read = lambda size=-1: asked.append(size) or read(size)
                return stream

        MemoryFileSystem().pipe("/counting/model.pt", bytes(20 << 20))
        artifact = Artifact("/counting", through_fsspec(Counting()))
        with artifact.open(artifact.files()[0]) as stream:
            while stream.read(1 << 16):
                pass
        assert len(asked) <= 4
        assert max(asked) <= REQUEST_BYTES


class TestUnreadable:
    def test_whatever_a_library_raises_is_an_os_error(self) -> None:
        artifact = Artifact("bucket/ck", through_fsspec(Broken()))
        with pytest.raises(OSError, match="bucket/ck: no credentials"):
            artifact.files()
        with pytest.raises(OSError, match="bucket/ck/a: LookupError"):
            artifact.open(ModelFile("a", "bucket/ck/a", 1))

    def test_a_folder_in_it_that_cannot_be_read_is_an_os_error(self) -> None:
        user = os.geteuid()
        with tempfile.TemporaryDirectory() as top:
            path = folder(Path(top) / "ck")
            os.chmod(top, 0o755)
            (path / "sub").chmod(0)
            try:
                if user == 0:  # root reads everything: look at it as somebody else
                    os.seteuid(65534)
                with pytest.raises(PermissionError, match="ck/sub"):
                    Artifact(str(path)).files()
            finally:
                os.seteuid(user)
                (path / "sub").chmod(0o755)

    def test_a_name_that_is_no_utf8_is_an_os_error_that_names_it(self, tmp_path: Path) -> None:
        path = folder(tmp_path / "ck")
        Path(os.fsdecode(os.fsencode(path) + b"/\xff.pt")).write_bytes(b"1")
        with pytest.raises(OSError, match=r"'\\udcff.pt', which no archive can hold.*Rename it"):
            Artifact(str(path)).files()

    @pytest.mark.parametrize("name", ["../up", "sub/../../up", "a//b", "./a", "a\0b"])
    def test_a_name_that_leads_out_of_an_archive_is_an_os_error(
        self, tmp_path: Path, name: str
    ) -> None:
        memory = MemoryFileSystem()
        memory.pipe({f"/{tmp_path.name}/ck/{name}": b"1"})
        with pytest.raises(OSError, match="no archive can hold"):
            Artifact(f"/{tmp_path.name}/ck", through_fsspec(memory)).files()


class TestIdentity:
    def test_it_is_the_one_that_older_releases_wrote(self, tmp_path: Path) -> None:
        artifact = Artifact(str(folder(tmp_path / "ck", {"a": b"1", "b/ö": b"23"})))
        for name, time in (("a", 5), ("b/ö", 1_700_000_000_123_456_789)):
            os.utime(tmp_path / "ck" / name, ns=(time, time))
        parts = "a\0001\0005\nb/ö\0002\0001700000000123456789"
        assert identity(artifact, artifact.files()) == {
            "path": str(tmp_path / "ck"),
            "files": 2,
            "bytes": 3,
            "fingerprint": hashlib.sha256(parts.encode()).hexdigest()[:16],
        }

    def test_a_file_that_was_written_again_with_the_same_size_changes_it(
        self, tmp_path: Path
    ) -> None:
        artifact = Artifact(str(folder(tmp_path / "ck")))
        before = identity(artifact, artifact.files())
        (tmp_path / "ck" / "model.pt").write_bytes(b"WEIGHTS")
        assert identity(artifact, artifact.files()) != before

    @pytest.mark.parametrize("kind", [*ON_THIS_MACHINE, *sorted({*ELSEWHERE} - {"zip"})])
    def test_it_is_the_same_for_what_was_found_again(
        self, tmp_path: Path, s3: S3, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        artifact = stored(kind, tmp_path, s3)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        again = artifact_at(str(artifact.uri()))
        before = identity(artifact, artifact.files())
        assert identity(again, again.files()) == before


class TestAsDirectory:
    def test_a_folder_elsewhere_is_a_temporary_copy_that_is_cleaned_up(
        self, artifact: Artifact, tmp_path: Path
    ) -> None:
        with artifact.as_directory() as local:
            for name, content in FILES.items():
                assert (local / name).read_bytes() == content
            assert (local == tmp_path / "ck") is (artifact.filesystem is None)
        assert local.exists() is (artifact.filesystem is None)

    def test_a_copy_is_cleaned_up_after_an_error_too(self, tmp_path: Path) -> None:
        seen = []

        def fail() -> None:
            with stored("memory", tmp_path).as_directory() as local:
                seen.append(local)
                raise KeyError

        with pytest.raises(KeyError):
            fail()
        assert not seen[0].exists()

    def test_a_single_file_is_given_in_a_folder(self, tmp_path: Path) -> None:
        file = folder(tmp_path / "ck") / "model.pt"
        with Artifact(str(file)).as_directory() as local:
            assert [path.name for path in local.iterdir()] == ["model.pt"]
        assert file.exists()
