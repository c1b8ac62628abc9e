import contextlib
import pickle
import shutil
import subprocess
import threading

import pytest
import ray
from ray import cloudpickle, tune

import ray_synapse
from ray_synapse import SynapseLoggerCallback
from tests.sweeps import backend, fit, remember, wait_for

pytestmark = pytest.mark.ray


def three_reports(config):
    for step in range(1, 4):
        tune.report({"epoch": step, "note": "text", "score": config["x"] * step, "deep": {"n": 1}})


class Foreign:
    """What another SDK passes as its run."""

    def __init__(self):
        self.tables, self.progress, self.metrics, self.threads = [], [], [], set()

    def log_trials(self, *, trials, base, hyperparameters, metrics, best_trial):
        self.threads.add(threading.current_thread().name)
        self.tables.append((trials, base, hyperparameters, metrics, best_trial))

    def set_progress(self, current, total, step):
        self.progress.append((current, total, step))

    def log_metric(self, category, key, value, **metrics):
        self.metrics.append((category, key, value, metrics))


def test_a_sweep_is_kept_as_one_table_with_its_results_and_progress(cluster, tmp_path):
    run = ray_synapse.init("sweep:1", metric="score", mode="max")
    space = {"x": tune.grid_search([1, 2]), "opt": {"name": "adam"}}
    grid = fit(three_reports, SynapseLoggerCallback(run), storage=tmp_path, space=space)
    ray_synapse.finish(run, grid)

    table = backend().trials(run.job_id)
    assert table["base"] == ["trial_id", "status"]
    assert table["hyperparameters"] == ["x", "opt/name"]
    assert table["metrics"] == ["score", "epoch", "deep/n"]
    ids = {result.metrics["trial_id"]: result for result in grid}
    assert set(table["trials"]) == set(ids)
    for trial_id, row in table["trials"].items():
        x = ids[trial_id].config["x"]
        assert row == {
            "base": [trial_id, "TERMINATED"],
            "hyperparameters": [x, "adam"],
            "metrics": [x * 3, 3, 1],
        }
    assert ids[table["best_trial"]].config["x"] == 2

    logged = backend().logs(run.job_id, "metric")
    for trial_id in ids:
        mine = [each["data"] for each in logged if each["data"]["trial_id"] == trial_id]
        assert [each["value"] for each in mine] == [1, 2, 3]
        assert {(each["category"], each["key"]) for each in mine} == {
            ("trial", "training_iteration")
        }
        assert mine[0]["metrics"] == {"epoch": 1, "score": ids[trial_id].config["x"], "deep/n": 1}
    job = backend().job(run.job_id)
    assert job["status"] == "SUCCEEDED"
    assert job["progress_record"]["current_progress"]["overall"] == 100
    assert job["progress_record"]["record"]["steps"]["trials"]["percent"] == 100
    assert job["search_space"][0] == {"name": "x", "type": "grid_search", "options": [1, 2]}
    stats = run.stats()
    assert stats["logged"] == stats["delivered"] + stats["replaced"]
    assert stats["dropped"] == stats["waiting"] == 0


def test_an_object_of_another_sdk_gets_the_table_from_one_thread(cluster, tmp_path):
    foreign = Foreign()
    grid = fit(
        three_reports,
        SynapseLoggerCallback(foreign, metric="score", mode="max"),
        storage=tmp_path,
        space={"x": tune.grid_search([1, 2])},
    )
    wait_for(
        lambda: foreign.progress and foreign.progress[-1][0] == 2 and len(foreign.metrics) == 6
    )
    trials, base, hyperparameters, metrics, best_trial = foreign.tables[-1]
    assert (base, hyperparameters) == (["trial_id", "status"], ["x"])
    assert trials[best_trial]["hyperparameters"] == [2]
    assert {table[4] for table in foreign.tables[:-1]} <= {""}
    assert metrics[0] == "score"
    assert {row["base"][1] for row in trials.values()} == {"TERMINATED"}
    assert set(trials) == {result.metrics["trial_id"] for result in grid}
    assert foreign.progress[-1] == (2, 2, "trials")
    assert len(foreign.threads) == 1
    assert len(foreign.metrics) == 6
    assert foreign.metrics[0][3]["trial_id"] in trials


