"""``/jobs/``, ``/trains/`` and ``/plugin_releases/``."""

import os
import socket
import uuid
from typing import Any

import pytest

from ray_synapse import __version__
from ray_synapse.backend.local import LocalBackend
from ray_synapse.errors import NotFoundError, RefusedError
from tests.contracts.conftest import Api
from tests.contracts.http_api import path_of
from tests.contracts.things import (
    NO_IDS,
    NOT_FINITE,
    new_job,
    patch_deep,
    query_of,
    unique,
)

PROGRESS = {
    "record": {"steps": {"trials": {"proportion": 75, "percent": 25.0, "time_remaining": 12.3}}},
    "current_progress": {"overall": 38.75, "step": "trials", "percent": 25.0},
}
FIELDS = {
    "status": "RUNNING",
    "progress_record": PROGRESS,
    "metrics_record": {"record": {"steps": {"trials": {"accuracy": 0.9}}}},
    "console_logs": ["a", {"b": 1}],
    "result": {"best": [1, None, "ü"]},
    "meta": {"a": 1},
}
NO_NUMBERS = ["0", "-1", "x", "1.5", "", " ", "1e3", "\u0661", "9" * 30]


@pytest.fixture
def job(api: Api) -> int:
    return new_job(api)


def ids(answer: dict[str, Any]) -> list[int]:
    return [each["id"] for each in answer["results"]]


class TestOneJob:
    def test_a_new_job_is_pending_and_has_its_name(self, api: Api, kept: LocalBackend) -> None:
        name = unique()
        made = api.create_job({"name": name})
        assert (made["name"], made["status"]) == (name, "PENDING")
        assert api.get_job(made["id"]) == made
        assert kept.job(made["id"])["name"] == name

    def test_a_new_job_may_have_all_that_a_job_has(self, api: Api) -> None:
        made = api.create_job({"name": unique(), **FIELDS})
        assert {name: made[name] for name in FIELDS} == FIELDS

    def test_jobs_may_have_one_name(self, api: Api) -> None:
        fields = {"name": unique()}
        assert api.create_job(fields)["id"] != api.create_job(fields)["id"]

    @pytest.mark.parametrize("field", FIELDS)
    def test_a_field_is_overwritten_whole_and_alone(
        self, api: Api, kept: LocalBackend, job: int, field: str
    ) -> None:
        before = api.update_job(job, {"meta": {"old": 1}, "result": {"old": 1}})
        after = api.update_job(job, {field: FIELDS[field]})
        assert api.get_job(job) == after
        assert after[field] == kept.job(job)[field] == FIELDS[field]
        others = before.keys() - {field, "updated"}
        assert {name: after[name] for name in others} == {name: before[name] for name in others}

    def test_all_fields_may_come_at_once(self, api: Api, job: int) -> None:
        after = api.update_job(job, FIELDS)
        assert {name: after[name] for name in FIELDS} == FIELDS

    @pytest.mark.parametrize("status", ["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"])
    def test_a_job_may_have_any_status_of_the_contract(
        self, api: Api, job: int, status: str
    ) -> None:
        assert api.update_job(job, {"status": status})["status"] == status

    @pytest.mark.parametrize("field", FIELDS.keys() - {"status"})
    def test_a_field_may_be_emptied(self, api: Api, job: int, field: str) -> None:
        api.update_job(job, FIELDS)
        assert api.update_job(job, {field: None})[field] is None
        assert api.get_job(job)[field] is None

    def test_a_change_of_nothing_is_none(self, api: Api, job: int) -> None:
        before = api.update_job(job, FIELDS)
        after = api.update_job(job, {})
        assert {**after, "updated": ""} == {**before, "updated": ""}

    @pytest.mark.parametrize("value", [0, False, "", "text", [], {}, 1.5, "a\x00b"], ids=repr)
    def test_what_is_free_may_be_any_json(self, api: Api, job: int, value: Any) -> None:
        found = api.update_job(job, {"meta": value, "result": value, "console_logs": value})
        assert found["meta"] == found["result"] == found["console_logs"] == value
        assert type(found["meta"]) is type(value)

    def test_a_job_is_found_by_its_id_as_text(self, api: Api, job: int) -> None:
        assert api.get_job(str(job))["id"] == job
        assert api.update_job(str(job), {"meta": 7})["id"] == job
        assert api.get_job(job)["meta"] == 7

    def test_a_job_leads_to_its_plugin_release(self, api: Api, job: int) -> None:
        release = api.get_job(job)["plugin_release"]
        assert api.get_plugin_release(release)["id"] == release

    def test_what_a_sweep_stored_is_a_job_here_too(self, api: Api, kept: LocalBackend) -> None:
        fields: dict[str, Any] = {"status": "RUNNING", "metric": "loss", "host": "h", "pid": 7}
        job = kept.create_job(unique(), fields)
        found = api.get_job(job)
        assert (found["id"], found["status"]) == (job, "RUNNING")
        assert {"host", "pid", "beat", "experiment"}.isdisjoint(found)

    def test_a_sweep_whose_process_is_gone_is_stopped_here_too(
        self, api: Api, kept: LocalBackend, gone: int
    ) -> None:
        name = unique()
        fields: dict[str, Any] = {"status": "RUNNING", "host": socket.gethostname()}
        lives = kept.create_job(name, {**fields, "pid": os.getpid()})
        stopped = kept.create_job(name, {**fields, "pid": gone})
        assert (api.get_job(lives)["status"], api.get_job(stopped)["status"]) == (
            *("RUNNING", "STOPPED"),
        )
        by_name = ("params", f"name:{name}")
        listed = {each["id"]: each["status"] for each in api.list_jobs([by_name])["results"]}
        assert listed == {lives: "RUNNING", stopped: "STOPPED"}
        for is_active, found in (("true", lives), ("false", stopped)):
            page = api.list_jobs([by_name, ("is_active", is_active)])
            assert (page["count"], ids(page)) == (1, [found])

    def test_a_client_that_goes_on_with_it_is_not_watched(
        self, api: Api, kept: LocalBackend, gone: int
    ) -> None:
        fields: dict[str, Any] = {"status": "RUNNING", "host": socket.gethostname(), "pid": gone}
        job = int(kept.create_job(unique(), fields))
        assert api.update_job(job, {"meta": {}})["status"] == "STOPPED"
        assert api.update_job(job, {"status": "RUNNING"})["status"] == "RUNNING"
        assert api.get_job(job)["status"] == "RUNNING"


