"""``POST /logs/``: what is kept, and what is refused."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from ray_synapse.backend.local import LocalBackend
from ray_synapse.errors import NotFoundError, RefusedError
from ray_synapse.views import describe_job, render_job
from tests.contracts.conftest import Api
from tests.contracts.things import (
    NO_IDS,
    NOT_FINITE,
    TIME,
    entry,
    nested,
    new_job,
    table,
    unique,
)

IMAGE = "data:image/png;base64,iVBORw0KGgo="
ROW = {"base": ["t1", "RUNNING"], "hyperparameters": [0.1], "metrics": [0.5]}


@pytest.fixture
def job(api: Api) -> int:
    return new_job(api)


class TestKept:
    def test_an_entry_is_kept_with_all_its_fields(
        self, api: Api, kept: LocalBackend, job: int
    ) -> None:
        sent = entry(job, event="visualization", data={"index": 3}, file=IMAGE, step="train")
        assert api.create_logs({**sent, "level": "success"}) == {"count": 1}
        (found,) = kept.logs(job)
        assert found == {
            "event": "visualization",
            "time": TIME,
            "data": {"index": 3},
            "step": "train",
            "level": "success",
            "file": IMAGE,
        }

    def test_a_list_is_kept_in_its_order(self, api: Api, kept: LocalBackend, job: int) -> None:
        sent = [entry(job, data={"value": index}) for index in range(300)]
        assert api.create_logs(sent) == {"count": 300}
        assert [found["data"]["value"] for found in kept.logs(job)] == list(range(300))

    def test_an_empty_list_is_no_fault(self, api: Api) -> None:
        assert api.create_logs([]) == {"count": 0}

    def test_a_list_of_one_is_as_the_entry(self, api: Api, kept: LocalBackend, job: int) -> None:
        api.create_logs([entry(job)])
        api.create_logs(entry(job))
        first, second = kept.logs(job)
        assert first == second

    @pytest.mark.parametrize(
        ("event", "data"),
        [
            ("metric", {"category": "c", "key": "k", "value": 1, "metrics": {}, "trial_id": "t"}),
            ("visualization", {"category": "c", "group": "g", "index": 0, "any": [1]}),
            ("message", {"content": "text ü 🙂"}),
            ("message", {"content": ""}),
            ("joblog_loss", {"anything": None}),
            ("another word", {}),
        ],
    )
    def test_every_event_is_kept_as_it_came(
        self, api: Api, kept: LocalBackend, job: int, event: str, data: Any
    ) -> None:
        api.create_logs(entry(job, event=event, data=data))
        assert [found["data"] for found in kept.logs(job, event)] == [data]

    @pytest.mark.parametrize("field", ["file", "step", "level"])
    def test_an_optional_field_may_be_null(
        self, api: Api, kept: LocalBackend, job: int, field: str
    ) -> None:
        api.create_logs(entry(job, **{field: None}))
        assert kept.logs(job)[0][field] is None

    @pytest.mark.parametrize(
        "uri",
        ["data:text/plain;base64,", "data:image/svg+xml;charset=utf-8;base64,YQ==", IMAGE],
    )
    def test_a_file_may_be_any_data_uri(
        self, api: Api, kept: LocalBackend, job: int, uri: str
    ) -> None:
        api.create_logs(entry(job, file=uri))
        assert kept.logs(job)[0]["file"] == uri

    @pytest.mark.parametrize("level", ["debug", "info", "success", "warning", "error", "danger"])
    def test_every_level_of_the_contract_is_known(
        self, api: Api, kept: LocalBackend, job: int, level: str
    ) -> None:
        api.create_logs(entry(job, level=level))
        assert kept.logs(job)[0]["level"] == level

    @pytest.mark.parametrize(
        ("sent", "stored"),
        [
            (TIME, TIME),
            ("2024-01-02T03:04:05Z", TIME),
            ("2024-01-02T03:04:05.123456Z", "2024-01-02T03:04:05.123456+00:00"),
            ("2024-01-02T08:34:05+05:30", TIME),
            ("2024-01-01T19:04:05-08:00", TIME),
            ("2024-01-02 03:04:05+00:00", TIME),
        ],
    )
    def test_a_time_with_any_offset_is_kept_in_utc(
        self, api: Api, kept: LocalBackend, job: int, sent: str, stored: str
    ) -> None:
        api.create_logs(entry(job, datetime=sent))
        assert kept.logs(job)[0]["time"] == stored

    def test_the_job_may_be_named_by_a_text(self, api: Api, kept: LocalBackend, job: int) -> None:
        api.create_logs([entry(str(job)), entry(job)])
        assert len(kept.logs(job)) == 2

    def test_one_request_may_log_to_several_jobs(
        self, api: Api, kept: LocalBackend, job: int
    ) -> None:
        other = new_job(api)
        api.create_logs([entry(job), entry(other), entry(job)])
        assert (len(kept.logs(job)), len(kept.logs(other))) == (2, 1)

    def test_what_was_logged_is_counted(self, api: Api, kept: LocalBackend, job: int) -> None:
        api.create_logs([entry(job), entry(job, event="trials", data=table())])
        api.create_logs(entry(job))
        (counts,) = kept.counts(job).values()
        assert (counts.logged, counts.delivered, counts.waiting, counts.dropped) == (3, 3, 0, 0)

    @pytest.mark.parametrize("text", ["ü🙂", "a\x00b", "line\nline", "x" * 100_000])
    def test_any_text_in_the_data_stays_as_it_is(
        self, api: Api, kept: LocalBackend, job: int, text: str
    ) -> None:
        api.create_logs(entry(job, data={text: text}))
        assert kept.logs(job)[0]["data"] == {text: text}

    def test_half_a_character_in_the_data_costs_only_itself(
        self, api: Api, kept: LocalBackend, job: int
    ) -> None:
        api.create_logs(entry(job, data={"text": "a\ud800b"}))
        (found,) = kept.logs(job)
        assert found["data"]["text"][0] + found["data"]["text"][-1] == "ab"

    @pytest.mark.parametrize("number", [0, -1, 1 << 53, 1 << 70, 0.1, 1e-300, 5e-324, 1.7e308])
    def test_a_number_stays_as_it_is(
        self, api: Api, kept: LocalBackend, job: int, number: float
    ) -> None:
        api.create_logs(entry(job, data={"value": number}))
        assert kept.logs(job)[0]["data"]["value"] == number


class TestTrials:
    def test_each_table_replaces_the_one_before(
        self, api: Api, kept: LocalBackend, job: int
    ) -> None:
        api.create_logs(entry(job, event="trials", data=table(t1=ROW, t2=ROW)))
        api.create_logs(entry(job, event="trials", data={**table(t3=ROW), "best_trial": "t3"}))
        assert kept.trials(job) == {**table(t3=ROW), "best_trial": "t3"}
        assert kept.logs(job) == []

    def test_the_last_table_of_a_list_counts(self, api: Api, kept: LocalBackend, job: int) -> None:
        tables = [entry(job, event="trials", data=table(**{f"t{i}": ROW})) for i in range(3)]
        api.create_logs([tables[0], entry(job), *tables[1:], entry(job)])
        assert kept.trials(job) == table(t2=ROW)
        assert len(kept.logs(job)) == 2

    def test_each_job_has_its_own_table(self, api: Api, kept: LocalBackend, job: int) -> None:
        other = new_job(api)
        api.create_logs(
            [
                entry(job, event="trials", data=table(t1=ROW)),
                entry(other, event="trials", data=table(t2=ROW)),
            ]
        )
        assert (kept.trials(job), kept.trials(other)) == (table(t1=ROW), table(t2=ROW))

    def test_a_trial_may_be_one_flat_object(self, api: Api, kept: LocalBackend, job: int) -> None:
        flat = {"trials": {"t1": {"status": "RUNNING", "lr": 0.1}}, "best_trial": ""}
        api.create_logs(entry(job, event="trials", data=flat))
        assert kept.trials(job) == flat


class TestRefused:
    @pytest.mark.parametrize(
        "time", ["2024-01-02T03:04:05", "2024-01-02", "", "yesterday", "2024-13-01T00:00:00Z"]
    )
    def test_a_time_without_an_offset_or_sense_is_refused(
        self, api: Api, kept: LocalBackend, job: int, time: str
    ) -> None:
        self.check(api, kept, job, entry(job, datetime=time), "datetime")

    @pytest.mark.parametrize("field", ["event", "data", "datetime", "job"])
    def test_an_entry_without_a_field_that_it_needs_is_refused(
        self, api: Api, kept: LocalBackend, job: int, field: str
    ) -> None:
        sent = entry(job)
        del sent[field]
        self.check(api, kept, job, sent, field)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            *[("event", value) for value in ("", " ", None, 5, ["metric"])],
            *[("data", value) for value in ([], "text", None, 5)],
            *[("datetime", value) for value in (None, 5, {})],
            *[("job", value) for value in (None, True, 1.5, [], {})],
            *[("step", value) for value in (5, ["train"], {})],
            *[("level", value) for value in ("loud", "INFO", "", 5, ["info"])],
            *[
                ("file", value)
                for value in (
                    *("", "picture.png", "http://x/y.png", "data:,x", "data:image/png,x", 5, {}),
                    *(f"{IMAGE}=", f"{IMAGE[:-1]}", f"{IMAGE}\n", "data:image/png;base64,a b="),
                )
            ],
        ],
    )
    def test_a_field_of_the_wrong_form_is_named(
        self, api: Api, kept: LocalBackend, job: int, field: str, value: Any
    ) -> None:
        self.check(api, kept, job, {**entry(job), field: value}, field)

    @pytest.mark.parametrize(
        ("event", "data"),
        [
            ("message", {}),
            ("message", {"content": None}),
            ("message", {"content": 5}),
            ("trials", {}),
            ("trials", {"trials": None}),
            ("trials", {"trials": ["t1"]}),
            ("trials", {**table(), "base": 5}),
            ("trials", {**table(), "best_trial": {"t1": 1}}),
            ("trials", {**table(), "metrics": "accuracy"}),
        ],
    )
    def test_data_that_could_not_be_shown_is_refused(
        self, api: Api, kept: LocalBackend, job: int, event: str, data: Any
    ) -> None:
        self.check(api, kept, job, entry(job, event=event, data=data), "data")
        assert kept.trials(job) is None

    @pytest.mark.parametrize("sent", [None, 5, "text", True, [None], ["text"], [[]]], ids=repr)
    def test_what_is_no_object_is_refused(self, api: Api, sent: Any) -> None:
        with pytest.raises(RefusedError):
            api.create_logs(sent)

    def test_all_faults_of_an_entry_are_named_at_once(self, api: Api, job: int) -> None:
        with pytest.raises(RefusedError) as refused:
            api.create_logs(entry(job, event=5, level="loud", datetime="x"))
        assert set(refused.value.faults) == {"event", "level", "datetime"}

    def test_one_bad_entry_of_a_list_keeps_all_out_and_is_told_by_its_place(
        self, api: Api, kept: LocalBackend, job: int
    ) -> None:
        sent = [entry(job), entry(job, event="trials", data=table()), entry(job, event="")]
        with pytest.raises(RefusedError, match="entry 2"):
            api.create_logs(sent)
        assert kept.logs(job) == []
        assert kept.trials(job) is None
        assert kept.counts(job) == {}

    def test_one_job_of_several_that_does_not_exist_keeps_all_out(
        self, api: Api, kept: LocalBackend, job: int
    ) -> None:
        with pytest.raises(NotFoundError):
            api.create_logs([entry(job), entry("no such job")])
        assert kept.logs(job) == []

    @pytest.mark.parametrize("job", [*NO_IDS, 0, -1, 1 << 63, 1 << 70, "", "1; DROP TABLE jobs"])
    def test_a_job_that_does_not_exist_is_not_found(self, api: Api, job: Any) -> None:
        with pytest.raises(NotFoundError):
            api.create_logs(entry(job))

    @pytest.mark.parametrize("value", NOT_FINITE, ids=repr)
    @pytest.mark.parametrize("inside", [False, True])
    def test_what_is_no_number_in_json_is_refused(
        self, api: Api, kept: LocalBackend, job: int, value: float, inside: bool
    ) -> None:
        data = {"metrics": {"loss": [value]}} if inside else {"value": value}
        with pytest.raises(RefusedError):
            api.create_logs([entry(job), entry(job, data=data)])
        assert kept.logs(job) == []

    @pytest.mark.parametrize("value", NOT_FINITE, ids=repr)
    def test_it_is_refused_also_where_nobody_reads_it(
        self, api: Api, kept: LocalBackend, job: int, value: float
    ) -> None:
        with pytest.raises(RefusedError):
            api.create_logs(entry(job, unknown=value))
        assert kept.logs(job) == []

    @pytest.mark.parametrize("field", ["event", "step", "file", "level", "datetime"])
    def test_half_a_character_in_a_field_is_refused(
        self, api: Api, kept: LocalBackend, job: int, field: str
    ) -> None:
        with pytest.raises(RefusedError):
            api.create_logs(entry(job, **{field: "a\ud800"}))
        assert kept.logs(job) == []

    def test_half_a_character_in_the_job_leads_to_none(self, api: Api) -> None:
        with pytest.raises((NotFoundError, RefusedError)):
            api.create_logs(entry("\ud800"))

    @pytest.mark.parametrize("spelling", ["{}.0", "{}e0", "+{}", "0{}", " {}"])
    def test_another_spelling_of_an_id_is_another_id(
        self, api: Api, kept: LocalBackend, job: int, spelling: str
    ) -> None:
        with pytest.raises(NotFoundError):
            api.create_logs(entry(spelling.format(job)))
        assert kept.logs(job) == []

    def test_data_that_nests_deep_is_taken_or_refused_but_breaks_nothing(
        self, api: Api, kept: LocalBackend, job: int
    ) -> None:
        api.create_logs(entry(job, data={"deep": nested(20)}))
        try:
            api.create_logs(entry(job, data={"deep": nested(700)}))
        except RefusedError:
            pass
        else:
            assert len(kept.logs(job)) == 2

    def check(self, api: Api, kept: LocalBackend, job: int, sent: Any, field: str) -> None:
        with pytest.raises(RefusedError) as refused:
            api.create_logs(sent)
        assert list(refused.value.faults) == [field]
        assert all(isinstance(text, str) for text in refused.value.faults[field])
        assert kept.logs(job) == []


class TestShown:
    """``ray-synapse show`` copes with what any client logs."""

    def show(self, kept: LocalBackend, job: int, capsys: pytest.CaptureFixture[str]) -> str:
        render_job(kept, job)
        return capsys.readouterr().out

    def test_a_job_that_was_filled_over_the_api_is_shown(
        self, api: Api, kept: LocalBackend, job: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        api.create_logs(
            [
                entry(job),
                entry(job, event="message", data={"content": "first"}, level="warning"),
                entry(job, event="message", data={"content": "second"}),
                entry(job, event="trials", data={**table(t1=ROW), "best_trial": "t1"}),
            ]
        )
        text = self.show(kept, job, capsys)
        for part in ("* t1", "warning: first", "second", "4 logged, 4 delivered"):
            assert part in text
        assert "None" not in text
        described = describe_job(kept, job)
        assert described["trials"]["best_trial"] == "t1"
        assert [each["data"]["content"] for each in described["messages"]] == ["first", "second"]
        assert described["records"]["delivered"] == 4

    @pytest.mark.parametrize(
        "record",
        [
            {},
            {"step": 5},
            {"current_progress": None},
            {"current_progress": 5},
            {"current_progress": {}},
            {"current_progress": {"overall": None}},
            {"current_progress": {"overall": "half"}},
            {"current_progress": {"overall": [1]}},
            {"current_progress": {"overall": True}},
            {"current_progress": {"overall": 10**400}},
        ],
        ids=lambda record: str(record)[:50],
    )
    def test_a_foreign_progress_record_does_not_hide_the_job(
        self,
        api: Api,
        kept: LocalBackend,
        job: int,
        capsys: pytest.CaptureFixture[str],
        record: Any,
    ) -> None:
        api.update_job(job, {"progress_record": record})
        assert f"job {job} " in self.show(kept, job, capsys)
        assert describe_job(kept, job)["progress_record"] == record

    @pytest.mark.parametrize(
        "data",
        [
            {"trials": {}},
            {"trials": {"t1": None, "t2": [], "t3": 5, "t4": {}}},
            {"trials": {"t1": {"lr": {"a": 1}}}, "best_trial": None},
            {"trials": {"t1": {"base": [[1], {}]}}, "base": [None, {"x": 1}]},
            {"trials": {"t1": {"base": 5, "metrics": "x"}}, "base": ["a"], "metrics": None},
            {"trials": {"t1": {"base": ["t1", "RUNNING", "more"]}}, "base": ["status"]},
            {"trials": {"": {"": ""}}},
        ],
        ids=lambda data: str(data)[:50],
    )
    def test_a_foreign_table_does_not_hide_the_job(
        self,
        api: Api,
        kept: LocalBackend,
        job: int,
        capsys: pytest.CaptureFixture[str],
        data: Any,
    ) -> None:
        api.create_logs(entry(job, event="trials", data=data))
        text = self.show(kept, job, capsys)
        assert "1 logged, 1 delivered" in text
        assert all(trial in text for trial in data["trials"])

    @pytest.fixture(params=["UTC", "Asia/Seoul", "America/New_York"])
    def zone(self, request: pytest.FixtureRequest) -> Iterator[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TZ", request.param)
            time.tzset()
            yield request.param
        time.tzset()

    @pytest.mark.parametrize("far", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
    def test_a_message_from_any_time_does_not_hide_the_job(
        self,
        api: Api,
        kept: LocalBackend,
        job: int,
        capsys: pytest.CaptureFixture[str],
        far: str,
        zone: str,
    ) -> None:
        content = unique()
        sent = entry(job, event="message", data={"content": content}, datetime=far)
        try:
            api.create_logs(sent)
        except RefusedError:
            content = ""
        assert content in self.show(kept, job, capsys)
