import json
import os
import tempfile
import zipfile
from pathlib import Path

import pyarrow.fs
import pytest
from ray import tune

import ray_synapse
from ray_synapse import SynapseLoggerCallback, finish
from tests.sweeps import backend, fit, last_json, remember, run_script, write_model

pytestmark = pytest.mark.ray


def train(config):
    """What each trial does is said by its config."""
    kind = config["kind"]
    scores = {"peak": [9, 1], "nan": [float("nan")], "inf": [float("inf")]}
    for step, score in enumerate(scores.get(kind, [2, 3]), 1):
        with tempfile.TemporaryDirectory() as folder:
            write_model(folder, f"{kind}@{step}")
            bare = kind == "bare"
            checkpoint = None if bare else tune.Checkpoint.from_directory(folder)
            tune.report({"score": score}, checkpoint=checkpoint)
    if kind == "fails":
        raise ValueError("no luck")


def sweep(kinds, tmp_path, *callbacks, **options):
    space = {"kind": tune.grid_search(kinds), "trial_id": "a hyperparameter of that name"}
    options.setdefault("metric", "score")
    options.setdefault("mode", "max")
    return fit(train, *callbacks, storage=tmp_path / "results", space=space, **options)


def by_kind(grid):
    return {result.config["kind"]: result.metrics["trial_id"] for result in grid}


def archived(model_id):
    (model,) = [each for job in backend().jobs() for each in backend().models(job["id"])
                if each["id"] == model_id]  # fmt: skip
    with zipfile.ZipFile(model["file"]) as bundle:
        assert bundle.testzip() is None
        return {name: bundle.read(name).decode() for name in bundle.namelist()}


def messages(run):
    return " / ".join(record["data"]["content"] for record in backend().logs(run.job_id, "message"))


def test_the_whole_of_it(cluster, tmp_path):
    """Every model, honest reasons, the best trial, the last table, and twice is like once."""
    run = ray_synapse.init("all:kinds,1", metric="score", mode="max")
    kinds = ["good", "peak", "nan", "inf", "bare", "fails"]
    grid = sweep(kinds, tmp_path, SynapseLoggerCallback(run), reuse_actors=True)
    ids = by_kind(grid)
    summary = finish(run, grid)

    assert set(summary) == {"model_id", "best_trial", "trial_models"}
    assert set(summary["best_trial"]) == {"trial_logdir", "config", "metrics"}
    assert (
        summary["best_trial"]["config"]["kind"] == "bare"
        or summary["best_trial"]["config"]["kind"] == "good"
    )
    models = {entry["config"]["kind"]: entry for entry in summary["trial_models"]}
    assert set(models) == {"good", "peak", "nan", "inf", "fails"}
    assert set(models["good"]) == {"trial_logdir", "model_id", "config", "metrics"}
    assert models["good"]["metrics"] == {"score": 3}
    assert models["nan"]["metrics"] == {"score": None}
    assert archived(models["good"]["model_id"]) == {"weights.txt": "good@2"}
    assert os.path.isfile(f"{models['good']['trial_logdir']}/weights.txt")
    json.dumps(summary, allow_nan=False)

    (model,) = [each for each in backend().models(run.job_id) if ids["good"] in each["name"]]
    assert model["name"] == f"all%3Akinds%2C1_{ids['good']}"
    assert model["configuration"]["config"]["kind"] == "good"
    assert model["configuration"]["metrics"] == {"score": 3}
    assert model["configuration"]["trial_logdir"] == models["good"]["trial_logdir"]
    assert model["configuration"]["search_space"][0]["options"] == kinds

    text = messages(run)
    assert f"Trial {ids['bare']}: no model: it reported no checkpoint" in text
    assert f"Trial {ids['fails']} failed: ValueError: no luck" in text
    best = backend().job(run.job_id)["best_trial"]
    assert best["trial_id"] in (ids["good"], ids["bare"])
    table = backend().trials(run.job_id)
    assert table["best_trial"] == best["trial_id"]
    assert table["trials"][ids["fails"]]["base"] == [ids["fails"], "ERROR"]
    assert backend().job(run.job_id)["result"] == summary

    before = len(backend().logs(run.job_id, "message"))
    assert finish(run, grid) == summary
    assert len(backend().models(run.job_id)) == 5
    assert len(backend().logs(run.job_id, "message")) == before


def test_the_best_of_all_results_comes_with_its_own_checkpoint(cluster, tmp_path):
    run = ray_synapse.init("best", metric="score", mode="max")
    grid = sweep(["good", "peak"], tmp_path)
    last, best = finish(run, grid), finish(run, grid, best="all")
    assert last["best_trial"]["config"]["kind"] == "good"
    assert best["best_trial"]["config"]["kind"] == "peak"
    assert best["best_trial"]["metrics"] == {"score": 9}
    assert archived(best["model_id"]) == {"weights.txt": "peak@1"}


def test_where_no_trial_can_win_it_says_why(cluster, tmp_path):
    run = ray_synapse.init("hopeless", metric="score", mode="max")
    grid = sweep(["nan", "fails"], tmp_path, SynapseLoggerCallback(run))
    summary = finish(run, grid)
    assert summary["best_trial"] is None
    assert summary["model_id"] is None
    assert len(summary["trial_models"]) == 2
    assert "There is no best trial: of 2 trials 1 failed" in messages(run)
    assert backend().trials(run.job_id)["best_trial"] == ""