class TestRefusedJobs:
    @pytest.mark.parametrize("job", [*NO_IDS, 0, -1, 1 << 63, 1 << 70])
    def test_a_job_that_does_not_exist_is_not_found(self, api: Api, job: int | str) -> None:
        with pytest.raises(NotFoundError):
            api.get_job(job)
        with pytest.raises(NotFoundError):
            api.update_job(job, {"status": "RUNNING"})
        with pytest.raises(NotFoundError):
            api.override_best_trial(job, {"trial_id": "t1"})

    @pytest.mark.parametrize("spelling", ["{}.0", "{}e0", "+{}", "0{}"])
    def test_another_spelling_of_an_id_is_another_id(
        self, api: Api, job: int, spelling: str
    ) -> None:
        other = spelling.format(job)
        with pytest.raises(NotFoundError):
            api.get_job(other)
        with pytest.raises(NotFoundError):
            api.update_job(other, {"status": "FAILED"})
        assert api.get_job(job)["status"] == "PENDING"

    @pytest.mark.parametrize(
        "field",
        ["nonsense", "id", "created", "name", "best_trial", "plugin_release", "host", "pid", ""],
    )
    def test_a_field_that_a_patch_has_not_is_refused_and_nothing_changes(
        self, api: Api, job: int, field: str
    ) -> None:
        with pytest.raises(RefusedError) as refused:
            api.update_job(job, {"status": "RUNNING", field: 1})
        assert list(refused.value.faults) == [field]
        assert api.get_job(job)["status"] == "PENDING"

    def test_a_field_with_half_a_character_is_refused_too(self, api: Api, job: int) -> None:
        with pytest.raises(RefusedError):
            api.update_job(job, {"status": "RUNNING", "a\ud800": 1})
        assert api.get_job(job)["status"] == "PENDING"

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            *[("status", value) for value in ("running", "DONE", "", None, 5, ["RUNNING"], {})],
            *[("progress_record", value) for value in ("50 %", 5, [], True)],
            *[("metrics_record", value) for value in ("0.9", 5, [], True)],
        ],
    )
    def test_a_field_of_the_wrong_form_is_named(
        self, api: Api, job: int, field: str, value: Any
    ) -> None:
        for call in (
            lambda: api.update_job(job, {"meta": 1, field: value}),
            lambda: api.create_job({"name": unique(), field: value}),
        ):
            with pytest.raises(RefusedError) as refused:
                call()
            assert list(refused.value.faults) == [field]
        assert api.get_job(job)["meta"] is None

    @pytest.mark.parametrize("value", NOT_FINITE, ids=repr)
    @pytest.mark.parametrize("field", FIELDS.keys() - {"status"})
    def test_what_is_no_number_in_json_is_refused(
        self, api: Api, job: int, field: str, value: float
    ) -> None:
        with pytest.raises(RefusedError):
            api.update_job(job, {"status": "RUNNING", field: {"a": [value]}})
        assert api.get_job(job)["status"] == "PENDING"

    @pytest.mark.parametrize("sent", [None, 5, "text", [], [{}]], ids=repr)
    def test_what_is_no_object_is_refused(self, api: Api, job: int, sent: Any) -> None:
        for call in (
            lambda: api.update_job(job, sent),
            lambda: api.create_job(sent),
            lambda: api.override_best_trial(job, sent),
        ):
            with pytest.raises(RefusedError):
                call()

    @pytest.mark.parametrize("name", ["", " ", None, 5, ["a"], "a\nb", "a\ud800", "x" * 1000])
    def test_a_name_that_says_nothing_or_cannot_be_written_is_refused(
        self, api: Api, name: Any
    ) -> None:
        with pytest.raises(RefusedError) as refused:
            api.create_job({"name": name})
        assert list(refused.value.faults) == ["name"]

    def test_a_job_without_a_name_is_refused(self, api: Api) -> None:
        with pytest.raises(RefusedError) as refused:
            api.create_job({"status": "RUNNING"})
        assert list(refused.value.faults) == ["name"]

    @pytest.mark.parametrize("field", ["id", "created", "plugin_release", "metric", "nonsense"])
    def test_a_field_that_a_new_job_has_not_is_refused(self, api: Api, field: str) -> None:
        name = unique()
        with pytest.raises(RefusedError) as refused:
            api.create_job({"name": name, field: 1})
        assert list(refused.value.faults) == [field]
        assert api.list_jobs([("params", f"name:{name}")])["count"] == 0

    def test_json_of_any_depth_is_taken_or_refused_and_what_was_taken_can_be_read(
        self, api: Api, job: int
    ) -> None:
        assert patch_deep(api, job, 20)
        for depth in (*range(880, 1000, 1), 5_000, 100_000):
            if patch_deep(api, job, depth):
                assert api.get_job(job)["meta"]
        assert ids(api.list_jobs([("page_size", "1")])) == [job]


