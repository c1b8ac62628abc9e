"""What a client may send: JSON, chunks and paths, right and wrong ones."""

import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.backend.local import LocalBackend
from tests.server.clients import (
    END,
    ENTRY,
    JSON,
    MULTIPART,
    Answer,
    answer,
    asked,
    client_of,
    comes_true,
    connected,
    head,
    made_job,
    open_in,
    part,
    uploaded,
)
from tests.serving import Served, served

SECRET = b"nobody may see this"
MIB = 1 << 20
DEEP = 100_000
ABSURD_JSON = {
    "nan": b'{"name": "a", "meta": NaN}',
    "infinity": b'{"name": "a", "meta": [Infinity]}',
    "minus-infinity": b'{"name": "a", "meta": {"b": -Infinity}}',
    "1e999": b'{"name": "a", "meta": 1e999}',
    "-1e999": b'{"name": "a", "meta": [-1e999]}',
    "1e999-as-name": b'{"name": 1e999}',
    "5000-digits": b'{"name": "a", "meta": ' + b"9" * 5000 + b"}",
    "deep-lists": b'{"name": "a", "meta": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep-objects": b'{"a": ' * DEEP + b"1" + b"}" * DEEP,
    "not-utf-8": b'{"name": "\xff"}',
    "half-a-character": b'{"name": "\xc3',
    "latin-1": '{"name": "ä"}'.encode("latin-1"),
    "utf-16": '{"name": "a"}'.encode("utf-16"),
    "utf-32": '{"name": "a"}'.encode("utf-32"),
    "a-surrogate-in-utf-8": b'{"name": "a", "meta": "\xed\xa0\x80"}',
    "nothing": b"",
    "blanks": b"  \n",
    "no-json": b"name=a",
    "cut": b'{"name": "a"',
    "two": b'{"name": "a"}{"name": "b"}',
    "single-quotes": b"{'name': 'a'}",
    "a-comma-too-many": b'{"name": "a",}',
    "a-surrogate-as-name": b'{"name": "\\ud800"}',
    "a-surrogate-as-field": b'{"name": "a", "\\ud800": 1}',
    "a-list": b"[]",
    "null": b"null",
    "a-number": b"1",
    "text": b'"a"',
}
BAD_RANGES = [
    "",
    "0-2/3",
    "bytes=0-2/3",
    "bytes 0-2",
    "bytes 0-2/*",
    "bytes */3",
    "bytes -3/3",
    "bytes 2-0/3",
    "bytes 0-3/3",
    "bytes 0-2/3, bytes 0-2/3",
    "bytes 0x0-2/3",
    "bytes 1-3/4",
    "bytes 0-1/3",
    "bytes 0-2/" + "9" * 5000,
    "items 0-2/3",
]
WRONG_PATHS = [
    "..%2f..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2fsecret.txt",
    "%2e%2e%2fsecret.txt",
    "../secret.txt",
    "../../secret.txt",
    "..",
    "%2e%2e",
    "%252e%252e%252fsecret.txt",
    "..%5c..%5csecret.txt",
    "....//secret.txt",
    "%00",
    "1%00",
    "1%00.zip",
    "%2fetc%2fpasswd",
    "//etc/passwd",
    "{home}/secret.txt",
    "{quoted}%2fsecret.txt",
    "ray_synapse.db",
    "%ff%fe",
    "%c0%ae%c0%ae%c0%afsecret.txt",
    "1%0d%0aSet-Cookie:a=b",
    "9" * 5000,
    "-1",
    "' OR 1=1 --".replace(" ", "%20"),
    "%",
    "%zz",
    "",
]
PLACES = [
    ("GET", "/{}"),
    ("GET", "/jobs/{}/"),
    ("PATCH", "/jobs/{}/"),
    ("PUT", "/trains/{}/override_best_trial/"),
    ("GET", "/models/{}/"),
    ("GET", "/plugin_releases/{}/"),
    ("GET", "/chunked_upload/{}/"),
    ("PUT", "/chunked_upload/{}/"),
    ("POST", "/chunked_upload/{}/"),
    ("GET", "/media/{}"),
    ("GET", "/media/models/{}/1/m.zip"),
    ("GET", "/media/uploads/{}/1/f"),
    ("GET", "/media/datasets/{}/0/1/a.txt"),
    ("GET", "/media/datasets/1/{}/1/a.txt"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that is served, beside and in which a secret lies."""
    folder = tmp_path_factory.mktemp("served") / "home"
    folder.mkdir()
    for secret in (folder, folder.parent):
        (secret / "secret.txt").write_bytes(SECRET)
    data = folder.parent / "data"
    data.mkdir()
    (data / "a.txt").write_text("an item")
    EmbeddedApi(folder).add_dataset(data)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Served]:
    with served(folder) as server:
        yield server
    assert not any("Please report" in line or "Traceback" in line for line in server.lines), (
        server.lines
    )


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[httpx.Client]:
    with client_of(server) as client:
        yield client


@pytest.fixture(scope="module")
def job(server: Served) -> int:
    return made_job(server)


def says_what_is_wrong(body: Any) -> bool:
    """Whether it has the form of an error: a detail, or texts for fields."""
    if isinstance(body.get("detail"), str) and body["detail"]:
        return len(body) == 1
    return bool(body) and all(
        isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts)
        for texts in body.values()
    )


def put(client: httpx.Client, body: bytes, content_range: str, path: str = "") -> httpx.Response:
    headers = {**MULTIPART, "Content-Range": content_range}
    return client.put(f"/chunked_upload/{path}", content=body, headers=headers)


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "uploads").glob("*"))


def outside(folder: Path) -> list[str]:
    paths = (path.relative_to(folder.parent) for path in folder.parent.rglob("*"))
    return sorted(str(path) for path in paths if path.parts[:2] != ("home", "uploads"))


class TestJson:
    @pytest.mark.parametrize("body", ABSURD_JSON.values(), ids=ABSURD_JSON)
    def test_what_is_no_json_for_a_job_is_refused_and_writes_nothing(
        self, client: httpx.Client, body: bytes
    ) -> None:
        before = client.get("/jobs/").json()["count"]
        refused = client.post("/jobs/", content=body, headers=JSON)
        assert refused.status_code == 400
        assert says_what_is_wrong(refused.json())
        assert client.get("/jobs/").json()["count"] == before

    @pytest.mark.parametrize("path", ["/logs/", "/models/", "/jobs/{}/", "/trains/{}/"])
    @pytest.mark.parametrize("word", ["NaN", "-Infinity", "1e999"])
    def test_no_call_takes_a_number_that_json_does_not_have(
        self, client: httpx.Client, job: int, path: str, word: str
    ) -> None:
        number = f'{{"a": [{word}]}}'
        entry = {**ENTRY, "job": job, "data": 0}
        method, fields = {
            "/logs/": ("POST", json.dumps(entry).replace("0}", f"{number}}}")),
            "/models/": ("POST", f'{{"name": "{word}", "configuration": {number}}}'),
            "/jobs/{}/": ("PATCH", f'{{"progress_record": {number}}}'),
            "/trains/{}/": ("PUT", f'{{"trial_id": "t", "lr": {number}}}'),
        }[path]
        path = path.format(job) + ("override_best_trial/" if "trains" in path else "")
        refused = client.request(method, path, content=fields, headers=JSON)
        assert refused.status_code == 400
        assert says_what_is_wrong(refused.json())

    def test_no_depth_of_json_makes_the_server_fail(self, client: httpx.Client, job: int) -> None:
        found = set()
        for depth in range(900, 1010, 2):
            body = b'{"meta": ' + b"[" * depth + b"]" * depth + b"}"
            found.add(client.patch(f"/jobs/{job}/", content=body, headers=JSON).status_code)
            found.add(client.get(f"/jobs/{job}/").status_code)
            found.add(client.get("/jobs/").status_code)
        assert found <= {200, 400}
        assert client.patch(f"/jobs/{job}/", json={"meta": None}).status_code == 200

    @pytest.mark.parametrize("field", ["trial_id", "lr"])
    def test_half_a_character_in_text_does_not_make_the_server_fail(
        self, client: httpx.Client, job: int, field: str
    ) -> None:
        path = f"/trains/{job}/override_best_trial/"
        body = json.dumps({"trial_id": "t", field: "\ud800"})
        assert client.put(path, content=body, headers=JSON).status_code in (200, 400)
        assert client.get(f"/jobs/{job}/").status_code == 200

    def test_a_refusal_by_the_database_does_not_tell_where_it_lies(
        self, client: httpx.Client, job: int, folder: Path
    ) -> None:
        body = json.dumps({**ENTRY, "job": job, "step": "\ud800"})
        refused = client.post("/logs/", content=body, headers=JSON)
        assert refused.status_code == 400
        assert str(folder) not in refused.text

    @pytest.mark.parametrize(
        "query",
        [
            "ids_ex=" + "9" * 5000,
            "ids_ex=1%002",
            "params=name:%00",
            "params=name:%ff",
            "page=" + "9" * 5000,
            "page=0",
            "page_size=-1",
            "page_size=NaN",
            "page=%D9%A3",
            "&&==&%zz",
            "&".join(["page=1"] * 5000),
        ],
    )
    @pytest.mark.parametrize("path", ["/jobs/", "/models/", "/sdk/ground_truth_events/"])
    def test_no_query_makes_the_server_fail(self, server: Served, path: str, query: str) -> None:
        found = asked(server, "GET", f"{path}?{query}")
        assert found.status in (200, 400, 404)
        assert found.status == 200 or says_what_is_wrong(found.json())

    @pytest.mark.parametrize(
        "kind",
        [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=a",
            "application/jsonx",
            "text/json",
            "json",
            "",
        ],
    )
    def test_another_type_than_json_is_refused(self, client: httpx.Client, kind: str) -> None:
        headers = {"Content-Type": kind}
        refused = client.post("/jobs/", content=b'{"name": "a"}', headers=headers)
        assert refused.status_code == 415
        assert says_what_is_wrong(refused.json())

    @pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", None])
    def test_json_is_taken_however_it_is_called(
        self, client: httpx.Client, kind: str | None
    ) -> None:
        headers = {"Content-Type": kind} if kind else {}
        taken = client.post("/jobs/", content='{"name": "größer 😀"}'.encode(), headers=headers)
        assert (taken.status_code, taken.json()["name"]) == (201, "größer 😀")

    def test_a_body_of_unknown_length_is_taken(self, client: httpx.Client) -> None:
        pieces = iter([b'{"na', b'me": ', b'"in pieces"}'])
        taken = client.post("/jobs/", content=pieces, headers=JSON)
        assert (taken.status_code, taken.json()["name"]) == (201, "in pieces")

    def test_a_client_that_asks_before_it_sends_is_told_to_go_on(self, server: Served) -> None:
        body = b'{"name": "asked first"}'
        with connected(server) as sock:
            sock.sendall(
                head("POST", "/jobs/", Content_Length=len(body), Expect="100-continue", **JSON)
            )
            assert sock.recv(1000).startswith(b"HTTP/1.1 100")
            sock.sendall(body)
            assert answer(sock).status == 201

    def test_a_body_that_ends_early_writes_nothing(self, server: Served, folder: Path) -> None:
        job = made_job(server)
        body = json.dumps({**ENTRY, "job": job}).encode()
        for _ in range(3):
            with connected(server) as sock:
                sock.sendall(head("POST", "/logs/", Content_Length=len(body) + 2, **JSON) + body)
            with connected(server) as sock:
                sock.sendall(head("POST", "/logs/", Transfer_Encoding="chunked", **JSON))
                sock.sendall(b"%x\r\n%b\r\n" % (len(body), body))
        assert asked(server, "GET", f"/jobs/{job}/").status == 200
        assert list(LocalBackend(folder).logs(job)) == []


class TestSize:
    def test_the_largest_image_of_a_run_is_taken(self, client: httpx.Client, job: int) -> None:
        image = "data:image/png;base64," + "A" * (27 * MIB)
        assert client.post("/logs/", json={**ENTRY, "job": job, "file": image}).status_code == 201

    @pytest.mark.parametrize("value", ["[]", "{}", "0"])
    def test_a_small_body_of_too_many_values_is_refused(
        self, client: httpx.Client, job: int, value: str
    ) -> None:
        body = f'{{"meta": [{value}{f",{value}" * 2_000_000}]}}'
        refused = client.patch(
            f"/jobs/{job}/", content=body, headers={"Content-Type": "application/json"}
        )
        assert refused.status_code == 413
        assert "values" in refused.json()["detail"]

    def test_a_body_that_is_too_large_is_refused_after_the_client_has_sent_it_all(
        self, server: Served
    ) -> None:
        with connected(server) as sock:
            sock.sendall(head("POST", "/jobs/", Content_Length=48 * MIB, **JSON))
            for _ in range(48):
                sock.sendall(b" " * MIB)
            refused = answer(sock)
            sock.sendall(head("GET", "/jobs/"))  # the connection is as good as before
            assert answer(sock).status == 200
        assert refused.status == 413
        assert says_what_is_wrong(refused.json())

    def test_a_body_without_an_end_is_refused_while_it_still_comes(self, server: Served) -> None:
        with connected(server) as sock:
            sock.sendall(head("POST", "/jobs/", Transfer_Encoding="chunked", **JSON))
            answers: list[Answer] = []
            reader = threading.Thread(target=lambda: answers.append(answer(sock)))
            reader.start()
            for _ in range(400):
                if answers:
                    break
                sock.sendall(b"100000\r\n" + b" " * MIB + b"\r\n")
            reader.join()
        assert answers[0].status == 413

    def test_a_refused_request_is_answered_although_its_body_still_comes(
        self, server: Served
    ) -> None:
        for path, headers, status in (
            ("/nothing/", JSON, 404),
            ("/jobs/", {"Content-Type": "text/plain"}, 415),
            ("/jobs/", {**JSON, "Origin": "http://evil.example"}, 403),
            ("/chunked_upload/", {**MULTIPART, "Content-Range": "none"}, 400),
        ):
            with connected(server) as sock:
                sock.sendall(
                    head(
                        "PUT" if "chunk" in path else "POST",
                        path,
                        Content_Length=20 * MIB,
                        **headers,
                    )
                )
                for _ in range(20):
                    sock.sendall(b" " * MIB)
                assert answer(sock).status == status

    @pytest.mark.parametrize(
        "content_range",
        [
            f"bytes 0-{128 * MIB}/{1024 * MIB}",
            f"bytes 0-2/{(256 << 30) + 1}",
            "bytes 0-2/999999999999999",
            "bytes 0-999999999999998/999999999999999",
        ],
    )
    def test_a_chunk_or_a_file_over_the_limit_is_refused(
        self, client: httpx.Client, folder: Path, content_range: str
    ) -> None:
        before = files_of(folder)
        refused = put(client, part("file", b"abc") + END, content_range)
        assert refused.status_code == 413
        assert says_what_is_wrong(refused.json())
        assert files_of(folder) == before

    def test_a_form_that_is_larger_than_any_chunk_is_refused(
        self, client: httpx.Client, folder: Path
    ) -> None:
        before = files_of(folder)

        def body() -> Iterator[bytes]:
            yield part("file", b"abc") + part("filename", b"f")[:-2]
            for _ in range(130):
                yield b"x" * MIB

        headers = {**MULTIPART, "Content-Range": "bytes 0-2/3"}
        refused = client.put("/chunked_upload/", content=body(), headers=headers)
        assert refused.status_code == 413
        assert files_of(folder) == before


class TestChunks:
    @pytest.mark.parametrize("content_range", BAD_RANGES)
    def test_a_range_that_does_not_fit_the_chunk_is_refused(
        self, client: httpx.Client, folder: Path, content_range: str
    ) -> None:
        before = files_of(folder)
        refused = put(client, part("filename", b"f") + part("file", b"abc") + END, content_range)
        assert refused.status_code == 400
        assert list(refused.json()) == ["Content-Range"]
        assert files_of(folder) == before

    def test_a_missing_range_is_refused(self, client: httpx.Client) -> None:
        refused = client.put("/chunked_upload/", data={"filename": "f"}, files={"file": b"abc"})
        assert refused.status_code == 400
        assert list(refused.json()) == ["Content-Range"]

    @pytest.mark.parametrize(
        "body",
        [
            END,
            b"",
            part("filename", b"f") + END,
            part("other", b"abc") + END,
            part("file", b"abc"),
            part("file", b"abc")[:-2],
            part("file", b"abc") + END[:-4],
            part("file", b"abc").replace(b"\r\n\r\n", b"\r\n") + END,
            b"abc",
            b"\r\n\r\n",
            b"--another\r\n\r\nabc\r\n--another--\r\n",
            part("file", b"abc", "f").replace(b"form-data", b"\xff\x00") + b"-" + END,
            part("file", b"ab") + END,
            part("file", b"abcd") + END,
            part("file", b"") + END,
        ],
    )
    def test_a_form_that_is_broken_or_has_no_such_file_leaves_nothing_behind(
        self, client: httpx.Client, folder: Path, body: bytes
    ) -> None:
        before = files_of(folder)
        refused = put(client, body, "bytes 0-2/3")
        assert refused.status_code == 400
        assert says_what_is_wrong(refused.json())
        assert files_of(folder) == before

    @pytest.mark.parametrize(
        "kind",
        ["application/json", "multipart/form-data", "multipart/form-data; boundary=", "", "x" * 99],
    )
    def test_what_is_no_form_is_refused(self, client: httpx.Client, kind: str) -> None:
        headers = {"Content-Type": kind, "Content-Range": "bytes 0-2/3"}
        body = part("file", b"abc") + END
        refused = client.put("/chunked_upload/", content=body, headers=headers)
        assert refused.status_code in (400, 415)
        assert says_what_is_wrong(refused.json())

    @pytest.mark.parametrize("order", [1, -1])
    def test_the_name_may_come_before_or_after_the_file(
        self, client: httpx.Client, order: int
    ) -> None:
        parts = [part("filename", b"model.zip"), part("file", b"abc", "another.zip")][::order]
        state = put(client, b"".join(parts) + END, "bytes 0-2/3").raise_for_status().json()
        assert (state["filename"], state["offset"]) == ("model.zip", 3)

    def test_parts_that_nobody_asked_for_are_passed_over(self, client: httpx.Client) -> None:
        body = part("other", b"x" * 1000, "o") + part("filename", b"f") + part("file", b"abc") + END
        assert put(client, body, "bytes 0-2/3").json()["offset"] == 3

    def test_a_file_that_looks_like_a_boundary_arrives_as_it_was(
        self, client: httpx.Client
    ) -> None:
        content = b"\r\n--a-line-betwee\r\n--\r\n\r\n--a-line-between"[:-1] * 1000
        state = put(
            client,
            part("filename", b"f") + part("file", content) + END,
            f"bytes 0-{len(content) - 1}/{len(content)}",
        ).json()
        body = {"md5": hashlib.md5(content).hexdigest()}
        link = client.post(state["url"], json=body).raise_for_status().json()["file"]
        assert client.get(link).content == content

    def test_a_chunk_that_ends_early_does_not_count_and_can_be_sent_again(
        self, server: Served, client: httpx.Client
    ) -> None:
        first = part("filename", b"f") + part("file", b"a" * 1000) + END
        state = put(client, first, "bytes 0-999/2000").raise_for_status().json()
        path = f"/chunked_upload/{state['id']}/"
        for _ in range(3):
            with connected(server) as sock:
                headers = {**MULTIPART, "Content-Range": "bytes 1000-1999/2000"}
                sock.sendall(head("PUT", path, Content_Length=1200, **headers))
                sock.sendall(part("file", b"X" * 900)[:-2])
                assert comes_true(lambda: open_in(server, ".part") == 1)
            assert comes_true(lambda: open_in(server, ".part") == 0)
        assert client.get(path).json()["offset"] == 1000
        second = part("file", b"b" * 1000) + END
        again = put(client, second, "bytes 1000-1999/2000", f"{state['id']}/")
        assert again.json()["offset"] == 2000
        md5 = hashlib.md5(b"a" * 1000 + b"b" * 1000).hexdigest()
        assert client.post(path, json={"md5": md5}).json()["completed_at"]

    def test_a_first_chunk_that_ends_early_leaves_no_file(
        self, server: Served, client: httpx.Client, folder: Path
    ) -> None:
        before = files_of(folder)
        with connected(server) as sock:
            headers = {**MULTIPART, "Content-Range": "bytes 0-999/1000"}
            sock.sendall(head("PUT", "/chunked_upload/", Content_Length=1200, **headers))
            sock.sendall(part("file", b"X" * 900)[:-2])
            assert comes_true(lambda: len(files_of(folder)) > len(before))
        assert comes_true(lambda: files_of(folder) == before)


class TestPaths:
    @pytest.mark.parametrize(("method", "place"), PLACES)
    def test_no_path_leads_to_a_file_that_is_not_served(
        self, server: Served, folder: Path, method: str, place: str
    ) -> None:
        before = outside(folder)
        for wrong in WRONG_PATHS:
            path = wrong.format(home=folder, quoted=quote(str(folder), safe=""))
            with connected(server) as sock:
                body = b'{"trial_id": "t"}' if "trains" in place else b"{}"
                headers: dict[str, str] = JSON
                if (method, place[:8]) == ("PUT", "/chunked"):
                    body = part("file", b"abc") + END
                    headers = {**MULTIPART, "Content-Range": "bytes 0-2/3"}
                start = head(method, place.format(path), Content_Length=len(body), **headers)
                sock.sendall(start + body)
                found = answer(sock)
            assert found.status in (400, 404, 405), (path, found)
            assert found.headers["content-type"] == "application/json"
            assert says_what_is_wrong(found.json())
            assert SECRET not in found.body
            assert "set-cookie" not in found.headers
        assert outside(folder) == before

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
    def test_the_folder_of_an_upload_cannot_be_left_by_its_name(
        self, server: Served, client: httpx.Client, method: str
    ) -> None:
        upload = uploaded(client, "f", b"the upload")["id"]
        for wrong in WRONG_PATHS:
            if not wrong.startswith("{"):
                found = asked(server, method, f"/media/uploads/{upload}/1/{wrong}")
                assert found.status in (200, 404, 405)
                assert found.status != 200 or found.body == b"the upload"

    @pytest.mark.parametrize(
        "name",
        [
            "../../x",
            "../../../../../../../../tmp/ray-synapse-was-here",
            "/etc/ray-synapse-was-here",
            "..\\..\\x",
            "..",
            ".",
            "a\0b",
            "a\r\nSet-Cookie: a=b",
            'a"; filename="b',
            "x" * 5000,
            "",
        ],
    )
    def test_a_file_of_any_name_stays_in_the_folder_and_can_be_fetched(
        self, client: httpx.Client, folder: Path, name: str
    ) -> None:
        before = outside(folder)
        body = part("filename", name.encode()) + part("file", b"abc") + END
        state = put(client, body, "bytes 0-2/3").raise_for_status().json()
        assert (folder / "uploads" / state["id"]).read_bytes() == b"abc"
        assert outside(folder) == before
        ended = client.post(state["url"], json={"md5": hashlib.md5(b"abc").hexdigest()}).json()
        found = httpx.get(ended["file"])
        assert (found.status_code, found.content) == (200, b"abc")
        assert "set-cookie" not in found.headers
        disposition = found.headers["content-disposition"]
        assert disposition.startswith("attachment")
        assert "/" not in disposition

    def test_a_file_outside_a_dataset_is_not_served_by_a_link_into_it(
        self, server: Served, client: httpx.Client
    ) -> None:
        (item,) = client.get("/sdk/ground_truth_events/").json()["results"]
        link = item["files"]["a.txt"]["url"]
        assert client.get(link).content == b"an item"
        place = link.removeprefix(server.url).removesuffix("a.txt")
        for wrong in ("../secret.txt", "%2e%2e%2fsecret.txt", "..%2fhome%2fsecret.txt", "./a.txt"):
            assert asked(server, "GET", place + wrong).status == 404

    @pytest.mark.parametrize(
        "path", ["/", "/nothing/", "/jobs", "/logs", "/jobs/1", "/models", "//jobs/", "/JOBS/", "*"]
    )
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_an_unknown_path_is_404_in_json_also_without_the_slash_at_its_end(
        self, server: Served, method: str, path: str
    ) -> None:
        found = asked(server, method, path)
        assert found.status == 404
        assert says_what_is_wrong(found.json())
        assert "location" not in found.headers

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("GET", "/logs/", "POST"),
            ("DELETE", "/jobs/", "GET"),
            ("DELETE", "/jobs/", "POST"),
            ("DELETE", "/jobs/1/", "PATCH"),
            ("POST", "/jobs/1/", "PATCH"),
            ("PATCH", "/models/", "POST"),
            ("POST", "/chunked_upload/", "PUT"),
            ("POST", "/sdk/ground_truth_events/", "GET"),
            ("TRACE", "/jobs/", "GET"),
            ("BREW", "/jobs/", "GET"),
        ],
    )
    def test_a_wrong_method_is_405_in_json_and_says_what_is_allowed(
        self, server: Served, method: str, path: str, allowed: str
    ) -> None:
        found = asked(server, method, path)
        assert found.status == 405
        assert says_what_is_wrong(found.json())
        assert allowed in found.headers["allow"].split(", ")
