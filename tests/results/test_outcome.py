"""What became of one trial, and which one won."""

import math
import pickle
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ray_synapse.metrics import CHECKPOINT_OUTPUT, CHECKPOINT_SOURCE
from ray_synapse.results.outcome import (
    ERROR_CHARS,
    Outcome,
    at_its_best,
    best_of,
    outcome_of,
    resolve_trial_id,
)


def looks_like(**attributes: Any) -> SimpleNamespace:
    """Something with the attributes of a Result or a Trial."""
    return SimpleNamespace(**attributes)


def outcome(metrics: Any, error: str = "", trial_id: str = "t") -> Outcome:
    return Outcome(trial_id, {}, metrics, None, (), error, "")


class TestReading:
    def test_a_result_of_ray_is_read(self, tmp_path: Path) -> None:
        tune = pytest.importorskip("ray.tune")
        checkpoint = tune.Checkpoint.from_directory(tmp_path)
        metrics = {"loss": 0.5, "trial_id": "abc", "config": {"lr": 0.1}}
        result = tune.Result(
            metrics=metrics,
            checkpoint=checkpoint,
            error=None,
            path=str(tmp_path / "log"),
            best_checkpoints=[(checkpoint, {"loss": 0.25})],
        )
        found = outcome_of(result)
        assert found.trial_id == "abc"
        assert found.config == {"lr": 0.1}
        assert found.metrics == metrics
        assert found.checkpoint is checkpoint
        assert found.kept == ((checkpoint, {"loss": 0.25}),)
        assert found.error == ""

    def test_a_trial_is_read_by_its_own_attributes(self) -> None:
        trial = looks_like(
            trial_id="abc",
            config={"lr": 1},
            checkpoint=None,
            status="TERMINATED",
            run_metadata=looks_like(
                last_result={"loss": 1},
                checkpoint_manager=looks_like(
                    best_checkpoint_results=[looks_like(checkpoint="c", metrics={"loss": 2})]
                ),
            ),
        )
        found = outcome_of(trial)
        assert (found.trial_id, found.metrics) == ("abc", {"loss": 1})
        assert found.kept == (("c", {"loss": 2}),)

    def test_an_object_without_anything_is_an_empty_outcome(self) -> None:
        assert outcome_of(object()) == Outcome("", {}, {}, None, (), "", "")

    @pytest.mark.parametrize("metrics", [None, [], "text", 3], ids=repr)
    def test_metrics_that_are_no_mapping_are_none(self, metrics: Any) -> None:
        assert outcome_of(looks_like(metrics=metrics)).metrics == {}

    def test_an_error_is_given_by_its_kind_and_its_first_line_and_cut(self) -> None:
        error = RuntimeError("\n no such layer\n  see above\n")
        assert outcome_of(looks_like(error=error)).error == "RuntimeError: no such layer"
        long = outcome_of(looks_like(error=RuntimeError("x" * 10_000))).error
        assert long.endswith("xxx…")
        assert len(long) == ERROR_CHARS + 1

    def test_an_error_that_is_only_a_text_is_given_by_the_end_of_its_traceback(self) -> None:
        text = "Failure # 1\nTraceback\n  File x\n\nValueError: no such layer\n  \n"
        failed = looks_like(status="ERROR", get_pickled_error=lambda: text)
        assert outcome_of(failed).error == "ValueError: no such layer"

    def test_an_error_without_text_is_given_by_its_kind(self) -> None:
        assert outcome_of(looks_like(error=KeyError())).error == "KeyError"

    def test_a_failed_trial_without_a_readable_error_failed_all_the_same(self) -> None:
        def gone() -> None:
            raise FileNotFoundError

        assert outcome_of(looks_like(status="ERROR", get_pickled_error=gone)).error
        assert outcome_of(looks_like(status="ERROR")).error
        assert outcome_of(looks_like(status="TERMINATED")).error == ""


