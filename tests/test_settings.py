"""What the environment says."""

import json
from pathlib import Path

import pytest

from ray_synapse import settings
from ray_synapse.errors import SettingsError

SERVER = {
    "host": "SYNAPSE_HOST",
    "access_token": "SYNAPSE_ACCESS_TOKEN",
    "user_token": "SYNAPSE_PLUGIN_RUN_USER_TOKEN",
    "tenant": "SYNAPSE_PLUGIN_RUN_TENANT",
}
VARIABLES = (
    *SERVER.values(),
    "SYNAPSE_JOB_ID",
    *(f"RAY_SYNAPSE_{each}" for each in ("HOME", "UPLOAD", "BACKEND", "OFFLINE")),
    *("RAY_SYNAPSE_DEADLINE_S", "RAY_SYNAPSE_OUTBOX_BYTES"),
)


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
    assert (loaded.server, loaded.job_id, loaded.backend) == ({}, None, None)
    assert (loaded.offline, loaded.deadline_s, loaded.outbox_bytes) == (False, 30.0, 1 << 30)
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
    unset = settings.load()
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "")
    assert settings.load() == unset
    assert unset.home == user / ".ray_synapse"


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


@pytest.mark.parametrize("name", SERVER)
def test_each_setting_of_the_server_is_read_from_the_environment_first(
    user: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_config(user, json.dumps({name: "from-the-file"}))
    monkeypatch.setenv(SERVER[name], "from-the-environment")
    loaded = settings.load()
    assert loaded.server == {name: "from-the-environment"}
    assert loaded.sources == {name: SERVER[name]}


@pytest.mark.parametrize("name", SERVER)
def test_each_setting_of_the_server_is_else_read_from_synapses_own_file(
    user: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    file = write_config(user, json.dumps({name: "from-the-file"}))
    monkeypatch.setenv(SERVER[name], "")
    loaded = settings.load()
    assert loaded.server == {name: "from-the-file"}
    assert loaded.sources == {name: f"{name} in {file}"}


def test_no_token_is_shown_with_the_settings(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(user, json.dumps({"host": "https://from.file", "access_token": "s3cret-a"}))
    monkeypatch.setenv("SYNAPSE_PLUGIN_RUN_USER_TOKEN", "s3cret-u")
    loaded = settings.load()
    assert loaded.server["access_token"] == "s3cret-a"
    assert loaded.server["user_token"] == "s3cret-u"
    assert "s3cret" not in repr(loaded)


@pytest.mark.parametrize(
    "text", ["", "not json", "[]", "null", '"host"', '{"host": 3}', '{"host": ""}', "{}"]
)
def test_a_file_that_names_no_host_is_passed_over(user: Path, text: str) -> None:
    write_config(user, text)
    assert settings.load().server == {}


def test_a_file_that_is_no_text_is_passed_over(user: Path) -> None:
    write_config(user, "").write_bytes(b"\xff\xfe\x00")
    assert settings.load().server == {}


def test_the_job_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNAPSE_JOB_ID", "0190a1b2-uuid")
    assert settings.load().job_id == "0190a1b2-uuid"


def test_the_environment_can_choose_the_embedded_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SYNAPSE_BACKEND", "local")
    assert settings.load().backend == "local"


@pytest.mark.parametrize(
    ("value", "offline"), [("1", True), ("true", True), ("TRUE", True), ("0", False)]
)
def test_the_environment_can_forbid_connections(
    monkeypatch: pytest.MonkeyPatch, value: str, offline: bool
) -> None:
    monkeypatch.setenv("RAY_SYNAPSE_OFFLINE", value)
    assert settings.load().offline is offline


@pytest.mark.parametrize(("value", "seconds"), [("0", 0.0), ("2.5", 2.5), ("600", 600.0)])
def test_the_environment_can_set_how_long_the_end_waits(
    monkeypatch: pytest.MonkeyPatch, value: str, seconds: float
) -> None:
    monkeypatch.setenv("RAY_SYNAPSE_DEADLINE_S", value)
    assert settings.load().deadline_s == seconds


def test_the_environment_can_limit_what_is_kept_on_the_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_SYNAPSE_OUTBOX_BYTES", "5000000")
    assert settings.load().outbox_bytes == 5_000_000


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("RAY_SYNAPSE_BACKEND", "cloud", 'allowed is "local"'),
        ("RAY_SYNAPSE_OFFLINE", "yes", "allowed are 1 and 0"),
        ("RAY_SYNAPSE_DEADLINE_S", "soon", "0 or more"),
        ("RAY_SYNAPSE_DEADLINE_S", "-1", "0 or more"),
        ("RAY_SYNAPSE_DEADLINE_S", "nan", "0 or more"),
        ("RAY_SYNAPSE_DEADLINE_S", "inf", "0 or more"),
        ("RAY_SYNAPSE_OUTBOX_BYTES", "1GB", "bytes, 1048576 or more"),
        ("RAY_SYNAPSE_OUTBOX_BYTES", "1000", "bytes, 1048576 or more"),
        ("RAY_SYNAPSE_OUTBOX_BYTES", "-5", "bytes, 1048576 or more"),
    ],
)
def test_a_variable_with_a_wrong_value_is_an_error_that_names_it_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        settings.load()
    for part in (variable, repr(value), words):
        assert part in str(caught.value)


@pytest.mark.parametrize("value", [True, None, "", [], -0.1, float("nan")])
def test_an_argument_that_is_no_number_of_seconds_is_an_error(value: object) -> None:
    with pytest.raises(SettingsError, match="deadline_s is"):
        settings.check_seconds(value, "deadline_s")


# What no message may show.


@pytest.mark.parametrize("name", ["access_token", "user_token", "tenant"])
def test_each_configured_token_is_a_secret_also_one_that_another_replaces(
    user: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_config(user, json.dumps({name: "from-the-file", "host": "https://from.file"}))
    monkeypatch.setenv(SERVER[name], "from-the-environment\n")
    found = settings.secrets()
    assert {"from-the-file", "from-the-environment"} <= set(found)
    assert "https://from.file" not in found


@pytest.mark.parametrize(
    "name",
    [
        *("HF_TOKEN", "MY_TOKENS_1", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "db_password"),
        *("PGPASSWORD", "MYSQL_PWD", "X_PASSWD", "WANDB_API_KEY", "SOME_APIKEY", "APP_CREDENTIALS"),
        *("DEPLOY_PRIVATE_KEY", "KEY_PASSPHRASE"),
    ],
)
def test_a_variable_whose_name_says_so_is_a_secret(
    user: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "/abc+def")
    assert "/abc+def" in settings.secrets()


@pytest.mark.parametrize(
    "name",
    [
        *("PWD", "OLDPWD", "TOKENIZERS_PARALLELISM", "RAY_AUTH_TOKEN_PATH", "SECRET_FILE"),
        *("TOKEN_URL", "SSH_AUTH_SOCK", "LANG_SECRETARY", "SYNAPSE_HOST", "RAY_AUTH_MODE"),
    ],
)
def test_a_variable_that_only_sounds_like_it_is_none(
    user: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "a-value-of-it")
    assert "a-value-of-it" not in settings.secrets()


def test_the_path_of_a_file_with_credentials_is_no_secret(
    user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(user))
    assert str(user) not in settings.secrets()


def test_of_secrets_the_longest_comes_first_each_once_and_none_that_is_short(
    user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = settings.secrets()
    for name, value in {"A": "123456", "B": "1234567", "C": "1234567", "D": "12345"}.items():
        monkeypatch.setenv(f"{name}_TOKEN", value)
    found = [each for each in settings.secrets() if each not in before]
    assert found == ["1234567", "123456"]


@pytest.mark.parametrize("text", ["", "no json", "[1]", '{"tenant": [1]}', "[" * 100_000])
def test_whatever_the_file_holds_the_secrets_of_the_environment_are_found(
    user: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    write_config(user, text)
    monkeypatch.setenv("SYNAPSE_ACCESS_TOKEN", "from-the-environment")
    assert "from-the-environment" in settings.secrets()


# Ray's own variable.


@pytest.mark.parametrize(("value", "address"), [("10.0.0.1:6379", "10.0.0.1:6379"), ("", None)])
def test_the_ray_cluster_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str, address: str | None
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", value)
    assert settings.ray_address() == address
