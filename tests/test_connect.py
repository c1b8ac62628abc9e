"""Where a run logs to, and what init says when that cannot be."""

import json
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import ray_synapse
from ray_synapse import greeting, registry, start
from ray_synapse.backend.local import LocalBackend
from ray_synapse.delivery import letters, retry
from ray_synapse.delivery.patience import Patience
from tests.faults import Fault, drip, garbage, hang, status
from tests.proxy import Proxy
from tests.serving import served
from tests.synapse import kept, make_job, metric_values

TOKEN = "s3cret-of-the-server-0123"
WAYS_OUT = ('backend="local"', "RAY_SYNAPSE_BACKEND=local", "offline=True", "RAY_SYNAPSE_OFFLINE=1")


class Place(NamedTuple):
    """A served backend with a job in it."""

    url: str
    home: Path
    job: int


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """It takes any token, and none."""
    home = tmp_path_factory.mktemp("server")
    with served(home) as process:
        yield Place(process.url, home, make_job(process.url))


@pytest.fixture(scope="module")
def closed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """It takes its own token only."""
    home = tmp_path_factory.mktemp("closed")
    job = LocalBackend(home).create_job("digits", {})
    with served(home, "--token", TOKEN) as process:
        yield Place(process.url, home, int(job))


@pytest.fixture
def proxy(open_server: Place) -> Iterator[Proxy]:
    with Proxy(open_server.url) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home folder of a user without a config file, who does not wait long."""
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("RAY_SYNAPSE_DEADLINE_S", "5")
    monkeypatch.setattr(greeting, "TRIED_S", 0.6)
    monkeypatch.setattr(greeting, "MAX_WAIT_S", 0.1)
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(letters, "MAX_AGE_S", 0.05)
    yield folder
    for run in registry.open_runs():
        run._patience = Patience(0.0)
        start.close(run)


def configure(user: Path, **values: str) -> Path:
    """Write Synapse's own config file."""
    file = user / ".synapse" / "config.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(values))
    return file


def init_fails(kind: type[Exception], **arguments: Any) -> str:
    """The text of the error; every such text names the two ways out."""
    with pytest.raises(kind) as caught:
        ray_synapse.init("digits", **arguments)
    assert type(caught.value) is kind
    for way in WAYS_OUT:
        assert way in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def until(condition: Callable[[], object], seconds: float = 15) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not come about"
        time.sleep(0.02)


# Which backend


def test_without_a_host_the_embedded_backend_is_used(home: Path) -> None:
    run = ray_synapse.init("digits")
    assert LocalBackend(home).job(run.job_id)["name"] == "digits"


