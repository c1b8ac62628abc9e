"""Whole sweeps that log to a server: over TCP, through a proxy that does wrong as it is told."""

import base64
import contextlib
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import ray
from ray import tune

import ray_synapse
from ray_synapse import SynapseLoggerCallback
from ray_synapse.backend.api.embedded import EmbeddedApi
from tests.faults import fault, hang, slow, status
from tests.proxy import Proxy
from tests.serving import served
from tests.sweeps import all_agree, fit, last_json, run_script, wait_for
from tests.synapse import ANSWER_S, counts_of, kept, make_job

pytestmark = pytest.mark.ray

WEIGHTS_BYTES = 1_500_000
STEPS = 3
BASE = b"what the trials start from"
BEST = {"model_id", "best_trial", "trial_models"}


def train(config, run=None, checkpoint=None):
    """Each trial reports three checkpoints; what else it does is said by its config."""
    kind = config["kind"]
    if checkpoint is not None:
        mine = run.get_model(checkpoint["id"])  # by way of the relay: a trial has no token
        assert mine == checkpoint
        run.log_message(f"{kind} got {(Path(mine['path']) / 'base.bin').read_bytes().decode()}")
    for step in range(STEPS):
        if run is not None:
            run.log_metric("training", "loss", step, kind=kind)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "weights.bin").write_bytes(weights(kind, step))
            model = tune.Checkpoint.from_directory(folder)
            tune.report({"score": len(kind) + step}, checkpoint=model)
    if kind == "waits":
        wait_for(Path(config["for"]).exists, 60)
    if kind == "fails":
        raise ValueError("no luck")


def weights(kind, step=STEPS - 1):
    return random.Random(f"{kind} {step}").randbytes(WEIGHTS_BYTES)


def sweep(server, run, kinds, storage, *callbacks, space=None, checkpoint=None, **options):
    """Run the sweep; the callback logs to the run if no other one is given."""
    return fit(
        ray_synapse.wrap_trainable(train, run=run, metric="score", checkpoint=checkpoint),
        *(callbacks or [SynapseLoggerCallback(run)]),
        storage=storage,
        kept_in=server.home,
        space={"kind": tune.grid_search(kinds), **(space or {})},
        **{"metric": "score", "mode": "max", **options},
    )


def scores(grid):
    return {result.config["kind"]: result.metrics["score"] for result in grid}


def ids(grid):
    return {result.config["kind"]: result.metrics["trial_id"] for result in grid}


@fault
def tell(it, file):
    """No fault: the file shows that the server has done what it was asked."""
    it.relay(it.body())
    file.touch()


class Server(NamedTuple):
    """A server, and what it has kept."""

    url: str
    home: Path

    def models(self, name):
        """Each model of the run of that name: the rest of its name, to what it is made of."""
        page = EmbeddedApi(self.home).list_models([("page_size", "200")])
        assert page["next"] is None
        mine = [each for each in page["results"] if each["name"].startswith(f"{name}_")]
        found = {each["name"].removeprefix(f"{name}_"): each for each in mine}
        assert len(found) == len(mine)
        return found

    def content(self, model_id):
        """The files in a model's archive."""
        with zipfile.ZipFile(EmbeddedApi(self.home).model_archive(str(model_id))) as bundle:
            assert bundle.testzip() is None
            return {name: bundle.read(name) for name in bundle.namelist()}

    def add_model(self, job, name, content):
        """Keep a model with one file. Gives its id."""
        with tempfile.NamedTemporaryFile(suffix=".zip") as file:
            with zipfile.ZipFile(file, "w") as bundle:
                bundle.writestr("base.bin", content)
            data = Path(file.name).read_bytes()
        return kept(self.home).add_model(job, name, {}, len(data), lambda out: out.write(data))

    def job(self, job):
        return kept(self.home).job(job)

    def messages(self, job):
        return [record["data"]["content"] for record in kept(self.home).logs(job, "message")]

    def metrics(self, job, category):
        """The job's metrics of a category, the ones of a trial in the order they came."""
        found = [record["data"] for record in kept(self.home).logs(job, "metric")]
        return [each for each in found if each["category"] == category]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("server")
    with served(home) as process:
        yield Server(process.url, home)


