"""Leaves rounded in every round of boosting against rounded once at the end: accuracy, and time.

Five classes of the shipped jets, 8-bit features, trees of depth 4. Accuracy is that on the 10,000
held-out jets, as mean and standard deviation over seeds that choose the rows and columns sampled
for each tree. Gains are differences within a seed. "nearest" is QuantizedLeaves without
`keep_small`, which is what rounding in the loop meant before.
"""

import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import xgboost

from projects.demo.jets import load_jets
from quant.callbacks.leaves import OneStep
from quant.callbacks.xgboost import BitExactValidation, QuantizedLeaves, ResourceLogger
from quant.callbacks.xgboost_trees import round_all
from quant.data import FeatureBins

SEEDS = range(5)
SETTINGS = ((0.3, 10), (0.3, 20), (0.2, 20), (0.1, 20), (0.1, 50))
"""Learning rate and rounds."""
FRACS = (4, 3, 2, 1)

JETS = load_jets()
BINS = FeatureBins(bits=8).fit(JETS.x_train)
TRAIN = xgboost.DMatrix(BINS.transform(JETS.x_train), JETS.y_train)
TEST_X = BINS.transform(JETS.x_test)
TEST = xgboost.DMatrix(TEST_X, JETS.y_test)


def parameters(eta: float, seed: int) -> dict[str, Any]:
    return {
        "objective": "multi:softprob",
        "num_class": len(JETS.class_names),
        "max_depth": 4,
        "eta": eta,
        "subsample": 0.8,
        "colsample_bytree": 0.8,
        "seed": seed,
    }


def accuracy(booster: xgboost.Booster) -> float:
    return float((booster.predict(TEST).argmax(axis=1) == JETS.y_test).mean())


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.4f} ±{statistics.stdev(values):.4f}"


def row(eta: float, rounds: int, frac: int, floats: list[xgboost.Booster]) -> str:
    once: list[float] = []
    nearest: list[float] = []
    kept: list[float] = []
    for seed, booster in zip(SEEDS, floats, strict=True):
        rounded = copy.copy(booster)
        round_all(rounded, OneStep(frac))
        once.append(accuracy(rounded))
        for found, keep in ((nearest, False), (kept, True)):
            callback = QuantizedLeaves(frac=frac, keep_small=keep)
            trained = xgboost.train(parameters(eta, seed), TRAIN, rounds, callbacks=[callback])
            found.append(accuracy(trained))
    gains = [spread([b - a for a, b in zip(once, other, strict=True)]) for other in (nearest, kept)]
    return (
        f"  {frac} bits: once {spread(once)}, every round, nearest {spread(nearest)} "
        f"(gain {gains[0]}), every round {spread(kept)} (gain {gains[1]})"
    )


def timed(rounds: int, callbacks: Callable[[], list[Any]]) -> float:
    start = time.process_time()
    evals = [(TEST, "held_out")]
    xgboost.train(
        parameters(0.3, 0) | {"nthread": 1},
        TRAIN,
        rounds,
        evals=evals,
        callbacks=callbacks(),
        verbose_eval=False,
    )
    return time.process_time() - start


def times(rounds: int) -> None:
    """Print what each callback costs: CPU time on one thread, medians of three runs."""
    wires = BINS.wires()
    kinds: dict[str, Callable[[], list[Any]]] = {
        "plain": list,
        "QuantizedLeaves": lambda: [QuantizedLeaves(frac=2)],
        "... and BitExactValidation (1,000 jets)": lambda: [
            QuantizedLeaves(frac=2),
            BitExactValidation(TEST_X[:1000], inputs=wires),
        ],
        "... and ResourceLogger": lambda: [
            QuantizedLeaves(frac=2),
            BitExactValidation(TEST_X[:1000], inputs=wires),
            ResourceLogger(inputs=wires),
        ],
    }
    runs = {name: [timed(rounds, make) for _ in range(3)] for name, make in kinds.items()}
    plain = statistics.median(runs["plain"])
    for name, spent in runs.items():
        median = statistics.median(spent)
        print(f"  {rounds} rounds, {name}: {median:.2f} s, {median / plain:.1f} times plain")


def main() -> None:
    for eta, rounds in SETTINGS:
        floats = [xgboost.train(parameters(eta, seed), TRAIN, rounds) for seed in SEEDS]
        plain = spread([accuracy(booster) for booster in floats])
        print(f"eta {eta}, {rounds} rounds: float leaves {plain}")
        for frac in FRACS:
            print(row(eta, rounds, frac, floats), flush=True)
    for rounds in (10, 50):
        times(rounds)
    print("facts to reach, once -> every round: 3 bits .642 -> .657, 2 bits .633 -> .646")


if __name__ == "__main__":
    main()
