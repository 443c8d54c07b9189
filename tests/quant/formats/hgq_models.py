"""Live HGQ2 models with formats of all kinds, and inputs that meet their edges."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from hgq.utils import trace_minmax

from synth.exact import Array

__all__ = ["EVENTS", "edges", "hgq_model", "predicted"]

EVENTS = 10_000


def hgq_model(build: Callable[..., Any], *shapes: tuple[int, ...], seed: int = 5) -> keras.Model:
    """Return a traced model whose weights, and whose bits of each element, are random.

    Bits reach from none to eight, so some weights and some data have zero width.
    """
    inputs = [keras.Input(shape, name=f"x{i}") for i, shape in enumerate(shapes)]
    model = keras.Model(inputs if len(inputs) > 1 else inputs[0], build(*inputs))
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        variable.assign(_random(rng, variable))
    data = [rng.normal(size=(500, *shape)).astype(np.float32) * 2 for shape in shapes]
    trace_minmax(model, data if len(data) > 1 else data[0])
    return model


def _random(rng: np.random.Generator, variable: Any) -> Any:
    name, shape = variable.name, variable.shape
    shared = int(np.prod(shape)) == 1  # of no width, it would leave nothing to compare
    if name == "f":
        return rng.integers(4 if shared else -5, 7, shape)
    if name == "b":
        return rng.integers(5 if shared else 0, 8, shape)
    if "variance" in name:
        return rng.uniform(0.3, 2, shape)
    if name in ("kernel", "bias", "moving_mean", "bn_beta", "bn_gamma", "gamma"):
        return rng.normal(size=shape)
    return np.asarray(variable.value.detach())


def edges(shape: tuple[int, ...], seed: int = 7, count: int = EVENTS) -> Array:
    """Return random events, ties of every grid and their neighbours, and values that wrap."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(count, *shape)) * 3).astype(np.float32)
    third = count // 3
    x[third:] = np.round(x[third:] * 128) / 128
    up = rng.integers(0, 2, x[2 * third :].shape) * np.float32(2e9) - np.float32(1e9)
    x[2 * third :] = np.nextafter(x[2 * third :], up)
    x[-200:] *= 16
    # In float32, the number before a half LSB plus a half is 1: the framework rounds it up.
    mantissa, _ = np.frexp(np.nextafter(x, np.float32(np.inf)))
    x[(x > 0) & (mantissa == 0.5)] = 0
    return x


def predicted(model: keras.Model, *arrays: Array) -> list[Array]:
    """Return Keras' own outputs."""
    outputs = keras.tree.flatten(model(arrays[0] if len(arrays) == 1 else list(arrays)))
    return [y.detach().numpy() for y in outputs]
