"""One model, uploaded and registered on a served backend: once, under a name of its own."""

import dataclasses
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import ray_synapse
from ray_synapse.artifact import Artifact
from ray_synapse.backend.http import connection
from ray_synapse.delivery.outbox.models import ModelRow
from ray_synapse.delivery.uploader import Uploader
from ray_synapse.errors import BackendError, DeniedError, RefusedError
from tests.delivery.test_stream import (
    ANSWER_S,
    CHUNK,
    KEYS,
    NOT_PROCESSED,
    PROCESSED,
    Bench,
    Server,
    archive_of,
    bench,
    expected_ranges,
    hurry,
    weights,
)
from tests.exchanges import Exchange
from tests.faults import Fault, hang_after, lost, status
from tests.serving import served

SIZE = 1000  # bytes of a model where the upload itself is not the point
FILES = {"weights.bin": weights(SIZE)}


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("server")
    with served(home) as process:
        yield Server(process.url, home)


@pytest.fixture
def it(server: Server, tmp_path: Path) -> Iterator[Bench]:
    with bench(server, tmp_path) as made:
        yield made


def uploader_of(it: Bench) -> Uploader:
    return Uploader(it.outbox, it.api, it.job, threading.Event().wait)


def deliver(it: Bench, model: ModelRow, artifact: Artifact) -> int | str:
    """As a process does that has just started."""
    return uploader_of(it).deliver(it.row(model.id), artifact)


def posted(it: Bench) -> list[dict[str, Any]]:
    """What came to POST /models/, in that order."""
    return [json.loads(each.body) for each in it.requests("POST", "/models/")]


def taken_by(it: Bench, configuration: dict[str, Any] | None, name: str | None = None) -> int:
    """Have somebody else register a model; None as configuration gives none. Returns its id."""
    fields: dict[str, Any] = {"name": name or it.name}
    if configuration is not None:
        fields["configuration"] = configuration
    return int(it.api.create_model(fields)["id"])


def released(it: Bench, release: Any) -> Fault:
    """The job has that ``plugin_release``."""
    return status(200, {"id": it.job, "plugin_release": release}).on("GET", "/jobs/")


# What is registered


def test_a_model_is_registered_with_its_archive_its_name_and_what_is_known_of_it(
    it: Bench, server: Server
) -> None:
    files = {"model.pt": weights(2 * CHUNK), "sub/größe.json": b"{}", "empty": b""}
    artifact = it.artifact(files)
    row = it.request(artifact)
    known = deliver(it, row, artifact)
    assert server.content(known) == files
    ((name, model),) = server.models(it.name).items()
    assert (name, model["id"]) == (it.name, known)
    assert model["configuration"] == {"trial": "a", "artifact": row.identity}
    assert model["checkpoint"] is None
    ((upload, _, ended),) = server.uploads(it.name)
    assert ended
    (sent,) = posted(it)
    assert sent == {
        "name": it.name,
        "chunked_upload": upload,
        "configuration": model["configuration"],
        "plugin": "ray_synapse",  # of the served backend's one release
        "version": ray_synapse.__version__,
    }


@pytest.mark.parametrize(
    ("release", "answer", "expected"),
    [
        (7, {"version": "1.2", "plugin": {"code": "yolo"}}, {"plugin": "yolo", "version": "1.2"}),
        ("a-uuid", {"version": "2", "plugin": {"code": "x"}}, {"plugin": "x", "version": "2"}),
        (
            {"id": 8, "version": "3", "plugin": 5},
            {"version": "3", "plugin": {"code": "five"}},
            {"plugin": "five", "version": "3"},
        ),
        ({"version": "4", "plugin": {"code": "four"}}, None, {"plugin": "four", "version": "4"}),
        (9, {"version": "5", "plugin": {"code": None}}, {"version": "5"}),
        (None, None, {}),
    ],
    ids=["number", "text", "object with an id", "whole object", "no code", "none"],
)
def test_plugin_and_version_come_from_the_jobs_release(
    it: Bench, release: Any, answer: Any, expected: dict[str, str]
) -> None:
    it.proxy.always(released(it, release), status(200, answer).on("GET", "/plugin_releases/"))
    artifact = it.artifact(FILES)
    deliver(it, it.request(artifact), artifact)
    (sent,) = posted(it)
    assert {key: sent[key] for key in ("plugin", "version") if key in sent} == expected
    asked = [each.path for each in it.requests("GET", "/plugin_releases/")]
    id = release["id"] if isinstance(release, dict) and "id" in release else release
    assert asked == ([] if answer is None else [f"/plugin_releases/{id}/?expand=plugin"])