@pytest.mark.parametrize(
    ("argument", "variable", "expected"),
    [("best", "", ["good"]), ("none", "", []), ("all", "best", ["good"]), ("best", "none", [])],
)
def test_the_stricter_of_argument_and_environment_limits_the_upload(
    cluster, tmp_path, monkeypatch, argument, variable, expected, shared_grid
):
    monkeypatch.setenv("RAY_SYNAPSE_UPLOAD", variable)
    run = ray_synapse.init("limited", metric="score", mode="max", upload=argument)
    summary = finish(run, shared_grid)
    assert [entry["config"]["kind"] for entry in summary["trial_models"]] == expected
    remember(shared_grid, run)
    assert summary["best_trial"]["config"]["kind"] == "good"
    assert (summary["model_id"] is not None) == bool(expected)


@pytest.fixture(scope="module")
def shared_grid(ray_cluster, tmp_path_factory):
    return sweep(["good", "peak"], tmp_path_factory.mktemp("shared"))


def test_models_on_a_remote_file_system_are_uploaded(cluster, tmp_path):
    (tmp_path / "bucket").mkdir()
    remote = pyarrow.fs.SubTreeFileSystem(str(tmp_path / "bucket"), pyarrow.fs.LocalFileSystem())
    run = ray_synapse.init("remote", metric="score", mode="max")
    grid = fit(
        train,
        storage="results",
        space={"kind": "good"},
        metric="score",
        mode="max",
        run_config={"storage_filesystem": remote},
    )
    summary = finish(run, grid)
    remember(grid, run)
    assert not Path(summary["best_trial"]["trial_logdir"]).exists()
    assert archived(summary["model_id"]) == {"weights.txt": "good@2"}


def test_a_fresh_process_finishes_a_restored_sweep(cluster, tmp_path):
    run = ray_synapse.init("restored", metric="score", mode="max")
    grid = sweep(["good", "bare"], tmp_path, SynapseLoggerCallback(run))
    run._channel.flush(10)
    job, folder = run.job_id, grid.experiment_path
    result = run_script(
        f"""
        import json
        from ray import tune
        import ray_synapse
        from tests.sweeps import hand_over
        def train(config): pass
        run = ray_synapse.init("restored", job_id={job})
        grid = tune.Tuner.restore({folder!r}, train).get_results()
        hand_over(grid, run)
        print(json.dumps([run.metric, ray_synapse.finish(run, grid)]))
        """
    )
    metric, summary = last_json(result)
    assert metric == "score"
    ids = by_kind(grid)
    table = backend().trials(job)
    assert set(table["trials"]) == set(ids.values())
    assert table["metrics"] == ["score"]
    assert table["best_trial"] in ids.values()
    assert len(summary["trial_models"]) == 1


def test_a_folder_that_several_trials_share_is_not_taken_for_their_model(cluster, tmp_path):
    """And a copy in Tune's storage is, where there is one."""
    shared = write_model(tmp_path / "shared", "the last writer's")

    def careless(config):
        with tempfile.TemporaryDirectory() as folder:
            write_model(folder, f"mine {config['x']}")
            checkpoint = tune.Checkpoint.from_directory(folder) if config["x"] == 1 else None
            tune.report({"score": 1, "checkpoint_output": str(shared)}, checkpoint=checkpoint)

    run = ray_synapse.init("shared", metric="score", mode="max")
    grid = fit(careless, storage=tmp_path, space={"x": tune.grid_search([1, 2])})
    summary = finish(run, grid)
    remember(grid, run)
    (entry,) = summary["trial_models"]
    assert archived(entry["model_id"]) == {"weights.txt": "mine 1"}
    assert "several trials wrote to" in messages(run)


def test_a_model_that_does_not_fit_the_disk_is_named_and_the_others_go_on(cluster, tmp_path):
    huge = write_model(tmp_path / "huge", "x")
    with open(huge / "weights.bin", "wb") as file:
        file.truncate(1 << 43)  # 8 TiB, none of them on the disk

    def train_huge(config):
        out = huge if config["x"] == 1 else write_model(tmp_path / "small", "small")
        tune.report({"score": 1, "checkpoint_output": str(out)})

    run = ray_synapse.init("huge", metric="score", mode="max")
    grid = fit(train_huge, storage=tmp_path, space={"x": tune.grid_search([1, 2])})
    summary = finish(run, grid)
    remember(grid, run)
    assert [entry["config"]["x"] for entry in summary["trial_models"]] == [2]
    assert "model not uploaded: model huge_" in messages(run)
    assert "must stay free" in messages(run)


def test_wrong_arguments_are_told_apart():
    run = ray_synapse.init("arguments")
    with pytest.raises(ray_synapse.SettingsError, match=r"ray_synapse\.init"):
        finish(None, [])
    with pytest.raises(ray_synapse.SettingsError, match=r"Tuner\.fit"):
        finish(run, None)
    with pytest.raises(ray_synapse.SettingsError, match="'first'"):
        finish(run, [], best="first")


def test_results_that_are_finished_again_go_to_the_job_that_they_had(cluster, tmp_path):
    """Also when the run has had another sweep since, and both are finished."""
    run = ray_synapse.init("twice", metric="score", mode="max")
    callback = SynapseLoggerCallback(run)
    grids, jobs = [], []
    for name in ("first", "second"):
        grids.append(sweep(["good"], tmp_path / name, callback))
        jobs.append(run.job_id)
        finish(run, grids[-1])
    assert len(set(jobs)) == 2
    finish(run, grids[0])
    for grid, job in zip(grids, jobs, strict=True):
        assert set(backend().trials(job)["trials"]) == set(by_kind(grid).values())
