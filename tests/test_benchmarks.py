"""The command of the benchmarks: what needs a quiet machine is not run here, but its form is."""

import importlib
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from benchmarks.__main__ import NAMES, TARGETS
from benchmarks.measuring import Row, beside, interleaved, ratio

ROOT = Path(__file__).parents[1]
NEED_EXTRAS = ("sweep", "loggers", "upload")  # psutil, W&B, MLflow: not what tests install


def run(*arguments):
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_a_benchmark_prints_the_machine_and_a_table():
    done = run("table", "--pairs", "1")
    assert done.returncode == 0, done.stderr
    machine, empty, head, line, *rows = done.stdout.splitlines()
    assert re.fullmatch(r"\d+ cores \(.+\), \d+ GiB, \w+, Python [\d.]+, Ray [\d.]+", machine)
    assert (empty, head.count("|"), set(line)) == ("", 5, set("| -"))
    assert len(rows) == 5
    for row in rows:
        assert re.fullmatch(r"\| table \| .+ \| .+ \| .* \|", row)


def test_the_command_names_what_there_is():
    done = run("--help")
    assert all(f"  {name} " in done.stdout for name in NAMES)
    wrong = run("speed")
    assert (wrong.returncode, "'hooks'" in wrong.stderr) == (2, True)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_has_a_main(name):
    if name in NEED_EXTRAS:
        pytest.importorskip("psutil")
    if name == "loggers":
        pytest.importorskip("wandb")
        pytest.importorskip("mlflow")
    assert callable(importlib.import_module(f"benchmarks.{name}").main)
    assert set(TARGETS) <= set(NAMES)


def test_arms_run_in_turn_and_every_second_time_backwards():
    calls = []
    arms = {name: lambda name=name: calls.append(name) or len(calls) for name in "abc"}
    assert interleaved(arms, 3) == {"a": [1, 6, 7], "b": [2, 5, 8], "c": [3, 4, 9]}
    assert calls == [*"abc", *"cba", *"abc"]


@pytest.mark.parametrize(
    ("arms", "there", "back"),
    [
        ("a", "-a", "a-"),
        ("ab", "-ab-", "-ba-"),
        ("abc", "-ab-c", "c-ba-"),
        ("abcd", "-ab-cd-", "-dc-ba-"),
    ],
)
def test_each_arm_runs_beside_the_base(arms, there, back):
    calls = []

    def call(name):
        calls.append(name)
        return name, len(calls)

    found, bases = beside(lambda: call("-"), {each: partial(call, each) for each in arms}, 2)
    assert "".join(calls) == there + back
    for name, pairs in found.items():
        for mine, base in pairs:
            assert (mine[0], base[0], abs(mine[1] - base[1])) == (name, "-", 1)
    assert [len(each) for each in bases] == [there.count("-")] * 2


def test_a_ratio_is_that_of_the_pairs():
    assert ratio([2, 2, 6], [1, 2, 2]) == (2, 1, 3)
    assert f"{ratio([2.2], [2])}" == "1.100 (1.100 to 1.100)"


def test_a_target_that_is_missed_says_so():
    assert Row("a", "2 ms", "1 ms", False).line("x") == "| x | a | 2 ms **missed** | 1 ms |"
    assert Row("a", "2 ms").line("x") == "| x | a | 2 ms |  |"