def test_the_release_is_asked_for_once_for_all_models(it: Bench) -> None:
    uploader = uploader_of(it)
    for number in range(3):
        artifact = it.artifact(FILES)
        uploader.deliver(it.request(artifact, f"{it.name}_{number}"), artifact)
    assert len(it.requests("GET", "/jobs/")) == 1
    assert len(it.requests("GET", "/plugin_releases/")) == 1
    assert len(posted(it)) == 3


def test_the_parent_is_the_model_that_the_trial_started_from(it: Bench, server: Server) -> None:
    parent = taken_by(it, {}, f"parent of {it.name}")
    artifact = it.artifact(FILES)
    deliver(it, it.request(artifact, parent=parent), artifact)
    assert posted(it)[-1]["checkpoint"] == parent
    assert server.models(it.name)[it.name]["checkpoint"] == parent
    assert server.models(it.name)[it.name]["category"] == "fine_tuned"


def test_a_parent_that_the_server_does_not_know_is_refused_with_its_words(it: Bench) -> None:
    artifact = it.artifact(FILES)
    with pytest.raises(RefusedError, match=r"checkpoint: .*987654"):
        deliver(it, it.request(artifact, parent=987654), artifact)


def test_a_name_with_the_separators_of_a_filter_is_found_again(it: Bench, server: Server) -> None:
    name = f"{it.name}:lr%3A1%2C2,width & größe_a1b2"
    artifact = it.artifact(FILES)
    row = it.request(artifact, name)
    known = deliver(it, row, artifact)
    assert deliver(it, row, artifact) == known
    assert list(server.models(it.name)) == [name]


# The name is taken


def test_a_model_that_is_registered_already_is_not_uploaded_again(
    it: Bench, server: Server
) -> None:
    """As after a crash before its id was noted, and after a restore with a new outbox."""
    artifact = it.artifact(FILES)
    row = it.request(artifact)
    known = deliver(it, row, artifact)
    before = len(it.proxy.requests)
    assert deliver(it, row, artifact) == known
    fresh = dataclasses.replace(row, upload=None, uploaded=False, sent=0)
    assert uploader_of(it).deliver(fresh, artifact) == known
    assert {each.method for each in it.proxy.requests[before:]} == {"GET"}
    assert len(server.models(it.name)) == 1


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_name_that_other_models_have_gets_a_number(
    it: Bench, server: Server, number: int
) -> None:
    """The trial went on after a restore: its first model is left as it is."""
    for _ in range(number):
        artifact = it.artifact(FILES)
        known = deliver(it, it.request(artifact), artifact)
    names = [it.name, *(f"{it.name}_{version}" for version in range(2, number + 1))]
    models = server.models(it.name)
    assert sorted(models) == sorted(names)
    assert models[names[-1]]["id"] == known
    assert len({model["configuration"]["artifact"]["path"] for model in models.values()}) == number


@pytest.mark.parametrize(
    "configuration", [None, {}, {"lr": 0.1}, {"artifact": None}, {"artifact": {"path": "/other"}}]
)
def test_a_model_of_somebody_else_is_never_taken_for_ours(
    it: Bench, server: Server, configuration: dict[str, Any] | None
) -> None:
    theirs = taken_by(it, configuration)
    artifact = it.artifact(FILES)
    known = deliver(it, it.request(artifact), artifact)
    assert known != theirs
    assert server.models(it.name)[f"{it.name}_2"]["id"] == known
    assert server.content(known) == FILES


def test_a_list_that_says_less_of_each_model_is_no_obstacle(it: Bench, server: Server) -> None:
    """The contract does not say that a list has the configuration."""
    theirs = taken_by(it, {"artifact": "another one"})
    brief = {"count": 1, "next": None, "results": [{"id": theirs, "name": it.name}]}
    it.proxy.always(status(200, brief).on("GET", rf"/models/\?name={it.name}$"))
    artifact = it.artifact(FILES)
    known = deliver(it, it.request(artifact), artifact)
    assert server.models(it.name)[f"{it.name}_2"]["id"] == known


@KEYS
def test_a_server_that_never_shows_a_configuration_has_each_model_once(
    server: Server, tmp_path: Path, strip_keys: bool
) -> None:
    """The contract does not say that it does: then the name alone settles what was lost."""

    def act(exchange: Exchange) -> None:
        answer = exchange.process()
        found = json.loads(answer.body)
        for each in found.get("results", [found]):
            each.pop("configuration", None)
        exchange.send(dataclasses.replace(answer, body=json.dumps(found).encode()))

    with bench(server, tmp_path, strip_keys=strip_keys) as it:
        it.proxy.script(lost().on("POST", "/models/"))
        it.proxy.always(Fault("brief", act).on("GET", "/models/"))
        artifact = it.artifact(FILES)
        row = it.request(artifact)
        assert deliver(it, row, artifact) == deliver(it, row, artifact)
        assert list(server.models(it.name)) == [it.name]