@pytest.fixture
def proxy(server):
    with Proxy(server.url) as between:
        yield between


@pytest.fixture
def job(server):
    return make_job(server.url)


def synced(job, url, check=True):
    """What `ray-synapse sync JOB` says, in a process of its own."""
    result = subprocess.run(
        [sys.executable, "-m", "ray_synapse", "sync", str(job)],
        env={**os.environ, "SYNAPSE_HOST": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not check or result.returncode == 0, result
    return result.stdout + result.stderr


@contextlib.contextmanager
def within(seconds):
    """The block must end in that time."""

    def over(*_):
        raise AssertionError(f"it took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def adds_up(stats):
    words = ("delivered", "waiting", "in_doubt", "parked", "dropped", "replaced")
    return stats["logged"] == sum(stats[word] for word in words)


# A sweep in which nothing goes wrong


class Swept(NamedTuple):
    server: Server
    job: int
    base: int
    grid: tune.ResultGrid
    summary: dict
    stats: dict


@pytest.fixture(scope="module")
def swept(ray_cluster, server, tmp_path_factory):
    """Its last trial waits until the server has a model of another one."""
    folder = tmp_path_factory.mktemp("swept")
    job = make_job(server.url)
    base = server.add_model(job, "base", BASE)
    with pytest.MonkeyPatch.context() as patch, Proxy(server.url) as proxy:
        patch.setenv("RAY_SYNAPSE_HOME", str(folder / "home"))
        proxy.always(tell(folder / "registered").on("POST", "/models/"))
        with ray_synapse.init(
            "whole", host=proxy.url, job_id=job, metric="score", mode="max"
        ) as run:
            grid = sweep(
                server,
                run,
                ["a", "best one", "waits"],
                folder,
                space={"for": str(folder / "registered")},
                checkpoint=run.get_model(base),
            )
            summary = ray_synapse.finish(run, grid)
        all_agree()
        yield Swept(server, job, base, grid, summary, run.stats())


def test_every_model_is_on_the_server_with_the_bytes_of_its_checkpoint(swept):
    models = swept.server.models("whole")
    assert set(models) == set(ids(swept.grid).values())
    for result in swept.grid:
        kind, model = result.config["kind"], models[result.metrics["trial_id"]]
        content = swept.server.content(model["id"])
        assert content == {"weights.bin": weights(kind)}
        assert content["weights.bin"] == Path(result.checkpoint.path, "weights.bin").read_bytes()
        assert model["configuration"]["config"]["kind"] == kind
        assert model["checkpoint"] == swept.base


def test_models_are_uploaded_while_the_sweep_goes_on(swept):
    """Else the last trial would have waited for it in vain, and failed."""
    assert swept.grid.num_errors == 0
    assert scores(swept.grid) == {"a": 3, "best one": 10, "waits": 7}


def test_the_result_names_the_models_and_the_best_trial(swept):
    models, trial = swept.server.models("whole"), ids(swept.grid)["best one"]
    job = swept.server.job(swept.job)
    assert job["result"] == swept.summary
    assert swept.summary["model_id"] == models[trial]["id"]
    assert swept.summary["best_trial"]["config"]["kind"] == "best one"
    found = {each["config"]["kind"]: each["model_id"] for each in swept.summary["trial_models"]}
    assert found == {kind: models[trial]["id"] for kind, trial in ids(swept.grid).items()}
    assert job["best_trial"]["trial_id"] == trial
    assert job["best_trial"]["kind"] == "best one"


def test_the_job_ends_with_its_table_its_progress_and_its_status(swept):
    job, table = swept.server.job(swept.job), kept(swept.server.home).trials(swept.job)
    assert job["status"] == "SUCCEEDED"
    assert job["progress_record"]["current_progress"]["overall"] == 100
    assert table["best_trial"] == ids(swept.grid)["best one"]
    for kind, trial in ids(swept.grid).items():
        row = table["trials"][trial]
        assert row["base"] == [trial, "TERMINATED"]
        assert kind in row["hyperparameters"]
        assert row["metrics"] == [scores(swept.grid)[kind]]


def test_what_the_trials_logged_came_once_with_their_ids(swept):
    trials = ids(swept.grid)
    logged = swept.server.metrics(swept.job, "training")
    expected = [(kind, step, trial) for kind, trial in trials.items() for step in range(STEPS)]
    found = [(each["metrics"]["kind"], each["value"], each["trial_id"]) for each in logged]
    assert sorted(found) == sorted(expected)
    reported = [each["trial_id"] for each in swept.server.metrics(swept.job, "trial")]
    assert counts_of(reported) == dict.fromkeys(trials.values(), STEPS)


def test_nothing_is_left_of_a_sweep_that_went_well(swept):
    assert adds_up(swept.stats)
    assert swept.stats["models"] == {"delivered": 3}
    for word in ("waiting", "in_doubt", "parked", "dropped"):
        assert swept.stats[word] == 0


def test_a_trial_gets_the_model_that_it_starts_from(swept):
    got = [text for text in swept.server.messages(swept.job) if " got " in text]
    assert sorted(got) == sorted(f"{kind} got {BASE.decode()}" for kind in ids(swept.grid))


def test_a_script_gets_a_model_while_the_relay_takes_the_delivery_over(cluster, server, proxy, job):
    base = server.add_model(job, "slowly got", BASE)
    with ray_synapse.init("gets", host=proxy.url, job_id=job) as run:
        proxy.script(slow(2).on("GET", "/models/"))
        run.log_message("there is a relay now")
        model = run.get_model(base)
    assert Path(model["path"], "base.bin").read_bytes() == BASE
    assert (model["id"], model["name"], model["category"]) == (base, "slowly got", "base")


def test_a_run_on_the_embedded_backend_gets_a_model_in_the_script_and_elsewhere(cluster, home):
    run = ray_synapse.init("embedded", backend="local")
    model = Server("", home).add_model(run.job_id, "base", BASE)

    @ray.remote(num_cpus=0)
    def elsewhere(run):
        return run.get_model(model)

    found = run.get_model(model)
    assert found == ray.get(elsewhere.remote(run))
    assert (found["id"], found["name"]) == (model, "base")
    assert Path(found["path"], "base.bin").read_bytes() == BASE
    with pytest.raises(ray_synapse.NotFoundError):
        run.get_model(model + 1)


# A server that is away


@pytest.mark.parametrize("how", ["refuses", "401"])
def test_a_server_that_is_away_for_the_whole_sweep_changes_nothing_in_it(
    cluster, server, proxy, job, tmp_path, capfd, how
):
    name = f"away {how}"
    run = ray_synapse.init(
        name, host=proxy.url, job_id=job, metric="score", mode="max", deadline_s=0.5
    )
    if how == "refuses":
        proxy.stop()
    else:
        proxy.always(status(int(how)))
    grid = sweep(server, run, ["a", "better"], tmp_path)
    with within(20), run:
        summary = ray_synapse.finish(run, grid)
    assert scores(grid) == {"a": 3, "better": 8}
    assert set(summary) == BEST
    assert summary["best_trial"]["config"]["kind"] == "better"
    assert summary["model_id"] is None
    assert [each["model_id"] for each in summary["trial_models"]] == [None, None]
    stats = run.stats()
    assert adds_up(stats)
    assert (stats["models"], stats["in_doubt"]) == ({"waiting": 2}, 0)
    assert server.models(name) == {}
    said = capfd.readouterr().err
    assert f"`ray-synapse sync {job}`" in said
    assert said.count("IS NOT BEING DELIVERED ANY MORE") == (how == "401")

    proxy.heal()
    if how == "refuses":
        proxy.start()
    wait_for(lambda: is_free(run), 20)
    assert "2 models delivered" in synced(job, proxy.url)
    models, result = server.models(name), server.job(job)["result"]
    found = {each["config"]["kind"]: each["model_id"] for each in result["trial_models"]}
    assert found == {kind: models[trial]["id"] for kind, trial in ids(grid).items()}
    assert result["model_id"] == found["better"]
    best = found["better"]
    assert server.content(best) == {"weights.bin": weights("better")}
    logged = server.metrics(job, "training")
    values = counts_of((each["metrics"]["kind"], each["value"]) for each in logged)
    assert values == {(kind, step): 1 for kind in ("a", "better") for step in range(STEPS)}
    assert kept(server.home).trials(job)["best_trial"] == ids(grid)["better"]
    assert server.job(job)["status"] == "SUCCEEDED"
    assert server.job(job)["progress_record"]["current_progress"]["overall"] == 100
    assert "nothing is left" in synced(job, proxy.url)


@pytest.mark.parametrize("is_up", [True, False])
def test_the_relay_ends_with_its_run_and_leaves_the_outbox_to_others(cluster, proxy, job, is_up):
    run = ray_synapse.init("ends", host=proxy.url, job_id=job, deadline_s=0.5)
    ray.cloudpickle.dumps(run)
    run.log_message("hello")
    assert run._channel.flush(20)
    relay = run._spec.relay
    ray.get_actor(relay.name, namespace=relay.namespace)
    if not is_up:
        proxy.stop()
        run.log_message("nobody hears")
    with run:
        pass
    wait_for(lambda: relay.name not in names_of_actors(), 20)
    wait_for(lambda: is_free(run), 20)


def names_of_actors():
    return {each["name"] for each in ray.util.list_named_actors(all_namespaces=True)}


def is_free(run):
    """Whether no process holds the run's outbox."""
    with run._backend.outbox.holding() as is_mine:
        return is_mine


def test_only_the_models_that_are_asked_for_are_sent(cluster, server, proxy, job, tmp_path):
    best = ray_synapse.init(
        "best only", host=proxy.url, job_id=job, metric="score", mode="max", upload="best"
    )
    none = ray_synapse.init(
        "none", host=proxy.url, job_id=make_job(server.url), metric="score", upload="none"
    )
    with best:
        grid = sweep(server, best, ["a", "better"], tmp_path)
        summary = ray_synapse.finish(best, grid)
    with none:
        nothing = ray_synapse.finish(none, grid)
    (entry,) = summary["trial_models"]
    assert entry["config"]["kind"] == "better"
    assert entry["model_id"] == summary["model_id"]
    assert list(server.models("best only")) == [ids(grid)["better"]]
    assert (nothing["trial_models"], nothing["model_id"]) == ([], None)
    assert nothing["best_trial"]["config"]["kind"] == "better"
    assert server.models("none") == {}
    begun = [each for each in proxy.requests if each.path == "/chunked_upload/"]
    assert len(begun) == 1


def test_a_callback_without_a_run_logs_to_the_server_and_says_which_models_are_missing(
    cluster, server, proxy, job, tmp_path, monkeypatch
):
    """One trial fails; the checkpoint of another is gone before its upload could begin."""
    monkeypatch.setenv("SYNAPSE_HOST", proxy.url)
    monkeypatch.setenv("SYNAPSE_JOB_ID", str(job))
    proxy.always(hang().on("PUT", "/chunked_upload/"))  # the first two take both of the threads
    kinds = ["a", "b", "gone", "fails"]
    grid = sweep(
        server,
        None,
        kinds,
        tmp_path,
        SynapseLoggerCallback(metric="score", mode="max"),
        name="no run given",
        max_concurrent_trials=1,
        reuse_actors=True,
    )
    run = ray_synapse.get_run()
    assert run.job_id == job
    wait_for(lambda: run.stats()["models"] == {"waiting": 3})
    (gone,) = [result.path for result in grid if result.config["kind"] == "gone"]
    for folder in Path(gone).glob("checkpoint_*"):
        shutil.rmtree(folder)
    proxy.heal()
    with within(20), run:
        summary = ray_synapse.finish(run, grid)
    trials, models = ids(grid), server.models("no run given")
    assert set(models) == {trials[kind] for kind in ("a", "b", "fails")}
    assert server.content(models[trials["fails"]]["id"]) == {"weights.bin": weights("fails")}
    assert summary["best_trial"]["config"]["kind"] == "gone"  # it won all the same
    assert summary["model_id"] is None
    told = " / ".join(server.messages(job))
    assert f"Trial {trials['gone']}: no model: checkpoint {gone}" in told
    assert "does not exist here" in told
    assert f"Trial {trials['fails']} failed: ValueError: no luck" in told
    table = kept(server.home).trials(job)
    assert table["trials"][trials["fails"]]["base"] == [trials["fails"], "ERROR"]
    assert server.job(job)["status"] == "SUCCEEDED"
    assert run.stats()["models"] == {"delivered": 3, "parked": 1}


# More than one node


def test_trials_on_two_nodes_log_and_get_a_model(server, proxy, job, tmp_path, ray_folder):
    """The home folder is below the working folder, of which Tune gives each trial its own.

    So a trial cannot read the driver's outbox and models, as on another machine.
    """
    base = server.add_model(job, "base of two", BASE)
    result = run_script(
        f"""
        import json, os, tempfile
        from pathlib import Path
        import ray
        from ray import tune
        from ray.cluster_utils import Cluster
        import ray_synapse
        from tests.sweeps import hand_over

        def train(config, run):
            assert not Path(os.environ["RAY_SYNAPSE_HOME"]).exists()
            model = run.get_model({base})
            content = Path(model["path"], "base.bin").read_text()
            assert Path(model["path"]).resolve().is_relative_to(Path.cwd())
            run.log_message(config["node"] + " got " + content)
            for step in range(50):
                run.log_metric("training", "loss", step, node=config["node"])
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "weights.txt").write_text(config["node"])
                tune.report({{"score": 1, "node": ray.get_runtime_context().get_node_id()}},
                            checkpoint=tune.Checkpoint.from_directory(folder))

        cluster = Cluster(
            initialize_head=True, head_node_args={{"num_cpus": 1, "resources": {{"first": 1}}}}
        )
        cluster.add_node(num_cpus=1, resources={{"second": 1}})
        ray.init(cluster.address, log_to_driver=False)
        with ray_synapse.init("two nodes", metric="score", mode="max") as run:
            trainable = tune.with_resources(
                ray_synapse.wrap_trainable(train, run=run),
                lambda config: tune.PlacementGroupFactory([{{"CPU": 1, config["node"]: 1}}]),
            )
            grid = tune.Tuner(
                trainable,
                param_space={{"node": tune.grid_search(["first", "second"])}},
                run_config=tune.RunConfig(
                    storage_path={str(tmp_path)!r}, verbose=0,
                    callbacks=[ray_synapse.SynapseLoggerCallback(run)],
                ),
            ).fit()
            hand_over(grid, run, kept_in={str(server.home)!r})
            summary = ray_synapse.finish(run, grid)
        nodes = {{result.metrics["node"] for result in grid}}
        ray.shutdown()
        cluster.shutdown()
        print(json.dumps([len(nodes), summary, run.stats()]))
        """,
        env={
            "RAY_TMPDIR": ray_folder,
            "RAY_SYNAPSE_HOME": "/proc/self/cwd/home",
            "SYNAPSE_HOST": proxy.url,
            "SYNAPSE_JOB_ID": str(job),
        },
        cwd=tmp_path,
    )
    nodes, summary, stats = last_json(result)
    assert nodes == 2
    got = [text for text in server.messages(job) if " got " in text]
    assert sorted(got) == [f"{node} got {BASE.decode()}" for node in ("first", "second")]
    for node in ("first", "second"):
        logged = server.metrics(job, "training")
        mine = [each["value"] for each in logged if each["metrics"]["node"] == node]
        assert mine == list(range(50))
    contents = [server.content(each["model_id"]) for each in summary["trial_models"]]
    assert sorted(each["weights.txt"] for each in contents) == [b"first", b"second"]
    assert adds_up(stats)
    assert stats["waiting"] == stats["dropped"] == 0


@pytest.fixture
def ray_folder():
    """Short enough for the sockets that Ray makes in it."""
    folder = tempfile.mkdtemp(prefix="ray-")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


# The token

SECRETIVE = """
import os, pickle, sys, tempfile
from pathlib import Path
import ray
from ray import cloudpickle, tune
import ray_synapse
from tests.sweeps import hand_over

seen = Path(os.environ["SEEN"])

def train(config, run):
    print("the trial was here", repr(run), flush=True)
    (seen / f"trial-{config['x']}").write_text(repr([dict(os.environ), vars(run), sys.argv]))
    (seen / f"pickled-{config['x']}").write_bytes(cloudpickle.dumps(run))
    run.log_metric("training", "loss", config["x"])
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "weights.txt").write_text("w")
        tune.report({"score": config["x"]}, checkpoint=tune.Checkpoint.from_directory(folder))

ray.init("local", num_cpus=2, include_dashboard=False)
run = ray_synapse.init("secretive", metric="score", mode="max", access_token=sys.stdin.read())
callback = ray_synapse.SynapseLoggerCallback(run)
grid = tune.Tuner(
    ray_synapse.wrap_trainable(train, run=run),
    param_space={"x": tune.grid_search([1, 2])},
    run_config=tune.RunConfig(
        name="s", storage_path=os.environ["STORAGE"], callbacks=[callback], verbose=1
    ),
).fit()
hand_over(grid, run, kept_in=os.environ["SERVER"])
summary = ray_synapse.finish(run, grid)
(seen / "run").write_bytes(cloudpickle.dumps(run) + repr(run).encode() + str(run).encode())
(seen / "callback").write_bytes(cloudpickle.dumps(callback) + repr(callback.get_state()).encode())
(seen / "relay").write_bytes(cloudpickle.dumps((run._spec.relay, run._spec.backend, run.job_id)))
for folder in Path("/proc").glob("[0-9]*"):
    try:
        if os.getsid(int(folder.name)) == os.getsid(0):
            mine = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
            (seen / f"process-{folder.name}").write_bytes(mine)
    except OSError:
        pass  # it has ended
print(run, run.stats(), summary)
"""


def test_the_token_is_in_no_file_log_pickle_or_environment(tmp_path, ray_folder):
    token = secrets.token_urlsafe(24)
    for folder in ("seen", "user"):
        (tmp_path / folder).mkdir()
    with served(tmp_path / "server", "--token", token) as server, Proxy(server.url) as proxy:
        headers = {"Synapse-Access-Token": f"Token {token}"}
        made = httpx.post(
            f"{server.url}/jobs/",
            json={"name": "x"},
            headers=headers,
            timeout=ANSWER_S,
            verify=False,
        )
        job = made.raise_for_status().json()["id"]
        told = {"detail": f"the token {token} is a strange one"}
        proxy.script(status(500, told).on("POST", "/logs/"))
        result = run_script(
            SECRETIVE,
            input=token,
            start_new_session=True,
            env={
                "HOME": str(tmp_path / "user"),
                "RAY_SYNAPSE_HOME": str(tmp_path / "home"),
                "RAY_TMPDIR": ray_folder,
                "STORAGE": str(tmp_path / "storage"),
                "SEEN": str(tmp_path / "seen"),
                "SERVER": str(tmp_path / "server"),
                "SYNAPSE_HOST": proxy.url,
                "SYNAPSE_JOB_ID": str(job),
            },
        )
        assert [each.fault for each in proxy.requests].count("status 500") == 1
        assert all(token in str(each.headers) for each in proxy.requests)
    assert kept(tmp_path / "server").job(job)["status"] == "SUCCEEDED"
    (tmp_path / "seen" / "said").write_text(result.stdout + result.stderr)
    files = [Path(place) for root in (tmp_path, ray_folder) for place in Path(root).rglob("*")]
    contents = {path: path.read_bytes() for path in files if path.is_file()}
    # What is looked for would be found: in Ray's logs, Tune's files, the outbox, the environment.
    assert any(
        b"the trial was here" in data for path, data in contents.items() if "logs" in path.parts
    )
    holding = {path.name for path, data in contents.items() if proxy.url.encode() in data}
    assert {"tuner.pkl", "run", "callback", "relay", "trial-1", "pickled-1"} <= holding
    assert any(name.startswith("process-") for name in holding)
    assert any(".db" in name for name in holding)
    assert any(b"is a strange one" in data for data in contents.values())
    forms = [token.encode(), base64.b64encode(token.encode()), token.encode("utf-16-le")]
    assert [
        str(path) for path, data in contents.items() if any(each in data for each in forms)
    ] == []