def test_a_token_without_a_host_is_not_passed_over_in_silence(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SYNAPSE_ACCESS_TOKEN", TOKEN)
    ray_synapse.init("digits")
    assert len(LocalBackend(home).jobs()) == 1
    said = capfd.readouterr().err
    assert "no host" in said
    assert "SYNAPSE_HOST=https://api.synapse.sh" in said
    assert TOKEN not in said


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_the_embedded_backend_can_be_chosen_whatever_is_configured(
    proxy: Proxy, user: Path, home: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    configure(user, host=proxy.url, access_token=TOKEN)
    monkeypatch.setenv("SYNAPSE_HOST", proxy.url)
    monkeypatch.setenv("SYNAPSE_JOB_ID", "77")
    arguments: dict[str, Any] = {"host": proxy.url, "access_token": TOKEN}
    if how == "environment":
        monkeypatch.setenv("RAY_SYNAPSE_BACKEND", "local")
    else:
        arguments["backend"] = "local"
    with ray_synapse.init("digits", **arguments) as run:
        run.log_metric("training", "loss", 1)
    assert metric_values(home, int(run.job_id)) == [1]
    assert proxy.requests == []


def test_a_configured_server_gets_what_is_logged(proxy: Proxy, open_server: Place) -> None:
    job = make_job(open_server.url)
    with ray_synapse.init("digits", host=proxy.url, job_id=job) as run:
        run.log_metric("training", "loss", 0.5)
        assert kept(open_server.home).job(job)["name"] == "digits"
    assert metric_values(open_server.home, job) == [0.5]
    assert kept(open_server.home).job(job)["status"] == "SUCCEEDED"


def sent_to(proxy: Proxy) -> tuple[str | None, str | None, str | None]:
    """The values of the three tokens in the first request."""
    names = ("Synapse-Access-Token", "Authorization", "Synapse-Tenant")
    headers = proxy.requests[0].headers
    access, user, tenant = (headers[name] for name in names)
    return access, user, tenant


def test_an_argument_wins_over_the_environment_and_that_over_the_config_file(
    proxy: Proxy, open_server: Place, user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = "http://127.0.0.1:9"
    configure(user, host=nowhere, access_token="file-a", tenant="file-t")
    monkeypatch.setenv("SYNAPSE_HOST", nowhere)
    monkeypatch.setenv("SYNAPSE_ACCESS_TOKEN", "env-a")
    monkeypatch.setenv("SYNAPSE_JOB_ID", "99999")
    ray_synapse.init("digits", host=proxy.url, access_token="arg-a", job_id=open_server.job)
    assert sent_to(proxy) == ("Token arg-a", None, "Token file-t")
    assert proxy.requests[0].path == f"/jobs/{open_server.job}/"


def test_the_environment_wins_over_the_config_file(
    proxy: Proxy, open_server: Place, user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(user, host="http://127.0.0.1:9", access_token="file-a", user_token="file-u")
    monkeypatch.setenv("SYNAPSE_HOST", proxy.url)
    monkeypatch.setenv("SYNAPSE_PLUGIN_RUN_USER_TOKEN", "env-u")
    monkeypatch.setenv("SYNAPSE_PLUGIN_RUN_TENANT", "env-t")
    ray_synapse.init("digits", job_id=open_server.job)
    assert sent_to(proxy) == (None, "Token env-u", "Token env-t")  # the user's token wins


def test_the_config_file_is_enough(proxy: Proxy, open_server: Place, user: Path) -> None:
    configure(user, host=proxy.url, access_token="file-a")
    ray_synapse.init("digits", job_id=open_server.job)
    assert sent_to(proxy) == ("Token file-a", None, None)


def test_the_job_may_come_from_the_environment(
    proxy: Proxy, open_server: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNAPSE_JOB_ID", str(open_server.job))
    run = ray_synapse.init("digits", host=proxy.url)
    assert run.job_id == open_server.job
    run.log_message("hello")
    until(lambda: run.stats()["waiting"] == 0)


# What cannot be


def test_a_missing_job_is_an_error_that_names_both_ways_to_give_it(proxy: Proxy) -> None:
    with pytest.raises(ray_synapse.SettingsError) as caught:
        ray_synapse.init("digits", host=proxy.url)
    text = str(caught.value)
    assert "job_id=" in text
    assert "SYNAPSE_JOB_ID" in text
    assert 'backend="local"' in text
    assert "offline" not in text  # which needs a job, too
    assert proxy.requests == []


def test_a_job_that_the_server_does_not_have_is_an_error_that_names_it(proxy: Proxy) -> None:
    text = init_fails(ray_synapse.NotFoundError, host=proxy.url, job_id=99_999)
    for part in ("no job 99999", proxy.url, "the argument host", "SYNAPSE_JOB_ID"):
        assert part in text


def test_a_host_that_is_none_is_an_error_before_any_connection() -> None:
    with pytest.raises(ray_synapse.SettingsError, match=r"argument host .*https://"):
        ray_synapse.init("digits", host="synapse.example", job_id=1)


def test_a_server_elsewhere_needs_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNAPSE_HOST", "https://synapse.example")
    text = init_fails(ray_synapse.SettingsError, job_id=1)
    for part in (
        "SYNAPSE_HOST",
        "https://synapse.example",
        "SYNAPSE_ACCESS_TOKEN",
        "access_token=",
    ):
        assert part in text


def test_a_name_that_does_not_exist_is_said_to_be_wrong() -> None:
    text = init_fails(
        ray_synapse.UnreachableError, host="http://nosuchhost.invalid", job_id=1, access_token=TOKEN
    )
    assert "no host called 'nosuchhost.invalid'" in text
    assert "the argument host" in text
    assert TOKEN not in text


def test_https_for_a_server_without_tls_is_an_error_at_once(closed_server: Place) -> None:
    host = closed_server.url.replace("http://", "https://")
    text = init_fails(ray_synapse.UnreachableError, host=host, job_id=1, access_token=TOKEN)
    assert "is no https server" in text
    assert "Write http://" in text


@pytest.mark.parametrize("source", ["argument", "environment", "file"])
def test_a_wrong_token_is_said_to_be_wrong_and_where_it_came_from(
    closed_server: Place, user: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    wrong = "s3cret-but-wrong"
    arguments: dict[str, Any] = {"host": closed_server.url, "job_id": closed_server.job}
    if source == "argument":
        arguments["access_token"], named = wrong, "the argument access_token"
    elif source == "environment":
        monkeypatch.setenv("SYNAPSE_ACCESS_TOKEN", wrong)
        named = "SYNAPSE_ACCESS_TOKEN"
    else:
        named = f"access_token in {configure(user, access_token=wrong)}"
    text = init_fails(ray_synapse.DeniedError, **arguments)
    assert f"({named})" in text
    assert "does not take the token" in text
    assert wrong not in text


def test_no_token_for_a_server_that_wants_one_is_said(closed_server: Place) -> None:
    text = init_fails(ray_synapse.DeniedError, host=closed_server.url, job_id=closed_server.job)
    assert "none was given" in text


def test_the_right_token_is_taken(closed_server: Place) -> None:
    place = closed_server
    run = ray_synapse.init("digits", host=place.url, job_id=place.job, access_token=TOKEN)
    run.log_metric("training", "loss", 1)
    until(lambda: run.stats()["waiting"] == 0)
    assert metric_values(place.home, place.job) == [1]
    assert TOKEN not in repr(run)


@contextmanager
def page_server(code: int = 200, certificate: Path | None = None) -> Iterator[str]:
    """A web server that knows nothing of Synapse."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html><title>Welcome to nginx</title></html>")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Page)
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("code", "kind"), [(200, ray_synapse.NoAnswerError), (404, ray_synapse.NotFoundError)]
)
def test_a_page_is_said_not_to_be_synapse(code: int, kind: type[Exception]) -> None:
    with page_server(code) as url:
        text = init_fails(kind, host=url, job_id=1)
    assert "does not answer as Synapse does" in text
    assert "Correct the host" in text
    assert "Welcome to nginx" in text


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody has signed, with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    file, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    made = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext"
    subprocess.run(
        [*made.split(), "subjectAltName=IP:127.0.0.1", "-out", str(file), "-keyout", str(key)],
        check=True,
        capture_output=True,
    )
    file.write_text(file.read_text() + key.read_text())
    return file


def test_a_certificate_that_is_not_trusted_is_said_to_be_that(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with page_server(certificate=certificate) as url:
        text = init_fails(ray_synapse.UnreachableError, host=url, job_id=1)
        assert f"the certificate of {url}" in text
        assert "SSL_CERT_FILE" in text
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with pytest.raises(ray_synapse.BackendError, match="does not answer as Synapse does"):
            ray_synapse.init("digits", host=url, job_id=1)


def test_a_redirect_to_another_host_is_not_followed(proxy: Proxy, open_server: Place) -> None:
    with Proxy(open_server.url) as other:
        where = {"Location": f"{other.url}/jobs/{open_server.job}/"}
        proxy.always(status(302, headers=where))
        text = init_fails(
            ray_synapse.BackendError, host=proxy.url, job_id=open_server.job, access_token=TOKEN
        )
        assert f"set SYNAPSE_HOST to {other.url}" in text
        assert other.requests == []
    assert len(proxy.requests) == 1  # it is no hiccup: not tried again


# A server that is down


DOWN = {
    "500": status(500),
    "502": status(502, body=b"<html>away"),
    "503": status(503),
    "504": status(504),
    "429": status(429),
    "hang": hang(),
}


@pytest.mark.parametrize("fault", DOWN.values(), ids=DOWN)
def test_a_server_that_is_down_is_tried_for_a_while_and_the_run_goes_on_and_delivers_later(
    proxy: Proxy,
    open_server: Place,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    fault: Fault,
) -> None:
    monkeypatch.setattr(greeting, "ANSWER_S", 0.3)
    proxy.always(fault)
    check_down(proxy, open_server, capfd)
    assert len(proxy.requests) > 2


def test_a_server_that_is_not_there_is_tried_for_a_while_likewise(
    proxy: Proxy, open_server: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    proxy.stop()
    check_down(proxy, open_server, capfd)


def check_down(proxy: Proxy, server: Place, capfd: pytest.CaptureFixture[str]) -> None:
    job, started = make_job(server.url), time.monotonic()
    run = ray_synapse.init("digits", host=proxy.url, job_id=job)
    assert 0.4 < time.monotonic() - started < 3
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert f"WARNING: {proxy.url} IS DOWN" in said
    assert f"`ray-synapse sync {job}`" in said
    run.log_metric("training", "loss", 0.5)
    stats = run.stats()
    assert (stats["logged"], stats["waiting"]) == (2, 2)
    proxy.heal()
    if proxy._server is None:
        proxy.start()
    until(lambda: run.stats()["waiting"] == 0)
    with run:
        pass
    assert run.stats()["delivered"] == run.stats()["logged"] == 3
    assert metric_values(server.home, job) == [0.5]
    assert kept(server.home).job(job)["status"] == "SUCCEEDED"
    assert "IS DOWN" not in capfd.readouterr().err


def test_a_hiccup_is_nobodys_business(
    proxy: Proxy, open_server: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    proxy.script(status(503), garbage(), drip(0.1))
    job = make_job(open_server.url)
    with ray_synapse.init("digits", host=proxy.url, job_id=job) as run:
        run.log_metric("training", "loss", 1)
    assert capfd.readouterr().err == ""
    assert metric_values(open_server.home, job) == [1]
