"""The table and the messages agree with Tune, whichever way the trials of a sweep go."""

import json
import os
import re
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from ray import tune
from ray.tune import schedulers

import ray_synapse
from ray_synapse import SynapseLoggerCallback, registry, start
from tests.sweeps import backend, fit, wait_for

pytestmark = pytest.mark.ray

PATIENCE_S = 30  # of a trial that waits until its table was seen


@pytest.fixture(autouse=True)
def no_files_of_tune(monkeypatch):
    """Tune's own loggers never close the files of a trial that is cut off: Python would warn."""
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")


def held(folder, name):
    """In a trial: wait until the test has seen what it is to see."""
    until = time.time() + PATIENCE_S
    while not Path(folder, name).exists():
        if time.time() > until:
            raise TimeoutError(f"{name} did not come about")
        time.sleep(0.02)


@contextmanager
def watching(folder, name, look):
    """Let the trials that are held go on once `look()` is true, while the sweep goes on."""
    over = threading.Event()

    def watch():
        while not over.wait(0.05):
            if look():
                Path(folder, name).touch()
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert Path(folder, name).exists(), f"{name} did not come about while the sweep went on"


def rows(job):
    """The rows that are kept now, by trial: status, config and metrics by name."""
    table = backend().trials(job)
    found = {}
    for trial_id, row in (table["trials"] if table else {}).items():
        config = dict(zip(table["hyperparameters"], row["hyperparameters"], strict=True))
        metrics = dict(zip(table["metrics"], row["metrics"], strict=True))
        found[trial_id] = row["base"][1], config, metrics
    return found


def messages(job, level=None):
    logged = backend().logs(job, "message")
    return [each["data"]["content"] for each in logged if level in (None, each["level"])]


def by_kind(grid, name="kind"):
    return {result.config[name]: result.metrics["trial_id"] for result in grid}


# Trials that fail


