"""What Tune's loop alone knows is told right: who stopped a trial, what ended a sweep, and where
one still goes on."""

import os
import re
import signal
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from ray import tune
from ray.tune import schedulers
from ray.tune.search import Searcher
from ray.tune.stopper import MaximumIterationStopper

import ray_synapse
from ray_synapse import SettingsError, SynapseLoggerCallback
from tests.sweeps import backend, fit, remember, wait_for

pytestmark = pytest.mark.ray

BEST = {"metric": "score", "mode": "max"}
MAX_T = 6


@pytest.fixture(autouse=True)
def no_files_of_tune(monkeypatch):
    """Tune's own loggers never close the files of a trial that is cut off: Python would warn."""
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")


def messages(job):
    return [each["data"]["content"] for each in backend().logs(job, "message")]


def statuses(job):
    return {key: row["base"][1] for key, row in backend().trials(job)["trials"].items()}


def stopped_in(job):
    """By trial: who stopped it, and at which iteration, as the messages say."""
    found = {}
    for text in messages(job):
        if " stopped " in text:
            who = text.split(" stopped ")[0]
            for trial_id, at in re.findall(r"(\w+) at iteration (\d+)", text):
                assert trial_id not in found
                found[trial_id] = (who, int(at))
    return found


def named_as_not_done(job):
    """Of the one message on it: the reason, the iterations of those cut off, all the others."""
    (text,) = [text for text in messages(job) if "not done" in text]
    why, count, rest = re.fullmatch(r"(.*): (\d+) trials? w\w+ not done; (.*)", text).groups()
    at = {trial_id: int(n) for trial_id, n in re.findall(r"(\w+) at iteration (\d+)", rest)}
    others = set(re.findall(r"\w+_\d{5}", rest)) - set(at)
    assert len(at) + len(others) == int(count)
    return why, at, others


# Who stopped a trial


def of_a_kind(config):
    """The good ones report the same: ASHA stops none of them."""
    kind = config["kind"]
    for step in range(1, 2 * MAX_T):
        good = kind in ("long", "returns", "criterion")
        is_met = kind == "criterion" and step == 3
        tune.report({"score": 100 * step if good else step - kind, "flag": int(is_met)})
        if kind == "returns" and step == 2:
            return


def test_what_asha_stops_early_is_told_and_no_other_end_of_a_trial(cluster, tmp_path):
    run = ray_synapse.init("asha", **BEST)
    kinds = ["long", "returns", "criterion", 1, 2]
    grid = fit(
        of_a_kind,
        SynapseLoggerCallback(run),
        storage=tmp_path,
        space={"kind": tune.grid_search(kinds)},
        scheduler=schedulers.ASHAScheduler(grace_period=1, reduction_factor=2, max_t=MAX_T),
        reuse_actors=True,
        max_concurrent_trials=1,
        run_config={"stop": {"flag": 1}},
        **BEST,
    )
    ray_synapse.finish(run, grid)
    assert set(statuses(run.job_id).values()) == {"TERMINATED"}
    reached = {each.config["kind"]: each.metrics["training_iteration"] for each in grid}
    assert (reached["long"], reached["returns"], reached["criterion"]) == (MAX_T, 2, 3)
    early = [each.metrics for each in grid if each.config["kind"] in (1, 2)]
    assert stopped_in(run.job_id) == {
        each["trial_id"]: ("AsyncHyperBandScheduler", each["training_iteration"]) for each in early
    }
    assert max(each["training_iteration"] for each in early) < MAX_T
    assert not [text for text in messages(run.job_id) if "not done" in text]


def test_what_the_median_stopped_is_told(cluster, tmp_path):
    run = ray_synapse.init("median", **BEST)
    rule = schedulers.MedianStoppingRule(
        time_attr="training_iteration", grace_period=2, min_samples_required=1
    )
    grid = fit(
        of_a_kind,
        SynapseLoggerCallback(run),
        storage=tmp_path,
        space={"kind": tune.grid_search(["long", 1])},
        scheduler=rule,
        reuse_actors=True,
        max_concurrent_trials=1,
        **BEST,
    )
    ray_synapse.finish(run, grid)
    (bad,) = [each.metrics for each in grid if each.config["kind"] == 1]
    assert stopped_in(run.job_id) == {
        bad["trial_id"]: ("MedianStoppingRule", bad["training_iteration"])
    }
    assert bad["training_iteration"] < 2 * MAX_T - 1


