"""A text that finds a place again: in another process, without a secret in it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.implementations.webhdfs import WebHDFS
from pyarrow import fs

from ray_synapse.artifact import Artifact, artifact_at
from tests.storage import (
    FILES,
    KEYS,
    ON_THIS_MACHINE,
    S3,
    contents,
    folder,
    s3_server,
    stored,
    through_fsspec,
)

SECRETS = ("AKIATHEKEY", "the-secret", "the-session")


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


def read_elsewhere(uri: str | None) -> dict[str, bytes]:
    """What a new process with keys of its own finds there."""
    code = (
        "import json, sys; from ray_synapse.artifact import artifact_at\n"
        "artifact = artifact_at(sys.argv[1])\n"
        "print(json.dumps({each.name: artifact.open(each).read().decode()"
        " for each in artifact.files()}))"
    )
    keys = {"AWS_ACCESS_KEY_ID": "another", "AWS_SECRET_ACCESS_KEY": "secret"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(uri)],
        env={**os.environ, **keys},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name: content.encode() for name, content in json.loads(done.stdout).items()}


@pytest.mark.parametrize("kind", [*ON_THIS_MACHINE, "s3", "s3-subtree"])
def test_another_process_finds_the_place_again(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("s3") if "s3" in kind else None
    assert read_elsewhere(stored(kind, tmp_path, server).uri()) == FILES


@pytest.mark.parametrize("kind", ON_THIS_MACHINE)
def test_a_place_on_this_machine_is_an_absolute_path(kind: str, tmp_path: Path) -> None:
    assert stored(kind, tmp_path).uri() == str(tmp_path / "ck")


def test_a_relative_path_is_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path / "ck")
    monkeypatch.chdir(tmp_path)
    uri = Artifact("ck").uri()
    monkeypatch.chdir("/")
    assert contents(artifact_at(str(uri))) == FILES


@pytest.mark.parametrize("kind", ["s3", "s3-subtree"])
def test_a_uri_of_s3_says_the_server_and_no_secret(kind: str, tmp_path: Path, s3: S3) -> None:
    uri = stored(kind, tmp_path, s3).uri()
    assert uri is not None
    assert uri.startswith(f"s3://{s3.bucket}/")
    assert uri.endswith(
        f"/ck?region=eu-west-1&endpoint_override={quote(s3.address, safe='')}&scheme=http"
    )
    assert not [secret for secret in SECRETS if secret in uri]


def test_a_login_in_an_address_is_not_said() -> None:
    filesystem = fs.S3FileSystem(
        region="x", endpoint_override="http://me:the-secret@host:1", access_key="k", secret_key="s"
    )
    uri = Artifact("bucket/ck", filesystem).uri()
    assert uri == "s3://bucket/ck?region=x&endpoint_override=http%3A%2F%2Fhost%3A1"


@pytest.mark.parametrize("name", ["a b", "größe", "50%", "a?b#c", "a+b&c=d", "a%20b"])
def test_any_name_of_a_folder_is_found_again(name: str, tmp_path: Path, s3: S3) -> None:
    filesystem = s3.filesystem()
    for artifact in (
        Artifact(str(tmp_path / name)),
        Artifact(f"{s3.bucket}/{name}", filesystem),
        Artifact(f"/{name}", through_fsspec(MemoryFileSystem())),
    ):
        uri = artifact.uri()
        assert uri is not None
        assert artifact_at(uri).path == artifact.path


def test_a_uri_of_gcs_says_the_server_and_is_opened_again() -> None:
    filesystem = fs.GcsFileSystem(anonymous=True, endpoint_override="host:1", scheme="http")
    uri = Artifact("bucket/ck", filesystem).uri()
    assert uri == "gs://bucket/ck?endpoint_override=host%3A1&scheme=http"
    again = artifact_at(uri)
    assert (again.path, again.filesystem.type_name) == ("bucket/ck", "gcs")


@pytest.mark.parametrize("kind", ["memory", "memory-prefix"])
def test_fsspec_is_found_again_within_this_process(kind: str, tmp_path: Path) -> None:
    uri = stored(kind, tmp_path).uri()
    assert uri is not None
    assert uri.startswith("fsspec+memory:///")
    assert contents(artifact_at(uri)) == FILES


def test_a_uri_of_fsspec_says_the_server_and_no_secret() -> None:
    inner = WebHDFS("host", port=9870, token="the-secret", proxy_to=None)
    assert Artifact("/ck", through_fsspec(inner)).uri() is None  # where it is was not said by name
    inner = WebHDFS(host="host", port=9870, token="the-secret")
    below = through_fsspec(DirFileSystem(path="/models", fs=inner))
    uri = Artifact("ck", below).uri()
    assert uri == "fsspec+webhdfs:///models/ck?host=host&port=9870"
    again = artifact_at(uri)
    assert again.path == "/models/ck"
    assert again.filesystem.handler.fs.storage_options == {"host": "host", "port": 9870}


def test_what_no_text_can_say_has_none(tmp_path: Path) -> None:
    assert stored("zip", tmp_path).uri() is None
    assert Artifact("ck", fs._MockFileSystem()).uri() is None
    assert Artifact(None).uri() is None


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "relative/ck",
        "nothing://bucket/ck",
        "fsspec+nothing://bucket/ck",
        "s3://a b",
        "s3://b?x",
    ],
)
def test_a_place_that_cannot_be_opened_is_an_os_error_that_names_it(uri: str) -> None:
    with pytest.raises(
        OSError, match=r"cannot be opened on this machine: .*then try again"
    ) as found:
        artifact_at(uri)
    assert repr(uri) in str(found.value)


def test_a_place_where_nothing_is_any_more_is_not_found(tmp_path: Path, s3: S3) -> None:
    for artifact in (stored("local", tmp_path), stored("s3", tmp_path, s3)):
        uri = Artifact(f"{artifact.path}/gone", artifact.filesystem).uri()
        with pytest.raises(FileNotFoundError, match="gone"):
            artifact_at(str(uri)).files()


def test_the_keys_of_the_tests_are_what_is_looked_for() -> None:
    assert set(KEYS.values()) == set(SECRETS)
