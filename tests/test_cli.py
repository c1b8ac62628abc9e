"""The command ray-synapse."""

import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import pytest

import ray_synapse
from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.backend.local import LocalBackend
from ray_synapse.backend.protocol import Batch, JobId, Record
from ray_synapse.cli import main
from ray_synapse.values import dumps

TABLE = {
    "base": ["trial_id", "status"],
    "hyperparameters": ["lr"],
    "metrics": ["accuracy"],
    "trials": {
        "t1": {"base": ["t1", "TERMINATED"], "hyperparameters": [0.1], "metrics": [0.9]},
        "t2": {"base": ["t2", "ERROR"], "hyperparameters": [0.2], "metrics": [None]},
    },
    "best_trial": "t1",
}


def make_job(backend: LocalBackend, name: str = "digits", status: str = "SUCCEEDED") -> JobId:
    """A job with a table, a metric, a message and a model."""
    fields = {"status": status, "host": socket.gethostname(), "pid": os.getpid()}
    job = backend.create_job(name, {**fields, "metric": "accuracy", "mode": "max"})
    metric = {"category": "trial", "key": "loss", "value": None, "metrics": {}, "trial_id": "t1"}
    data = [("trials", TABLE), ("metric", metric), ("message", {"content": "größer 😀"})]
    records = [
        Record(seq, event, "2024-01-02T03:04:05+00:00", dumps(each), level="info")
        for seq, (event, each) in enumerate(data, 1)
    ]
    backend.write(job, Batch("p", 0, records, 4, 1, 0))
    backend.add_model(job, f"{name}_{job}_t1", {}, 2_000_000, write_two_megabytes)
    return job


def write_two_megabytes(archive: BinaryIO) -> None:
    archive.write(b"x" * 2_000_000)


def command(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "ray_synapse", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **variables},
    )


def is_one_clean_line(text: str) -> bool:
    return text.startswith("ray-synapse: ") and text.count("\n") == 1 and text.endswith("\n")