def test_a_server_that_does_not_filter_finds_the_name_all_the_same(
    it: Bench, server: Server
) -> None:
    artifact = it.artifact(FILES)
    row = it.request(artifact)
    others = [{"id": 1, "name": f"{it.name}_old", "configuration": {}}]
    it.proxy.script(status(200, {"count": 1, "results": others}).on("GET", "/models/"))
    deliver(it, row, artifact)
    assert list(server.models(it.name)) == [it.name]


def test_a_name_that_is_taken_during_the_upload_gets_a_number(it: Bench, server: Server) -> None:
    def act(exchange: Exchange) -> None:
        theirs.append(taken_by(it, {"artifact": "of another run"}))
        exchange.relay(exchange.body())

    theirs: list[int] = []
    it.proxy.script(Fault("name is taken", act).on("PUT"))
    artifact = it.artifact(FILES)
    known = deliver(it, it.request(artifact), artifact)
    models = server.models(it.name)
    assert {name: model["id"] for name, model in models.items()} == {
        it.name: theirs[0],
        f"{it.name}_2": known,
    }
    assert server.content(known) == FILES


# The registration gets no answer


@KEYS
@pytest.mark.parametrize("fault", [*PROCESSED, hang_after()], ids=lambda fault: fault.name)
def test_a_registration_whose_answer_is_lost_is_settled_by_asking_for_the_name(
    server: Server,
    tmp_path: Path,
    fault: Fault,
    strip_keys: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "hang" in fault.name:
        monkeypatch.setattr(connection, "READ_S", ANSWER_S)
    with bench(server, tmp_path, strip_keys=strip_keys) as it:
        artifact = it.artifact(FILES)
        it.proxy.script(fault.on("POST", "/models/"))
        known = deliver(it, it.request(artifact), artifact)
        ((name, model),) = server.models(it.name).items()
        assert (name, model["id"]) == (it.name, known)
        assert len(posted(it)) == 1
        assert len(server.uploads(it.name)) == 1


@KEYS
@pytest.mark.parametrize("fault", NOT_PROCESSED[1:], ids=lambda fault: fault.name)
def test_a_registration_that_was_not_processed_is_done_with_the_next_try(
    server: Server, tmp_path: Path, fault: Fault, strip_keys: bool
) -> None:
    with bench(server, tmp_path, strip_keys=strip_keys) as it:
        artifact = it.artifact(2 * CHUNK)
        row = it.request(artifact)
        it.proxy.script(fault.on("POST", "/models/"))
        with pytest.raises(BackendError):
            deliver(it, row, artifact)
        known = deliver(it, row, artifact)
        assert [model["id"] for model in server.models(it.name).values()] == [known]
        assert it.ranges() == expected_ranges(archive_of(artifact).size)
        assert (
            len({each.headers["Idempotency-Key"] for each in it.requests("POST", "/models/")}) == 1
        )


@KEYS
def test_a_registration_that_takes_effect_later_than_anybody_asks_is_not_doubled(
    server: Server, tmp_path: Path, strip_keys: bool
) -> None:
    with bench(server, tmp_path, strip_keys=strip_keys) as it:
        it.proxy.script(lost().on("POST", "/models/"))
        it.proxy.always(status(200, {"count": 0, "results": []}).on("GET", r"/models/\?"))
        artifact = it.artifact(FILES)
        row = it.request(artifact)
        with pytest.raises(BackendError):
            deliver(it, row, artifact)
        it.proxy.heal()
        known = deliver(it, row, artifact)
        ((name, model),) = server.models(it.name).items()
        assert (name, model["id"]) == (it.name, known)


@pytest.mark.parametrize("code", [401, 403])
def test_a_token_that_is_refused_is_said_at_once(it: Bench, code: int) -> None:
    artifact = it.artifact(FILES)
    row = it.request(artifact)
    it.proxy.always(status(code).on("POST", "/models/"))
    with pytest.raises(DeniedError):
        deliver(it, row, artifact)
    assert it.proxy.requests[-1].method == "POST"


# The upload of an earlier day


def test_an_upload_that_has_begun_goes_on(it: Bench, server: Server) -> None:
    artifact = it.artifact(3 * CHUNK)
    row = it.request(artifact)
    it.proxy.always(status(401).on("PUT", "/chunked_upload/."))  # all but the first chunk
    with pytest.raises(DeniedError):
        deliver(it, row, artifact)
    begun = len(it.ranges())
    it.proxy.heal()
    known = deliver(it, row, artifact)
    assert it.ranges()[begun:] == expected_ranges(archive_of(artifact).size)[1:]
    assert server.content(known) == {"weights.bin": weights(3 * CHUNK)}


@pytest.mark.parametrize("has_ended", [False, True])
def test_an_upload_that_the_server_forgot_begins_again(
    it: Bench, server: Server, has_ended: bool
) -> None:
    artifact = it.artifact(2 * CHUNK)
    row = it.request(artifact)
    what = "/models/" if has_ended else "/chunked_upload/"
    it.proxy.script(status(401).on("POST", what))
    with pytest.raises(DeniedError):
        deliver(it, row, artifact)
    assert it.row(row.id).uploaded is has_ended
    ((upload, _, _),) = server.uploads(it.name)
    server.forget(upload)
    known = deliver(it, row, artifact)
    assert server.content(known) == {"weights.bin": weights(2 * CHUNK)}
    assert len(server.models(it.name)) == 1
    assert it.ranges() == expected_ranges(archive_of(artifact).size) * 2
    assert it.row(row.id).upload != upload


@pytest.mark.parametrize("what", ["the content", "the size"])
def test_an_upload_of_other_files_than_these_begins_again(
    it: Bench, server: Server, what: str
) -> None:
    """Something else wrote into the model in the middle of its upload, and then it was restored."""
    artifact = it.artifact(2 * CHUNK)
    row, total = it.request(artifact), archive_of(artifact).size
    other = total if what == "the content" else total + 1
    span = f"bytes 0-{CHUNK - 1}/{other}"
    begun = it.api.put_chunk(None, f"{it.name}.zip", span, weights(CHUNK, "others"))
    it.outbox.set_model(row.id, upload=begun["id"])
    known = deliver(it, row, artifact)
    assert server.content(known) == {"weights.bin": weights(2 * CHUNK)}
    assert it.row(row.id).upload != begun["id"]


def test_an_upload_that_belongs_to_another_model_by_now_begins_again(
    it: Bench, server: Server
) -> None:
    artifact = it.artifact(FILES)
    row = it.request(artifact)
    deliver(it, row, artifact)
    second = it.request(artifact, f"{it.name}_second")
    it.outbox.set_model(second.id, upload=it.row(row.id).upload, uploaded=1)
    known = deliver(it, second, artifact)
    assert server.content(known) == FILES
    assert len(server.models(it.name)) == 2


# The files


@pytest.mark.parametrize("change", ["written again", "another file", "one gone", "all gone"])
def test_files_that_have_changed_since_the_trial_ended_are_not_uploaded_as_its_model(
    it: Bench, server: Server, change: str
) -> None:
    artifact = it.artifact({"a.bin": b"1" * 100, "b.bin": b"2" * 100})
    row, path = it.request(artifact), Path(str(artifact.path))
    if change == "written again":
        (path / "a.bin").unlink()
        (path / "a.bin").write_bytes(b"3" * 100)
    elif change == "another file":
        (path / "c.bin").write_bytes(b"")
    else:
        (path / "a.bin").unlink()
    if change == "all gone":
        (path / "b.bin").unlink()
        path.rmdir()
    with pytest.raises(FileNotFoundError, match=path.name):
        deliver(it, row, artifact)
    assert it.ranges() == []
    assert server.models(it.name) == {}


def test_an_upload_that_has_ended_needs_its_files_no_more(it: Bench, server: Server) -> None:
    """Tune may have deleted the checkpoint by then."""
    artifact = it.artifact(FILES)
    row = it.request(artifact)
    it.proxy.script(status(401).on("POST", "/models/"))
    with pytest.raises(DeniedError):
        deliver(it, row, artifact)
    (Path(str(artifact.path)) / "weights.bin").unlink()
    known = deliver(it, row, artifact)
    assert server.content(known) == FILES


def test_two_models_of_one_name_that_are_delivered_at_once_get_two_names(
    it: Bench, server: Server
) -> None:
    """A trial's models from before and after a restore wait together, after an outage."""
    artifacts = [it.artifact(FILES) for _ in range(2)]
    rows = [it.request(each) for each in artifacts]
    both = threading.Barrier(2)

    def act(exchange: Exchange) -> None:
        both.wait(20)
        exchange.relay(exchange.body())

    it.proxy.always(Fault("together", act).on("PUT"))
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(uploader_of(it).deliver, rows, artifacts))
    models = server.models(it.name)
    assert sorted(models) == [it.name, f"{it.name}_2"]
    assert sorted(found, key=int) == sorted(model["id"] for model in models.values())
