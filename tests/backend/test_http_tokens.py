"""Where the tokens go, and where they never go: redirects, downloads, texts, logs, pickles."""

import copy
import logging
import pickle
import shutil
import ssl
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ray_synapse.backend.http import Credentials, HttpApi, check_host
from ray_synapse.errors import (
    BackendError,
    DeniedError,
    NoAnswerError,
    NotFoundError,
    RefusedError,
    SettingsError,
    UnreachableError,
)
from tests.backend.fake_server import (
    Fake,
    answer,
    answering,
    api_of,
    certificate,
    raw,
    tidily,
)
from tests.serving import served

ACCESS, USER, TENANT = "acc-5ecret-1", "usr-5ecret-2", "ten-5ecret-3"
SENT = {"authorization", "synapse-tenant"}


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    with tidily():
        yield


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("the command openssl makes the certificate")
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def trusted(tls: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate that this test trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tls[1]))
    return tls[0]


@pytest.fixture
def other() -> Iterator[Fake]:
    """A server that shall not get a token."""
    with answering(answer(200, {"id": "other"})) as fake:
        yield fake


def known(url: str) -> HttpApi:
    """A client with all tokens."""
    return api_of(url, ACCESS, USER, TENANT)


def hides_all(text: str) -> bool:
    return "5ecret" not in text


def leads_to(url: str, status: int = 307) -> bytes:
    return raw(status, Location=url)


def fault_of(call: Callable[[], object]) -> BackendError:
    with pytest.raises(BackendError) as raised:
        call()
    return raised.value


def fetched(api: HttpApi, link: str) -> bytes:
    with api.download(link) as pieces:
        return b"".join(pieces)


