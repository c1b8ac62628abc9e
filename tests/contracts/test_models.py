"""``/models/``: models, their archives and their parents."""

from typing import Any

import pytest

from ray_synapse.backend.local import LocalBackend
from ray_synapse.errors import NotFoundError, RefusedError
from tests.contracts.conftest import Api
from tests.contracts.http_api import path_of
from tests.contracts.things import (
    NO_IDS,
    NOT_FINITE,
    begun,
    md5,
    new_job,
    query_of,
    unique,
    uploaded,
)

ODD_NAMES = ["a:b,c", "ü 🙂", "a/b", "..", "../../x", "50%", "a?b#c&d=e+f", "%2F", "a\\b", "a\nb"]


class TestKept:
    def test_a_model_needs_only_a_name(self, api: Api) -> None:
        name = unique()
        made = api.create_model({"name": name})
        assert (made["name"], made["file"], made["checkpoint"]) == (name, None, None)
        assert isinstance(made["category"], str)
        assert api.get_model(made["id"]) == made

    def test_a_model_is_kept_with_all_its_fields(self, api: Api) -> None:
        sent = {
            "name": unique(),
            "plugin": "ray_synapse",
            "version": "1.2.3",
            "configuration": {"lr": 0.1, "a": [None, {"ü": 1}]},
            "description": "what it is",
            "checkpoint": api.create_model({"name": unique()})["id"],
        }
        found = api.get_model(api.create_model({**sent, "chunked_upload": uploaded(api)})["id"])
        assert {name: found[name] for name in sent} == sent

    @pytest.mark.parametrize(
        "field",
        ["plugin", "version", "description", "checkpoint", "chunked_upload", "configuration"],
    )
    def test_an_optional_field_may_be_null(self, api: Api, field: str) -> None:
        made = api.create_model({"name": unique(), field: None})
        assert api.get_model(made["id"]) == made

    def test_a_model_is_found_by_its_id_as_text(self, api: Api) -> None:
        made = api.create_model({"name": unique()})
        assert api.get_model(str(made["id"])) == made

    def test_a_model_without_an_upload_has_no_file(self, api: Api) -> None:
        assert api.create_model({"name": unique(), "chunked_upload": None})["file"] is None

    def test_the_file_of_a_model_is_what_was_uploaded(self, api: Api) -> None:
        content = bytes(range(256)) * 500
        made = api.create_model({"name": unique(), "chunked_upload": uploaded(api, content)})
        assert made["size"] == len(content)
        assert api.download(made["file"]) == content
        assert api.download(api.get_model(made["id"])["file"]) == content
        (listed,) = api.list_models([("name", made["name"])])["results"]
        assert api.download(listed["file"]) == content

    @pytest.mark.parametrize("odd", ODD_NAMES)
    def test_a_model_of_any_name_is_found_and_downloaded(self, api: Api, odd: str) -> None:
        name = f"{odd}{unique()}{odd}"
        made = api.create_model({"name": name, "chunked_upload": uploaded(api)})
        found = api.list_models([("name", name)])
        assert (found["count"], found["results"]) == (1, [made])
        assert made["name"] == name
        assert api.download(made["file"]) == b"abc"

    def test_what_a_sweep_stored_is_a_model_here_too(self, api: Api, kept: LocalBackend) -> None:
        job, name = new_job(api), unique()
        model = kept.add_model(job, name, {"lr": 1}, 3, lambda file: file.write(b"zip") and None)
        found = api.get_model(model)
        assert (found["name"], found["configuration"]) == (name, {"lr": 1})
        assert api.download(found["file"]) == b"zip"
        with pytest.raises(RefusedError):
            api.create_model({"name": name})


class TestParents:
    def test_a_model_may_come_from_another_one(self, api: Api) -> None:
        parent = api.create_model({"name": unique()})
        child = api.create_model({"name": unique(), "checkpoint": parent["id"]})
        grandchild = api.create_model({"name": unique(), "checkpoint": str(child["id"])})
        assert child["checkpoint"] == parent["id"]
        assert grandchild["checkpoint"] == child["id"]
        assert api.get_model(child["id"])["category"] != parent["category"]

    @pytest.mark.parametrize("parent", [*NO_IDS, 0, -1, 1 << 63, 1 << 70, "", "\ud800"])
    def test_a_parent_that_does_not_exist_is_refused(self, api: Api, parent: Any) -> None:
        name = unique()
        with pytest.raises(RefusedError) as refused:
            api.create_model({"name": name, "checkpoint": parent})
        assert list(refused.value.faults) == ["checkpoint"]
        assert api.list_models([("name", name)])["count"] == 0


