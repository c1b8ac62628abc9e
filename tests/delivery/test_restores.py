"""Sweeps that are interrupted, and go on in another process: the same job goes on, once."""

import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ray_synapse.backend.local import LocalBackend
from ray_synapse.cli import main
from tests.delivery.test_signals import Script, archived, by_kind
from tests.sweeps import backend, handed_over_agree, last_json, run_script, wait_for
from tests.synapse import counts_of

pytestmark = pytest.mark.ray

STEPS, FAILS_AFTER, STALLS_AFTER = 5, 2, 3

# In its first life one trial is done, one fails, two stall and never end, so one never starts.
SWEEP = f"""
import json, os, tempfile, time
from pathlib import Path
import ray
from ray import tune
import ray_synapse
from tests.sweeps import hand_over

KINDS = ["done", "fails", "long", "longer", "waits"]
FOLDER = os.environ["STORAGE"] + "/s"

def train(config, run=None):
    kind, is_first, step = config["kind"], os.environ["LIFE"] == "1", 0
    if checkpoint := tune.get_checkpoint():
        with checkpoint.as_directory() as folder:
            step = int(Path(folder, "step").read_text())
    if run is not None:
        run.log_metric("training", "begin", step, kind=kind, life=os.environ["LIFE"])
        assert run._channel.flush(20)
    while step < {STEPS}:
        if kind == "fails" and is_first and step == {FAILS_AFTER}:
            raise ValueError("no luck")
        if kind.startswith("long") and is_first and step == {STALLS_AFTER}:
            Path(os.environ["NOTED"], kind).touch()
            time.sleep(600)
        step += 1
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "step").write_text(str(step))
            tune.report({{"score": step}}, checkpoint=tune.Checkpoint.from_directory(folder))

def begin(trainable, callback):
    return tune.Tuner(
        trainable,
        param_space={{"kind": tune.grid_search(KINDS)}},
        tune_config=tune.TuneConfig(metric="score", mode="max", reuse_actors=True),
        run_config=tune.RunConfig(
            name="s", storage_path=os.environ["STORAGE"], verbose=0, callbacks=[callback]
        ),
    ).fit()

def restore(trainable, **options):
    return tune.Tuner.restore(FOLDER, trainable, **options).fit()

def tell(run, grid, summary):
    ids = {{result.config["kind"]: result.metrics["trial_id"] for result in grid}}
    print(json.dumps([run.job_id, ids, summary]))

if os.environ["LIFE"]:
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
"""
FIRST = """
run = ray_synapse.init("kinds", metric="score", mode="max")
begin(ray_synapse.wrap_trainable(train, run=run), ray_synapse.SynapseLoggerCallback(run))
"""
AGAIN = """
for name in json.loads(os.environ["BESIDE"]):
    ray_synapse.init(name)
run = ray_synapse.init(os.environ["NAME"], metric="score", mode="max")
options = {os.environ["OPTION"]: True}
grid = restore(ray_synapse.wrap_trainable(train, run=run), **options)
summary = ray_synapse.finish(run, grid)
hand_over(grid, run)
tell(run, grid, summary)
"""


NO_RUN = """
grid = begin(train, ray_synapse.SynapseLoggerCallback())
run = ray_synapse.get_run()
hand_over(grid, run, interrupted=True)
ray_synapse.finish(run, grid)
"""


@dataclass(frozen=True)
class Before:
    """What an interrupted sweep has left."""

    folder: Path
    copy: Path
    table: dict[str, Any]
    models: list[dict[str, Any]]

    @property
    def env(self):
        """The environment for a process that goes on with it."""
        names = {"STORAGE": "storage", "NOTED": "noted", "RAY_SYNAPSE_HOME": "home"}
        return {variable: str(self.folder / name) for variable, name in names.items()}

    @property
    def ids(self):
        return {kind: row["base"][0] for kind, row in by_kind(self.table).items()}


