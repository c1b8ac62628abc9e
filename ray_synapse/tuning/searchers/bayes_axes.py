"""Hyperparameters in the unit cube, where the model behind the ``bayesopt`` searcher works.

A Gaussian process with one length scale knows nothing of hyperparameters that go from 1e-5 to 1e-1
beside others that go from 16 to 512.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    from bayes_opt.parameter import BayesParameter, CategoricalParameter
except ImportError:  # before release 3 there were only floats
    HAS_TYPES = False
else:
    HAS_TYPES = True

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """One hyperparameter and its place in the unit interval.

    Attributes:
        low: The least value; for options 0.
        high: The greatest value, itself included.
        kind: ``uniform``, ``loguniform``, ``randint``, ``lograndint`` or ``choice``.
    """

    low: float
    high: float
    kind: str

    @property
    def is_whole(self) -> bool:
        """Whether its values are integers."""
        return self.kind not in ("uniform", "loguniform")

    @property
    def is_log(self) -> bool:
        """Whether it is searched on the log scale."""
        return self.kind.startswith("log")

    def to_unit(self, value: Any) -> Any:
        """Where a value lies: 0 to 1. An integer lies in the middle of its interval."""
        first, last = self._ends()
        if self.is_whole:
            here = (self._scaled(value) + self._scaled(value + 1)) / 2
        else:
            here = self._scaled(value)
        return (here - first) / (last - first)

    def from_unit(self, unit: Any) -> Any:
        """The value at a place; integers have intervals as wide as Tune's chance for each."""
        first, last = self._ends()
        here = first + np.asarray(unit, dtype=float) * (last - first)
        value = np.exp(here) if self.is_log else here
        return np.clip(np.floor(value) if self.is_whole else value, self.low, self.high)

    def snapped(self, unit: Any) -> Any:
        """The place of the nearest value that there is."""
        return self.to_unit(self.from_unit(unit)) if self.is_whole else unit

    def bounds(self, name: str) -> Any:
        """What the library is told of it."""
        if self.kind == "choice":
            return OptionParameter(name, [str(index) for index in range(int(self.high) + 1)])
        if self.is_whole and HAS_TYPES:
            return GridParameter(name, self)
        return (0.0, 1.0)

    def place(self, value: float) -> Any:
        """A value as the library takes it."""
        return str(int(value)) if self.kind == "choice" else float(self.to_unit(value))

    def value(self, raw: Any) -> float | int:
        """The value for what the library suggests."""
        value = raw if self.kind == "choice" else self.from_unit(raw)
        return int(value) if self.is_whole else float(value)

    def drawn(self, random: np.random.RandomState) -> float | int:
        """A value as Tune's own sampling would draw it."""
        value = self.from_unit(random.uniform())
        return int(value) if self.is_whole else float(value)

    def _ends(self) -> tuple[float, float]:
        return self._scaled(self.low), self._scaled(self.high + (1 if self.is_whole else 0))

    def _scaled(self, value: Any) -> Any:
        return np.log(value) if self.is_log else value


if HAS_TYPES:

    class OptionParameter(CategoricalParameter):  # type: ignore[misc]  # it is not looked into
        """One of some options."""

        # With anything else than continuous parameters the library looks for the best point by
        # differential evolution, point by point: seconds. Else it takes the best of 10,000 random
        # points and follows the gradient, which is zero here: a tenth of a second, and as good.
        is_continuous = True

    class GridParameter(BayesParameter):  # type: ignore[misc]  # it is not looked into
        """An integer on the library's side: the model sees the middle of each one's interval.

        The library's own ``IntParameter`` is not within the unit interval, and knows no log scale.
        """

        def __init__(self, name: str, axis: Axis) -> None:
            super().__init__(name, np.array([0.0, 1.0]))
            self._axis = axis

        is_continuous = True  # see OptionParameter

        @property
        def dim(self) -> int:
            """The number of columns that it takes."""
            return 1

        def to_float(self, value: Any) -> float:
            """The column's number."""
            return float(value)

        def to_param(self, value: Any) -> float:
            """The number of the column."""
            return float(np.squeeze(self._axis.snapped(value)))

        def kernel_transform(self, value: Floats) -> Floats:
            """What the model sees."""
            return np.asarray(self._axis.snapped(value))