class TestRefused:
    def test_a_name_is_taken_once(self, api: Api) -> None:
        name = unique()
        made = api.create_model({"name": name, "description": "first"})
        with pytest.raises(RefusedError) as refused:
            api.create_model({"name": name, "description": "second"})
        assert list(refused.value.faults) == ["name"]
        assert api.list_models([("name", name)])["results"] == [made]

    def test_a_refused_model_does_not_use_up_its_upload(self, api: Api) -> None:
        name, upload = unique(), uploaded(api)
        api.create_model({"name": name})
        with pytest.raises(RefusedError):
            api.create_model({"name": name, "chunked_upload": upload})
        assert api.create_model({"name": unique(), "chunked_upload": upload})["file"]

    @pytest.mark.parametrize("field", ["nonsense", "id", "category", "file", "job", "size", ""])
    def test_a_field_that_a_model_has_not_is_refused(self, api: Api, field: str) -> None:
        name = unique()
        with pytest.raises(RefusedError) as refused:
            api.create_model({"name": name, field: 1})
        assert list(refused.value.faults) == [field]
        assert api.list_models([("name", name)])["count"] == 0

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            *[("name", value) for value in ("", " ", "\n", None, 5, ["a"], {})],
            *[("plugin", value) for value in (5, {}, ["code"], True)],
            *[("version", value) for value in (1.5, {}, ["1"])],
            *[("description", value) for value in (5, {}, ["a"])],
            *[("checkpoint", value) for value in (1.5, True, [], {})],
            *[("chunked_upload", value) for value in (1.5, True, [], {})],
            *[("configuration", value) for value in ("text", 5, [], True)],
        ],
    )
    def test_a_field_of_the_wrong_form_is_named(self, api: Api, field: str, value: Any) -> None:
        with pytest.raises(RefusedError) as refused:
            api.create_model({"name": unique(), field: value})
        assert list(refused.value.faults) == [field]

    def test_a_model_without_a_name_is_refused(self, api: Api) -> None:
        with pytest.raises(RefusedError) as refused:
            api.create_model({})
        assert list(refused.value.faults) == ["name"]

    @pytest.mark.parametrize("sent", [None, 5, "text", [], [{"name": "a"}]], ids=repr)
    def test_what_is_no_object_is_refused(self, api: Api, sent: Any) -> None:
        with pytest.raises(RefusedError):
            api.create_model(sent)

    @pytest.mark.parametrize("value", NOT_FINITE, ids=repr)
    def test_what_is_no_number_in_json_is_refused(self, api: Api, value: float) -> None:
        name = unique()
        with pytest.raises(RefusedError):
            api.create_model({"name": name, "configuration": {"a": [value]}})
        assert api.list_models([("name", name)])["count"] == 0

    @pytest.mark.parametrize("field", ["name", "plugin", "version", "description"])
    def test_half_a_character_in_a_field_is_refused(self, api: Api, field: str) -> None:
        with pytest.raises(RefusedError):
            api.create_model({"name": unique(), field: f"{unique()}\ud800"})

    @pytest.mark.parametrize("upload", [*NO_IDS, 0, 1 << 70, "", "..", "\ud800"])
    def test_an_upload_that_does_not_exist_is_no_file(self, api: Api, upload: Any) -> None:
        self.check_upload(api, upload)

    def test_an_upload_that_has_not_ended_is_no_file(self, api: Api) -> None:
        self.check_upload(api, begun(api, b"abc", 9))
        self.check_upload(api, begun(api, b"abc"))

    def test_an_upload_with_the_wrong_md5_is_no_file(self, api: Api) -> None:
        upload = begun(api)
        with pytest.raises(RefusedError):
            api.finish_upload(upload, {"md5": md5(b"other")})
        self.check_upload(api, upload)

    def test_an_upload_is_the_file_of_one_model(self, api: Api) -> None:
        upload = uploaded(api)
        api.create_model({"name": unique(), "chunked_upload": upload})
        self.check_upload(api, upload)

    @pytest.mark.parametrize("model", [*NO_IDS, 0, -1, 1 << 63, 1 << 70])
    def test_a_model_that_does_not_exist_is_not_found(self, api: Api, model: int | str) -> None:
        with pytest.raises(NotFoundError):
            api.get_model(model)

    @pytest.mark.parametrize("spelling", ["{}.0", "{}e0", "+{}", "0{}"])
    def test_another_spelling_of_an_id_is_another_id(self, api: Api, spelling: str) -> None:
        model = api.create_model({"name": unique()})["id"]
        with pytest.raises(NotFoundError):
            api.get_model(spelling.format(model))

    def check_upload(self, api: Api, upload: Any) -> None:
        name = unique()
        with pytest.raises(RefusedError) as refused:
            api.create_model({"name": name, "chunked_upload": upload})
        assert list(refused.value.faults) == ["chunked_upload"]
        assert api.list_models([("name", name)])["count"] == 0


class TestLists:
    def test_only_the_whole_name_counts(self, api: Api) -> None:
        name = unique()
        made = api.create_model({"name": name})
        api.create_model({"name": f"{name}x"})
        answer = {"count": 1, "next": None, "previous": None, "results": [made]}
        assert api.list_models([("name", name)]) == answer
        assert api.list_models([("name", name[:-1])])["count"] == 0
        assert api.list_models([("name", f"%{name[1:]}")])["count"] == 0

    def test_models_are_listed_the_newest_first_page_by_page(self, api: Api) -> None:
        made = [api.create_model({"name": unique()}) for _ in range(3)][::-1]
        first = api.list_models([("page_size", "2")])
        assert path_of(first["next"]) == "/models/"
        second = api.list_models(query_of(first["next"]))
        assert first["count"] == second["count"] >= 3
        assert [*first["results"], *second["results"]][:3] == made
        assert api.list_models(query_of(second["previous"]))["results"] == first["results"]

    def test_a_page_beyond_the_end_is_not_found(self, api: Api) -> None:
        with pytest.raises(NotFoundError):
            api.list_models([("name", unique()), ("page", "2")])

    @pytest.mark.parametrize("size", ["0", "-1", "x", ""])
    def test_a_size_that_no_page_has_is_refused(self, api: Api, size: str) -> None:
        with pytest.raises(RefusedError) as refused:
            api.list_models([("page_size", size)])
        assert list(refused.value.faults) == ["page_size"]