class TestTrialId:
    def test_rays_own_comes_before_the_one_in_the_metrics(self) -> None:
        result = looks_like(trial_id="own", metrics={"trial_id": "metrics"})
        assert resolve_trial_id(result) == "own"
        assert resolve_trial_id(looks_like(metrics={"trial_id": "metrics"})) == "metrics"
        assert resolve_trial_id(looks_like(trial_id=None, metrics={"trial_id": 7})) == "7"

    @pytest.mark.parametrize(
        "attributes",
        [
            {"metrics": {CHECKPOINT_OUTPUT: "/a/b"}},
            {"checkpoint": SimpleNamespace(path="/a/b")},
            {"path": "/a/b"},
            {"metrics": {CHECKPOINT_OUTPUT: "/a/b"}, "path": "/other"},
        ],
        ids=lambda attributes: "-".join(attributes),
    )
    def test_else_it_is_a_short_hash_of_the_path_of_the_artifact(
        self, attributes: dict[str, Any]
    ) -> None:
        found = resolve_trial_id(looks_like(**attributes))
        assert found == resolve_trial_id(looks_like(checkpoint=SimpleNamespace(path="/a/b")))
        assert found != resolve_trial_id(looks_like(path="/a/c"))
        assert len(found) == 8

    def test_the_hash_is_the_same_in_every_process(self) -> None:
        code = (
            "from types import SimpleNamespace as N; "
            "from ray_synapse.results.outcome import resolve_trial_id; "
            "print(resolve_trial_id(N(path='/a/b')))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == resolve_trial_id(looks_like(path="/a/b"))

    def test_an_object_without_anything_has_an_id_too(self) -> None:
        assert resolve_trial_id(object()) == resolve_trial_id(object())

    def test_a_path_that_is_not_utf8_has_an_id_too(self) -> None:
        assert len(resolve_trial_id(looks_like(path="/a/\udcff"))) == 8


class TestBest:
    @pytest.mark.parametrize(("mode", "index"), [("min", 1), ("max", 2)])
    def test_the_best_last_value_wins(self, mode: Any, index: int) -> None:
        outcomes = [outcome({"loss": value}) for value in (0.5, 0.25, 0.75)]
        assert best_of(outcomes, "loss", mode) == (index, "")

    @pytest.mark.parametrize(
        "other",
        [
            {"loss": math.nan},
            {"loss": -math.inf},
            {"loss": np.float32("nan")},
            {"loss": None},
            {"loss": "0"},
            {},
            {"other": 0},
        ],
        ids=repr,
    )
    def test_a_value_that_is_missing_or_not_finite_cannot_win(self, other: Any) -> None:
        outcomes = [outcome(other), outcome({"loss": 9.0}), outcome(other)]
        assert best_of(outcomes, "loss", "min") == (1, "")

    def test_a_failed_trial_cannot_win(self) -> None:
        outcomes = [outcome({"loss": 0.0}, error="it failed"), outcome({"loss": 9.0})]
        assert best_of(outcomes, "loss", "min") == (1, "")

    def test_of_equal_ones_the_first_wins(self) -> None:
        outcomes = [outcome({"loss": 1}), outcome({"loss": 1.0})]
        assert best_of(outcomes, "loss", "min")[0] == 0
        assert best_of(outcomes, "loss", "max")[0] == 0

    @pytest.mark.parametrize(
        "zero",
        [0, 0.0, np.float32(0), np.int64(0), Decimal(0)],
        ids=lambda zero: type(zero).__name__,
    )
    def test_a_zero_of_any_type_is_a_value(self, zero: Any) -> None:
        assert best_of([outcome({"loss": 1}), outcome({"loss": zero})], "loss", "min")[0] == 1

    def test_a_nested_metric_can_be_optimized(self) -> None:
        outcomes = [outcome({"val": {"loss": 2}}), outcome({"val": {"loss": 1}})]
        assert best_of(outcomes, "val/loss", "min")[0] == 1

    def test_a_bool_can_be_optimized_as_tune_does(self) -> None:
        outcomes = [outcome({"solved": False}), outcome({"solved": True})]
        assert best_of(outcomes, "solved", "max")[0] == 1

    def test_an_integer_that_no_float_can_hold_does_not_raise(self) -> None:
        outcomes = [outcome({"loss": 10**400}), outcome({"loss": 1})]
        assert best_of(outcomes, "loss", "min")[0] == 1

    def test_without_trials_none_can_win(self) -> None:
        assert best_of([], "loss", "min") == (None, "the sweep has no trials")

    def test_the_reason_why_none_can_win_counts_them(self) -> None:
        outcomes = [
            outcome({"loss": math.nan}),
            outcome({"loss": 1}, error="it failed"),
            outcome({"other": 1}),
        ]
        index, reason = best_of(outcomes, "loss", "min")
        assert index is None
        assert "of 3 trials 1 failed, 1 have no 'loss'" in reason


class TestAtItsBest:
    def test_the_best_of_the_kept_checkpoints_counts_with_its_result(self) -> None:
        kept = [
            ("c1", {"loss": 2, "epoch": 1}),
            ("c2", {"loss": 1, "epoch": 2}),
            ("c3", {"loss": 3}),
        ]
        source = looks_like(
            trial_id="t",
            metrics={"loss": 3},
            checkpoint="c3",
            best_checkpoints=kept,
            config={"a": 1},
        )
        found = at_its_best(source, outcome_of(source), "loss", "min")
        assert found.checkpoint == "c2"
        assert (found.metrics["loss"], found.metrics["epoch"]) == (1, 2)
        assert (found.trial_id, found.config) == ("t", {"a": 1})
        assert at_its_best(source, outcome_of(source), "loss", "max").checkpoint == "c3"

    def test_the_copy_of_that_time_counts_and_not_the_folder_with_the_last_state(self) -> None:
        kept = [("c1", {"loss": 1, CHECKPOINT_OUTPUT: "/out"})]
        source = looks_like(metrics={"loss": 2}, checkpoint="c1", best_checkpoints=kept)
        found = at_its_best(source, outcome_of(source), "loss", "min")
        assert found.metrics[CHECKPOINT_SOURCE] == "/out"

    def test_a_kept_checkpoint_whose_value_is_not_finite_does_not_count(self) -> None:
        kept = [("c1", {"loss": math.nan}), ("c2", {"loss": 5}), ("c3", {})]
        source = looks_like(metrics={"loss": 5}, checkpoint="c2", best_checkpoints=kept)
        assert at_its_best(source, outcome_of(source), "loss", "min").checkpoint == "c2"

    def test_a_trial_without_checkpoints_counts_with_the_best_of_its_results(self) -> None:
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame({"loss": [3.0, 1.0, 2.0], "epoch": [1, 2, 3]})
        source = looks_like(
            trial_id="t", metrics={"loss": 2.0, "epoch": 3}, metrics_dataframe=frame
        )
        found = at_its_best(source, outcome_of(source), "loss", "min")
        assert (found.metrics["loss"], found.metrics["epoch"]) == (1.0, 2)
        assert found.checkpoint is None

    def test_a_trial_without_checkpoints_and_history_counts_with_its_last_result(self) -> None:
        source = looks_like(trial_id="t", metrics={"loss": 2.0})
        found = at_its_best(source, outcome_of(source), "loss", "min")
        assert found.metrics["loss"] == 2.0

    def test_a_trial_that_never_had_a_finite_value_stays_as_it_is(self) -> None:
        source = looks_like(trial_id="t", metrics={"loss": math.nan})
        before = outcome_of(source)
        assert at_its_best(source, before, "loss", "min") is before

    def test_a_failed_trial_stays_a_failed_one(self) -> None:
        source = looks_like(metrics={"loss": 1}, error=ValueError("no"))
        assert at_its_best(source, outcome_of(source), "loss", "min").error == "ValueError: no"


def test_an_outcome_is_a_value_that_can_be_pickled() -> None:
    each = outcome({"loss": 1})
    assert pickle.loads(pickle.dumps(each)) == each