def test_where_a_stopper_may_have_stopped_it_too_both_are_named(cluster, tmp_path):
    run = ray_synapse.init("both", **BEST)
    grid = fit(
        of_a_kind,
        SynapseLoggerCallback(run),
        storage=tmp_path,
        space={"kind": "long"},
        scheduler=schedulers.ASHAScheduler(max_t=MAX_T),
        run_config={"stop": MaximumIterationStopper(3)},
        **BEST,
    )
    ray_synapse.finish(run, grid)
    both = "AsyncHyperBandScheduler or MaximumIterationStopper"
    assert stopped_in(run.job_id) == {grid[0].metrics["trial_id"]: (both, 3)}


# What ended a sweep


def endless(config):
    for step in range(1, 10_000):
        tune.report({"score": step, "x": config["x"]})
        time.sleep(0.05)


class Ours(tune.Stopper):
    """Stops the first trial, and then, when the second has come to its third iteration, all."""

    def __init__(self):
        self.stopped, self.is_over = False, False

    def __call__(self, trial_id, result):
        is_first = result["x"] == 1
        self.stopped |= is_first
        self.is_over |= self.stopped and not is_first and result["training_iteration"] >= 3
        return is_first

    def stop_all(self):
        return self.is_over


def test_a_stopper_is_no_scheduler_and_what_it_cut_off_is_told(cluster, tmp_path):
    run = ray_synapse.init("stopper", **BEST)
    grid = fit(
        endless,
        SynapseLoggerCallback(run),
        storage=tmp_path,
        space={"x": tune.grid_search([1, 2, 3])},
        reuse_actors=True,
        max_concurrent_trials=1,
        run_config={"stop": Ours()},
    )
    ray_synapse.finish(run, grid)
    assert stopped_in(run.job_id) == {}
    ids = {number: each.metrics["trial_id"] for number, each in enumerate(grid, 1)}
    why, at, others = named_as_not_done(run.job_id)
    assert why == "Tune ended the sweep before all trials were done, as a stopper told it to"
    assert at == {ids[2]: grid[1].metrics["training_iteration"]}
    assert others == ({ids[3]} if 3 in ids else set())
    assert set(statuses(run.job_id).values()) == {"TERMINATED"}


def percentages(job):
    record = backend().job(job)["progress_record"] or {}
    trials = record.get("record", {}).get("steps", {}).get("trials", {})
    return trials.get("percent"), record.get("current_progress", {}).get("overall")


def budgeted(storage, num_samples):
    """With the least budget within which a trial comes to a result, however slow the machine."""
    for budget in (3, 10, 30):
        run, over, seen = ray_synapse.init("budget", **BEST), threading.Event(), []

        def watch(run=run, over=over, seen=seen):
            while not over.wait(0.1):
                seen.append(percentages(run.job_id))

        thread = threading.Thread(target=watch)
        thread.start()
        grid = fit(
            endless,
            SynapseLoggerCallback(run),
            storage=storage,
            space={"x": tune.uniform(0, 1)},
            name=f"of {budget} s",
            num_samples=num_samples,
            time_budget_s=budget,
            reuse_actors=True,
        )
        over.set()
        thread.join()
        ray_synapse.finish(run, grid)
        if any("training_iteration" in each.metrics for each in grid):
            break
    return run, grid, budget, seen


