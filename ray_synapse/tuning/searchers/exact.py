"""What all searchers of the factory have over Ray's: they search the space as it was meant."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.search import Searcher

from ray_synapse.errors import ConfigError
from ray_synapse.tuning.searchers.codec import Codec
from ray_synapse.values import is_finite


class ExactSearch(Searcher):  # type: ignore[misc]  # Ray has no full hints
    """Goes before one of Ray's searchers: ``class OptunaSearch(ExactSearch, ...)``.

    Ray's searcher only sees the plain domains of a ``Codec``; its suggestions come back in our
    types, on the grid and within the bounds. A result without a finite metric counts as a failed
    trial: NaN would sort anywhere in a searcher's model.
    """

    _codec: Codec | None = None
    _made_for: Codec | None = None
    _points: list[dict[str, Any]] = []  # noqa: RUF012  # replaced as a whole, never changed
    _given_seed: int | None = None
    _limit: int | None = None
    _live: frozenset[str] = frozenset()

    def prepare(
        self,
        codec: Codec,
        points: Sequence[dict[str, Any]],
        *,
        seed: int | None = None,
        limit: int | None = None,
    ) -> None:
        """Give the searcher what Ray's constructors have no arguments for.

        Args:
            codec: Of the search space that it was made for.
            points: The points that it got as ``points_to_evaluate``, as it sees them.
            seed: For those that cannot be given one otherwise.
            limit: How many trials may be there at once; paused ones count, as in Tune.
        """
        self._made_for, self._points, self._given_seed = codec, list(points), seed
        self._limit = limit

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Take over what Tune knows; called by Tune before the first trial."""
        codec = Codec(config)
        if self._made_for is not None and not codec.is_same_as(self._made_for):
            raise ConfigError(
                "the param_space of the Tuner is not the search space that its search_alg was made "
                "for: pass the same one to create_tune_config (or create_searcher) and to Tuner"
            )
        self._codec = codec
        taken = super().set_search_properties(metric, mode, codec.domains, **spec)
        self.after_setup()
        return bool(taken)

    def after_setup(self) -> None:
        """Finish what only exists once the search space is known."""

    def suggest(self, trial_id: str) -> Any:
        """The next config; None for "not now", ``Searcher.FINISHED`` at the end."""
        if self._limit is not None and len(self._live) >= self._limit:
            return None
        suggestion = super().suggest(trial_id)
        if not isinstance(suggestion, Mapping) or self._codec is None:
            return suggestion
        self._live |= {trial_id}
        if self._points and _is_close(suggestion, self._points[0]):
            suggestion, *self._points = self._points  # some searchers round what they are given
        return self._codec.decode(suggestion)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note a result on the way; without a number there is nothing to note."""
        if is_finite(result.get(self.metric)):
            super().on_trial_result(trial_id, result)

    def on_failed(self, trial_id: str) -> None:
        """Tell the library of a trial without a result, where Ray's searcher leaves it waiting."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Note how a trial ended."""
        if error or not (result and is_finite(result.get(self.metric))):
            result, error = None, True
            if trial_id in self._live:
                self.on_failed(trial_id)
        self._live -= {trial_id}
        super().on_trial_complete(trial_id, result=result, error=error)


def _is_close(suggestion: Mapping[str, Any], point: Mapping[str, Any]) -> bool:
    return all(
        name in suggestion
        and math.isclose(float(suggestion[name]), float(value), rel_tol=1e-9)  # texts of indices
        for name, value in point.items()
    )
