"""A zip archive whose length is known beforehand, as unpackers see it."""

import io
import os
import shutil
import stat
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ray_synapse import archive
from ray_synapse.archive import Archive
from ray_synapse.artifact import ModelFile
from tests.storage import Source, Zeros

FILES = {"model.pt": b"weights" * 1000, "sub/größe.json": b"{}", "empty": b"", "a b/ü/日本": b"3"}
UNPACKERS = {
    "unzip": ["unzip", "-tqq"],
    "bsdtar": ["bsdtar", "-xOf"],
    "7z": ["7z", "t"],
    "zip": ["zip", "-T"],
}

part = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
names = st.lists(part.filter(lambda text: text not in (".", "..")), min_size=1, max_size=4).map(
    "/".join
)
contents = st.binary(max_size=300)


def listed(files: dict[str, bytes]) -> list[ModelFile]:
    return [ModelFile(name, name, len(content)) for name, content in files.items()]


def archive_of(files: dict[str, bytes], most: int = 1 << 30) -> Archive:
    return Archive(listed(files), lambda file: Source(files[file.name], most))


def content_of(made: Archive, piece_bytes: int = archive.PIECE_BYTES) -> bytes:
    return b"".join(made.pieces(piece_bytes))


def unpacked(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as bundle:
        assert bundle.testzip() is None
        return {each.filename: bundle.read(each) for each in bundle.infolist()}


@given(
    files=st.dictionaries(names, contents, max_size=8),
    most=st.integers(1, 400),
    piece_bytes=st.integers(1, 400),
    zip64_bytes=st.sampled_from([1, 50, 400, archive.ZIP64_BYTES]),
    zip64_files=st.sampled_from([1, 4, archive.ZIP64_FILES]),
)
@example({}, 1, 1, 1, 1)
@example({"x" * 0xFFFF: b"1", "ü" * 0x7FFF: b"2"}, 1, 1, 400, 4)
@settings(deadline=None)
def test_the_size_is_known_beforehand_and_every_file_is_read_back(
    files: dict[str, bytes], most: int, piece_bytes: int, zip64_bytes: int, zip64_files: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "ZIP64_BYTES", zip64_bytes)
        patch.setattr(archive, "ZIP64_FILES", zip64_files)
        made = archive_of(files, most)
        content = content_of(made, piece_bytes)
    assert made.size == len(content)
    assert list(unpacked(content).items()) == list(files.items())


@pytest.mark.parametrize("zip64_bytes", [1, 100, archive.ZIP64_BYTES])
@pytest.mark.parametrize("unpacker", UNPACKERS)
def test_an_unpacker_finds_no_fault(
    unpacker: str, zip64_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which(unpacker) is None:
        pytest.skip(f"{unpacker} is not on this machine")
    monkeypatch.setattr(archive, "ZIP64_BYTES", zip64_bytes)
    (tmp_path / "model.zip").write_bytes(content_of(archive_of(FILES)))
    done = subprocess.run(
        [*UNPACKERS[unpacker], str(tmp_path / "model.zip")],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_unzip_writes_the_same_files(tmp_path: Path) -> None:
    if shutil.which("unzip") is None:
        pytest.skip("unzip is not on this machine")
    (tmp_path / "model.zip").write_bytes(content_of(archive_of(FILES)))
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    subprocess.run(
        ["unzip", "-qq", "model.zip", "-d", "out"], cwd=tmp_path, env=environment, check=True
    )
    out = tmp_path / "out"
    files = [path for path in out.rglob("*") if path.is_file()]
    assert {str(path.relative_to(out)): path.read_bytes() for path in files} == FILES
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o644}


def test_equal_files_are_equal_archives_whenever_and_however_they_are_read() -> None:
    assert content_of(archive_of(FILES)) == content_of(archive_of(FILES, most=7), piece_bytes=3)
    made = archive_of(FILES)
    assert content_of(made) == content_of(made)


def test_the_files_are_stored_as_they_are_for_their_owner_to_read() -> None:
    with zipfile.ZipFile(io.BytesIO(content_of(archive_of(FILES)))) as bundle:
        for each in bundle.infolist():
            assert each.compress_type == zipfile.ZIP_STORED
            assert each.external_attr >> 16 == stat.S_IFREG | 0o644
            assert each.date_time == (1980, 1, 1, 0, 0, 0)
            assert each.flag_bits == 1 << 3 | 1 << 11


def test_each_file_is_opened_once_when_its_turn_comes_and_closed_before_the_next() -> None:
    opened: list[Source] = []

    def open_file(file: ModelFile) -> Source:
        assert all(stream.closed for stream in opened)
        opened.append(Source(FILES[file.name], 1000))
        return opened[-1]

    pieces = Archive(listed(FILES), open_file).pieces()
    next(pieces)
    assert opened == []  # that was the header
    for _ in pieces:
        pass
    assert len(opened) == len(FILES)
    assert all(stream.closed for stream in opened)


def test_who_stops_in_the_middle_leaves_no_file_open() -> None:
    opened: list[Source] = []

    def open_file(file: ModelFile) -> Source:
        opened.append(Source(FILES[file.name], 1000))
        return opened[-1]

    made = Archive(listed(FILES), open_file)
    pieces: Any = made.pieces()
    next(pieces)  # the header
    next(pieces)
    assert not opened[0].closed
    pieces.close()
    assert opened[0].closed


@pytest.mark.parametrize("size", [archive.ZIP64_FILES - 1, archive.ZIP64_FILES, 0x10000])
def test_any_number_of_files_is_read_back(size: int) -> None:
    files = {f"{number:x}": b"" for number in range(size)}
    made = archive_of(files)
    content = content_of(made)
    assert made.size == len(content)
    with zipfile.ZipFile(io.BytesIO(content)) as bundle:
        assert bundle.namelist() == list(files)
    assert (b"PK\6\6" in content) is (size >= archive.ZIP64_FILES)


def test_a_file_of_more_than_4_gib_is_read_back_and_one_after_it_too(tmp_path: Path) -> None:
    files = [ModelFile("huge", "huge", (4 << 30) + 5), ModelFile("after", "after", 3)]
    made = Archive(files, lambda file: Zeros(file.size))
    with open(tmp_path / "sparse.zip", "wb") as target:
        for piece in made.pieces():
            if len(piece) == archive.PIECE_BYTES:  # nothing but zeros: it takes no disk
                target.seek(len(piece), os.SEEK_CUR)
            else:
                target.write(piece)
        assert target.tell() == made.size
    with zipfile.ZipFile(tmp_path / "sparse.zip") as bundle:
        assert [each.file_size for each in bundle.infolist()] == [(4 << 30) + 5, 3]
        assert bundle.infolist()[1].header_offset > 4 << 30
        assert bundle.read("after") == bytes(3)
        with bundle.open("huge") as stream:
            assert stream.read(10) == bytes(10)


@pytest.mark.parametrize("size", [0xFFFFFFFE, 0xFFFFFFFF, 1 << 40])
def test_the_size_of_an_archive_of_any_size_is_that_of_its_files_and_some_headers(
    size: int,
) -> None:
    large = size >= 0xFFFFFFFF
    before, after = 30 + len("x") + 20 * large, 24 if large else 16
    directory = 46 + len("x") + 20 * large
    is_far = before + size + after >= 0xFFFFFFFF  # where the directory begins
    end = 22 + (56 + 20) * is_far
    made = Archive([ModelFile("x", "x", size)], lambda file: Zeros(file.size))
    assert made.size == before + size + after + directory + end


class TestFaults:
    @pytest.mark.parametrize("now", [b"", b"123", b"12345", b"12345" * 100])
    @pytest.mark.parametrize("most", [1, 2, 1000])
    def test_a_file_that_has_another_size_now_is_an_os_error_that_names_it(
        self, now: bytes, most: int
    ) -> None:
        made = Archive([ModelFile("a", "ck/a", 4)], lambda file: Source(now, most))
        received: list[bytes] = []
        with pytest.raises(OSError, match=r"ck/a changed while it was read: .* 4 bytes and has"):
            received.extend(made.pieces())
        assert len(b"".join(received)) < made.size

    def test_a_file_that_grows_without_end_is_noticed_at_once(self) -> None:
        growing = Source(bytes(1000), 1)
        with pytest.raises(OSError, match="has more"):
            content_of(Archive([ModelFile("a", "ck/a", 4)], lambda file: growing))
        assert len(growing._rest) == 1000 - 5

    @pytest.mark.parametrize("error", [RuntimeError("expired token"), OSError("expired token")])
    def test_whatever_breaks_a_stream_is_an_os_error(self, error: Exception) -> None:
        class Breaking(Source):
            def read(self, size: int = -1) -> bytes:
                raise error

        made = Archive([ModelFile("a", "ck/a", 4)], lambda file: Breaking(b"", 1))
        with pytest.raises(OSError, match="expired token"):
            content_of(made)

    @pytest.mark.parametrize(
        "name",
        [
            *("", "/etc/passwd", "../up", "a/../../up", "a/..", "..", ".", "a/./b", "a//b", "a/"),
            *("a\0b", "\udcff", "x" * 0x10000, "ü" * 0x8000),
        ],
        ids=lambda name: ascii(name[:10]),
    )
    def test_a_name_that_leads_out_or_is_none_does_not_get_in(self, name: str) -> None:
        with pytest.raises(ValueError, match="cannot be the name of a file in an archive"):
            archive_of({"fine": b"", name: b"1"})

    @pytest.mark.parametrize("name", ["..a", "a..", "...", "a\\b", " ", "C:", "-", "x" * 0xFFFF])
    def test_other_names_do(self, name: str) -> None:
        assert unpacked(content_of(archive_of({name: b"1"}))) == {name: b"1"}
