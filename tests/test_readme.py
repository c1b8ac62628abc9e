"""What the README shows is what a newcomer pastes: all of it runs here."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import ray_synapse
from tests.sweeps import handed_over_agree, takes_over

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
BASH = [code for language, code in BLOCKS if language == "bash"]
SCRIPT = next(code for code in PYTHON if code.startswith("# my_script.py"))
CLIENT = next(code for code in PYTHON if code.startswith("# my_client.py"))
TRAINING = next(code for code in PYTHON if code.startswith("# my_training.py"))
PLUGIN = next(code for code in PYTHON if code.startswith("# my_plugin.py"))
GUIDE = [code for code in PYTHON if code not in (SCRIPT, CLIENT, TRAINING, PLUGIN)]
(JOB,) = [code for language, code in BLOCKS if language == "json"]
QUICKSTART, TESTS, NO_CHANGE, LOOK, SERVE, CALL, DATASET, TRACK, RUN = BASH

pytestmark = pytest.mark.ray


def tracebacks(text):
    """The lines that begin one, but for Ray's own.

    A worker that Ray stops with SIGTERM while it is collecting garbage prints "Exception ignored
    in ..." with a traceback that ends in Ray's signal handler.
    """
    ended_by_ray = {worker_of(line) for line in text.splitlines() if "in sigterm_handler" in line}
    return [
        line
        for line in text.splitlines()
        if "Traceback" in line and (worker_of(line) or "driver") not in ended_by_ray
    ]


def worker_of(line):
    """The worker whose output Ray shows in this line, or None for the script itself."""
    match = re.match(r"(?:\x1b\[\d+m)?\(\w+ pid=\d+\)", line)
    return match and match.group()


@pytest.fixture
def user(tmp_path):
    """A user with a home folder of their own, and our commands on the path."""
    home = tmp_path / "user"
    home.mkdir()
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    env = {**os.environ, "HOME": str(home), "PATH": path, "COLUMNS": "80", "RAY_DEDUP_LOGS": "0"}
    env.pop("RAY_SYNAPSE_HOME")

    def run(command, cwd=home):
        """Run a command to its end."""
        result = subprocess.run(
            command, cwd=cwd, env=env, capture_output=True, text=True, timeout=500, check=False
        )
        assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
        assert tracebacks(result.stderr) == []
        return result

    run.home, run.env = home, env
    return run


def test_the_guide_runs_from_top_to_bottom(user, tmp_path):
    begin = "import ray\nray.init('local', num_cpus=2, include_dashboard=False)\n"
    then = "from tests.sweeps import hand_over\nhand_over(tuner.get_results(), run)\n"
    blocks = [code + then * ("tuner.fit()" in code) for code in GUIDE]
    (user.home / "guide.py").write_text(begin + "\n".join(blocks))
    user.env |= takes_over(tmp_path / "handed over")
    user([sys.executable, "guide.py"])
    compared = sum("tuner.fit()" in code for code in GUIDE)
    assert handed_over_agree(tmp_path / "handed over") == compared > 0
    listed = user(["ray-synapse", "ls"]).stdout
    assert re.search(r"^4 +a plain training +SUCCEEDED", listed, re.MULTILINE)
    shown = user(["bash", "-ec", LOOK]).stdout
    assert "demo:lr" in shown
    assert "* the best trial" in shown
    assert "removed job 1" in shown


def test_a_script_needs_no_change(user):
    if not hasattr(pytest.importorskip("ray.tune.constants"), "RAY_TUNE_CALLBACKS_ENV_VAR"):
        pytest.skip("this Ray has no RAY_TUNE_CALLBACKS")
    (user.home / "my_script.py").write_text(SCRIPT)
    user(["bash", "-ec", NO_CHANGE])
    shown = user(["ray-synapse", "show", "1"]).stdout
    assert "optimizes max score" in shown
    assert re.search(r"^\* \w+ +TERMINATED +2 +4", shown, re.MULTILINE)


def test_the_plugin_and_the_job_of_the_guide_run(user):
    (user.home / "my_plugin.py").write_text(PLUGIN)
    (user.home / "my_job.json").write_text(JOB)
    user.env["RAY_ADDRESS"] = "local"
    results = user(["bash", "-ec", RUN]).stdout
    summary, end = json.JSONDecoder().raw_decode(results)
    assert len(summary["trial_models"]) == 2
    assert summary["model_id"] in [each["model_id"] for each in summary["trial_models"]]
    assert json.loads(results[end:]) == {"model_id": 3}
    listed = user(["ray-synapse", "ls"]).stdout
    assert re.search(r"^2 +demo: training +SUCCEEDED .* 100 %", listed, re.MULTILINE)
    assert re.search(r"^1 +demo: sweep +SUCCEEDED .* 100 %", listed, re.MULTILINE)


def test_the_server_takes_what_the_guide_sends(user):
    (user.home / "my_client.py").write_text(CLIENT)
    (user.home / "my_training.py").write_text(TRAINING)
    added = user(["bash", "-ec", DATASET]).stdout
    assert added.startswith("dataset 1: 1 train, 0 validation, 0 test")
    server = subprocess.Popen(
        ["bash", "-ec", f"exec {SERVE}"], env=user.env, stdout=subprocess.PIPE, text=True
    )
    try:
        lines = iter(server.stdout.readline, "")  # the first may say that the port is taken
        address = next(found.group() for line in lines if (found := re.search(r"http://\S+", line)))
        call = re.sub(r"http://\S+", address, CALL)
        called = user(["bash", "-ec", call]).stdout
        tracked = user(["bash", "-ec", re.sub(r"http://\S+", address, TRACK)]).stdout
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
    assert called == "{'count': 2}\n{'count': 2}\nTrue\n"
    assert re.match(r"[45] 0\nnothing is left to deliver \(1 run", tracked)  # one may be replaced
    assert tracked.endswith("\nnothing is left to deliver\n")
    shown = json.loads(user(["ray-synapse", "show", "1", "--json"]).stdout)
    assert (shown["name"], shown["status"], len(shown["metrics"])) == (
        "from elsewhere",
        "SUCCEEDED",
        5,
    )


def test_one_pasted_command_runs_the_quickstart(user, tmp_path):
    """In a copy of the project: it makes its own environment, and works a second time."""
    project = tmp_path / "project"
    ignored = shutil.ignore_patterns(
        ".venv*", ".git", ".*cache*", "__pycache__", "ray_synapse-home"
    )
    shutil.copytree(ROOT, project, ignore=ignored)
    user.env["PIP_COMPILE"] = "0"  # most of what is installed is never imported: saves ten seconds
    user.env.pop("PYTHONDONTWRITEBYTECODE", None)
    first = user(["bash", "-ec", QUICKSTART], cwd=project)
    second = user(["bash", "-ec", QUICKSTART], cwd=project)
    for number, result in enumerate((first, second), 1):
        assert f"job {number}  digits:lr,width  SUCCEEDED  100 %" in result.stdout
        assert result.stdout.count("TERMINATED") == 8
        assert "* the best trial" in result.stdout
        assert "'best_trial': {'trial_logdir'" in result.stdout
        assert f"`ray-synapse show {number}`" in result.stderr
        assert len(result.stderr.splitlines()) < 20


def test_the_command_for_the_tests_is_the_one_of_the_continuous_integration():
    assert TESTS.strip().endswith("-m pytest -q")
    assert "README.md" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_every_public_name_is_in_the_guide():
    assert [name for name in ray_synapse.__all__ if f"`{name}`" not in README] == []


def test_relative_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_changelog_tells_of_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"\n## [{ray_synapse.__version__}] - 20" in changelog
