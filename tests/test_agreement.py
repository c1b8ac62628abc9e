"""The comparison that every sweep of the tests ends with: whatever differs is caught, and named."""

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ray_synapse.backend.local import LocalBackend
from ray_synapse.backend.protocol import Batch, JobId, Record
from ray_synapse.values import dumps
from tests.agreement import agree

NAN = float("nan")
WON = {"trial_id": "b", "lr": 0.2}


def result(trial_id: str, config: Any, metrics: dict[str, Any], error: Any = None) -> Any:
    every = {"trial_id": trial_id, "config": config, "pid": 7, **metrics}
    return SimpleNamespace(metrics=every, config=config, error=error)


def grid() -> list[Any]:
    """Three trials: the second one wins, the third one failed."""
    return [
        result("a", {"lr": 0.1, "net": {"size": (1, 2)}}, {"score": True, "loss": NAN}),
        result("b", {"lr": 0.2, "net": {"size": [3]}}, {"score": 3, "loss": 0.5}),
        result("c", {"lr": 0.3}, {"score": 9.0}, error=ValueError("no luck")),
    ]


TABLE = {
    "base": ["trial_id", "status"],
    "hyperparameters": ["lr", "net/size"],
    "metrics": ["score", "loss"],
    "trials": {
        "a": {
            "base": ["a", "TERMINATED"],
            "hyperparameters": [0.1, [1, 2]],
            "metrics": [1, None],
        },
        "b": {"base": ["b", "TERMINATED"], "hyperparameters": [0.2, [3]], "metrics": [3, 0.5]},
        "c": {"base": ["c", "ERROR"], "hyperparameters": [0.3, None], "metrics": [9.0, None]},
    },
    "best_trial": "b",
}


def progress(percent: float | None = 100.0, overall: float = 100.0) -> dict[str, Any]:
    steps = {"trials": {"proportion": 90, "percent": percent}}
    return {"record": {"steps": steps}, "current_progress": {"overall": overall}}


@pytest.fixture
def kept(backend: LocalBackend) -> Callable[..., JobId]:
    """Makes a job that ended as the arguments say, by default in agreement with ``grid()``."""

    def keep(
        table: Any = TABLE,
        *,
        status: str = "SUCCEEDED",
        shown: Any = None,
        metric: str | None = "score",
        won: Any = WON,
        logged: int = 2,
    ) -> JobId:
        job = backend.create_job("digits", {"metric": metric, "mode": "max", "status": status})
        data = [("trials", table), ("progress", shown or progress())]
        records = [
            Record(number, event, "2026-11-21T12:00:00+00:00", dumps(value))
            for number, (event, value) in enumerate(data, 1)
            if value is not None
        ]
        backend.write(job, Batch("one", 0, records, logged, 0, 0))
        if won is not None:
            backend.set_best_trial(job, won)
        return job

    return keep


def test_a_job_that_tells_the_truth_agrees(
    kept: Callable[..., JobId], backend: LocalBackend
) -> None:
    job = kept()
    agree(grid(), job, backend)
    agree(grid(), job)  # the embedded backend of the test
    for name in ("digits_a", "digits_b_2"):
        backend.add_model(job, name, {}, 1, lambda file: None)
    agree(grid(), job, backend)


def row(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda table: table["trials"]["b"].update(changes)


def without_row(table: dict[str, Any]) -> None:
    del table["trials"]["a"]


def with_row(table: dict[str, Any]) -> None:
    table["trials"]["d"] = {**table["trials"]["a"], "base": ["d", "TERMINATED"]}


def metrics_turned(table: dict[str, Any]) -> None:
    table["metrics"].reverse()
    for each in table["trials"].values():
        each["metrics"].reverse()


def without_column(table: dict[str, Any]) -> None:
    table["hyperparameters"].pop()
    for each in table["trials"].values():
        each["hyperparameters"].pop()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without_row, r"trials without a row: \['a'\]"),
        (with_row, r"rows that are no trial of Tune: \['d'\]"),
        (row(base=["a", "TERMINATED"]), "the row of b is called a"),
        (row(base=["b", "ERROR"]), "b is ERROR; by Tune's result it is TERMINATED"),
        (row(base=["b", "RUNNING"]), "b is RUNNING, and the sweep is over"),
        (row(base=["b", "PAUSED"]), "b is PAUSED, and the sweep is over"),
        (row(hyperparameters=[0.1, [3]]), r"b has lr = 0\.1; its config says 0\.2"),
        (row(hyperparameters=[0.2, None]), r"b has net/size = None; its config says \[3\]"),
        (row(hyperparameters=[0.2]), "b has 1 hyperparameters for 2 columns"),
        (row(metrics=[2, 0.5]), "b has score = 2; its last result says 3"),
        (row(metrics=[3, None]), r"b has loss = None; its last result says 0\.5"),
        (row(metrics=[3]), "b has 1 metrics for 2 columns"),
        (without_column, r"a has net/size = no column; its config says \[1, 2\]"),
        (metrics_turned, r"the optimized \['score'\] must come first"),
        (lambda table: table.update(hyperparameters=["lr", "lr"]), "columns are there twice"),
        (lambda table: table.update(best_trial="a"), r"the best trial is 'a'; .* \['b'\] won"),
        (lambda table: table.update(best_trial="c"), r"the best trial is 'c'; .* \['b'\] won"),
        (lambda table: table.update(best_trial=""), r"the best trial is ''; .* \['b'\] won"),
    ],
)
def test_a_table_that_differs_is_caught(
    kept: Callable[..., JobId], change: Callable[[dict[str, Any]], None], told: str
) -> None:
    table = copy.deepcopy(TABLE)
    change(table)
    job = kept(table)
    with pytest.raises(AssertionError, match=told):
        agree(grid(), job)


