"""What a job would do, for a person to read before it does it."""

from collections.abc import Callable, Mapping
from typing import Any

from ray_synapse.action.checks import Checked
from ray_synapse.action.cluster import trial_resources
from ray_synapse.action.plugin import Plugin
from ray_synapse.config.faults import shown
from ray_synapse.config.sweep import Part, parse_sweep
from ray_synapse.names import display_name
from ray_synapse.tuning.resources import amounts
from ray_synapse.tuning.search_space import describe_param_space
from ray_synapse.tuning.tune_config import grid_size

INDENT = 15  # of what stands beside the words at the left


def plan(checked: Checked, plugin: Plugin) -> str:
    """The plan of a job, as lines of text.

    Args:
        checked: The job.
        plugin: What runs it.
    """
    params = checked.params
    rows = [
        ("name", display_name(checked.name)),
        ("kept", checked.destination.spec.describe()),
        ("dataset", str(params.dataset)),
        ("checkpoint", "none" if params.checkpoint is None else f"model {params.checkpoint}"),
        ("calls", f"{plugin.used(params.is_tune)}()" + _extras(params.extras)),
    ]
    rows += _sweep(checked) if params.is_tune else _training(checked)
    head = "a sweep" if params.is_tune else "a training"
    lines = [f"{word:<{INDENT}}{text}".rstrip() for word, text in rows]
    return "\n".join([f"This would run {head}:", "", *lines])


def _training(checked: Checked) -> list[tuple[str, str]]:
    return _entries("hyperparameter", checked.params.hyperparameter or {})


def _sweep(checked: Checked) -> list[tuple[str, str]]:
    sweep, space = parse_sweep(checked.params.tune_config), checked.param_space or {}
    searched = {str(each["name"]): each for each in describe_param_space(space)}
    return [
        ("trials", _trials(sweep.num_samples, grid_size(space), sweep.max_concurrent_trials)),
        ("optimizes", f"{sweep.mode} {sweep.metric}"),
        *_entries("search space", searched, _distribution),
        ("searcher", _part(sweep.search_alg)),
        ("scheduler", _part(sweep.scheduler)),
        ("resources", f"{_resources(checked)} for each trial"),
        *([] if sweep.time_budget_s is None else [("time budget", f"{sweep.time_budget_s:g} s")]),
    ]


def _trials(samples: int, grid: int, at_once: int | None) -> str:
    limit = "" if at_once is None else f", at most {at_once} at once"
    if samples == -1:
        return f"until a stop or the time budget{limit}"
    product = "" if grid == 1 else f" ({samples} x a grid of {grid})"
    return f"{samples * grid}{product}{limit}"


def _part(part: Part) -> str:
    points = part.points if isinstance(part.points, (list, tuple)) else []
    first = f", {len(points)} points first" if points else ""
    return part.name + _extras(part.options) + first


def _resources(checked: Checked) -> str:
    asked = {"cpu": 1.0, **trial_resources(checked.params.num_cpus, checked.params.num_gpus)}
    return amounts({name.upper(): value for name, value in asked.items()})


def _entries(
    title: str, values: Mapping[str, Any], text: Callable[[Any], str] = shown
) -> list[tuple[str, str]]:
    """One row for each value, the title beside the first."""
    texts = [f"{name}: {text(value)}" for name, value in values.items()] or ["nothing"]
    return [(title if index == 0 else "", text) for index, text in enumerate(texts)]


def _distribution(entry: Mapping[str, Any]) -> str:
    fields = {name: value for name, value in entry.items() if name not in ("name", "type")}
    return f"{entry['type']}{_extras(fields)}"


def _extras(values: Mapping[str, Any]) -> str:
    return "".join(f", {name}={shown(value)}" for name, value in values.items())
