"""``/chunked_upload/``: files in chunks, with all that goes wrong on the way."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.backend.local import LocalBackend
from ray_synapse.errors import NotFoundError, RefusedError, TooLargeError
from tests.contracts.conftest import Api
from tests.contracts.http_api import path_of
from tests.contracts.things import (
    NO_IDS,
    begun,
    hanging_chunk,
    md5,
    span,
    unique,
    uploaded,
)

CONTENT = b"abcdefghi"
NO_UPLOADS = [*NO_IDS, "..%2F..%2Fray_synapse.db", "%00"]


def files(home: Path) -> set[str]:
    return set(os.listdir(home / "uploads"))


class TestWhole:
    def test_a_file_comes_in_chunks_and_is_there_once_its_md5_is_right(self, api: Api) -> None:
        first = api.put_chunk(None, "a.zip", span(0, 3, 9), CONTENT[:4])
        assert (first["offset"], first["filename"]) == (4, "a.zip")
        assert path_of(first["url"]) == f"/chunked_upload/{first['id']}/"
        assert api.put_chunk(first["id"], "a.zip", span(4, 4, 9), CONTENT[4:5])["offset"] == 5
        last = api.put_chunk(first["id"], "a.zip", span(5, 8, 9), CONTENT[5:])
        assert (last["id"], last["offset"], last["completed_at"]) == (first["id"], 9, None)
        done = api.finish_upload(first["id"], {"md5": md5(CONTENT)})
        assert (done["id"], done["checksum"]) == (first["id"], md5(CONTENT))
        assert api.download(done["file"]) == CONTENT

    def test_the_state_can_be_asked_at_any_time(self, api: Api) -> None:
        first = api.put_chunk(None, "a.zip", span(0, 3, 9), CONTENT[:4])
        assert api.get_upload(first["id"]) == first
        assert first["completed_at"] is None
        second = api.put_chunk(first["id"], "a.zip", span(4, 8, 9), CONTENT[4:])
        assert api.get_upload(first["id"]) == second
        done = api.finish_upload(first["id"], {"md5": md5(CONTENT)})
        assert api.get_upload(first["id"]) == done
        assert done["completed_at"].endswith("+00:00")

    def test_a_file_of_one_byte_is_a_file(self, api: Api) -> None:
        assert api.get_upload(uploaded(api, b"\0"))["offset"] == 1

    def test_large_chunks_with_bytes_of_all_kinds_arrive_as_they_were(self, api: Api) -> None:
        content = (b"\r\n--B--\r\n\0" + bytes(range(256))) * 12_000
        middle = 2_000_003
        upload = begun(api, content[:middle], len(content))
        last = span(middle, len(content) - 1, len(content))
        api.put_chunk(upload, "a.zip", last, content[middle:])
        done = api.finish_upload(upload, {"md5": md5(content)})
        assert api.download(done["file"]) == content

    @pytest.mark.parametrize(
        "name", ["a b.zip", "ü🙂:,.zip", "a/b.zip", "../../x", "..", ".", "%2F?#&+", '"', "a\nb"]
    )
    def test_a_file_may_have_any_name(self, api: Api, name: str) -> None:
        upload = api.put_chunk(None, name, span(0, 8, 9), CONTENT)
        assert upload["filename"] == name
        done = api.finish_upload(upload["id"], {"md5": md5(CONTENT)})
        assert api.download(done["file"]) == CONTENT

    def test_two_files_of_one_name_do_not_meet(self, api: Api) -> None:
        one, two = begun(api, b"abc", 6), begun(api, b"ABC", 6)
        api.put_chunk(one, "a.zip", span(3, 5, 6), b"def")
        api.put_chunk(two, "a.zip", span(3, 5, 6), b"DEF")
        assert api.finish_upload(one, {"md5": md5(b"abcdef")})["completed_at"]
        assert api.finish_upload(two, {"md5": md5(b"ABCDEF")})["completed_at"]

    def test_the_md5_may_be_in_capitals(self, api: Api) -> None:
        assert api.finish_upload(begun(api), {"md5": md5(b"abc").upper()})["completed_at"]

    def test_the_end_may_be_repeated(self, api: Api) -> None:
        upload = begun(api)
        done = api.finish_upload(upload, {"md5": md5(b"abc")})
        assert api.finish_upload(upload, {"md5": md5(b"abc")}) == done

    def test_the_end_may_be_repeated_when_the_file_is_a_model(self, api: Api) -> None:
        upload = uploaded(api)
        api.create_model({"name": unique(), "chunked_upload": upload})
        assert api.finish_upload(upload, {"md5": md5(b"abc")})["completed_at"]


class TestAtTheSameTime:
    def test_uploads_that_begin_and_fail_at_the_same_time_do_not_disturb_one_another(
        self, api: Api
    ) -> None:
        def attempt(number: int) -> str | None:
            if number % 2:
                return begun(api)
            with pytest.raises(RefusedError):
                api.put_chunk(None, "a.zip", span(0, 2, 3), b"ab")
            return None

        with ThreadPoolExecutor(12) as threads:
            uploads = [each for each in threads.map(attempt, range(120)) if each]
        assert len(set(uploads)) == 60
        for upload in uploads:
            assert api.finish_upload(upload, {"md5": md5(b"abc")})["completed_at"]


class TestBrokenOff:
    def test_an_upload_goes_on_from_its_offset_after_a_chunk_that_broke_off(self, api: Api) -> None:
        upload = begun(api, b"abc", 9)
        with hanging_chunk(api, upload, span(3, 8, 9), b"XXXXXX"):
            pass
        assert api.get_upload(upload)["offset"] == 3
        assert api.put_chunk(upload, "a.zip", span(3, 8, 9), b"defghi")["offset"] == 9
        assert api.finish_upload(upload, {"md5": md5(CONTENT)})["completed_at"]

    def test_a_first_chunk_that_broke_off_leaves_nothing(self, backends: tuple[Api, Path]) -> None:
        api, home = backends
        begun(api)
        before = files(home)
        with hanging_chunk(api, None, span(0, 8, 9), CONTENT):
            pass
        deadline = time.monotonic() + 10
        while files(home) != before and time.monotonic() < deadline:
            time.sleep(0.02)
        assert files(home) == before

    def test_a_chunk_that_hangs_is_overtaken_and_cannot_spoil_the_file(self, api: Api) -> None:
        upload = begun(api, b"abc", 9)
        with hanging_chunk(api, upload, span(3, 8, 9), b"XXXXXX") as go_on:
            api.put_chunk(upload, "a.zip", span(3, 8, 9), b"defghi")
            go_on()
            assert api.get_upload(upload)["offset"] == 9
            done = api.finish_upload(upload, {"md5": md5(CONTENT)})
        assert api.download(done["file"]) == CONTENT

    def test_the_state_survives_the_process(self, backends: tuple[Api, Path]) -> None:
        api, home = backends
        upload = begun(api, b"abc", 9)
        other = EmbeddedApi(home)  # what a server that was started again has
        assert other.get_upload(upload)["offset"] == 3
        other.put_chunk(upload, "a.zip", span(3, 5, 9), b"def")
        assert api.put_chunk(upload, "a.zip", span(6, 8, 9), b"ghi")["offset"] == 9
        done = other.finish_upload(upload, {"md5": md5(CONTENT)})
        assert api.get_upload(upload)["completed_at"] == done["completed_at"]
        other.close()

    def test_what_was_abandoned_for_over_a_week_is_removed_but_for_the_files_of_models(
        self, backends: tuple[Api, Path], kept: LocalBackend
    ) -> None:
        api, home = backends
        unfinished = begun(api, b"abc", 9)
        finished, used, recent = (uploaded(api) for _ in range(3))
        model = api.create_model({"name": unique(), "chunked_upload": used})
        with kept._write() as db:
            for upload in (unfinished, finished, used):
                db.execute("UPDATE uploads SET updated = '2020' WHERE id = ?", (upload,))
        cut_off = home / "uploads" / "killed.part"
        cut_off.touch()
        os.utime(cut_off, (0, 0))
        begun(api)
        assert not cut_off.exists()
        for upload in (unfinished, finished):
            with pytest.raises(NotFoundError):
                api.get_upload(upload)
        assert files(home).isdisjoint({unfinished, finished})
        assert api.get_upload(recent)["completed_at"]
        assert api.download(api.get_model(model["id"])["file"]) == b"abc"


class TestRefusedChunks:
    @pytest.mark.parametrize(
        "text",
        [
            *("", "bytes", "0-2/9", "bytes=0-2/9", "bytes 0-2", "bytes 0-2/*", "bytes */9"),
            *("bytes 2-0/9", "bytes 0-9/9", "bytes -1-2/9", "bytes 0-2/0", "bytes a-b/c"),
            *("bytes 0.0-2/9", "items 0-2/9", "bytes 0-2/9,3-5/9", f"bytes 0-2/{'9' * 30}"),
        ],
    )
    def test_a_range_that_is_none_is_refused(self, api: Api, text: str) -> None:
        upload = begun(api, b"abc", 9)
        for where in (None, upload):
            with pytest.raises(RefusedError) as refused:
                api.put_chunk(where, "a.zip", text, b"abc")
            assert list(refused.value.faults) == ["Content-Range"]
        assert api.get_upload(upload)["offset"] == 3

    @pytest.mark.parametrize(
        ("text", "chunk"),
        [
            pytest.param(span(4, 6, 9), b"efg", id="a gap"),
            pytest.param(span(2, 4, 9), b"cde", id="bytes that came before"),
            pytest.param(span(0, 2, 9), b"abc", id="the first chunk again"),
            pytest.param(span(3, 5, 8), b"def", id="a smaller total"),
            pytest.param(span(3, 5, 10), b"def", id="a larger total"),
            pytest.param(span(3, 5, 9), b"de", id="too short"),
            pytest.param(span(3, 5, 9), b"defg", id="too long"),
            pytest.param(span(3, 5, 9), b"", id="empty"),
        ],
    )
    def test_a_chunk_that_does_not_fit_is_refused_and_the_right_one_is_taken_then(
        self, api: Api, text: str, chunk: bytes
    ) -> None:
        upload = begun(api, b"abc", 9)
        with pytest.raises(RefusedError) as refused:
            api.put_chunk(upload, "a.zip", text, chunk)
        assert list(refused.value.faults) == ["Content-Range"]
        assert api.get_upload(upload)["offset"] == 3
        api.put_chunk(upload, "a.zip", span(3, 8, 9), b"defghi")
        assert api.finish_upload(upload, {"md5": md5(CONTENT)})["completed_at"]

    @pytest.mark.parametrize(
        ("text", "chunk"),
        [
            pytest.param(span(0, 2, 9), b"ab", id="too short"),
            pytest.param(span(0, 2, 9), b"abcd", id="too long"),
            pytest.param(span(0, 2, 9), b"", id="empty"),
            pytest.param(span(3, 5, 9), b"abc", id="not the first bytes"),
        ],
    )
    def test_a_first_chunk_that_does_not_fit_leaves_nothing(
        self, backends: tuple[Api, Path], text: str, chunk: bytes
    ) -> None:
        api, home = backends
        begun(api)
        before = files(home)
        with pytest.raises(RefusedError) as refused:
            api.put_chunk(None, "a.zip", text, chunk)
        assert list(refused.value.faults) == ["Content-Range"]
        assert files(home) == before

    @pytest.mark.parametrize("has_ended", [False, True])
    @pytest.mark.parametrize("text", [span(3, 3, 3), span(3, 3, 4), span(0, 2, 3)])
    def test_nothing_comes_after_the_end(self, api: Api, has_ended: bool, text: str) -> None:
        upload = uploaded(api) if has_ended else begun(api)
        with pytest.raises(RefusedError) as refused:
            api.put_chunk(upload, "a.zip", text, b"xyz"[: 3 if text == span(0, 2, 3) else 1])
        assert list(refused.value.faults) == ["Content-Range"]
        done = api.finish_upload(upload, {"md5": md5(b"abc")})
        assert api.download(done["file"]) == b"abc"

    @pytest.mark.parametrize("text", [span(0, 128 << 20, 1 << 30), span(0, 2, 300 << 30)])
    def test_what_is_too_large_is_told_before_it_is_sent(self, api: Api, text: str) -> None:
        with pytest.raises(TooLargeError):
            api.put_chunk(None, "a.zip", text, b"abc")

    @pytest.mark.parametrize("upload", NO_UPLOADS)
    def test_an_upload_that_does_not_exist_is_not_found(self, api: Api, upload: str) -> None:
        with pytest.raises(NotFoundError):
            api.get_upload(upload)
        with pytest.raises(NotFoundError):
            api.put_chunk(upload, "a.zip", span(3, 5, 9), b"abc")
        with pytest.raises(NotFoundError):
            api.finish_upload(upload, {"md5": md5(b"abc")})


class TestRefusedEnds:
    def test_a_wrong_md5_is_refused_and_the_right_one_is_taken_then(self, api: Api) -> None:
        upload = begun(api)
        with pytest.raises(RefusedError) as refused:
            api.finish_upload(upload, {"md5": md5(b"other")})
        assert list(refused.value.faults) == ["md5"]
        assert api.get_upload(upload)["completed_at"] is None
        assert api.finish_upload(upload, {"md5": md5(b"abc")})["completed_at"]

    def test_a_wrong_md5_is_refused_also_after_the_end(self, api: Api) -> None:
        upload = uploaded(api)
        before = api.get_upload(upload)
        with pytest.raises(RefusedError):
            api.finish_upload(upload, {"md5": md5(b"other")})
        assert api.get_upload(upload) == before

    def test_an_end_before_the_last_byte_is_refused_and_the_upload_goes_on(self, api: Api) -> None:
        upload = begun(api, b"abc", 9)
        with pytest.raises(RefusedError, match="3 of 9"):
            api.finish_upload(upload, {"md5": md5(b"abc")})
        assert api.get_upload(upload)["completed_at"] is None
        api.put_chunk(upload, "a.zip", span(3, 8, 9), b"defghi")
        assert api.finish_upload(upload, {"md5": md5(CONTENT)})["completed_at"]

    @pytest.mark.parametrize("value", [None, "", " ", 5, [md5(b"abc")], {}, "\ud800"], ids=ascii)
    def test_an_md5_that_is_none_is_refused(self, api: Api, value: Any) -> None:
        self.check(api, {"md5": value}, "md5")

    def test_an_end_without_an_md5_is_refused(self, api: Api) -> None:
        self.check(api, {}, "md5")

    def test_an_end_with_an_unknown_field_is_refused(self, api: Api) -> None:
        self.check(api, {"md5": md5(b"abc"), "nonsense": 1}, "nonsense")

    @pytest.mark.parametrize("sent", [None, 5, "text", []], ids=repr)
    def test_an_end_that_is_no_object_is_refused(self, api: Api, sent: Any) -> None:
        self.check(api, sent, None)

    def check(self, api: Api, sent: Any, field: str | None) -> None:
        upload = begun(api)
        with pytest.raises(RefusedError) as refused:
            api.finish_upload(upload, sent)
        assert list(refused.value.faults) == ([field] if field else [])
        assert api.get_upload(upload)["completed_at"] is None
