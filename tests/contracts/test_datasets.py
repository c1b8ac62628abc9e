"""``/sdk/ground_truth_events/``: a small dataset in a folder of this machine."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.errors import NotFoundError, RefusedError, SettingsError
from tests.contracts.conftest import Api
from tests.contracts.http_api import path_of
from tests.contracts.things import NO_IDS, query_of

Backends = tuple[Api, Path]


def write(folder: Path, *names: str, content: str | None = None) -> None:
    """Make files; each says its own name, or what is given."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name if content is None else content, "utf-8")


def add(backends: Backends, folder: Path) -> int:
    other = EmbeddedApi(backends[1])
    dataset, _ = other.add_dataset(folder)
    other.close()
    return dataset


def events(api: Api, dataset: int, *query: tuple[str, str]) -> list[dict[str, Any]]:
    answer = api.list_ground_truth_events(
        [("ground_truth_dataset_versions", str(dataset)), ("page_size", "100"), *query]
    )
    assert answer["count"] == len(answer["results"])
    return list(answer["results"])


def names(found: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    return [(each["category"], sorted(each["files"])) for each in found]


class TestItems:
    @pytest.mark.parametrize(
        ("folder", "category"),
        [
            ("train", "train"),
            ("validation", "validation"),
            ("valid", "validation"),
            ("val", "validation"),
            ("test", "test"),
            ("other", "train"),
            ("Test", "test"),
            ("dev", "validation"),
        ],
    )
    def test_the_first_sub_folder_says_the_category(
        self, backends: Backends, tmp_path: Path, folder: str, category: str
    ) -> None:
        write(tmp_path, f"{folder}/item/a.png")
        assert names(events(backends[0], add(backends, tmp_path))) == [(category, ["a.png"])]

    def test_the_files_of_one_sub_folder_are_one_item(
        self, backends: Backends, tmp_path: Path
    ) -> None:
        write(tmp_path, "train/one/a.png", "train/one/b.png", "train/two/a.png", "test/one/a.png")
        found = events(backends[0], add(backends, tmp_path))
        assert sorted(names(found)) == [
            ("test", ["a.png"]),
            ("train", ["a.png"]),
            ("train", ["a.png", "b.png"]),
        ]

    def test_files_side_by_side_belong_together_by_name(
        self, backends: Backends, tmp_path: Path
    ) -> None:
        write(tmp_path, "train/1.png", "train/1.txt", "train/2.png")
        write(tmp_path, "train/1.json", content='{"label": "cat"}')
        found = events(backends[0], add(backends, tmp_path))
        assert names(found) == [("train", ["1.png", "1.txt"]), ("train", ["2.png"])]
        assert found[0]["data"] == {"label": "cat"}
        assert not found[1]["data"]

    def test_what_lies_in_no_sub_folder_is_for_training(
        self, backends: Backends, tmp_path: Path
    ) -> None:
        write(tmp_path, "1.png", "2.png", "deep/deeper/3.png")
        found = events(backends[0], add(backends, tmp_path))
        assert {category for category, _ in names(found)} == {"train"}
        assert sorted(files for _, files in names(found)) == [["1.png"], ["2.png"], ["3.png"]]

    @pytest.mark.parametrize("data", [{"a": [1, None, "ü"]}, [1, 2], "text", 5, None], ids=repr)
    def test_an_annotation_is_given_as_it_is(
        self, backends: Backends, tmp_path: Path, data: Any
    ) -> None:
        write(tmp_path, "train/one/a.png")
        write(tmp_path, "train/one/any.JSON", content=json.dumps(data))
        (found,) = events(backends[0], add(backends, tmp_path), ("expand", "data"))
        assert found["data"] == data
        assert list(found["files"]) == ["a.png"]

    def test_hidden_files_and_folders_are_passed_over(
        self, backends: Backends, tmp_path: Path
    ) -> None:
        write(tmp_path, "train/one/a.png", "train/one/.DS_Store", ".git/x", "train/.cache/y")
        assert names(events(backends[0], add(backends, tmp_path))) == [("train", ["a.png"])]

    @pytest.mark.parametrize("name", ["a b.png", "ü🙂.png", "a:b,c.png", "50%2F?#&+.png", "a\nb"])
    def test_a_file_of_any_name_can_be_fetched(
        self, backends: Backends, tmp_path: Path, name: str
    ) -> None:
        write(tmp_path, f"test/one/{name}", "test/one/other.png")
        (found,) = events(backends[0], add(backends, tmp_path))
        link = found["files"][name]["url"]
        assert backends[0].download(link).decode() == f"test/one/{name}"

    def test_files_stay_where_they_are(self, backends: Backends, tmp_path: Path) -> None:
        write(tmp_path, "train/a.png")
        (found,) = events(backends[0], add(backends, tmp_path))
        write(tmp_path, "train/a.png", content="changed")
        assert backends[0].download(found["files"]["a.png"]["url"]) == b"changed"

    def test_two_datasets_are_kept_apart(self, backends: Backends, tmp_path: Path) -> None:
        write(tmp_path, "one/train/a.png", "two/train/b.png")
        one, two = add(backends, tmp_path / "one"), add(backends, tmp_path / "two")
        assert one != two
        assert names(events(backends[0], one)) == [("train", ["a.png"])]
        assert names(events(backends[0], two)) == [("train", ["b.png"])]


class TestLists:
    @pytest.fixture
    def dataset(self, backends: Backends, tmp_path: Path) -> int:
        write(tmp_path, *(f"train/{number}.png" for number in range(4)), "test/5.png")
        return add(backends, tmp_path)

    @pytest.mark.parametrize(
        "fields",
        [
            [("fields", "category,files")],
            [("fields", "category"), ("fields", "files")],
            [("fields", "category, files,nonsense")],
        ],
        ids=str,
    )
    def test_only_the_fields_that_were_asked_for_are_given(
        self, api: Api, dataset: int, fields: list[tuple[str, str]]
    ) -> None:
        assert {frozenset(each) for each in events(api, dataset, *fields)} == {
            frozenset({"category", "files"})
        }

    def test_without_fields_all_are_given(self, api: Api, dataset: int) -> None:
        assert all({"category", "files", "data"} <= set(each) for each in events(api, dataset))

    def test_items_are_in_one_order_page_by_page(self, api: Api, dataset: int) -> None:
        whole = events(api, dataset)
        query = [("ground_truth_dataset_versions", str(dataset)), ("page_size", "2")]
        pages = [api.list_ground_truth_events(query)]
        while (link := pages[-1]["next"]) and len(pages) < 10:
            assert path_of(link) == "/sdk/ground_truth_events/"
            pages.append(api.list_ground_truth_events(query_of(link)))
        assert [each for page in pages for each in page["results"]] == whole
        assert [page["count"] for page in pages] == [5, 5, 5]
        back = api.list_ground_truth_events(query_of(pages[-1]["previous"]))
        assert back["results"] == pages[1]["results"]

    def test_a_page_beyond_the_end_is_not_found(self, api: Api, dataset: int) -> None:
        with pytest.raises(NotFoundError):
            events(api, dataset, ("page", "2"))

    def test_items_of_one_category_can_be_asked_for(self, api: Api, dataset: int) -> None:
        assert names(events(api, dataset, ("category", "test"))) == [("test", ["5.png"])]

    def test_several_datasets_can_be_asked_for_at_once(
        self, backends: Backends, tmp_path: Path, dataset: int
    ) -> None:
        write(tmp_path, "more/test/6.png")
        more = add(backends, tmp_path / "more")
        for query in (
            [("ground_truth_dataset_versions", f"{dataset},{more}")],
            [("ground_truth_dataset_versions", str(each)) for each in (dataset, more)],
        ):
            assert backends[0].list_ground_truth_events(query)["count"] == 6

    @pytest.mark.parametrize("no_dataset", [*NO_IDS, "1; DROP TABLE jobs"])
    def test_a_dataset_that_does_not_exist_is_told(self, api: Api, no_dataset: str) -> None:
        with pytest.raises(RefusedError) as refused:
            api.list_ground_truth_events([("ground_truth_dataset_versions", no_dataset)])
        assert list(refused.value.faults) == ["ground_truth_dataset_versions"]


class TestRefused:
    """What ``ray-synapse dataset add`` says."""

    def test_what_is_no_folder_is_refused(self, backends: Backends, tmp_path: Path) -> None:
        write(tmp_path, "file")
        for folder in (tmp_path / "file", tmp_path / "missing"):
            with pytest.raises(SettingsError, match="no folder"):
                add(backends, folder)

    def test_a_folder_without_files_is_refused(self, backends: Backends, tmp_path: Path) -> None:
        write(tmp_path, ".hidden")
        (tmp_path / "train").mkdir()
        with pytest.raises(SettingsError, match="0 files"):
            add(backends, tmp_path)

    @pytest.mark.parametrize("content", ["", "{", "text", "NaN", '{"a": 1e999}', "[" * 100_000])
    def test_an_annotation_that_is_no_json_is_refused_with_its_path(
        self, backends: Backends, tmp_path: Path, content: str
    ) -> None:
        write(tmp_path, "train/b.png")
        write(tmp_path, "train/a.json", content=content)
        with pytest.raises(SettingsError, match=r"train/a\.json"):
            add(backends, tmp_path)

    def test_a_file_that_is_gone_is_not_served(self, backends: Backends, tmp_path: Path) -> None:
        write(tmp_path, "train/a.png")
        (found,) = events(backends[0], add(backends, tmp_path))
        (tmp_path / "train" / "a.png").unlink()
        with pytest.raises(Exception, match=r"404|No such file"):
            backends[0].download(found["files"]["a.png"]["url"])


class TestLinks:
    def test_a_folder_and_a_file_of_one_name_are_two_items(
        self, backends: Backends, tmp_path: Path
    ) -> None:
        write(tmp_path, "train/a.png", "train/a/a.png", "train/cat/1.png", "train/cat/2.png")
        found = events(backends[0], add(backends, tmp_path))
        assert [(each["name"], list(each["files"])) for each in found] == [
            ("a", ["a.png"]),
            ("a", ["a.png"]),
            ("cat", ["1.png", "2.png"]),
        ]

    def test_two_files_that_would_be_one_are_refused(
        self, backends: Backends, tmp_path: Path
    ) -> None:
        write(tmp_path, "val/1.png", "validation/1.png")
        with pytest.raises(SettingsError, match=r"val.*1\.png and .*would be one"):
            add(backends, tmp_path)

    @pytest.mark.parametrize("target", ["link", "nothing"])
    def test_a_link_that_leads_nowhere_is_refused(
        self, backends: Backends, tmp_path: Path, target: str
    ) -> None:
        write(tmp_path, "train/1.png")
        (tmp_path / "train" / "link").symlink_to(tmp_path / "train" / target)
        with pytest.raises(SettingsError, match="link is a link to"):
            add(backends, tmp_path)

    @pytest.mark.parametrize("target", ["secret", "outside"])
    def test_a_link_out_of_the_folder_is_refused(
        self, backends: Backends, tmp_path: Path, target: str
    ) -> None:
        write(tmp_path, "secret", "outside/1.png", "set/train/1.png")
        (tmp_path / "set" / "train" / "link").symlink_to(tmp_path / target)
        with pytest.raises(SettingsError, match=f"link is a link to .*{target}"):
            add(backends, tmp_path / "set")

    def test_a_file_that_becomes_a_link_out_of_the_folder_is_gone(
        self, backends: Backends, tmp_path: Path
    ) -> None:
        write(tmp_path, "secret", "set/train/1.png", content="x")
        (event,) = events(backends[0], add(backends, tmp_path / "set"))
        assert backends[0].download(event["files"]["1.png"]["url"]) == b"x"
        (tmp_path / "set" / "train" / "1.png").unlink()
        (tmp_path / "set" / "train" / "1.png").symlink_to(tmp_path / "secret")
        with pytest.raises((NotFoundError, httpx.HTTPStatusError)):
            backends[0].download(event["files"]["1.png"]["url"])