def test_ls_lists_all_runs_the_newest_first(
    backend: LocalBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    make_job(backend, "first")
    make_job(backend, "second")
    assert main(["ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["job", "name", "status", "created", "done", "models"]
    assert [line.split()[1] for line in lines[1:]] == ["second", "first"]
    assert "1 (2.0 MB)" in lines[1]


def test_ls_without_runs_says_where_it_looked_and_how_to_make_one(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ls"]) == 0
    text = capsys.readouterr().out
    assert str(home) in text
    assert "ray_synapse.init(name)" in text


def test_show_prints_a_run(backend: LocalBackend, capsys: pytest.CaptureFixture[str]) -> None:
    job = make_job(backend)
    assert main(["show", str(job)]) == 0
    captured = capsys.readouterr()
    assert "* t1" in captured.out
    assert "größer 😀" in captured.out
    assert captured.err == ""


def test_show_as_json_is_json_and_has_everything(
    backend: LocalBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job(backend)
    assert main(["show", str(job), "--json"]) == 0
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert shown["id"] == job
    assert shown["trials"] == TABLE
    assert (shown["status"], shown["interrupted"]) == ("SUCCEEDED", False)
    assert shown["metrics"][0]["data"]["trial_id"] == "t1"
    assert shown["messages"][0]["data"]["content"] == "größer 😀"
    assert Path(shown["models"][0]["file"]).is_file()
    records = shown["records"]
    assert records["logged"] == 4
    assert (records["delivered"], records["dropped"], records["waiting"]) == (3, 1, 0)


def test_json_of_a_run_that_logged_nothing_is_json(
    backend: LocalBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    job = backend.create_job("empty", {})
    assert main(["show", str(job), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["trials"], shown["metrics"], shown["models"]) == (None, [], [])


def test_rm_removes_runs_and_frees_their_files(
    backend: LocalBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [make_job(backend, name) for name in ("a", "b", "c")]
    files = [Path(backend.models(job)[0]["file"]) for job in jobs]
    assert main(["rm", *map(str, jobs[:2])]) == 0
    assert [file.exists() for file in files] == [False, False, True]
    assert not files[0].parent.exists()
    assert [job["id"] for job in backend.jobs()] == [jobs[2]]
    assert "removed job 1 (a), 2.0 MB of models" in capsys.readouterr().out


def test_rm_leaves_a_run_alone_that_is_still_running(
    backend: LocalBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job(backend, status="RUNNING")
    assert main(["rm", str(job)]) == 1
    error = capsys.readouterr().err
    assert is_one_clean_line(error)
    assert f"job {job} is still running (process {os.getpid()}" in error
    assert Path(backend.models(job)[0]["file"]).exists()


def test_rm_removes_a_run_whose_process_is_gone(backend: LocalBackend) -> None:
    job = make_job(backend, status="RUNNING")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    backend.patch_job(job, {"pid": gone.pid})
    assert main(["rm", str(job)]) == 0
    assert backend.jobs() == []


def test_rm_removes_a_run_of_a_lost_machine_and_not_one_that_is_heard_of(
    backend: LocalBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job(backend, status="RUNNING")
    backend.patch_job(job, {"host": "another.example", "pid": 7})
    assert main(["rm", str(job)]) == 1
    assert "is still running (process 7 on another.example)" in capsys.readouterr().err
    with backend._write() as db:
        db.execute("UPDATE jobs SET beat = '2024-01-02T03:04:05.000+00:00'")
    assert main(["ls"]) == 0
    assert "STOPPED (interrupted)" in capsys.readouterr().out
    assert main(["rm", str(job)]) == 0
    assert backend.jobs() == []


@pytest.mark.parametrize("arguments", [["show"], ["show", "--json"], ["rm"]], ids=" ".join)
@pytest.mark.parametrize("job", ["7", "0", "-1", "99999999999999999999999"])
def test_a_job_that_does_not_exist_is_one_clean_line_and_exit_code_1(
    backend: LocalBackend, capsys: pytest.CaptureFixture[str], arguments: list[str], job: str
) -> None:
    make_job(backend)
    assert main([*arguments, "--", job]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert is_one_clean_line(captured.err)
    assert f"job {job} does not exist" in captured.err
    assert "`ray-synapse ls`" in captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["no-such-command"], ["show"], ["show", "x"], ["rm"], ["ls", "--no-such"]),
        *(["doctor", "1"], ["sync", "1", "2"], ["sync", "--no-such"]),
    ],
)
def test_wrong_arguments_are_exit_code_2_and_say_how_to_call_it(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: ray-synapse" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--help"], *([name, "--help"] for name in ("show", "rm", "doctor", "sync"))]
)
def test_help_is_there_for_each_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    assert "usage: ray-synapse" in capsys.readouterr().out


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"ray-synapse {ray_synapse.__version__}\n"


def test_as_a_process_it_prints_plain_text_into_a_pipe(backend: LocalBackend) -> None:
    job = make_job(backend)
    done = command("show", str(job), COLUMNS="20", TERM="xterm-256color")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    header = next(line for line in done.stdout.splitlines() if line.startswith("trial "))
    assert header.split() == ["trial", "status", "lr", "accuracy"]


@pytest.mark.parametrize("name", ["doctor", "sync"])
def test_where_nothing_was_ever_logged_for_a_server_nothing_is_left(name: str, home: Path) -> None:
    done = command(name)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("nothing is left to deliver")
    assert not home.exists()  # looking makes nothing


def test_as_a_process_an_error_is_one_clean_line(backend: LocalBackend) -> None:
    done = command("show", "99")
    assert (done.returncode, done.stdout) == (1, "")
    assert is_one_clean_line(done.stderr)


def test_a_damaged_database_is_one_clean_line(home: Path) -> None:
    home.mkdir()
    (home / "ray_synapse.db").write_bytes(b"this is no database, but it is long enough" * 100)
    done = command("ls")
    assert (done.returncode, done.stdout) == (1, "")
    assert is_one_clean_line(done.stderr)
    assert "damaged" in done.stderr


def test_a_home_that_is_a_file_is_one_clean_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = command("ls", RAY_SYNAPSE_HOME=str(tmp_path / "file"))
    assert (done.returncode, done.stdout) == (1, "")
    assert is_one_clean_line(done.stderr)
    assert "RAY_SYNAPSE_HOME" in done.stderr


@pytest.mark.parametrize("json_too", [[], ["--json"]], ids=["text", "json"])
def test_a_reader_that_stops_early_is_no_error(backend: LocalBackend, json_too: list[str]) -> None:
    job = make_job(backend)
    record = Record(4, "message", "2024-01-02T03:04:05+00:00", dumps({"content": "x" * 10_000}))
    many = [record._replace(seq=seq, level="info") for seq in range(4, 404)]
    backend.write(job, Batch("p", 3, many, 405, 1, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "ray_synapse", "show", str(job), *json_too],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(100)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 0
    process.stderr.close()


def test_the_installed_command_is_the_same(backend: LocalBackend) -> None:
    installed = Path(sys.executable).parent / "ray-synapse"
    if not installed.exists():
        pytest.skip("ray_synapse is not installed beside this Python")
    job = make_job(backend)
    done = subprocess.run(
        [str(installed), "show", str(job)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == command("show", str(job)).stdout


def write_dataset(folder: Path) -> Path:
    for name in ("train/1.png", "train/2.png", "val/3.png", ".hidden/4.png", "train/.DS_Store"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"an image")
    (folder / "train" / "1.json").write_text('{"digit": 7}')
    return folder


def test_dataset_add_says_what_it_found_and_by_which_id(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_dataset(tmp_path / "digits")
    assert main(["dataset", "add", str(folder)]) == 0
    assert main(["dataset", "add", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"dataset {number}: 2 train, 1 validation, 0 test (its files stay in {folder})"
        for number in (1, 2)
    ]


def test_dataset_add_says_what_is_wrong_with_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, damaged = tmp_path / "empty", write_dataset(tmp_path / "damaged")
    empty.mkdir()
    (damaged / "train" / "2.json").write_text("{'digit': 7}")
    for folder, fault in (
        (tmp_path / "missing", "is no folder"),
        (empty, "has 0 files"),
        (damaged, f"{Path('train', '2.json')} is no JSON"),
    ):
        assert main(["dataset", "add", str(folder)]) == 1
        error = capsys.readouterr().err
        assert is_one_clean_line(error)
        assert fault in error


def test_datasets_are_listed_and_forgotten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_dataset(tmp_path / "digits")
    main(["dataset", "add", str(folder)])
    capsys.readouterr()
    assert main(["dataset", "ls"]) == 0
    assert capsys.readouterr().out == f"dataset 1: 3 items in {folder}\n"
    assert main(["dataset", "rm", "1"]) == 0
    assert main(["dataset", "rm", "1"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "forgot dataset 1; its files stay\n"
    assert "dataset 1 does not exist" in captured.err
    assert (folder / "train" / "1.png").exists()


def test_models_that_came_over_http_are_counted_and_removed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api = EmbeddedApi(home)
    upload = api.put_chunk(None, "a.zip", "bytes 0-2/3", b"abc")["id"]
    api.finish_upload(upload, {"md5": hashlib.md5(b"abc").hexdigest()})
    model = api.create_model({"name": "m", "chunked_upload": upload})["id"]
    file = api.model_archive(str(model))
    assert main(["ls"]) == 0
    assert "0.0 MB of models (1) that came over HTTP" in capsys.readouterr().out
    assert main(["rm", "--model", str(model)]) == 0
    assert not file.exists()
    assert main(["rm", "--model", str(model)]) == 1
    assert f"model {model} does not exist" in capsys.readouterr().err
    assert main(["ls"]) == 0
    assert "no runs yet" in capsys.readouterr().out


def test_a_job_of_a_client_that_never_ended_it_can_be_removed(backend: LocalBackend) -> None:
    job = backend.create_job("a", {"status": "RUNNING"})
    assert main(["rm", str(job)]) == 0


def test_what_a_client_sent_cannot_steer_the_terminal(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api = EmbeddedApi(home)
    job = api.create_job({"name": "a"})["id"]
    evil = "\x1b]0;title\x07\x1b[2J"
    entry = {"datetime": "2026-01-02T03:04:05Z", "job": job}
    table = {"base": [evil], "trials": {evil: {"base": [evil]}}}
    api.create_logs({**entry, "event": "message", "data": {"content": evil}})
    api.create_logs({**entry, "event": "trials", "data": table})
    assert main(["show", str(job)]) == 0
    shown = capsys.readouterr().out
    assert "title" in shown
    assert "\x1b" not in shown