@pytest.mark.parametrize("kind", ["raises", "blocks"])
def test_a_run_that_raises_or_blocks_changes_nothing_in_the_sweep(cluster, tmp_path, kind):
    """The blocking run is let go only after fit() is back: a sweep that waited would hang."""
    released = threading.Event()

    class Bad(Foreign):
        def log_trials(self, **table):
            if kind == "raises":
                raise RuntimeError("backend on fire")
            released.wait(120)

        log_metric = set_progress = log_trials

        def __reduce__(self):
            return Bad, ()

    plain = fit(three_reports, storage=tmp_path, name="plain", space=GRID)
    logged = fit(
        three_reports, SynapseLoggerCallback(Bad()), storage=tmp_path, name="bad", space=GRID
    )
    released.set()
    assert outcomes(logged) == outcomes(plain)


@pytest.fixture
def tiny_disk(tmp_path):
    """A disk of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only the superuser can mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_changes_nothing_in_the_sweep(tiny_disk, cluster, tmp_path, monkeypatch):
    """And once there is room again, what was waiting is written, nothing twice."""
    monkeypatch.setenv("RAY_SYNAPSE_HOME", str(tiny_disk / "home"))
    run = ray_synapse.init("full", metric="score", mode="max")
    ballast = tiny_disk / "ballast"
    with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    grid = fit(three_reports, SynapseLoggerCallback(run), storage=tmp_path, space=GRID)
    assert len(outcomes(grid)) == 2
    assert grid.num_errors == 0
    run.log_message("x" * 10_000)
    assert run.stats()["waiting"] > 0
    ballast.unlink()
    ray_synapse.finish(run, grid)
    stats = run.stats()
    assert stats["waiting"] == stats["dropped"] == 0
    assert stats["logged"] == stats["delivered"] + stats["replaced"]
    assert len(backend().logs(run.job_id, "metric")) == 6
    assert backend().trials(run.job_id)["best_trial"]


@pytest.mark.parametrize(
    ("setting", "value"), [({"metric": "loss", "mode": "min"}, "loss"), ({}, None)]
)
def test_a_metric_that_differs_from_tunes_is_an_error_before_any_trial(
    cluster, tmp_path, setting, value
):
    run = ray_synapse.init("conflict", **setting)
    callback = SynapseLoggerCallback(run)
    if value is None:
        fit(three_reports, callback, storage=tmp_path, space={"x": 1}, metric="score", mode="max")
        assert goal_of(run) == ("score", "max")
        return
    with pytest.raises(ray_synapse.SettingsError, match=r"'loss' in the run.*'score' in Tune"):
        fit(three_reports, callback, storage=tmp_path, space={"x": 1}, metric="score", mode="max")
    assert backend().trials(run.job_id) is None


def test_the_metric_of_a_scheduler_is_found(cluster, tmp_path):
    run = ray_synapse.init("by scheduler")
    scheduler = tune.schedulers.AsyncHyperBandScheduler(metric="score", mode="min", max_t=3)
    callback = SynapseLoggerCallback(run)
    fit(three_reports, callback, storage=tmp_path, space={"x": 1}, scheduler=scheduler)
    assert goal_of(run) == ("score", "min")
    assert (run.metric, run.mode) == (None, None)


def test_it_needs_no_change_to_the_script(cluster, tmp_path, monkeypatch):
    if not hasattr(ray.tune.constants, "RAY_TUNE_CALLBACKS_ENV_VAR"):
        pytest.skip("this Ray has no RAY_TUNE_CALLBACKS")
    monkeypatch.setenv("RAY_TUNE_CALLBACKS", "ray_synapse.SynapseLoggerCallback")
    grid = fit(three_reports, storage=tmp_path, name="bare", space=GRID, metric="score", mode="max")
    wait_for(lambda: backend().jobs())
    run = ray_synapse.get_run()
    assert (run.name, run.metric, run.mode) == ("bare", "score", "max")
    remember(grid, run)
    summary = ray_synapse.finish(run, grid)
    assert summary["best_trial"]["config"] == {"x": 2}


def test_wrong_settings_of_a_run_made_here_are_one_loud_line(cluster, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("SYNAPSE_HOST", "https://synapse.example")
    grid = fit(three_reports, SynapseLoggerCallback(), storage=tmp_path, name="loud", space=GRID)
    wait_for(lambda: backend().jobs())
    assert grid.num_errors == 0
    assert capfd.readouterr().err.count("SYNAPSE_HOST names the Synapse server") == 1
    assert [job["name"] for job in backend().jobs()] == ["loud"]


def test_a_second_callback_stands_aside(cluster, tmp_path, capfd):
    run = ray_synapse.init("first", metric="score", mode="max")
    callbacks = [SynapseLoggerCallback(), SynapseLoggerCallback(run)]
    ray_synapse.finish(run, fit(three_reports, *callbacks, storage=tmp_path, space=GRID))
    assert [job["name"] for job in backend().jobs()] == ["first"]
    assert "stands aside" in capfd.readouterr().err
    assert len(backend().logs(run.job_id, "metric")) == 6


def test_it_pickles_before_during_and_after_a_sweep(cluster, tmp_path):
    run = ray_synapse.init("pickled")
    callback = SynapseLoggerCallback(run)
    assert pickle.loads(cloudpickle.dumps(callback))._run is run
    fit(three_reports, callback, storage=tmp_path, space=GRID)
    assert len(cloudpickle.dumps(callback)) < 3_000
    assert callback.get_state()["job_id"] == run.job_id


def test_a_run_that_cannot_be_pickled_is_left_out_and_told_of(cluster, tmp_path, capfd):
    class Unpicklable(Foreign):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()

    live = Unpicklable()
    fit(three_reports, SynapseLoggerCallback(live), storage=tmp_path, space=GRID, name="left")
    wait_for(lambda: live.tables)
    restored = tune.Tuner.restore(str(tmp_path / "left"), three_reports, restart_errored=True)
    restored.fit()
    assert "could not be pickled" in capfd.readouterr().err


def test_what_is_no_run_is_refused():
    with pytest.raises(ray_synapse.SettingsError, match="without log_trials"):
        SynapseLoggerCallback("digits")
    with pytest.raises(ray_synapse.SettingsError, match="'maximize'"):
        SynapseLoggerCallback(mode="maximize")


def test_odd_values_reach_the_table_as_json(cluster, tmp_path):
    def odd(config):
        tune.report({"nan": float("nan"), "inf": float("inf"), "big": "x" * 1_000_000, "ok": 1})

    run = ray_synapse.init("odd", metric="ok", mode="max")
    space = {"fn": three_reports, "text": "y" * 10_000_000, "many": list(range(1000)), "n": None}
    ray_synapse.finish(run, fit(odd, SynapseLoggerCallback(run), storage=tmp_path, space=space))
    table = backend().trials(run.job_id)
    (row,) = table["trials"].values()
    assert row["metrics"] == [1, None, None]
    assert "10,000,000 characters" in row["hyperparameters"][table["hyperparameters"].index("text")]


def goal_of(run):
    wait_for(lambda: backend().job(run.job_id)["metric"])
    job = backend().job(run.job_id)
    return job["metric"], job["mode"]


GRID = {"x": tune.grid_search([1, 2])}


def outcomes(grid):
    return sorted(
        (result.config["x"], result.metrics["score"], result.metrics["training_iteration"])
        for result in grid
    )


def test_two_sweeps_of_one_run_have_their_own_goals(cluster, tmp_path):
    """And the first one's models are not forgotten when only the second one is finished."""
    run = ray_synapse.init("two goals")
    callbacks = [SynapseLoggerCallback(run), SynapseLoggerCallback(run)]
    goals = [("score", "min"), ("epoch", "max")]
    summaries = []
    for number, (callback, (metric, mode)) in enumerate(zip(callbacks, goals, strict=True)):
        grid = fit(
            three_reports,
            callback,
            storage=tmp_path,
            name=f"s{number}",
            space=GRID,
            metric=metric,
            mode=mode,
        )
        summaries.append(ray_synapse.finish(run, grid))
    assert summaries[0]["best_trial"]["config"] == {"x": 1}
    assert summaries[1]["best_trial"]["metrics"]["epoch"] == 3


def test_a_folder_that_cannot_be_written_is_told_once(cluster, tmp_path, monkeypatch, capfd):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RAY_SYNAPSE_HOME", str(tmp_path / "file" / "home"))
    callback = SynapseLoggerCallback()
    grid = fit(
        three_reports, callback, storage=tmp_path, space=GRID, compare=False
    )  # there is none
    threading.Event().wait(0.5)
    assert grid.num_errors == 0
    lines = [line for line in capfd.readouterr().err.splitlines() if "ray_synapse:" in line]
    assert len(lines) == 2
    assert "this sweep is not logged" in lines[1]
