"""Everything that a function reports to Tune passes here: held back, completed, merged."""

import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray.tune import Checkpoint

from ray_synapse.errors import TrainableError
from ray_synapse.metrics import AUTO_KEYS, CHECKPOINT_OUTPUT, CHECKPOINT_SOURCE, lookup
from ray_synapse.run import TrainRun
from ray_synapse.trial.output import Output, as_folder, holds_working_folder
from ray_synapse.values import as_number, to_wire

TUNE_METRIC = "_metric"  # where Tune puts a bare number (ray.tune.result.DEFAULT_METRIC)
END_MARK = "__duplicate__"  # the function has ended (ray.tune.result.RESULT_DUPLICATE)


class Reports:
    """Stands before the ``report`` of the session of one trial.

    A result without the optimized metric would end the whole sweep: Tune raises for it on the
    driver. So it is held back and goes out with the next one that has it.

    Args:
        send: Tune's own ``report(metrics, checkpoint=...)``.
        metric: The metric that is optimized, or None: then nothing is held back.
        run: The run whose ``checkpoint_output`` is attached, or None.
    """

    def __init__(self, send: Callable[..., None], metric: str | None, run: TrainRun | None) -> None:
        self._send, self._run = send, run
        self._metric = None if metric in AUTO_KEYS else metric  # Tune fills these in itself
        self._lock = threading.Lock()
        self._seen: dict[str, Any] = {}  # the newest value of each key that was reported
        self._with_metric: dict[str, Any] = {}  # the newest report that had the metric
        self._held: dict[str, Any] = {}
        self._held_folder: Path | None = None  # a copy: the function may delete its own
        self._output = Output()
        self._source: str | None = None  # the folder that Tune's newest checkpoint was copied from

    def report(self, metrics: Any, checkpoint: Any = None, **options: Any) -> None:
        """Take the place of the session's ``report``."""
        if not isinstance(metrics, Mapping) or END_MARK in metrics:
            self._hand_over(metrics, checkpoint, options)
            return
        with self._lock:
            metrics = {key: plain(value) for key, value in metrics.items()}
            self._note(metrics)
            if self._metric is not None and lookup(metrics, self._metric) is None:
                self._hold(metrics, checkpoint)
                return
            metrics, folder = merged(self._held, metrics), self._held_folder
            self._held, self._held_folder = {}, None
        self._attach_and_send(metrics, checkpoint, folder, options)

    def returned(self, value: Any) -> None:
        """The function is done: send what it returned, and what is left.

        Raises:
            TrainableError: The optimized metric was neither reported nor returned.
        """
        last = normalized(value, self._metric)
        if last:
            last = merged(self._seen, {key: plain(item) for key, item in last.items()})
            last = self._with_metric_again(last)
        elif self._held or self._held_folder is not None or self._output_changed():
            last = merged(self._with_metric or self._seen, self._held) or {
                CHECKPOINT_OUTPUT: self._run.checkpoint_output if self._run else None
            }
            last = self._with_metric_again(last)
        if self._metric is not None and lookup(last or self._with_metric, self._metric) is None:
            keys = ", ".join(map(str, {**self._seen, **last})) or "nothing"
            raise TrainableError(
                f"the metric {self._metric!r} is optimized, but this trial ended without it; it "
                f"reported: {keys}. Report it with tune.report({{{self._metric!r}: value}}), "
                "return it, or correct the metric that is optimized. (What a plugin with only "
                "train() logs under this name counts as a report.)"
            )
        if last:
            self.report(last)

    def clean_up(self) -> None:
        """Remove what was held back and will not go out any more."""
        self._remove(self._held_folder)
        self._held_folder = None

    def _with_metric_again(self, last: dict[str, Any]) -> dict[str, Any]:
        """With the newest value of the metric, where ``last`` has none or None."""
        if self._metric is None or not self._with_metric or lookup(last, self._metric) is not None:
            return last
        return merged(last, only(self._with_metric, self._metric))

    def _note(self, metrics: dict[str, Any]) -> None:
        own = {key: value for key, value in metrics.items() if key not in AUTO_KEYS}
        self._seen = merged(self._seen, own)
        if self._metric is not None and lookup(metrics, self._metric) is not None:
            self._with_metric = merged({}, {**own, **only(metrics, self._metric)})

    def _hold(self, metrics: dict[str, Any], checkpoint: Any) -> None:
        self._held = merged(self._held, metrics)
        if checkpoint is not None:
            self._remove(self._held_folder)
            self._held_folder = Path(tempfile.mkdtemp(prefix="ray_synapse-"))
            checkpoint.to_directory(str(self._held_folder))

    def _attach_and_send(
        self, metrics: dict[str, Any], checkpoint: Any, held: Path | None, options: dict[str, Any]
    ) -> None:
        temporary = None
        try:
            if checkpoint is None and held is not None:
                checkpoint = Checkpoint.from_directory(str(held))
            output = self._run.checkpoint_output if self._run else None
            if output is not None:
                metrics.setdefault(CHECKPOINT_OUTPUT, output)
                if checkpoint is None and self._output_changed():
                    folder, temporary = as_folder(Path(output))
                    checkpoint = Checkpoint.from_directory(str(folder))
                    self._source = output
                    self._output.attached(output)
                elif checkpoint is not None and _same_place(checkpoint.path, output):
                    self._source = output
                    self._output.attached(output)
                elif checkpoint is not None:
                    self._source = None
            if self._source is not None:
                metrics[CHECKPOINT_SOURCE] = self._source
            self._hand_over(metrics, checkpoint, options)
        finally:
            self._remove(held)
            self._remove(temporary)

    def _hand_over(self, metrics: Any, checkpoint: Any, options: dict[str, Any]) -> None:
        if self._run is not None:
            self._run._channel.push()  # once Tune has the report it may end this process
        self._send(metrics, checkpoint=checkpoint, **options)

    def _output_changed(self) -> bool:
        output = self._run.checkpoint_output if self._run else None
        if output is None or not self._output.changed(output):
            return False
        return not holds_working_folder(output)

    @staticmethod
    def _remove(folder: Path | None) -> None:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def normalized(value: Any, metric: str | None) -> dict[str, Any]:
    """What a function returned (or yielded) as a result for Tune; empty for None.

    A number, 0 and bool included, goes under the optimized metric, without one under Tune's own
    name for it. A dict stays. Anything else goes under ``result``, as JSON could carry it.
    """
    value = plain(value)
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return dict(value)
    number = int(value) if isinstance(value, bool) else as_number(value)
    if number is not None:
        return {metric or TUNE_METRIC: number}
    return {"result": to_wire(value)}


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, key by key; where they differ, ``above``; nested dicts likewise."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = merged(old, value)
        result[key] = value
    return result


def plain(value: Any) -> Any:
    """A torch tensor as Python numbers, since Tune refuses tensors in results; else the value."""
    if not hasattr(value, "detach"):
        return value
    tensor = value.detach().cpu()
    return tensor.item() if tensor.numel() == 1 else tensor.tolist()


def only(metrics: dict[str, Any], metric: str) -> dict[str, Any]:
    """The metric alone, in the nesting that it has in ``metrics``."""
    if metric in metrics:
        return {metric: metrics[metric]}
    value = lookup(metrics, metric)
    for part in reversed(metric.split("/")):
        value = {part: value}
    return value  # type: ignore[no-any-return]  # split gives one part at least


def _same_place(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()