def is_stalled(keeper, noted):
    """Everything that happens in the first life is in the table, and two trials never end."""
    if not all((noted / kind).exists() for kind in ("long", "longer")):
        return False
    rows = {kind: (row["base"][1], *row["metrics"]) for kind, row in table_of(keeper).items()}
    return rows == {
        "done": ("TERMINATED", STEPS),
        "fails": ("ERROR", FAILS_AFTER),
        "long": ("RUNNING", STALLS_AFTER),
        "longer": ("RUNNING", STALLS_AFTER),
        "waits": ("PENDING", None),
    }


def table_of(keeper):
    return by_kind(keeper.trials(1))


def is_saved_since(storage, when):
    """Whether Tune has saved its state since then."""
    files = storage.glob("s/experiment_state-*.json")
    return any(file.stat().st_mtime > when for file in files)


def first_life(folder, code):
    """The process of the sweep, as soon as nothing more happens in it."""
    keeper = LocalBackend(folder / "home")
    env = {"LIFE": "1", "RAY_SYNAPSE_HOME": str(folder / "home")}
    script = Script(folder, SWEEP + code, **env)
    try:
        wait_for(lambda: keeper.jobs() and is_stalled(keeper, folder / "noted"), 90)
        now = time.time()
        wait_for(lambda: is_saved_since(folder / "storage", now), 30)
    except BaseException:
        script.__exit__()
        raise
    return script


def kept_of(folder, factory):
    """What an interrupted sweep has left, and a copy of it."""
    keeper, copy = LocalBackend(folder / "home"), factory.mktemp("copy") / "whole"
    shutil.copytree(folder, copy)
    return Before(folder, copy, keeper.trials(1), keeper.models(1))


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A sweep whose process was killed."""
    folder = tmp_path_factory.mktemp("killed")
    with first_life(folder, FIRST) as script:
        script.process.kill()
        script.process.wait()
        time.sleep(1)  # Ray ends its own processes when their driver is gone
    return kept_of(folder, tmp_path_factory)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A sweep of a callback without a run that Ctrl-C ended, and that was finished then."""
    folder = tmp_path_factory.mktemp("interrupted")
    with first_life(folder, NO_RUN) as script:
        script.send(signal.SIGINT)
    assert script.process.returncode == 0, script.said.read_text()
    assert handed_over_agree(folder / "handed over") == 1
    return kept_of(folder, tmp_path_factory)


@pytest.fixture
def after_kill(killed, home, monkeypatch):
    return put_back(killed, monkeypatch)


@pytest.fixture
def after_ctrl_c(interrupted, home, monkeypatch):
    return put_back(interrupted, monkeypatch)


def put_back(before, monkeypatch):
    """Have it at its place as it was: a test before has gone on with it."""
    shutil.rmtree(before.folder)
    shutil.copytree(before.copy, before.folder)
    monkeypatch.setenv("RAY_SYNAPSE_HOME", before.env["RAY_SYNAPSE_HOME"])
    return before


def second_life(before, code, **env):
    return run_script(SWEEP + code, env={**before.env, "LIFE": "2", **env})


def begins(job, life):
    """Of each trial that began in that life: its id, and the step that it began with."""
    found = [record["data"] for record in backend().logs(job, "metric")]
    mine = [each for each in found if each["category"] == "training"]
    return counts_of(
        (each["metrics"]["kind"], each["trial_id"], each["value"])
        for each in mine
        if each["metrics"]["life"] == life
    )


def results(job):
    """The trial and the iteration of each result that was logged."""
    found = [record["data"] for record in backend().logs(job, "metric")]
    return counts_of(
        (each["trial_id"], each["value"]) for each in found if each["category"] == "trial"
    )


def messages(job):
    return [record["data"]["content"] for record in backend().logs(job, "message")]


