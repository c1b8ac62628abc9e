"""Which symbolic links of a model are followed, on every file system of this machine."""

from pathlib import Path

import pytest

from ray_synapse.artifact import Artifact
from tests.storage import FILES, ON_THIS_MACHINE, contents, folder, stored

HERE = pytest.mark.parametrize("kind", ON_THIS_MACHINE)


@HERE
def test_links_that_lead_out_of_the_folder_are_left_out(tmp_path: Path, kind: str) -> None:
    artifact = stored(kind, tmp_path)
    outside = folder(tmp_path / "ck-beside", {"secret": b"1", "deep/secret": b"2"})
    (tmp_path / "ck" / "file").symlink_to(outside / "secret")
    (tmp_path / "ck" / "sub" / "folder").symlink_to(outside)
    (tmp_path / "ck" / "relative").symlink_to("../ck-beside/secret")
    (tmp_path / "ck" / "everything").symlink_to("/")
    (tmp_path / "ck" / "nowhere").symlink_to(tmp_path / "nothing")
    assert contents(artifact) == FILES
    expected = ["everything", "file", "nowhere", "relative", "sub/folder"]
    assert artifact.listing().left_out == expected


@HERE
def test_links_within_the_folder_are_followed(tmp_path: Path, kind: str) -> None:
    artifact = stored(kind, tmp_path)
    (tmp_path / "ck" / "latest").symlink_to("sub")
    (tmp_path / "ck" / "best.pt").symlink_to(tmp_path / "ck" / "model.pt")
    more = {"latest/größe.json": b"{}", "best.pt": b"weights"}
    assert contents(artifact) == {**FILES, **more}
    assert artifact.listing().left_out == []


def test_a_link_that_comes_back_from_outside_is_followed(tmp_path: Path) -> None:
    path = folder(tmp_path / "ck", {"a": b"1"})
    (tmp_path / "outside").symlink_to(path / "a")
    (path / "b").symlink_to(tmp_path / "outside")
    assert contents(Artifact(str(path))) == {"a": b"1", "b": b"1"}


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder(tmp_path / "ck"))
    (tmp_path / "ck" / "again.pt").symlink_to(tmp_path / "link" / "model.pt")
    assert contents(Artifact(str(tmp_path / "link"))) == {**FILES, "again.pt": b"weights"}


def test_a_file_that_is_the_whole_model_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "best.pt").symlink_to(folder(tmp_path / "ck") / "model.pt")
    assert contents(Artifact(str(tmp_path / "best.pt"))) == {"best.pt": b"weights"}


@HERE
def test_links_that_lead_back_do_not_repeat_the_files(tmp_path: Path, kind: str) -> None:
    artifact = stored(kind, tmp_path, files={"a/x": b"1", "b/y": b"2"})
    for number in range(3):  # each alone would be followed 40 times, together 3 ** 40 times
        (tmp_path / "ck" / f"again{number}").symlink_to(tmp_path / "ck")
    (tmp_path / "ck" / "a" / "up").symlink_to("..")
    (tmp_path / "ck" / "itself").symlink_to("itself")
    (tmp_path / "ck" / "dangling").symlink_to("nothing")
    (tmp_path / "ck" / "a" / "to_b").symlink_to("../b")
    (tmp_path / "ck" / "b" / "to_a").symlink_to("../a")
    assert contents(artifact) == {
        "a/x": b"1",
        "a/to_b/y": b"2",
        "b/y": b"2",
        "b/to_a/x": b"1",
    }
    assert artifact.listing().left_out == []
