"""How good the searchers are: best values found on known functions, side by side in one run.

It needs no cluster: the searchers of the factory are driven as Tune drives them, one trial after
the other. Lower is better; the ratio is to random search.
"""

import logging
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measuring import Row
from ray_synapse import create_param_space, create_searcher

SEARCHERS = ("random", "bayesopt", "hyperopt", "optuna")
SEEDS = range(10)
TRIALS = 40

HARTMANN_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
HARTMANN_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
HARTMANN_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def branin(config: dict[str, float]) -> float:
    """Three equal minima of 0.398."""
    x, y = config["x"], config["y"]
    bow = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return bow**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def hartmann6(config: dict[str, float]) -> float:
    """Six local minima, the least of them -3.322."""
    point = np.array([config[f"x{i}"] for i in range(6)])
    inner = (HARTMANN_A * (point - HARTMANN_P) ** 2).sum(axis=1)
    return -float(HARTMANN_ALPHA @ np.exp(-inner))


def mixed(config: dict[str, Any]) -> float:
    """A training's usual space: log scale, integers, options; the least value is 0."""
    lr = (math.log10(config["lr"]) + 2.5) ** 2
    width = (math.log2(config["width"]) - 5) ** 2 / 4
    depth = (config["depth"] - 3) ** 2 / 4
    return lr + width + depth + {"adam": 0.0, "sgd": 0.7, "rmsprop": 0.3}[config["optimizer"]]


def number(name: str, low: float, high: float) -> dict[str, Any]:
    return {"name": name, "type": "uniform", "min": low, "max": high}


FUNCTIONS: dict[str, tuple[Callable[[dict[str, Any]], float], list[dict[str, Any]], float]] = {
    "Branin": (branin, [number("x", -5, 10), number("y", 0, 15)], 0.397887),
    "Hartmann-6": (hartmann6, [number(f"x{i}", 0, 1) for i in range(6)], -3.32237),
    "mixed": (
        mixed,
        [
            {"name": "lr", "type": "loguniform", "min": 1e-5, "max": 1, "base": 10},
            {"name": "width", "type": "lograndint", "min": 4, "max": 513, "base": 2},
            {"name": "depth", "type": "randint", "min": 1, "max": 9},
            {"name": "optimizer", "type": "choice", "options": ["adam", "sgd", "rmsprop"]},
        ],
        0.0,
    ),
}


def best_of(name: str, function: Any, space: list[dict[str, Any]], seed: int) -> float:
    """The least value after all trials."""
    config = {"metric": "value", "mode": "min", "seed": seed, "search_alg": name}
    param_space = create_param_space(space)
    if name == "random":
        random = np.random.default_rng(seed)
        return min(
            function(
                {key: domain.sample(random_state=random) for key, domain in param_space.items()}
            )
            for _ in range(TRIALS)
        )
    searcher = create_searcher(config, space)
    searcher.set_search_properties("value", "min", param_space)
    best = math.inf
    for index in range(TRIALS):
        value = function(searcher.suggest(str(index)))
        searcher.on_trial_complete(str(index), {"value": value, "training_iteration": 1})
        best = min(best, value)
    return best


def main(pairs: int) -> list[Row]:
    logging.disable(logging.INFO)
    rows = []
    for title, (function, space, minimum) in FUNCTIONS.items():
        regrets, seconds = {}, {}
        for name in SEARCHERS:
            start = time.perf_counter()
            found = [best_of(name, function, space, seed) for seed in SEEDS]
            seconds[name] = (time.perf_counter() - start) / len(SEEDS) / TRIALS
            regrets[name] = statistics.mean(found) - minimum
        rows += [
            Row(
                f"{title}, {name}: best of {TRIALS} trials above the minimum, {len(SEEDS)} seeds",
                f"{regrets[name]:.4f}: {regrets[name] / regrets['random']:.3f} times random; "
                f"{seconds[name] * 1e3:.1f} ms a trial",
            )
            for name in SEARCHERS
        ]
    return rows