def models(job):
    """The job's models by the id of their trial and what follows it, and what is in them."""
    found = {each["name"].partition("_")[2]: each for each in backend().models(job)}
    assert len(found) == len(backend().models(job))
    return {name: archived(backend(), each)["step"] for name, each in found.items()}


@pytest.mark.parametrize(
    ("option", "beside"),
    [("resume_unfinished", []), ("resume_errored", ["other"]), ("restart_errored", [])],
)
def test_the_same_job_goes_on_and_the_one_that_init_made_again_is_gone(
    after_kill, capsys, option, beside
):
    """Also where the script has another empty run, of another name: that one stays."""
    before, old = after_kill, after_kill.ids
    assert main(["show", "1"]) == 0
    shown = capsys.readouterr().out
    assert "STOPPED (interrupted)" in shown
    assert f'tune.Tuner.restore("{before.folder}/storage/s", trainable).fit()' in shown
    env = {"OPTION": option, "NAME": "kinds", "BESIDE": str(beside).replace("'", '"')}
    result = second_life(before, AGAIN, **env)
    job, ids, summary = last_json(result)
    assert job == 1
    assert [each["name"] for each in backend().jobs()] == [*beside, "kinds"]
    assert backend().job(1)["status"] == "SUCCEEDED"
    again, restarts = option != "resume_unfinished", option == "restart_errored"
    assert {kind for kind in ids if ids[kind] != old[kind]} == ({"fails"} if restarts else set())
    rows = table_of(backend())
    assert {kind: row["base"][0] for kind, row in rows.items()} == ids
    assert rows["done"] == by_kind(before.table)["done"]
    assert rows["fails"]["base"][1] == ("TERMINATED" if again else "ERROR")
    assert begins(1, "1") == counts_of(
        (kind, old[kind], 0) for kind in ("done", "fails", "long", "longer")
    )
    begun = [("long", old["long"], STALLS_AFTER), ("longer", old["longer"], STALLS_AFTER)]
    begun += [("waits", old["waits"], 0)]
    begun += [("fails", ids["fails"], 0 if restarts else FAILS_AFTER)] if again else []
    assert begins(1, "2") == counts_of(begun)
    ends = dict.fromkeys(ids.values(), STEPS) | {old["fails"]: FAILS_AFTER}
    ends |= {ids["fails"]: STEPS} if again else {}
    expected = [(trial, step) for trial, end in ends.items() for step in range(1, end + 1)]
    assert results(1) == counts_of(expected)
    assert models(1) == {ids[kind]: str(ends[ids[kind]]) for kind in ids}
    assert {each["config"]["kind"] for each in summary["trial_models"]} == set(ids)
    told = messages(1)
    failed = [content for content in told if old["fails"] in content and "failed" in content]
    assert [content.rpartition(": ")[2] for content in failed] == ["no luck"]
    (gone,) = [content for content in told if "restored" in content]
    assert "The sweep is restored, and this run goes on as its job 1 (job" in gone
    assert main(["show", "1"]) == 0
    assert "interrupted" not in capsys.readouterr().out.split("\n")[0]


NOT_EMPTY = """
from ray_synapse import registry
run = ray_synapse.init("mine", metric="score", mode="max")
run.log_message("of my own")
grid = restore(train)
summary = ray_synapse.finish(run, grid)
hand_over(grid, next(each for each in registry.open_runs() if each.job_id == 1))
tell(run, grid, summary)
"""


def test_a_run_that_has_logged_something_stays_its_own_and_the_restored_job_is_finished(after_kill):
    result = second_life(after_kill, NOT_EMPTY)
    mine, ids, summary = last_json(result)
    assert mine == 2
    assert "these are the results of job 1, which ends with them" in result.stderr
    assert {each["id"]: each["status"] for each in backend().jobs()} == {
        1: "SUCCEEDED",
        2: "SUCCEEDED",
    }
    assert models(1) == {ids[kind]: str(FAILS_AFTER if kind == "fails" else STEPS) for kind in ids}
    assert len(summary["trial_models"]) == len(ids)
    assert (messages(2), backend().trials(2), models(2)) == (["of my own"], None, {})


