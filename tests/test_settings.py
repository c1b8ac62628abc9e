"""What the environment says."""

import json
from pathlib import Path

import pytest

from ray_synapse import settings
from ray_synapse.errors import SettingsError


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of a user who has configured nothing."""
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("RAY_SYNAPSE_HOME")
    return folder


def write_config(user: Path, text: str) -> Path:
    file = user / ".synapse" / "config.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def test_without_any_setting_runs_are_kept_in_the_users_home_and_all_is_uploaded(
    user: Path,
) -> None:
    loaded = settings.load()
    assert loaded.home == user / ".ray_synapse"
    assert loaded.host is None
    assert loaded.upload == "all"


def test_the_home_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_SYNAPSE_HOME", str(tmp_path / "elsewhere"))
    assert settings.home() == tmp_path / "elsewhere"
    assert settings.load().home == tmp_path / "elsewhere"


def test_a_tilde_in_the_home_is_the_users_home(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SYNAPSE_HOME", "~/runs")
    assert settings.home() == user / "runs"


def test_a_relative_home_becomes_absolute_since_trials_run_in_other_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_SYNAPSE_HOME", "runs")
    assert settings.home() == tmp_path / "runs"


def test_an_empty_variable_counts_as_not_set(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("RAY_SYNAPSE_HOME", "RAY_SYNAPSE_UPLOAD", "SYNAPSE_HOST"):
        monkeypatch.setenv(variable, "")
    loaded = settings.load()
    assert (loaded.home, loaded.upload, loaded.host) == (user / ".ray_synapse", "all", None)


@pytest.mark.parametrize("value", ["all", "best", "none"])
def test_the_environment_can_limit_the_upload(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SYNAPSE_UPLOAD", value)
    assert settings.load().upload == value


@pytest.mark.parametrize("value", ["ALL", "some", "1", "best "])
def test_an_unknown_upload_is_an_error_that_names_variable_and_what_is_allowed(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_SYNAPSE_UPLOAD", value)
    with pytest.raises(SettingsError, match=r'RAY_SYNAPSE_UPLOAD is .*"all".*"best".*"none"'):
        settings.load()


@pytest.mark.parametrize("value", [None, 1, True, [], {}])
def test_an_upload_that_is_no_text_is_an_error(value: object) -> None:
    with pytest.raises(SettingsError, match="upload is"):
        settings.check_upload(value, "upload")


@pytest.mark.parametrize("value", [None, "min", "max"])
def test_a_mode_may_be_left_out(value: str | None) -> None:
    assert settings.check_mode(value, "mode") == value


@pytest.mark.parametrize("value", ["MAX", "maximize", "", 1, []])
def test_an_unknown_mode_is_an_error_that_names_what_is_allowed(value: object) -> None:
    with pytest.raises(SettingsError, match=r'mode is .*"min" and "max"'):
        settings.check_mode(value, "mode")


def test_the_host_is_read_from_the_environment_first(
    user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(user, json.dumps({"host": "https://from.file"}))
    monkeypatch.setenv("SYNAPSE_HOST", "https://from.env")
    loaded = settings.load()
    assert (loaded.host, loaded.host_from) == ("https://from.env", "SYNAPSE_HOST")


def test_the_host_is_else_read_from_synapses_own_file(user: Path) -> None:
    file = write_config(user, json.dumps({"host": "https://from.file", "access_token": "secret"}))
    loaded = settings.load()
    assert (loaded.host, loaded.host_from) == ("https://from.file", str(file))
    assert "secret" not in repr(loaded)


@pytest.mark.parametrize(
    "text", ["", "not json", "[]", "null", '"host"', '{"host": 3}', '{"host": ""}', "{}"]
)
def test_a_file_that_names_no_host_is_passed_over(user: Path, text: str) -> None:
    write_config(user, text)
    assert settings.load().host is None


def test_a_file_that_is_no_text_is_passed_over(user: Path) -> None:
    write_config(user, "").write_bytes(b"\xff\xfe\x00")
    assert settings.load().host is None