def test_a_table_that_is_not_there_is_caught(kept: Callable[..., JobId]) -> None:
    job = kept(None)
    with pytest.raises(AssertionError, match="there is no table, and Tune has 3 trials"):
        agree(grid(), job)


def test_a_trial_that_was_there_twice_is_caught(kept: Callable[..., JobId]) -> None:
    job = kept()
    with pytest.raises(AssertionError, match="Tune has a 2 times"):
        agree([*grid(), grid()[0]], job)


@pytest.mark.parametrize(
    ("fields", "ended", "told"),
    [
        ({"status": "RUNNING"}, {}, "the job is RUNNING; after this sweep it must be SUCCEEDED"),
        ({"status": "FAILED"}, {}, "the job is FAILED; after this sweep it must be SUCCEEDED"),
        ({}, {"fit_raised": True}, "is SUCCEEDED; after this sweep it must be FAILED"),
        ({}, {"interrupted": True}, "is SUCCEEDED; after this sweep it must be STOPPED"),
        ({"won": None}, {}, "the best trial is 'b' in the table, and None in the job"),
        ({"won": {"trial_id": "a"}}, {}, "the best trial is 'b' in the table"),
        ({"metric": "loss"}, {}, r"the optimized \['loss'\] must come first"),
        ({"shown": progress(50.0)}, {}, r"the progress of the trials ends at 50\.0 %"),
        ({"shown": progress(None)}, {}, "the progress of the trials ends at None %"),
        ({"shown": progress(50.0)}, {"is_open": True}, "the progress of the trials ends at 50"),
        ({"shown": progress(100.0, 95)}, {}, "the overall progress ends at 95 %"),
        ({"shown": progress(200.0)}, {"interrupted": True}, "the progress is over 100"),
        ({"logged": 3}, {}, "records still wait: .*waiting=1"),
    ],
)
def test_a_job_that_differs_is_caught(
    kept: Callable[..., JobId], fields: Any, ended: Any, told: str
) -> None:
    job = kept(**fields)
    with pytest.raises(AssertionError, match=told):
        agree(grid(), job, **ended)


def test_a_sweep_that_was_interrupted_or_open_or_raised_is_another_truth(
    kept: Callable[..., JobId],
) -> None:
    agree(grid(), kept(status="STOPPED", shown=progress(50.0, 60)), interrupted=True)
    agree(grid(), kept(shown=progress(None)), is_open=True)
    agree(None, kept(status="FAILED", shown=progress(50.0, 60)), fit_raised=True)


def test_a_sweep_of_nothing_but_failures_must_be_failed_without_a_winner(
    kept: Callable[..., JobId],
) -> None:
    failed = grid()[2:]
    table = {**TABLE, "trials": {"c": TABLE["trials"]["c"]}, "best_trial": ""}  # type: ignore[index]
    agree(failed, kept(table, status="FAILED", won=None))
    job = kept(table, won=None)
    with pytest.raises(AssertionError, match="is SUCCEEDED; after this sweep it must be FAILED"):
        agree(failed, job)


def test_a_goal_that_is_not_tunes_is_caught(kept: Callable[..., JobId]) -> None:
    class Grid(list[Any]):
        _experiment_analysis = SimpleNamespace(default_metric="loss", default_mode="min")

    job = kept()
    with pytest.raises(AssertionError, match=r"optimizes \('score', 'max'\); .*\('loss', 'min'\)"):
        agree(Grid(grid()), job)


def test_a_model_of_no_trial_is_caught(kept: Callable[..., JobId], backend: LocalBackend) -> None:
    job = kept()
    backend.add_model(job, "digits_d", {}, 1, lambda file: None)
    with pytest.raises(AssertionError, match="the model digits_d belongs to no trial"):
        agree(grid(), job)


def test_a_trial_that_never_started_needs_only_its_row(kept: Callable[..., JobId]) -> None:
    never = SimpleNamespace(metrics={"trial_id": "b"}, config=None, error=None)
    table = copy.deepcopy(TABLE)
    table["trials"]["b"]["metrics"] = [None, None]  # type: ignore[index]
    job = kept({**table, "best_trial": "a"}, won={"trial_id": "a"})
    agree([grid()[0], never, grid()[2]], job)


def test_what_the_last_result_lacks_may_keep_an_earlier_value_and_no_other(
    kept: Callable[..., JobId],
) -> None:
    trials = grid()
    del trials[1].metrics["loss"]
    trials[1].metrics_dataframe = {"loss": [0.7, 0.5, NAN], "score": [1, 2, 3]}
    agree(trials, kept())
    trials[1].metrics_dataframe = {"loss": [0.7, NAN]}
    job = kept()
    with pytest.raises(AssertionError, match=r"b has loss = 0\.5"):
        agree(trials, job)


def test_everything_that_differs_is_named_at_once(kept: Callable[..., JobId]) -> None:
    job = kept({**TABLE, "best_trial": "a"}, status="RUNNING")
    with pytest.raises(AssertionError, match=r"(?s)job 1 .*best trial is 'a'.*is RUNNING"):
        agree(grid(), job)