class TestCredentials:
    @pytest.mark.parametrize(
        ("given", "headers"),
        [
            ((None, None, None), {}),
            ((ACCESS, None, None), {"Synapse-Access-Token": f"Token {ACCESS}"}),
            ((None, USER, None), {"Authorization": f"Token {USER}"}),
            ((ACCESS, USER, None), {"Authorization": f"Token {USER}"}),
            (
                (ACCESS, None, TENANT),
                {"Synapse-Access-Token": f"Token {ACCESS}", "Synapse-Tenant": f"Token {TENANT}"},
            ),
        ],
    )
    def test_the_user_token_wins(self, given: tuple[str | None, ...], headers: Any) -> None:
        assert Credentials("http://h", *given).headers() == headers

    def test_nothing_shows_or_keeps_a_token(self) -> None:
        credentials = Credentials("http://h", ACCESS, USER, TENANT)
        api = HttpApi(credentials)
        for text in (repr(credentials), str(credentials), f"{[credentials]}", repr(api), vars(api)):
            assert hides_all(str(text))
        assert "http://h" in repr(credentials)
        for each in (credentials, api):
            for keep in (pickle.dumps, copy.deepcopy):
                with pytest.raises(TypeError, match="reveal"):
                    keep(each)

    def test_nor_does_ray_pickle_them(self) -> None:
        cloudpickle = pytest.importorskip("ray.cloudpickle")
        credentials = Credentials("http://h", ACCESS)
        for each in (credentials, HttpApi(credentials), lambda: credentials):
            with pytest.raises(TypeError, match="reveal"):
                cloudpickle.dumps(each)

    def test_they_are_handed_on_by_their_values(self) -> None:
        credentials = Credentials("HTTP://H/", ACCESS, None, TENANT)
        assert credentials.reveal() == ("http://h", ACCESS, None, TENANT)
        assert Credentials(*credentials.reveal()) == credentials

    @pytest.mark.parametrize(
        "token", ["5ecret\n", "5ecret\r\nX: 1", "5ecrét", "5ecret 1", "5ecret토"]
    )
    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_a_token_that_can_be_no_header_is_told_without_showing_it(
        self, token: str, place: int
    ) -> None:
        given: list[str | None] = [None, None, None]
        given[place] = token
        variable = ("SYNAPSE_ACCESS_TOKEN", "SYNAPSE_PLUGIN_RUN_USER_TOKEN", "_TENANT")[place]
        with pytest.raises(SettingsError, match=variable) as wrong:
            Credentials("http://h", *given)
        assert hides_all(str(wrong.value))

    @pytest.mark.parametrize(
        ("given", "host"),
        [
            ("https://api.synapse.sh", "https://api.synapse.sh"),
            ("HTTPS://Api.Synapse.SH/", "https://api.synapse.sh"),
            (" http://localhost:8470/\n", "http://localhost:8470"),
            ("http://h/a/b//", "http://h/a/b"),
            ("http://[::1]:8000", "http://[::1]:8000"),
            ("http://synapse_backend:80", "http://synapse_backend:80"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
        ],
    )
    def test_a_host_has_one_form(self, given: str, host: str) -> None:
        assert check_host(given, "SYNAPSE_HOST") == host == check_host(host, "")

    @pytest.mark.parametrize(
        ("given", "advice"),
        [
            ("api.synapse.sh", '"https://api.synapse.sh"'),
            ("localhost:8470", '"https://localhost:8470"'),
            ("https://h/?a=5ecret", '"https://h/"'),
            ("https://h/#5ecret", '"https://h/"'),
            ("https://user:5ecret@h", "user name or password"),
            ("user:5ecret@h", "user name or password"),
            *[
                (text, "http(s)://name[:port][/path]")
                for text in (
                    *("ftp://h", "file:///h", "http://", "http:///a", "http://:80", "http://h:0"),
                    *("http://h:99999", "http://h:a", "http://a b", "http://.com", "http://a..b"),
                    *(
                        "http://" + "a" * 64,
                        "http://[::1",
                        "http://[x]",
                        "http://h\nx",
                        "http://a,b",
                    ),
                )
            ],
            ("", "http://"),
        ],
    )
    def test_a_host_that_is_none_is_told_with_what_to_write(self, given: str, advice: str) -> None:
        with pytest.raises(SettingsError) as wrong:
            check_host(given, "SYNAPSE_HOST")
        assert str(wrong.value).startswith("SYNAPSE_HOST ")
        assert advice in str(wrong.value)
        assert hides_all(str(wrong.value))


class TestDenied:
    def test_the_right_token_lets_in_and_a_wrong_one_is_told(self, tmp_path: Path) -> None:
        with served(tmp_path, "--token", "x" * 32) as server:
            assert api_of(server.url, "x" * 32).list_jobs()["count"] == 0
            assert api_of(server.url, None, "x" * 32).list_jobs()["count"] == 0
            wrong = fault_of(api_of(server.url, ACCESS).list_jobs)
            none = fault_of(api_of(server.url).list_jobs)
        for error, advice in ((wrong, "SYNAPSE_ACCESS_TOKEN"), (none, "No token was sent")):
            assert (type(error), error.status) == (DeniedError, 401)
            assert advice in str(error)
            assert hides_all(str(error))

    @pytest.mark.parametrize("status", [200, 301, 400, 401, 404, 500])
    @pytest.mark.parametrize("is_json", [False, True])
    def test_a_server_that_repeats_the_tokens_does_not_get_them_into_a_text(
        self, status: int, is_json: bool
    ) -> None:
        words = f"{ACCESS} {USER} and {TENANT}"
        said = answer(status, {"detail": words}) if is_json else raw(status, words.encode())
        if status == 200:
            said = answer(200, [words])
        if status == 301:
            said = leads_to(f"http://h/{USER}", 301)
        with answering(said, answer(400, {ACCESS: [words]})) as fake:
            api = known(fake.url)
            for _ in range(2):
                error = fault_of(lambda: api.create_model({}))
                assert hides_all(str(error))
                assert hides_all(repr(error))
                assert hides_all(str(vars(error)))


class TestHidden:
    def test_no_log_of_the_libraries_below_has_a_token(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        with answering(answer(200, {"id": 1}), answer(404), raw(307, Location="/x/")) as fake:
            api = known(fake.url)
            api.get_job(1)
            for _ in range(2):
                fault_of(lambda: api.get_job(1))
        assert fake.seen[0].tokens == SENT
        assert "httpcore" in caplog.text
        assert hides_all(caplog.text)

    @pytest.mark.parametrize(
        "given", [b"", raw(200, b"{", Content_Length=9), answer(404)], ids=["lost", "cut", "404"]
    )
    def test_nothing_of_the_library_hangs_on_an_error(self, given: bytes) -> None:
        with answering(lambda sock: sock.sendall(given)) as fake:
            error = fault_of(lambda: known(fake.url).get_job(1))
        assert (error.__cause__, error.__context__) == (None, None)
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        ours = [frame for frame in frames if frame.f_globals["__name__"].startswith("ray_")]
        assert len(ours) > 2
        for frame in ours:  # as tools show them that report errors
            assert hides_all(str(frame.f_locals))


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_read_goes_on_at_the_same_host_with_the_tokens(self, status: int) -> None:
        with answering(leads_to("/api/jobs/1/", status), answer(200, {"id": 1})) as fake:
            assert known(fake.url).get_job(1) == {"id": 1}
        assert [(seen.path, seen.tokens) for seen in fake.seen] == [
            ("/jobs/1/", SENT),
            ("/api/jobs/1/", SENT),
        ]

    @pytest.mark.parametrize("status", [307, 308])
    def test_a_write_goes_on_at_the_same_host_as_it_was(self, status: int) -> None:
        with answering(leads_to("/api/logs/", status), answer(201)) as fake:
            known(fake.url).create_logs([{"a": 1}], key="k")
            first, second = fake.seen
        assert (second.method, second.path, second.tokens) == ("POST", "/api/logs/", SENT)
        assert (first.body, first.headers) == (second.body, second.headers)

    def test_a_chunk_goes_on_whole(self) -> None:
        with answering(leads_to("/x/"), answer(200, {"id": "u"})) as fake:
            known(fake.url).put_chunk(None, "a", "bytes 0-999999/1000000", bytes(1_000_000))
        assert fake.seen[0].body == fake.seen[1].body
        assert len(fake.seen[1].body) > 1_000_000

    @pytest.mark.parametrize("status", [301, 302, 303])
    def test_a_write_is_not_made_another_request(self, status: int) -> None:
        with answering(leads_to("/x/", status), answer(200)) as fake:
            error = fault_of(lambda: known(fake.url).create_logs([]))
        assert (type(error), error.status, error.was_sent) == (BackendError, status, True)
        assert len(fake.seen) == 1

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("is_write", [False, True])
    def test_another_host_is_not_asked(self, other: Fake, status: int, is_write: bool) -> None:
        with answering(leads_to(f"{other.url}/api/logs/?a=1", status)) as fake:
            api = known(fake.url)
            error = fault_of(lambda: api.create_logs([]) if is_write else api.get_job(1))
        assert (type(error), error.status, error.was_sent) == (BackendError, status, True)
        assert f"leads to {other.url}/api/logs/," in str(error)
        expected = f"{other.url}/api." if is_write else f"{other.url}."
        assert f"set SYNAPSE_HOST to {expected}" in str(error)
        assert other.seen == []

    @pytest.mark.parametrize(
        "target", ["http://user:5ecret@{}/x/", "//localhost:{port}/x/", "ftp://{}/x/"]
    )
    def test_nor_is_what_only_looks_the_same(self, target: str) -> None:
        with answering(answer(200)) as fake:
            place = fake.url.removeprefix("http://")
            fake.answers[:] = [leads_to(target.format(place, port=place.partition(":")[2]))]
            error = fault_of(lambda: known(fake.url).get_job(1))
        assert (type(error), len(fake.seen)) == (BackendError, 1)
        assert hides_all(str(error))

    def test_redirects_that_do_not_end_are_given_up(self) -> None:
        with answering(leads_to("/x/")) as fake:
            error = fault_of(lambda: known(fake.url).get_job(1))
        assert (error.status, len(fake.seen)) == (307, 6)

    def test_into_tls_it_goes_on(self, trusted: ssl.SSLContext) -> None:
        with answering(answer(200, {"id": 1}), tls=trusted) as safe, answering(b"") as fake:
            fake.answers[:] = [leads_to(f"{safe.url}/jobs/1/", 301)]
            assert known(fake.url).get_job(1) == {"id": 1}
        assert safe.seen[0].tokens == SENT

    def test_out_of_tls_it_does_not(self, trusted: ssl.SSLContext, other: Fake) -> None:
        with answering(leads_to(f"{other.url}/jobs/1/"), tls=trusted) as safe:
            error = fault_of(lambda: known(safe.url).get_job(1))
        assert (error.status, other.seen) == (307, [])


class TestCertificates:
    def test_a_certificate_that_nobody_signed_gets_no_token(
        self, tls: tuple[ssl.SSLContext, Path]
    ) -> None:
        with answering(answer(200), tls=tls[0]) as fake:
            error = fault_of(lambda: known(fake.url).get_job(1))
        assert isinstance(error, UnreachableError)
        assert (error.reason, error.was_sent, fake.seen) == ("certificate", False, [])
        assert "SSL_CERT_FILE" in str(error)

    def test_nor_does_one_of_another_name(self, trusted: ssl.SSLContext) -> None:
        with answering(answer(200), tls=trusted, address="127.0.0.2") as fake:
            error = fault_of(lambda: known(fake.url).get_job(1))
        assert isinstance(error, UnreachableError)
        assert (error.reason, fake.seen) == ("certificate", [])

    def test_one_that_is_trusted_does(self, trusted: ssl.SSLContext) -> None:
        with answering(answer(200, {"id": 1}), tls=trusted) as fake:
            assert known(fake.url).get_job(1) == {"id": 1}
        assert fake.seen[0].tokens == SENT


class TestDownloads:
    def test_a_file_comes_in_pieces(self, tmp_path: Path) -> None:
        content = bytes(range(256)) * 10_000
        with (
            answering(raw(200, content)) as fake,
            known(fake.url).download(f"{fake.url}/f") as got,
        ):
            pieces = list(got)
        assert b"".join(pieces) == content
        assert [len(piece) for piece in pieces] == [1 << 20, 1 << 20, len(content) - (2 << 20)]
        assert fake.seen[0].headers["accept-encoding"] == "identity"

    def test_a_file_of_the_server_is_fetched_with_the_tokens(self) -> None:
        with answering(raw(200, b"file")) as fake:
            for link in (f"{fake.url}/media/f?signature=1", "/media/f?signature=1"):
                assert fetched(known(fake.url), link) == b"file"
        assert [(seen.path, seen.tokens) for seen in fake.seen] == [
            ("/media/f?signature=1", SENT)
        ] * 2

    def test_a_file_elsewhere_is_fetched_without_them(self, other: Fake) -> None:
        other.answers[:] = [raw(200, b"file")]
        with answering(answer(200)) as fake:
            assert fetched(known(fake.url), f"{other.url}/f") == b"file"
        assert (other.seen[0].tokens, fake.seen) == (set(), [])

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_elsewhere_and_back_loses_them(self, other: Fake, status: int) -> None:
        with answering(leads_to(f"{other.url}/f", status), raw(200, b"file")) as fake:
            other.answers[:] = [leads_to(f"{fake.url}/g")]
            assert fetched(known(fake.url), f"{fake.url}/f") == b"file"
        assert [seen.tokens for seen in (*fake.seen, *other.seen)] == [SENT, set(), set()]

    def test_another_scheme_is_elsewhere(self, trusted: ssl.SSLContext, other: Fake) -> None:
        with answering(leads_to(f"{other.url}/f"), tls=trusted) as safe:
            assert fetched(known(safe.url), f"{safe.url}/f")
        assert (safe.seen[0].tokens, other.seen[0].tokens) == (SENT, set())

    def test_a_file_that_is_gone_is_not_found(self) -> None:
        with answering(answer(404, {"detail": "It is gone."})) as fake:
            error = fault_of(lambda: fetched(known(fake.url), f"{fake.url}/f?signature=5ecret"))
        assert (type(error), error.status) == (NotFoundError, 404)
        assert "It is gone." in str(error)
        assert hides_all(str(error))

    def test_only_a_server_that_was_sent_the_tokens_denies_them(self, other: Fake) -> None:
        other.answers[:] = [raw(403, b"<Error>Request has expired</Error>")]
        error = fault_of(lambda: fetched(known("http://localhost:1"), f"{other.url}/f"))
        assert (type(error), error.status) == (BackendError, 403)
        mine = fault_of(lambda: fetched(known(other.url), f"{other.url}/f"))
        assert (type(mine), mine.status) == (DeniedError, 403)

    def test_a_file_that_is_cut_is_told_when_its_pieces_are_asked_for(self) -> None:
        cut = raw(200, b"fi", Content_Length=4)
        with answering(lambda sock: sock.sendall(cut)) as fake, ExitStack() as stack:
            pieces = stack.enter_context(known(fake.url).download(f"{fake.url}/f"))
            error = fault_of(lambda: list(pieces))
        assert (type(error), error.status) == (NoAnswerError, 200)

    def test_redirects_that_do_not_end_are_given_up(self) -> None:
        with answering(leads_to("/f")) as fake:
            error = fault_of(lambda: fetched(known(fake.url), f"{fake.url}/f"))
        assert (type(error), error.status, len(fake.seen)) == (BackendError, 307, 6)

    @pytest.mark.parametrize("link", ["http://h:port/", "http://a\nb", "file:///etc/passwd", "x:"])
    def test_a_link_that_leads_nowhere_is_told(self, link: str) -> None:
        error = fault_of(lambda: fetched(known("http://localhost:1"), link))
        assert isinstance(error, (RefusedError, UnreachableError))
        assert error.was_sent is False

    def test_a_file_of_the_served_backend_is_fetched(self, tmp_path: Path) -> None:
        with served(tmp_path, "--token", "x" * 32) as server:
            api = api_of(server.url, "x" * 32)
            upload = api.put_chunk(None, "a", "bytes 0-2/3", b"abc")["id"]
            done = api.finish_upload(upload, {"md5": "900150983cd24fb0d6963f7d28e17f72"})
            assert fetched(api, done["file"]) == b"abc"
