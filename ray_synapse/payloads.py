"""The ``data`` of each event, in the form that the backend's API documents."""

from collections.abc import Iterable, Mapping
from typing import Any

from ray_synapse.errors import PayloadError
from ray_synapse.values import Wire, quoted, to_json, to_wire

MAX_MESSAGE_CHARS = 20_000  # a traceback with its chained ones fits


def metric(
    category: str, key: str, value: Any, metrics: Mapping[str, Any], trial_id: str | None
) -> str:
    """``data`` of a ``metric`` event, as JSON: thousands a second are made of these."""
    beside = ",".join([f"{quoted(name)}:{to_json(each)}" for name, each in metrics.items()])
    trial = "" if trial_id is None else f',"trial_id":{quoted(trial_id)}'
    return (
        f'{{"category":{quoted(str(category))},"key":{quoted(str(key))},'
        f'"value":{to_json(value)},"metrics":{{{beside}}}{trial}}}'
    )


def visualization(
    category: str, group: str, index: int, meta: Mapping[str, Any], trial_id: str | None
) -> dict[str, Wire]:
    """``data`` of a ``visualization`` event; the image itself goes beside it."""
    data = {str(key): to_wire(value) for key, value in meta.items()}
    data.update(category=str(category), group=str(group), index=to_wire(index))
    if trial_id is not None:
        data["trial_id"] = trial_id
    return data


def message(content: Any) -> dict[str, Wire]:
    """``data`` of a ``message`` event."""
    return {"content": to_wire(str(content), max_chars=MAX_MESSAGE_CHARS)}


def trials(
    data: Mapping[str, Any] | None,
    rows: Mapping[str, Any] | None,
    base: Iterable[str] | None,
    hyperparameters: Iterable[str] | None,
    metrics: Iterable[str] | None,
    best_trial: str,
) -> dict[str, Wire]:
    """``data`` of a ``trials`` event, from a whole payload or from its parts.

    Raises:
        PayloadError: The payload is no dict, or has no ``trials``, or these are no dict.
    """
    if data is None:
        data = {
            "base": base,
            "hyperparameters": hyperparameters,
            "metrics": metrics,
            "trials": rows,
            "best_trial": best_trial,
        }
    if not isinstance(data, Mapping):
        raise PayloadError(
            f"log_trials: data is a {type(data).__name__}, allowed is a dict with `trials`; or "
            "pass trials=, base=, hyperparameters= and metrics=."
        )
    if not isinstance(data.get("trials"), Mapping):
        raise PayloadError(
            f"log_trials: `trials` is {to_wire(data.get('trials'), max_chars=60)!r}; give a dict "
            'of trial id to values, such as {"a1b2": {"status": "RUNNING", "lr": 0.1}}.'
        )
    wire: dict[str, Wire] = {
        str(key): to_wire(value) for key, value in data.items() if key != "trials"
    }
    for part in ("base", "hyperparameters", "metrics"):
        wire[part] = _column_names(part, data.get(part))
    wire["trials"] = {str(trial): _row(row) for trial, row in data["trials"].items()}
    wire["best_trial"] = str(data.get("best_trial") or best_trial or "")
    return wire


def _column_names(part: str, columns: Any) -> list[Wire]:
    if columns is None:
        return []
    if isinstance(columns, (str, bytes)) or not isinstance(columns, Iterable):
        raise PayloadError(
            f"log_trials: {part} is {to_wire(columns, max_chars=60)!r}; give a list of names of "
            "columns."
        )
    return [str(column) for column in columns]


def _row(row: Any) -> Wire:
    if not isinstance(row, Mapping):
        return to_wire(row)
    return {
        str(key): [to_wire(cell) for cell in value] if isinstance(value, list) else to_wire(value)
        for key, value in row.items()
    }