@pytest.mark.parametrize("num_samples", [4, -1])
def test_a_time_budget_is_told_with_every_trial_that_was_not_done(cluster, tmp_path, num_samples):
    run, grid, budget, seen = budgeted(tmp_path, num_samples)
    metrics = [each.metrics for each in grid]
    why, at, others = named_as_not_done(run.job_id)
    assert why == f"The time budget of {budget} s is over"
    assert at == {
        each["trial_id"]: each["training_iteration"]
        for each in metrics
        if "training_iteration" in each
    }
    assert at
    assert others == {each["trial_id"] for each in metrics} - set(at)
    assert others
    assert set(statuses(run.job_id)) == set(at) | others
    assert set(statuses(run.job_id).values()) == {"TERMINATED"}
    shown = [value for pair in seen for value in pair if value is not None]
    assert max(shown) <= 100
    if num_samples == -1:
        assert {percent for percent, _ in seen} <= {None, 100}  # open, until the budget is over
        assert seen[len(seen) // 2][0] is None
    assert percentages(run.job_id)[1] == 100


class Ends(Searcher):
    """Has two suggestions only."""

    def __init__(self):
        super().__init__(**BEST)
        self.left = 2

    def suggest(self, trial_id):
        self.left -= 1
        return {"x": self.left} if self.left >= 0 else Searcher.FINISHED

    def on_trial_complete(self, trial_id, result=None, error=False):
        pass

    def save(self, checkpoint_path):
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path):
        pass


def three_reports(config):
    for step in range(3):
        tune.report({"score": config["x"] + step})


def test_a_searcher_that_ends_early_leaves_a_complete_sweep(cluster, tmp_path):
    run = ray_synapse.init("searcher", **BEST)
    grid = fit(
        three_reports,
        SynapseLoggerCallback(run),
        storage=tmp_path,
        search_alg=Ends(),
        num_samples=5,
        reuse_actors=True,
    )
    ray_synapse.finish(run, grid)
    assert list(statuses(run.job_id).values()) == ["TERMINATED", "TERMINATED"]
    assert percentages(run.job_id) == (100, 100)
    assert not [text for text in messages(run.job_id) if "not done" in text]


# A second sweep


GRID = {"x": tune.grid_search([1, 2])}


def logs_its_loss(config, run):
    run.log_metric("training", "loss", config["x"])
    three_reports(config)


def ids_of(grid):
    return {each.metrics["trial_id"] for each in grid}


def test_a_second_fit_is_a_new_job_and_each_has_what_is_its_own(cluster, tmp_path, capfd):
    run = ray_synapse.init("twice", **BEST)
    callback = SynapseLoggerCallback(run)
    trainable = ray_synapse.wrap_trainable(logs_its_loss, run=run)
    options = {"storage": tmp_path, "space": GRID, "reuse_actors": True}
    first = fit(trainable, callback, name="one", **options)
    jobs = [run.job_id]
    second = fit(trainable, callback, name="two", **options)
    jobs.append(run.job_id)
    told = capfd.readouterr().err
    assert told.count("has had its sweep") == 1
    assert f"job {jobs[0]} has had its sweep: this one is job {jobs[1]}, of the same name" in told
    for grid in (first, second):
        assert ray_synapse.finish(run, grid)["best_trial"]["config"] == {"x": 2}
    assert len(set(jobs)) == len(backend().jobs()) == 2
    for job, grid in zip(jobs, (first, second), strict=True):
        assert set(statuses(job)) == ids_of(grid)
        assert backend().trials(job)["best_trial"] in ids_of(grid)
        assert backend().job(job)["status"] == "SUCCEEDED"
        assert backend().job(job)["name"] == "twice"
        logged = [each["data"] for each in backend().logs(job, "metric")]
        losses = [each for each in logged if each["key"] == "loss"]
        assert sorted(each["value"] for each in losses) == [1, 2]
        assert {each["trial_id"] for each in losses} == ids_of(grid)
        assert len(logged) == 8


def waits(config):
    tune.report({"score": config["x"]})
    until = time.time() + 60
    while not Path(config["folder"], "go").exists() and time.time() < until:
        time.sleep(0.05)