class TestLists:
    @pytest.fixture
    def name(self) -> str:
        return unique()

    @pytest.fixture
    def five(self, api: Api, name: str) -> list[int]:
        """Five jobs of one name, the newest first."""
        return [api.create_job({"name": name})["id"] for _ in range(5)][::-1]

    def test_a_page_says_how_many_there_are_and_has_the_jobs(
        self, api: Api, name: str, five: list[int]
    ) -> None:
        found = api.list_jobs([("params", f"name:{name}")])
        assert {**found, "results": None} == {
            "count": 5,
            "next": None,
            "previous": None,
            "results": None,
        }
        for short, job in zip(found["results"], five, strict=True):
            whole = api.get_job(job)
            assert short == {field: whole[field] for field in short}
            large = {"result", "meta", "console_logs", "metrics_record", "search_space"}
            assert whole.keys() - short.keys() == large

    def test_the_links_lead_through_all_pages_and_back(
        self, api: Api, name: str, five: list[int]
    ) -> None:
        pages = [api.list_jobs([("params", f"name:{name}"), ("page_size", "2")])]
        while (link := pages[-1]["next"]) and len(pages) < 10:
            assert path_of(link) == "/jobs/"
            pages.append(api.list_jobs(query_of(link)))
        assert [ids(page) for page in pages] == [five[:2], five[2:4], five[4:]]
        assert all(page["count"] == 5 for page in pages)
        assert pages[0]["previous"] is None
        assert [ids(api.list_jobs(query_of(page["previous"]))) for page in pages[1:]] == [
            five[:2],
            five[2:4],
        ]

    @pytest.mark.parametrize("page", ["4", "100", "999999999"])
    def test_a_page_beyond_the_end_is_not_found(
        self, api: Api, name: str, five: list[int], page: str
    ) -> None:
        query = [("params", f"name:{name}"), ("page_size", "2"), ("page", page)]
        with pytest.raises(NotFoundError):
            api.list_jobs(query)

    def test_an_empty_list_has_a_first_page_and_no_second(self, api: Api) -> None:
        none = ("params", f"name:{unique()}")
        answer = {"count": 0, "next": None, "previous": None, "results": []}
        assert api.list_jobs([none]) == api.list_jobs([none, ("page", "1")]) == answer
        with pytest.raises(NotFoundError):
            api.list_jobs([none, ("page", "2")])

    @pytest.mark.parametrize("text", NO_NUMBERS)
    @pytest.mark.parametrize("parameter", ["page", "page_size"])
    def test_a_page_that_is_no_number_is_refused(self, api: Api, parameter: str, text: str) -> None:
        with pytest.raises((RefusedError, NotFoundError)):
            api.list_jobs([(parameter, text)])

    def test_a_page_may_be_asked_for_with_more_than_there_is(
        self, api: Api, name: str, five: list[int]
    ) -> None:
        found = api.list_jobs([("params", f"name:{name}"), ("page_size", "100000")])
        assert ids(found) == five

    @pytest.mark.parametrize("odd", ["a:b,c", "ü 🙂", "a/b", "50%", "a&b=c#d?e+f", "%41", "'\""])
    def test_a_name_of_any_letters_is_found_by_its_encoded_form(self, api: Api, odd: str) -> None:
        name = f"{unique()} {odd}"
        job = api.create_job({"name": name})["id"]
        api.create_job({"name": name})
        written = name.replace(":", "%3A").replace(",", "%2C")
        query = [("params", f"name:{written}"), ("page_size", "1")]
        found = api.list_jobs(query)
        assert found["count"] == 2
        assert ids(api.list_jobs(query_of(found["next"]))) == [job]

    def test_only_a_whole_name_counts(self, api: Api, name: str, five: list[int]) -> None:
        for other in (name[:-1], f"{name}x", f"%{name[2:]}", "*"):
            assert api.list_jobs([("params", f"name:{other}")])["count"] == 0

    def test_the_question_of_the_published_client_finds_the_other_active_jobs(
        self, api: Api, name: str, five: list[int]
    ) -> None:
        api.update_job(five[0], {"status": "RUNNING"})
        for job, status in zip(five[1:4], ("SUCCEEDED", "FAILED", "STOPPED"), strict=True):
            api.update_job(job, {"status": status})
        query = [
            ("params", f"name:{name}"),
            ("is_active", "true"),
            ("category", "neural_net"),
            ("job__action", "train"),
        ]
        assert ids(api.list_jobs(query)) == [five[0], five[4]]
        assert ids(api.list_jobs([*query, ("ids_ex", str(five[0]))])) == [five[4]]

    def test_jobs_that_have_ended_are_found_too(self, api: Api, name: str, five: list[int]) -> None:
        api.update_job(five[2], {"status": "FAILED"})
        query = [("params", f"name:{name}"), ("is_active", "false")]
        assert ids(api.list_jobs(query)) == [five[2]]

    @pytest.mark.parametrize("other", [("category", "base"), ("job__action", "deploy")])
    def test_of_another_kind_there_are_no_jobs(
        self, api: Api, name: str, five: list[int], other: tuple[str, str]
    ) -> None:
        assert api.list_jobs([("params", f"name:{name}"), other])["count"] == 0

    def test_several_ids_may_be_left_out_as_a_list_or_repeated(
        self, api: Api, name: str, five: list[int]
    ) -> None:
        query = ("params", f"name:{name}")
        listed = ",".join(map(str, five[:3]))
        repeated = [("ids_ex", str(job)) for job in five[:3]]
        assert ids(api.list_jobs([query, ("ids_ex", listed)])) == five[3:]
        assert ids(api.list_jobs([query, *repeated])) == five[3:]

    @pytest.mark.parametrize("no_id", [str(uuid.uuid4()), "abc", str(1 << 70), "", "\u0661"])
    def test_an_id_that_no_job_has_leaves_none_out(
        self, api: Api, name: str, five: list[int], no_id: str
    ) -> None:
        assert api.list_jobs([("params", f"name:{name}"), ("ids_ex", no_id)])["count"] == 5

    def test_a_filter_by_anything_but_the_name_is_refused(self, api: Api) -> None:
        with pytest.raises(RefusedError) as refused:
            api.list_jobs([("params", "status:RUNNING")])
        assert list(refused.value.faults) == ["params"]