class Odd(Exception):
    """One that no pickle can carry."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


def failing(config):
    kind, again = config["kind"], Path(config["folder"], config["kind"])
    tune.report({"score": 1})
    if kind == "always":
        raise ValueError("boom\nsecond line")
    if kind == "odd":
        raise Odd("odd\nsecond line")
    if kind == "exit":
        os._exit(3)
    if kind == "once":
        if not again.exists():
            again.touch()
            raise RuntimeError("only once\nsecond line")
        held(config["folder"], "seen running")
    tune.report({"score": 2})


def test_failed_trials_are_errors_with_the_reason_and_a_retried_one_runs_again(cluster, tmp_path):
    run = ray_synapse.init("retries", metric="score", mode="max")

    def once_runs_again():
        again = any("only once" in text for text in messages(run.job_id, "warning"))
        once = [row[0] for row in rows(run.job_id).values() if row[1].get("kind") == "once"]
        return again and once == ["RUNNING"]

    with watching(tmp_path, "seen running", once_runs_again):
        grid = fit(
            failing,
            SynapseLoggerCallback(run),
            storage=tmp_path,
            space={
                "kind": tune.grid_search(["once", "always", "odd", "exit", "good"]),
                "folder": str(tmp_path),
            },
            reuse_actors=True,
            run_config={"failure_config": tune.FailureConfig(max_failures=1)},
        )
    ray_synapse.finish(run, grid)
    ids, table = by_kind(grid), rows(run.job_id)
    assert {kind: table[ids[kind]][0] for kind in ids} == {
        "once": "TERMINATED",
        "always": "ERROR",
        "odd": "ERROR",
        "exit": "ERROR",
        "good": "TERMINATED",
    }
    warned, failed = messages(run.job_id, "warning"), messages(run.job_id, "error")
    reasons = {"always": "ValueError: boom", "once": "RuntimeError: only once"}
    for kind, reason in reasons.items():
        again = f"Trial {ids[kind]} failed and is started again (max_failures is 1): {reason}"
        assert warned.count(again) == 1
    assert f"Trial {ids['always']} failed 2 times: ValueError: boom" in failed
    told = {kind: [text for text in failed if ids[kind] in text] for kind in ids}
    assert {kind: len(texts) for kind, texts in told.items()} == {
        "once": 0,
        "always": 1,
        "odd": 1,
        "exit": 1,
        "good": 0,
    }
    assert re.search(r"failed 2 times: \S*Odd: odd$", told["odd"][0])
    assert re.search(r"failed 2 times: \w*ActorDiedError: .", told["exit"][0])
    assert not [text for text in warned + failed if "second line" in text or "\n" in text]
    assert backend().job(run.job_id)["status"] == "SUCCEEDED"


def fails(config):
    tune.report({"score": config["x"]})
    raise ValueError(f"bad\nx is {config['x']}")


def test_a_sweep_whose_trials_all_failed_has_a_failed_job(cluster, tmp_path):
    run = ray_synapse.init("all failed", metric="score", mode="max")
    grid = fit(
        fails,
        SynapseLoggerCallback(run),
        storage=tmp_path,
        space={"x": tune.grid_search([1, 2])},
    )
    ray_synapse.finish(run, grid)
    ids, failed = by_kind(grid, "x"), messages(run.job_id, "error")
    assert {row[0] for row in rows(run.job_id).values()} == {"ERROR"}
    assert all(text.endswith(" failed: ValueError: bad") for text in failed)
    assert [sum(trial_id in text for text in failed) for trial_id in ids.values()] == [1, 1]
    assert backend().job(run.job_id)["status"] == "FAILED"
    assert backend().trials(run.job_id)["best_trial"] == ""


def one_report(config):
    tune.report({"score": 1})


def fails_after_the_other(config):
    """The first fails when the second runs, and the third never does.

    The second ends once Tune has stopped the first: for one that never does Tune waits ten seconds.
    """
    folder = Path(config["folder"])
    tune.report({"score": 1})
    if config["x"] == 1:
        (folder / "first").write_text(str(os.getpid()))
        held(folder, "second runs")
        raise ValueError("fast\nsecond line")
    held(folder, "first")
    (folder / "second runs").touch()
    with suppress(ProcessLookupError):
        while True:
            os.kill(int((folder / "first").read_text()), 0)
            time.sleep(0.02)


@pytest.mark.parametrize("how", [True, "raise"])
def test_fail_fast_leaves_one_error_and_names_the_others_that_were_not_done(cluster, tmp_path, how):
    run = ray_synapse.init("fail fast", metric="score", mode="max")
    callback, error = SynapseLoggerCallback(run), None
    space = {"x": tune.grid_search([1, 2, 3]), "folder": str(tmp_path)}
    options = {
        "storage": tmp_path,
        "space": space,
        "run_config": {"failure_config": tune.FailureConfig(fail_fast=how)},
    }
    try:
        ray_synapse.finish(run, fit(fails_after_the_other, callback, **options))
    except Exception as raised:
        error = raised
    failed = run.job_id
    if how == "raise":  # then the same run and callback may follow another sweep, as another job
        ray_synapse.finish(run, fit(one_report, callback, storage=tmp_path, name="after"))
        assert run.job_id != failed
        for each in registry.open_runs():
            start.close(each)
    assert (error is not None) == (how == "raise")
    table = rows(failed)
    first, second, third = table
    assert [table[each][0] for each in (second, third)] == ["TERMINATED", "TERMINATED"]
    job, told = backend().job(failed), messages(failed)
    cut_off = [text for text in told if "not done" in text]
    assert len(cut_off) == 1
    assert cut_off[0].endswith(f"{second} at iteration 1; never started: {third}")
    assert table[first][0] == "ERROR"
    assert messages(failed, "error") == [f"Trial {first} failed: ValueError: fast"]
    assert job["progress_record"]["current_progress"]["overall"] <= 100
    if how == "raise":
        assert cut_off[0].startswith("fit() ended with ValueError: fast: ")
        assert job["status"] == "FAILED"
    else:
        assert cut_off[0].startswith("A trial failed, and fail_fast ended the sweep: 2 trials ")


# Trials that are paused, or go on from another one


class Walker(tune.Trainable):
    """Notes from whose checkpoint it goes on, and waits until a table shows with which config."""

    def setup(self, config):
        self.total, self.folder = 0.0, Path(config["folder"])
        self.is_new = False

    def step(self):
        waits = self.config["lr"] == self.config.get("waits") and self.iteration == 0
        if self.is_new:
            (self.folder / f"new-{self.trial_id}.json").write_text(str(self.config["lr"]))
        if waits or self.is_new:
            held(self.folder, "seen")
        self.total += self.config["lr"]
        return {"score": self.total, "used": self.config["lr"]}

    def save_checkpoint(self, folder):
        saved = {"total": self.total, "by": self.trial_id, "at": self.iteration}
        Path(folder, "saved.json").write_text(json.dumps(saved))

    def load_checkpoint(self, folder):
        saved = json.loads(Path(folder, "saved.json").read_text())
        self.total, self.is_new = saved["total"], saved["by"] != self.trial_id
        if self.is_new:
            with (self.folder / "exploits.jsonl").open("a") as file:
                moved = [self.trial_id, saved["by"], saved["at"], self.config["lr"]]
                file.write(json.dumps(moved) + "\n")

    def reset_config(self, new_config):
        self.total, self.is_new = 0.0, False
        return True


def test_hyperband_pauses_trials_and_only_the_ones_it_stops_early_are_told(cluster, tmp_path):
    """Its first bracket has two trials that run to `max_t`; of the three of its second one the
    best goes on. The last of these waits until the two others are seen paused.
    """
    run = ray_synapse.init("hyperband", metric="score", mode="max")

    def two_are_paused():
        paused = {row[1]["lr"] for row in rows(run.job_id).values() if row[0] == "PAUSED"}
        return paused >= {4.0, 3.0}

    with watching(tmp_path, "seen", two_are_paused):
        grid = fit(
            Walker,
            SynapseLoggerCallback(run),
            storage=tmp_path,
            space={
                "lr": tune.grid_search([6.0, 5.0, 4.0, 3.0, 1.0]),
                "waits": 1.0,
                "folder": str(tmp_path),
            },
            scheduler=schedulers.HyperBandScheduler(max_t=3, reduction_factor=3),
            metric="score",
            mode="max",
            reuse_actors=True,
        )
    ray_synapse.finish(run, grid)
    assert {row[0] for row in rows(run.job_id).values()} == {"TERMINATED"}
    reached = {each.config["lr"]: each.metrics["training_iteration"] for each in grid}
    assert reached == {6.0: 3, 5.0: 3, 4.0: 3, 3.0: 1, 1.0: 1}
    ids = by_kind(grid, "lr")
    told = [text for text in messages(run.job_id) if "HyperBandScheduler stopped" in text]
    stopped = {f"{ids[lr]} at iteration 1" for lr in (3.0, 1.0)}
    assert set(re.findall(r"\w+ at iteration \d+", " ".join(told))) == stopped
    assert not [text for text in messages(run.job_id) if "goes on" in text or "not done" in text]


BOUNDS = (0.1, 2.0)


def population(kind):
    common = {"time_attr": "training_iteration", "perturbation_interval": 2}
    if kind != "PB2":
        changed = {"lr": tune.uniform(*BOUNDS)}
        is_synch = kind == "synchronous PBT"
        return schedulers.PopulationBasedTraining(
            **common, hyperparam_mutations=changed, synch=is_synch
        )
    from ray.tune.schedulers.pb2 import PB2

    try:
        return PB2(**common, hyperparam_bounds={"lr": list(BOUNDS)})
    except Exception as error:  # older Rays need GPy
        return pytest.skip(str(error))


@pytest.mark.parametrize("kind", ["PBT", "synchronous PBT", "PB2"])
def test_an_exploit_is_one_message_and_the_row_has_the_config_that_runs_now(
    cluster, tmp_path, kind
):
    """Held against what the trials themselves loaded, and what PBT wrote into its own files."""
    run = ray_synapse.init(kind, metric="score", mode="max")

    def first_exploit_is_shown():
        running = [row[1]["lr"] for row in rows(run.job_id).values() if row[0] == "RUNNING"]
        return any(float(f.read_text()) in running for f in tmp_path.glob("new-*.json"))

    with watching(tmp_path, "seen", first_exploit_is_shown):
        grid = fit(
            Walker,
            SynapseLoggerCallback(run),
            storage=tmp_path,
            space={"lr": tune.grid_search([1.0, 0.2]), "folder": str(tmp_path)},
            scheduler=population(kind),
            metric="score",
            mode="max",
            reuse_actors=True,
            run_config={"stop": {"training_iteration": 9}},
        )
    ray_synapse.finish(run, grid)
    for _, config, metrics in rows(run.job_id).values():
        assert config["lr"] == metrics["used"]
    ids = sorted(each.metrics["trial_id"] for each in grid)
    config = dict(zip(ids, [1.0, 0.2], strict=True))
    expected, exploits = [], []
    for line in (tmp_path / "exploits.jsonl").read_text().splitlines():
        trial_id, donor, iteration, lr = json.loads(line)
        is_same = config[trial_id] == lr  # the donor's 1.0 x 0.8 may be what it had
        values = "the same config" if is_same else f"lr {config[trial_id]:.4g} -> {lr:.4g}"
        config[trial_id] = lr
        exploits.append((trial_id, donor, lr))
        expected.append(
            f"Trial {trial_id} goes on from trial {donor} at iteration {iteration} with {values}"
        )
    assert [text for text in messages(run.job_id) if "goes on" in text] == expected
    written = next(tmp_path.rglob("pbt_global.txt")).read_text().splitlines()
    policies = [json.loads(line) for line in written]
    assert [
        (ids[int(target.split("_")[0])], ids[int(donor.split("_")[0])], new["lr"])
        for target, donor, _, _, _, new in policies
    ] == exploits
    assert expected


# Several objectives


def two_objectives(config):
    tune.report({"seconds": 1, "accuracy": config["x"], "loss": config["x"] ** 2})


@pytest.mark.parametrize("chosen", [None, "accuracy"])
def test_with_several_objectives_all_are_first_and_the_best_is_by_the_first_or_the_chosen(
    cluster, tmp_path, chosen
):
    optuna = pytest.importorskip("ray.tune.search.optuna")
    pytest.importorskip("optuna")
    searcher = optuna.OptunaSearch(metric=["loss", "accuracy"], mode=["min", "max"], seed=1)
    run = ray_synapse.init("objectives", metric=chosen)
    grid = fit(
        two_objectives,
        SynapseLoggerCallback(run),
        storage=tmp_path,
        space={"x": tune.uniform(1, 2)},
        search_alg=searcher,
        num_samples=3,
        reuse_actors=True,
    )
    wait_for(lambda: backend().trials(run.job_id))
    ray_synapse.finish(run, grid)
    table = backend().trials(run.job_id)
    best = chosen or "loss"
    rest = {"loss", "accuracy"} - {best}
    assert table["metrics"] == [best, *rest, "seconds"]
    pick = max if best == "accuracy" else min
    winner = pick(grid, key=lambda each: each.metrics[best]).metrics["trial_id"]
    assert table["best_trial"] == winner
    (told,) = [text for text in messages(run.job_id) if "optimizes 2 metrics" in text]
    assert "loss (min), accuracy (max)" in told
    assert f"The best trial is the one with the best {best};" in told
    job = backend().job(run.job_id)
    assert (job["metric"], job["mode"]) == (best, "max" if best == "accuracy" else "min")