FINISH_ALONE = """
run = ray_synapse.init("alone")
grid = tune.Tuner.restore(FOLDER, train).get_results()
summary = ray_synapse.finish(run, grid)
print(json.dumps([run.job_id, run.name, run.metric, summary]))
"""


def test_finish_alone_finds_the_job_by_the_path_of_the_experiment(after_kill):
    """In a process without Ray, and without a sweep."""
    job, name, metric, summary = last_json(second_life(after_kill, FINISH_ALONE, LIFE=""))
    assert (job, name, metric) == (1, "kinds", "score")
    assert [each["id"] for each in backend().jobs()] == [1]
    ids = after_kill.ids
    ends = {"done": STEPS, "fails": FAILS_AFTER, "long": STALLS_AFTER, "longer": STALLS_AFTER}
    assert models(1) == {ids[kind]: str(end) for kind, end in ends.items()}
    assert summary["best_trial"]["config"] == {"kind": "done"}
    assert backend().trials(1)["best_trial"] == ids["done"]
    rows = table_of(backend())
    assert [rows[kind]["metrics"] for kind in ends] == [[end] for end in ends.values()]
    assert {kind: row["base"][0] for kind, row in rows.items()} == ids
    assert len(results(1)) == sum(ends.values())


FINISH_ONLY = """
run = ray_synapse.init("mine", metric="score", mode="max")
grid = restore(train)
summary = ray_synapse.finish(run, grid)
hand_over(grid, run)
tell(run, grid, summary)
"""


def test_models_that_are_uploaded_already_stay_and_what_went_on_has_a_new_one_beside(after_ctrl_c):
    before, ids = after_ctrl_c, after_ctrl_c.ids
    files = {each["id"]: stat(each) for each in before.models}
    ends = {"done": STEPS, "fails": FAILS_AFTER, "long": STALLS_AFTER, "longer": STALLS_AFTER}
    first = {ids[kind]: str(end) for kind, end in ends.items()}
    assert models(1) == first
    job, again, summary = last_json(second_life(before, FINISH_ONLY))
    assert (job, again) == (1, ids)
    assert [each["id"] for each in backend().jobs()] == [1]
    assert table_of(backend())["done"] == by_kind(before.table)["done"]
    kept = {each["id"]: each for each in backend().models(1)}
    assert [kept[each["id"]] for each in before.models] == before.models
    assert {number: stat(kept[number]) for number in files} == files
    new = [ids["waits"], f"{ids['long']}_2", f"{ids['longer']}_2"]
    assert models(1) == {**first, **dict.fromkeys(new, str(STEPS))}
    told = {each["config"]["kind"]: each["model_id"] for each in summary["trial_models"]}
    numbers = {each["name"].partition("_")[2]: each["id"] for each in kept.values()}
    old = {kind: numbers[ids[kind]] for kind in ("done", "fails", "waits")}
    assert told == {**old, **{kind: numbers[f"{ids[kind]}_2"] for kind in ("long", "longer")}}


def test_a_run_in_the_wrapper_joins_the_job_of_a_callback_that_had_none(after_ctrl_c):
    env = {"OPTION": "resume_unfinished", "NAME": "mine", "BESIDE": "[]"}
    job, ids, _ = last_json(second_life(after_ctrl_c, AGAIN, **env))
    assert (job, ids) == (1, after_ctrl_c.ids)
    assert [each["id"] for each in backend().jobs()] == [1]
    assert begins(1, "2") == counts_of(
        [(kind, ids[kind], STALLS_AFTER) for kind in ("long", "longer")]
        + [("waits", ids["waits"], 0)]
    )


def stat(model):
    found = os.stat(backend().home / model["file"])
    return found.st_ino, found.st_mtime_ns