class TestBestTrial:
    def test_the_trial_that_won_belongs_to_its_job(
        self, api: Api, kept: LocalBackend, job: int
    ) -> None:
        best = {"trial_id": "t1", "lr": 0.1, "layers": [1, 2], "note": None}
        assert isinstance(api.override_best_trial(job, best), dict)
        assert api.get_job(job)["best_trial"] == kept.job(job)["best_trial"] == best

    def test_another_one_replaces_it_whole(self, api: Api, job: int) -> None:
        api.override_best_trial(job, {"trial_id": "t1", "lr": 0.1})
        api.override_best_trial(job, {"trial_id": "t2", "width": 3})
        assert api.get_job(job)["best_trial"] == {"trial_id": "t2", "width": 3}

    @pytest.mark.parametrize("trial", [None, "", " ", 5, ["t1"], {}], ids=repr)
    def test_a_trial_without_an_id_is_refused(self, api: Api, job: int, trial: Any) -> None:
        for best in ({"trial_id": trial, "lr": 1}, {"lr": 1}):
            with pytest.raises(RefusedError) as refused:
                api.override_best_trial(job, best)
            assert list(refused.value.faults) == ["trial_id"]
        assert api.get_job(job)["best_trial"] is None

    @pytest.mark.parametrize("value", NOT_FINITE, ids=repr)
    def test_what_is_no_number_in_json_is_refused(self, api: Api, job: int, value: float) -> None:
        with pytest.raises(RefusedError):
            api.override_best_trial(job, {"trial_id": "t1", "lr": value})
        assert api.get_job(job)["best_trial"] is None

    @pytest.mark.parametrize("best", [{"trial_id": "a\ud800"}, {"trial_id": "t", "\ud800": "a"}])
    def test_half_a_character_is_answered_as_it_is_kept_or_refused(
        self, api: Api, job: int, best: Any
    ) -> None:
        try:
            answer = api.override_best_trial(job, best)
        except RefusedError:
            assert api.get_job(job)["best_trial"] is None
        else:
            assert api.get_job(job)["best_trial"] == answer


class TestPluginReleases:
    def test_a_release_gives_the_plugin_and_version_for_a_new_model(
        self, api: Api, job: int
    ) -> None:
        release = api.get_job(job)["plugin_release"]
        found = api.get_plugin_release(release, [("expand", "plugin")])
        assert (found["id"], found["version"]) == (release, __version__)
        assert found["plugin"]["code"] == "ray_synapse"

    def test_without_expand_the_plugin_is_an_id(self, api: Api, job: int) -> None:
        release = api.get_job(job)["plugin_release"]
        plain = api.get_plugin_release(release)
        whole = api.get_plugin_release(str(release), [("expand", "job,plugin")])
        assert plain["plugin"] == whole["plugin"]["id"]

    @pytest.mark.parametrize("release", ["2", "1.0", *NO_IDS])
    def test_a_release_that_does_not_exist_is_not_found(self, api: Api, release: str) -> None:
        with pytest.raises(NotFoundError):
            api.get_plugin_release(release)
