"""All that can be wrong with a job, found before anything starts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray import tune

from ray_synapse import console
from ray_synapse.action import cluster
from ray_synapse.action.plugin import Plugin
from ray_synapse.config.faults import Faults, shown
from ray_synapse.config.params import Params, read_params
from ray_synapse.config.sweep import parse_sweep
from ray_synapse.connect import Destination
from ray_synapse.delivery.cluster import session
from ray_synapse.delivery.synapse import SynapseSpec
from ray_synapse.errors import (
    BackendError,
    ConfigError,
    LibraryError,
    NotFoundError,
    RefusedError,
    SettingsError,
)
from ray_synapse.names import display_name
from ray_synapse.run import TrainRun
from ray_synapse.tuning.search_space import create_param_space
from ray_synapse.tuning.tune_config import create_tune_config

DATASET = "ground_truth_dataset_versions"  # the filter of the API
NO_CONNECTION = (
    "cannot be fetched, since there is no connection to a server: give load_dataset, or connect"
)


@dataclass(frozen=True)
class Checked:
    """A job that can start.

    Attributes:
        params: What it asks for.
        destination: Where it is logged to.
        param_space: The search space; None for a training.
        tune_config: Tune's settings; None for a training.
    """

    params: Params
    destination: Destination
    param_space: dict[str, Any] | None = None
    tune_config: tune.TuneConfig | None = None

    @property
    def name(self) -> str:
        """The name of the job, encoded."""
        assert self.params.name is not None
        return self.params.name


class Checks:
    """Collects the faults of one job.

    Args:
        given: The platform's JSON.
        plugin: What is to run it.
        find_destination: Gives where the run is logged to, or is to be.
        run: The run that it is logged to, if it was given one.
    """

    def __init__(
        self,
        given: Any,
        plugin: Plugin,
        find_destination: Callable[[], Destination],
        run: TrainRun | None,
    ) -> None:
        self._faults = Faults()
        self._plugin, self._find_destination, self._run = plugin, find_destination, run
        self.params = read_params(given, self._faults)

    def run(self, address: str | None) -> Checked:
        """Check everything.

        Args:
            address: Of the Ray cluster that a sweep runs on; None to find one or start one.

        Raises:
            ConfigError: With every fault.
            SettingsError: A setting is wrong, such as the server's address.
            LibraryError: A searcher's or scheduler's library is missing.
            BackendError: The backend cannot be used.
        """
        params = self.params
        self._plugin.check(params.is_tune, params.extras, self._faults)
        space = self._noted(self._space)
        tune_config = self._noted(self._tune_config)
        self._check_goal(tune_config)
        destination = self._noted(self._find_destination)
        if destination is not None:
            self._ask(destination)
        if params.is_tune and (not len(self._faults) or session() is not None):
            self._check_resources(address)
        self._faults.raise_if_any()
        for note in params.notes:
            console.say(note)
        return Checked(params, destination, space, tune_config)

    def _noted(self, make: Callable[[], Any]) -> Any:
        """What it makes; None with its faults noted. What is no fault of the JSON is raised."""
        try:
            return make()
        except ConfigError as error:
            self._faults.include(error)
        except (SettingsError, LibraryError, BackendError) as error:
            if not len(self._faults):
                raise
            self._faults.add("", str(error))
        return None

    def _space(self) -> dict[str, Any] | None:
        hyperparameters = self.params.hyperparameters
        return None if hyperparameters is None else create_param_space(hyperparameters)

    def _tune_config(self) -> tune.TuneConfig | None:
        """Of a wrong search space, and of one that is missing, only the rest is told here."""
        given = self.params.tune_config
        if given is None:
            return None
        parse_sweep(given, complete=True)
        try:
            space = self._space()
        except ConfigError:  # told already
            return None
        return None if space is None else create_tune_config(given, space)

    def _check_goal(self, tune_config: tune.TuneConfig | None) -> None:
        """The run may have been given another metric or mode."""
        if self._run is None or tune_config is None:
            return
        for word in ("metric", "mode"):
            ours, theirs = getattr(self._run, word), getattr(tune_config, word)
            if ours is not None and ours != theirs:
                text = (
                    f"`{word}` is {shown(theirs)}, and {shown(ours)} in the run: make them the same"
                )
                self._faults.add("tune_config", text)

    def _ask(self, destination: Destination) -> None:
        """What only the backend knows."""
        params, loads = self.params, self._plugin.load_dataset is None
        try:
            with destination.api() as api:
                if api is None:
                    if params.dataset is not None and loads:
                        self._faults.add("dataset", f"{params.dataset} {NO_CONNECTION}")
                    return
                self._check_name(api, destination)
                if (model := params.checkpoint) is not None:
                    self._check_exists("checkpoint", lambda: api.get_model(model))
                if params.dataset is not None and loads:
                    query = [(DATASET, str(params.dataset)), ("page_size", "1")]
                    self._check_exists("dataset", lambda: api.list_ground_truth_events(query))
        except BackendError as error:
            unknown = "whether the name, the dataset and the checkpoint can be used is not known"
            console.say(f"{unknown}: {error}")

    def _check_name(self, api: Any, destination: Destination) -> None:
        """No model (of a training) and no job that runs may have it."""
        name = self.params.name
        if name is None:
            return
        job = destination.spec.job if isinstance(destination.spec, SynapseSpec) else None
        job = job if self._run is None else self._run.job_id
        query = [("params", f"name:{name}"), ("is_active", "true"), ("category", "neural_net")]
        query += [("job__action", "train")]
        if job is not None:
            query.append(("ids_ex", str(job)))
        taken = _first(api.list_jobs(query), name, job)
        what = f"job {taken['id']} of this name still runs" if taken else ""
        if not taken and not self.params.is_tune:
            taken = _first(api.list_models([("name", name)]), name, None)
            what = f"model {taken['id']} has this name already" if taken else ""
        if taken:
            text = f"{shown(display_name(name))} is taken: {what}. Write another (--set name=...)"
            self._faults.add("name", text)

    def _check_exists(self, field: str, ask: Callable[[], Any]) -> None:
        try:
            ask()
        except (NotFoundError, RefusedError) as error:
            more = ""
            if field == "dataset":
                more = " Or give the plugin a load_dataset(id, run)"
            self._faults.add(field, f"{getattr(self.params, field)} cannot be used: {error}{more}")

    def _check_resources(self, address: str | None) -> None:
        """Whether a node can give what a trial asks for; told where an autoscaler may add one."""
        if not self._noted(lambda: _connected(address)):
            return
        why = cluster.impossible(self.params.num_cpus, self.params.num_gpus)
        if why is None:
            return
        if cluster.has_autoscaler():
            console.say(f"{why}. The trials wait until the autoscaler adds one that can")
        else:
            self._faults.add(
                "num_cpus, num_gpus", f"{why}: ask for less, or add nodes to the Ray cluster"
            )


def _connected(address: str | None) -> bool:
    cluster.connect(address)
    return True


def _first(page: Any, name: str, but: int | str | None) -> dict[str, Any] | None:
    """The first of a list that has the name. A server may pass over a filter that it lacks."""
    names = (name, display_name(name))  # as a server writes it
    listed = [each for each in page.get("results") or () if isinstance(each, dict)]
    found = [each for each in listed if each.get("name", name) in names]
    return next((each for each in found if str(each.get("id")) != str(but)), None)
