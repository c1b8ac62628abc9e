"""``Idempotency-Key``: a write that is repeated with its key is done once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.backend.api.protocol import Json
from ray_synapse.backend.local import LocalBackend
from ray_synapse.errors import BackendError, NotFoundError, RefusedError
from tests.contracts.conftest import Api
from tests.contracts.things import begun, entry, md5, new_job, span, unique, uploaded

Write = Callable[..., Json]  # takes the key
REPEATS = 12

# Each makes what a write needs, and gives the write.
WRITES: dict[str, Callable[[Any], Write]] = {
    "one log": lambda api: partial(api.create_logs, entry(new_job(api))),
    "many logs": lambda api: partial(api.create_logs, [entry(new_job(api))] * 3),
    "no logs": lambda api: partial(api.create_logs, []),
    "a job": lambda api: partial(api.create_job, {"name": unique()}),
    "a patch": lambda api: partial(api.update_job, new_job(api), {"status": "RUNNING"}),
    "a model": lambda api: partial(api.create_model, {"name": unique()}),
    "a model with a file": lambda api: partial(
        api.create_model, {"name": unique(), "chunked_upload": uploaded(api)}
    ),
    "the first chunk": lambda api: partial(api.put_chunk, None, unique(), span(0, 2, 9), b"abc"),
    "a next chunk": lambda api: partial(
        api.put_chunk, begun(api, b"abc", 9), "a.zip", span(3, 5, 9), b"def"
    ),
    "the last chunk": lambda api: partial(
        api.put_chunk, begun(api, b"abc", 6), "a.zip", span(3, 5, 6), b"def"
    ),
    "the end of an upload": lambda api: partial(
        api.finish_upload, begun(api), {"md5": md5(b"abc")}
    ),
    "a best trial": lambda api: partial(
        api.override_best_trial, new_job(api), {"trial_id": "t1", "lr": 0.1}
    ),
}


@pytest.fixture(params=WRITES)
def write(api: Api, request: pytest.FixtureRequest) -> Write:
    return WRITES[request.param](api)


@pytest.fixture
def key() -> str:
    return unique("key")


def uploads(home: Path) -> int:
    return len(list((home / "uploads").iterdir()))


class TestAnyWrite:
    def test_a_repeat_gets_the_first_answer(self, write: Write, key: str) -> None:
        first = write(key=key)
        assert [write(key=key) for _ in range(3)] == [first] * 3

    def test_a_repeat_gets_it_after_a_restart_too(
        self, backends: tuple[Api, Path], write: Write, key: str
    ) -> None:
        first = write(key=key)
        other = EmbeddedApi(backends[1])  # what a server that was started again has
        assert isinstance(write, partial)
        repeat = getattr(other, write.func.__name__)(*write.args, key=key)
        other.close()
        links = ("url", "file")  # whole over HTTP
        assert {name: first[name] for name in first if name not in links} == {
            name: repeat[name] for name in repeat if name not in links
        }

    def test_a_key_that_was_used_for_another_write_is_refused_and_nothing_is_written(
        self, api: Api, write: Write, key: str
    ) -> None:
        api.create_job({"name": unique()}, key=key)
        with pytest.raises(RefusedError) as refused:
            write(key=key)
        assert list(refused.value.faults) == ["Idempotency-Key"]
        write(key=unique("key"))  # would not be possible a second time for most

    @pytest.mark.parametrize("length", [0, 256, 5_000])
    def test_a_key_that_is_empty_or_too_long_is_refused(self, write: Write, length: int) -> None:
        with pytest.raises(RefusedError) as refused:
            write(key="k" * length)
        assert list(refused.value.faults) == ["Idempotency-Key"]
        write()

    def test_a_key_may_be_long(self, write: Write, key: str) -> None:
        long = key.ljust(255, "!")
        assert write(key=long) == write(key=long)


class TestWrittenOnce:
    def test_logs_are_kept_once(self, api: Api, kept: LocalBackend, key: str) -> None:
        job = new_job(api)
        for _ in range(3):
            api.create_logs([entry(job), entry(job)], key=key)
        assert len(kept.logs(job)) == 2
        (counts,) = kept.counts(job).values()
        assert counts.delivered == 2

    def test_without_a_key_or_with_another_one_logs_are_kept_each_time(
        self, api: Api, kept: LocalBackend
    ) -> None:
        job = new_job(api)
        for key in (None, None, unique("key"), unique("key")):
            api.create_logs(entry(job), key=key)
        assert len(kept.logs(job)) == 4

    def test_a_job_is_made_once(self, api: Api, key: str) -> None:
        name = unique()
        for _ in range(3):
            api.create_job({"name": name}, key=key)
        assert api.list_jobs([("params", f"name:{name}")])["count"] == 1

    def test_a_model_is_made_once_and_its_name_is_free_for_the_repeat(
        self, api: Api, key: str
    ) -> None:
        fields = {"name": unique(), "chunked_upload": uploaded(api)}
        made = api.create_model(fields, key=key)
        assert api.create_model(fields, key=key) == made
        with pytest.raises(RefusedError):
            api.create_model(fields, key=unique("key"))
        assert api.list_models([("name", made["name"])])["count"] == 1

    def test_a_repeated_patch_does_not_undo_a_later_one(self, api: Api, key: str) -> None:
        job = new_job(api)
        first = api.update_job(job, {"status": "RUNNING"}, key=key)
        api.update_job(job, {"status": "SUCCEEDED"})
        assert api.update_job(job, {"status": "RUNNING"}, key=key) == first
        assert api.get_job(job)["status"] == "SUCCEEDED"

    def test_a_repeated_best_trial_does_not_undo_a_later_one(self, api: Api, key: str) -> None:
        job = new_job(api)
        api.override_best_trial(job, {"trial_id": "t1"}, key=key)
        api.override_best_trial(job, {"trial_id": "t2"})
        api.override_best_trial(job, {"trial_id": "t1"}, key=key)
        assert api.get_job(job)["best_trial"] == {"trial_id": "t2"}

    def test_a_repeated_first_chunk_begins_no_second_upload(
        self, backends: tuple[Api, Path], key: str
    ) -> None:
        api, home = backends
        begun(api)
        before = uploads(home)
        first = api.put_chunk(None, "a.zip", span(0, 2, 6), b"abc", key=key)
        assert api.put_chunk(None, "a.zip", span(0, 2, 6), b"abc", key=key) == first
        assert uploads(home) == before + 1

    def test_a_chunk_that_is_repeated_late_moves_and_spoils_nothing(
        self, api: Api, key: str
    ) -> None:
        upload = begun(api, b"abc", 9)
        second = api.put_chunk(upload, "a.zip", span(3, 5, 9), b"def", key=key)
        api.put_chunk(upload, "a.zip", span(6, 8, 9), b"ghi")
        assert api.put_chunk(upload, "a.zip", span(3, 5, 9), b"def", key=key) == second
        assert api.get_upload(upload)["offset"] == 9
        done = api.finish_upload(upload, {"md5": md5(b"abcdefghi")})
        assert api.put_chunk(upload, "a.zip", span(3, 5, 9), b"def", key=key) == second
        assert api.download(done["file"]) == b"abcdefghi"


class TestAnotherRequest:
    """A key belongs to one request: its method, its path and its body."""

    def check(self, first: Write, second: Write, key: str) -> None:
        answer = first(key=key)
        with pytest.raises(RefusedError) as refused:
            second(key=key)
        assert list(refused.value.faults) == ["Idempotency-Key"]
        assert first(key=key) == answer

    def test_other_logs_are_refused(self, api: Api, kept: LocalBackend, key: str) -> None:
        job = new_job(api)
        other = entry(job, data={"value": 2})
        self.check(partial(api.create_logs, entry(job)), partial(api.create_logs, other), key)
        self.check(
            partial(api.create_logs, [entry(job)]), partial(api.create_logs, entry(job)), key * 2
        )
        assert len(kept.logs(job)) == 2

    def test_another_job_or_patch_is_refused(self, api: Api, key: str) -> None:
        one, two = new_job(api), new_job(api)
        fields = {"status": "RUNNING"}
        first = partial(api.update_job, one, fields)
        self.check(first, partial(api.update_job, two, fields), key)
        self.check(first, partial(api.update_job, one, {"status": "FAILED"}), key)
        assert api.get_job(two)["status"] == "PENDING"
        assert api.get_job(one)["status"] == "RUNNING"

    def test_a_new_job_of_another_name_is_refused(self, api: Api, key: str) -> None:
        name = unique()
        first = partial(api.create_job, {"name": unique()})
        self.check(first, partial(api.create_job, {"name": name}), key)
        assert api.list_jobs([("params", f"name:{name}")])["count"] == 0

    def test_another_model_is_refused(self, api: Api, key: str) -> None:
        name = unique()
        first = partial(api.create_model, {"name": unique()})
        self.check(first, partial(api.create_model, {"name": name}), key)
        assert api.list_models([("name", name)])["count"] == 0

    def test_another_best_trial_is_refused(self, api: Api, key: str) -> None:
        job, other = new_job(api), new_job(api)
        first = partial(api.override_best_trial, job, {"trial_id": "t1"})
        self.check(first, partial(api.override_best_trial, job, {"trial_id": "t2"}), key)
        self.check(first, partial(api.override_best_trial, other, {"trial_id": "t1"}), key)
        assert api.get_job(other)["best_trial"] is None

    def test_the_end_of_another_upload_is_refused(self, api: Api, key: str) -> None:
        one, two, end = begun(api), begun(api), {"md5": md5(b"abc")}
        self.check(partial(api.finish_upload, one, end), partial(api.finish_upload, two, end), key)
        assert api.get_upload(two)["completed_at"] is None

    @pytest.mark.parametrize(
        ("name", "text", "chunk"),
        [
            pytest.param("b.zip", span(0, 2, 9), b"abc", id="another name"),
            pytest.param("a.zip", span(0, 2, 8), b"abc", id="another total"),
            pytest.param("a.zip", span(0, 3, 9), b"abcd", id="another range"),
            pytest.param("a.zip", span(0, 2, 9), b"ABC", id="other bytes"),
        ],
    )
    def test_another_first_chunk_is_refused_and_leaves_nothing(
        self, backends: tuple[Api, Path], key: str, name: str, text: str, chunk: bytes
    ) -> None:
        api, home = backends
        first = partial(api.put_chunk, None, "a.zip", span(0, 2, 9), b"abc")
        first(key=key)
        before = uploads(home)
        self.check(first, partial(api.put_chunk, None, name, text, chunk), key)
        assert uploads(home) == before

    def test_the_next_chunk_is_another_request(self, api: Api, key: str) -> None:
        upload = begun(api, b"abc", 9)
        first = partial(api.put_chunk, upload, "a.zip", span(3, 5, 9), b"def")
        self.check(first, partial(api.put_chunk, upload, "a.zip", span(6, 8, 9), b"ghi"), key)
        assert api.get_upload(upload)["offset"] == 6


class TestRefusedIsForgotten:
    """What was refused wrote nothing: once it is right, the same request with its key is done."""

    @pytest.mark.parametrize(
        "write",
        [
            lambda api, job: partial(api.create_logs, entry(job)),
            lambda api, job: partial(api.update_job, job, {"status": "RUNNING"}),
            lambda api, job: partial(api.override_best_trial, job, {"trial_id": "t1"}),
        ],
        ids=["logs", "a patch", "a best trial"],
    )
    def test_a_write_to_a_job_is_done_once_there_is_the_job(
        self, api: Api, key: str, write: Callable[[Api, int], Write]
    ) -> None:
        again = write(api, new_job(api) + 1)
        with pytest.raises(NotFoundError):
            again(key=key)
        new_job(api)
        assert again(key=key) == again(key=key)

    def test_a_model_is_made_once_its_upload_has_ended(self, api: Api, key: str) -> None:
        upload = begun(api)
        fields = {"name": unique(), "chunked_upload": upload}
        with pytest.raises(RefusedError):
            api.create_model(fields, key=key)
        api.finish_upload(upload, {"md5": md5(b"abc")})
        assert api.create_model(fields, key=key)["file"]

    def test_a_chunk_is_taken_once_the_one_before_is_there(self, api: Api, key: str) -> None:
        upload = begun(api, b"abc", 9)
        last = partial(api.put_chunk, upload, "a.zip", span(6, 8, 9), b"ghi")
        with pytest.raises(RefusedError):
            last(key=key)
        api.put_chunk(upload, "a.zip", span(3, 5, 9), b"def")
        assert last(key=key)["offset"] == 9

    def test_an_upload_ends_once_it_is_whole(self, api: Api, key: str) -> None:
        upload, end = begun(api, b"abc", 6), {"md5": md5(b"abcdef")}
        with pytest.raises(RefusedError):
            api.finish_upload(upload, end, key=key)
        api.put_chunk(upload, "a.zip", span(3, 5, 6), b"def")
        assert api.finish_upload(upload, end, key=key)["completed_at"]

    def test_a_key_of_a_refused_write_is_free_for_another(self, api: Api, key: str) -> None:
        with pytest.raises(RefusedError):
            api.create_model({"name": ""}, key=key)
        assert api.create_job({"name": unique()}, key=key)["id"]


class TestAtTheSameTime:
    def at_once(self, write: Write, key: str) -> list[Json | BackendError]:
        def attempt(_: int) -> Json | BackendError:
            try:
                return write(key=key)
            except BackendError as error:
                return error

        with ThreadPoolExecutor(REPEATS) as threads:
            return list(threads.map(attempt, range(REPEATS)))

    @pytest.mark.parametrize("name", sorted(WRITES.keys() - {"a next chunk", "the last chunk"}))
    def test_all_repeats_get_one_answer(self, api: Api, key: str, name: str) -> None:
        write = WRITES[name](api)
        answers = self.at_once(write, key)
        assert answers == [write(key=key)] * REPEATS

    def test_logs_are_kept_once(self, api: Api, kept: LocalBackend, key: str) -> None:
        job = new_job(api)
        self.at_once(partial(api.create_logs, [entry(job)] * 2), key)
        assert len(kept.logs(job)) == 2

    def test_a_job_is_made_once(self, api: Api, key: str) -> None:
        name = unique()
        self.at_once(partial(api.create_job, {"name": name}), key)
        assert api.list_jobs([("params", f"name:{name}")])["count"] == 1

    def test_one_upload_begins(self, backends: tuple[Api, Path], key: str) -> None:
        api, home = backends
        begun(api)
        before = uploads(home)
        self.at_once(partial(api.put_chunk, None, "a.zip", span(0, 2, 6), b"abc"), key)
        assert uploads(home) == before + 1

    def test_a_chunk_is_taken_once_though_its_repeats_overtake_one_another(
        self, api: Api, key: str
    ) -> None:
        upload = begun(api, b"abc", 9)
        write = partial(api.put_chunk, upload, "a.zip", span(3, 5, 9), b"def")
        answers = self.at_once(write, key)
        taken = [answer for answer in answers if isinstance(answer, dict)]
        assert taken
        assert taken == [write(key=key)] * len(taken)
        assert {type(answer) for answer in answers} <= {dict, RefusedError}
        api.put_chunk(upload, "a.zip", span(6, 8, 9), b"ghi")
        done = api.finish_upload(upload, {"md5": md5(b"abcdefghi")})
        assert api.download(done["file"]) == b"abcdefghi"

    def test_of_different_writes_with_one_key_one_is_done(
        self, api: Api, kept: LocalBackend, key: str
    ) -> None:
        job = new_job(api)
        writes = [partial(api.create_logs, entry(job, data={"n": n})) for n in range(REPEATS)]

        def attempt(write: Write) -> bool:
            try:
                write(key=key)
            except RefusedError:
                return False
            return True

        with ThreadPoolExecutor(REPEATS) as threads:
            assert sum(threads.map(attempt, writes)) == 1
        assert len(kept.logs(job)) == 1

    def test_one_of_two_models_of_one_name_is_made(self, api: Api) -> None:
        name = unique()

        def attempt(_: int) -> bool:
            try:
                api.create_model({"name": name})
            except RefusedError:
                return False
            return True

        with ThreadPoolExecutor(REPEATS) as threads:
            assert sum(threads.map(attempt, range(REPEATS))) == 1