def test_two_sweeps_at_once_need_two_runs_and_each_is_right(cluster, tmp_path):
    run, other = ray_synapse.init("first", **BEST), ray_synapse.init("other", **BEST)
    callback, grids = SynapseLoggerCallback(run), {}
    space = {**GRID, "folder": str(tmp_path)}

    def sweep():
        grids[run] = fit(
            waits,
            callback,
            storage=tmp_path,
            space=space,
            name="first",
            max_concurrent_trials=1,
            reuse_actors=True,
        )

    thread = threading.Thread(target=sweep)
    thread.start()
    try:
        wait_for(lambda: "RUNNING" in (statuses_or_none(run.job_id) or {}).values())
        for what, again in (("callback", callback), ("run", SynapseLoggerCallback(run))):
            said = f"this {what} logs another sweep.*callbacks="
            with pytest.raises(SettingsError, match=said):
                fit(three_reports, again, storage=tmp_path, space=GRID, name=what, compare=False)
        grids[other] = fit(
            three_reports,
            SynapseLoggerCallback(other),
            storage=tmp_path,
            space=GRID,
            name="other",
            max_concurrent_trials=1,
            reuse_actors=True,
        )
        assert thread.is_alive()
    finally:
        (tmp_path / "go").touch()
        thread.join()
    for each, grid in grids.items():
        ray_synapse.finish(each, grid)
        assert set(statuses(each.job_id)) == ids_of(grid)
        assert set(statuses(each.job_id).values()) == {"TERMINATED"}
        assert backend().job(each.job_id)["status"] == "SUCCEEDED"
    assert len(backend().jobs()) == 2


def statuses_or_none(job):
    return statuses(job) if backend().trials(job) else None


def fails_at_first(config):
    """The first trial is done; at first, the second fails once the third runs."""
    folder, x = Path(config["folder"]), config["x"]
    tune.report({"score": x, "is_again": int((folder / "again").exists())})
    if x == 3:
        (folder / "third runs").touch()
    until = time.time() + 60
    while x > 1 and not (folder / "again").exists() and time.time() < until:
        if x == 2 and (folder / "third runs").exists():
            time.sleep(0.5)
            raise ValueError("at first")
        tune.report({"score": x, "is_again": 0})
        time.sleep(0.05)


@pytest.mark.parametrize("how", ["interrupted", "raised"])
def test_a_sweep_that_is_restored_in_the_same_process_goes_on_in_its_job(
    cluster, tmp_path, monkeypatch, how
):
    monkeypatch.setenv("TUNE_GLOBAL_CHECKPOINT_S", "0")  # Tune's own state is never old
    run = ray_synapse.init("goes on", **BEST)

    def interrupt():
        wait_for(lambda: "ERROR" in (statuses_or_none(run.job_id) or {}).values())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    options = {}
    if how == "interrupted":
        thread.start()
    else:
        options["run_config"] = {"failure_config": tune.FailureConfig(fail_fast="raise")}
    with nullcontext() if how == "interrupted" else pytest.raises(ValueError, match="at first"):
        fit(
            fails_at_first,
            SynapseLoggerCallback(run),
            storage=tmp_path,
            space={"x": tune.grid_search([1, 2, 3]), "folder": str(tmp_path)},
            name="s",
            interrupted=how == "interrupted",
            **options,
        )
    if how == "interrupted":
        thread.join()
    (tmp_path / "again").touch()
    restored = tune.Tuner.restore(
        str(tmp_path / "s"), fails_at_first, resume_unfinished=True, resume_errored=True
    ).fit()
    remember(restored, run, goes_on=True)
    ray_synapse.finish(run, restored)
    assert [job["id"] for job in backend().jobs()] == [run.job_id]
    table = backend().trials(run.job_id)
    assert list(statuses(run.job_id).values()) == ["TERMINATED"] * 3
    assert set(table["trials"]) == ids_of(restored)
    is_again = table["metrics"].index("is_again")
    first, second, third = sorted(table["trials"])
    shown = [table["trials"][each]["metrics"][is_again] for each in (first, second, third)]
    assert shown == [0, 1, 1]
    assert backend().job(run.job_id)["status"] == "SUCCEEDED"
    why = "A signal" if how == "interrupted" else "fit() ended with ValueError: at first"
    (cut_off,) = [text for text in messages(run.job_id) if "not done" in text]
    assert cut_off.startswith(why)
    assert re.search(rf"cut off: .*{third} at iteration \d+", cut_off)
