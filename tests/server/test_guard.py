"""Who may ask a server, and what each of its answers says."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.server.clients import Answer, answer, asked, client_of, connected, port_of, uploaded
from tests.serving import Served, served

TOKEN = "a-token-of-ours"
HONOURED = "idempotency-key-honoured"
WRONG_TOKENS = [
    "",
    "Token",
    "Token ",
    TOKEN,
    f"Bearer {TOKEN}",
    f"Token {TOKEN}x",
    f"Token {TOKEN[:-1]}",
    f"Token {TOKEN.upper()}",
    "Token schlüssel",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that needs no token."""
    with served(tmp_path_factory.mktemp("home")) as server:
        yield server


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that needs one."""
    with served(tmp_path_factory.mktemp("home"), "--token", TOKEN) as server:
        yield server


@pytest.fixture(scope="module")
def link(guarded: Served) -> str:
    """The URL of a file of the server that needs a token."""
    with client_of(guarded, Authorization=f"Token {TOKEN}") as client:
        return str(uploaded(client, "my model.zip", b"the model")["file"])


def path_of(link: str) -> str:
    return link.split("/", 3)[3].join(("/", ""))


def is_json_refusal(answer: Answer | httpx.Response) -> bool:
    return answer.headers["content-type"] == "application/json" and bool(answer.json()["detail"])


class TestHost:
    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "evil.example:{port}",
            "localhost.evil.example",
            "evil.localhost",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "localhost:80@evil.example",
            "evil.example#localhost",
            "evil.example/localhost",
            "localhost,evil.example",
            "2130706433",
            "0x7f.1",
            "[::1%25@evil.example]",
            "[::1%@evil.example]",
            "[::1",
            "127.0.0.1]",
            "localhost:http",
            "",
        ],
    )
    def test_a_name_that_is_not_ours_is_refused(self, server: Served, host: str) -> None:
        refused = asked(server, "GET", "/jobs/", host.format(port=port_of(server)))
        assert refused.status == 400
        assert is_json_refusal(refused)

    @pytest.mark.parametrize(
        "host", ["localhost", "LocalHost", "127.0.0.1", "[::1]", "192.168.1.7", "[fe80::1]"]
    )
    @pytest.mark.parametrize("port", ["", ":{port}", ":80"])
    def test_an_address_or_localhost_is_ours_with_and_without_a_port(
        self, server: Served, host: str, port: str
    ) -> None:
        host += port.format(port=port_of(server))
        assert asked(server, "GET", "/jobs/", host).status == 200

    def test_a_write_by_a_name_that_is_not_ours_writes_nothing(self, server: Served) -> None:
        with client_of(server) as client:
            before = client.get("/jobs/").json()["count"]
            headers = {"Host": "evil.example"}
            assert client.post("/jobs/", json={"name": "a"}, headers=headers).status_code == 400
            assert client.get("/jobs/").json()["count"] == before

    def test_a_request_without_a_host_is_refused(self, server: Served) -> None:
        with connected(server) as sock:
            sock.sendall(b"GET /jobs/ HTTP/1.0\r\n\r\n")
            assert answer(sock).status == 400

    def test_two_hosts_are_refused(self, server: Served) -> None:
        with connected(server) as sock:
            sock.sendall(b"GET /jobs/ HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
            assert answer(sock).status == 400

    def test_forwarding_headers_do_not_change_the_host(self, server: Served) -> None:
        with client_of(server, **{"X-Forwarded-Host": "evil.example"}) as client:
            for i in range(2):
                client.post("/jobs/", json={"name": f"page{i}"})
            assert client.get("/jobs/?page_size=1").json()["next"].startswith(server.url)

    def test_links_lead_to_the_host_by_which_it_was_asked(self, server: Served) -> None:
        for host in (f"localhost:{port_of(server)}", "[::1]:80", "192.168.1.7"):
            with client_of(server, Host=host) as client:
                upload = client.put(
                    "/chunked_upload/",
                    data={"filename": "f"},
                    files={"file": b"a"},
                    headers={"Content-Range": "bytes 0-0/1"},
                )
            assert upload.json()["url"].startswith(f"http://{host}/chunked_upload/")


class TestOrigin:
    @pytest.mark.parametrize(
        "origin",
        [
            "http://evil.example",
            "https://127.0.0.1:{port}",
            "http://127.0.0.1",
            "http://localhost:{port}",
            "http://127.0.0.1:{port}.evil.example",
            "null",
            "",
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_page_of_another_site_is_refused(
        self, server: Served, origin: str, method: str
    ) -> None:
        origin = origin.format(port=port_of(server))
        host = f"127.0.0.1:{port_of(server)}"
        refused = asked(server, method, "/jobs/", host, Origin=origin)
        assert refused.status == 403
        assert is_json_refusal(refused)

    def test_a_page_of_ours_may_ask(self, server: Served) -> None:
        host = f"127.0.0.1:{port_of(server)}"
        assert asked(server, "GET", "/jobs/", host, Origin=f"http://{host}").status == 200

    @pytest.mark.parametrize("method", ["OPTIONS", "GET", "PUT"])
    @pytest.mark.parametrize("path", ["/jobs/", "/logs/", "/nothing/", "/media/uploads/1/1/x"])
    @pytest.mark.parametrize("origin", ["http://evil.example", None])
    def test_no_answer_lets_a_page_of_another_site_read_it(
        self, server: Served, method: str, path: str, origin: str | None
    ) -> None:
        headers = {"Access-Control-Request-Method": "POST"} | ({"Origin": origin} if origin else {})
        with client_of(server, **headers) as client:
            found = client.request(method, path)
        assert not [name for name in found.headers if name.startswith("access-control")]
        if method == "OPTIONS":
            assert found.status_code in (403, 404, 405)


class TestToken:
    @pytest.mark.parametrize("header", ["Authorization", "Synapse_Access_Token"])
    def test_either_header_may_have_it(self, guarded: Served, header: str) -> None:
        assert asked(guarded, "GET", "/jobs/", **{header: f"Token {TOKEN}"}).status == 200

    @pytest.mark.parametrize("header", ["Authorization", "Synapse_Access_Token"])
    @pytest.mark.parametrize("value", WRONG_TOKENS)
    def test_a_wrong_token_is_refused(self, guarded: Served, header: str, value: str) -> None:
        refused = asked(guarded, "GET", "/jobs/", **{header: value})
        assert refused.status == 401
        assert is_json_refusal(refused)
        assert refused.headers["www-authenticate"] == "Token"
        assert TOKEN.encode() not in refused.body

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
    @pytest.mark.parametrize(
        "path", ["/", "/jobs/", "/logs/", "/chunked_upload/", "/media/uploads/1/1/x", "/nothing"]
    )
    def test_nothing_is_said_without_a_token(self, guarded: Served, method: str, path: str) -> None:
        with client_of(guarded) as client:
            refused = client.request(method, path)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Token"
        assert method == "HEAD" or is_json_refusal(refused)

    def test_the_users_token_wins(self, guarded: Served) -> None:
        right, wrong = f"Token {TOKEN}", "Token another-one"
        headers = {"Authorization": wrong, "Synapse_Access_Token": right}
        assert asked(guarded, "GET", "/jobs/", **headers).status == 401
        headers = {"Authorization": right, "Synapse_Access_Token": wrong}
        assert asked(guarded, "GET", "/jobs/", **headers).status == 200

    def test_a_token_does_not_excuse_a_host_or_an_origin(self, guarded: Served) -> None:
        right = f"Token {TOKEN}"
        assert asked(guarded, "GET", "/jobs/", "evil.example", Authorization=right).status == 400
        headers = {"Authorization": right, "Origin": "http://evil.example"}
        assert asked(guarded, "GET", "/jobs/", **headers).status == 403


class TestSignedLinks:
    def test_a_link_to_a_file_needs_no_token(self, link: str) -> None:
        assert httpx.get(link).content == b"the model"

    def test_a_link_can_be_asked_for_a_part_of_the_file(self, link: str) -> None:
        part = httpx.get(link, headers={"Range": "bytes=4-"})
        assert (part.status_code, part.content) == (206, b"model")

    def test_a_link_by_another_name_of_the_server_is_as_good(
        self, guarded: Served, link: str
    ) -> None:
        found = asked(guarded, "GET", path_of(link), "localhost")
        assert (found.status, found.body) == (200, b"the model")

    def test_a_link_does_not_have_the_token_in_it(self, link: str) -> None:
        assert TOKEN not in link

    @pytest.mark.parametrize(
        "change",
        [
            lambda link: link.partition("?")[0],
            lambda link: link[:-1] + ("0" if link[-1] != "0" else "1"),
            lambda link: link[:-1],
            lambda link: link.partition("=")[0] + "=",
            lambda link: link.partition("=")[0] + "=%C3%A4",
            lambda link: link.replace("zip?", "zap?"),
            lambda link: link.replace("/my_model", "/../x/my_model"),
            lambda link: link.replace("/media/uploads/", "/media/models/"),
            lambda link: link.replace("/media/", "/Media/"),
        ],
    )
    def test_a_changed_link_is_refused(self, guarded: Served, link: str, change: object) -> None:
        assert callable(change)
        changed = path_of(change(link))
        assert changed != path_of(link)
        assert asked(guarded, "GET", changed).status == 401

    def test_a_signature_opens_nothing_else(self, guarded: Served, link: str) -> None:
        signature = link.partition("?")[2]
        upload = link.split("/")[5]
        with client_of(guarded, Authorization=f"Token {TOKEN}") as client:
            other = path_of(uploaded(client, "other.zip", b"another")["file"]).partition("?")[0]
        for path in (other, "/jobs/", f"/chunked_upload/{upload}/", f"/media/uploads/{upload}/1/x"):
            assert asked(guarded, "GET", f"{path}?{signature}").status == 401

    @pytest.mark.parametrize(
        "name",
        ["ä ö.zip", "a?b#c.zip", "100%.zip", "%2e%2e.zip", "a+b&c=d.zip", "../x", "日本.zip"],
    )
    def test_a_file_of_any_name_has_a_link_that_works(self, guarded: Served, name: str) -> None:
        with client_of(guarded, Authorization=f"Token {TOKEN}") as client:
            model = {"name": name, "chunked_upload": uploaded(client, name, name.encode())["id"]}
            found = client.post("/models/", json=model).raise_for_status().json()
        assert httpx.get(found["file"]).content == name.encode()

    def test_a_model_with_a_line_break_in_its_name_can_be_downloaded(self, guarded: Served) -> None:
        with client_of(guarded, Authorization=f"Token {TOKEN}") as client:
            upload = uploaded(client, "f", b"the file")["id"]
            model = client.post("/models/", json={"name": "two\nlines", "chunked_upload": upload})
        if model.status_code != 400:  # it may refuse such a name
            assert httpx.get(model.json()["file"]).content == b"the file"


class TestHonouredKeys:
    @pytest.mark.parametrize(
        ("method", "path", "content", "status"),
        [
            ("GET", "/jobs/", None, 200),
            ("HEAD", "/jobs/", None, 200),
            ("POST", "/jobs/", {"name": "a"}, 201),
            ("POST", "/jobs/", {}, 400),
            ("POST", "/jobs/", "NaN", 400),
            ("GET", "/jobs/12345678/", None, 404),
            ("GET", "/nothing/", None, 404),
            ("GET", "/jobs", None, 404),
            ("DELETE", "/jobs/", None, 405),
            ("OPTIONS", "/jobs/", None, 405),
            ("PUT", "/chunked_upload/", None, 400),
            ("GET", "/media/uploads/1/1/x", None, 404),
        ],
    )
    def test_each_answer_says_that_keys_are_honoured(
        self, server: Served, method: str, path: str, content: object, status: int
    ) -> None:
        with client_of(server) as client:
            if isinstance(content, str):
                found = client.request(method, path, content=content)
            else:
                found = client.request(method, path, json=content)
        assert found.status_code == status
        assert found.headers.get_list(HONOURED) == ["true"]

    def test_refusals_and_downloads_say_it_too(
        self, server: Served, guarded: Served, link: str
    ) -> None:
        answers = [
            asked(server, "GET", "/jobs/", "evil.example"),
            asked(server, "GET", "/jobs/", Origin="http://evil.example"),
            asked(guarded, "GET", "/jobs/"),
            asked(guarded, "GET", path_of(link)),
            asked(server, "POST", "/logs/", Content_Type="text/plain"),
        ]
        assert [each.status for each in answers] == [400, 403, 401, 200, 415]
        assert all(each.headers[HONOURED] == "true" for each in answers)

    def test_a_write_that_is_repeated_with_its_key_on_a_new_connection_is_done_once(
        self, server: Served
    ) -> None:
        headers = {"Idempotency-Key": "over-http"}
        answers = []
        for _ in range(3):
            with client_of(server) as client:
                answers.append(client.post("/jobs/", json={"name": "once"}, headers=headers))
        assert {each.status_code for each in answers} == {201}
        assert len({each.json()["id"] for each in answers}) == 1

    @pytest.mark.parametrize("key", ["", "k" * 256])
    def test_a_key_that_is_empty_or_too_long_is_refused(self, server: Served, key: str) -> None:
        with client_of(server) as client:
            refused = client.post("/jobs/", json={"name": "a"}, headers={"Idempotency-Key": key})
        assert refused.status_code == 400
        assert list(refused.json()) == ["Idempotency-Key"]

    def test_a_key_also_holds_for_a_chunk(self, server: Served) -> None:
        with client_of(server) as client:
            answers = [
                client.put(
                    "/chunked_upload/",
                    data={"filename": "f"},
                    files={"file": b"abc"},
                    headers={"Content-Range": "bytes 0-2/6", "Idempotency-Key": "a-chunk"},
                )
                for _ in range(2)
            ]
            (first, second) = (json.loads(each.text)["id"] for each in answers)
            assert first == second
            assert client.get(f"/chunked_upload/{first}/").json()["offset"] == 3


def test_a_token_that_was_given_is_printed_for_the_clients(guarded: Served) -> None:
    assert guarded.token == TOKEN
    assert any("SYNAPSE_HOST=" in line for line in guarded.lines)


def test_what_is_served_cannot_run_as_a_page(server: Served, tmp_path: Path) -> None:
    with client_of(server) as client:
        link = uploaded(client, "page.html", b"<script>alert(1)</script>")["file"]
        for name in ("page.html", "image.svg", "", "%22", "a/b.svg"):
            found = client.get(f"{link.rpartition('/')[0]}/{name}")
            assert found.status_code == (404 if "/" in name or not name else 200)
            if found.status_code == 200:
                assert found.headers["content-disposition"].startswith("attachment")
                assert found.headers["x-content-type-options"] == "nosniff"
