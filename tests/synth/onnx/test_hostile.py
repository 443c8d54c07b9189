"""Random nodes and random damage: whatever a file says, only our own errors come out."""

import random
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from onnx import helper

from synth.errors import ModelError
from synth.onnx import ops, read, registry
from tests.synth.onnx.comparing import Array, Attributes, grid, model, node_model

HANDLED = sorted({op_type for domain, op_type in registry._HANDLERS if not domain})
NAMES = (
    *("axis", "axes", "perm", "kernel_shape", "strides", "pads", "dilations", "group", "alpha"),
    *("beta", "transA", "transB", "keepdims", "auto_pad", "mode", "to", "split", "starts", "ends"),
    *("value", "broadcast", "spatial", "scales", "ceil_mode", "num_outputs", "epsilon", "min"),
    *("value_ints", "value_int", "allowzero", "start", "end", "nearest_mode", "max", "gamma"),
)
INTEGERS = (0, 1, -1, 2, 3, -2, 5, 100, 1 << 31, -(1 << 63), (1 << 63) - 1)
NUMBERS = (0.0, 1.0, -1.0, 0.5, 1e30, float("inf"), float("nan"))
TEXTS = ("SAME_UPPER", "VALID", "nearest", "reflect", "edge", "floor", "asymmetric", "x")


def shape(chance: random.Random, least: int) -> list[int]:
    return [chance.choice((least, 1, 2, 3, 4)) for _ in range(chance.randint(0, 4))]


def attribute(chance: random.Random) -> Any:
    kind = chance.random()
    if kind < 0.35:
        return chance.choice(INTEGERS)
    if kind < 0.7:
        return [chance.choice(INTEGERS) for _ in range(chance.randint(1, 4))]
    if kind < 0.85:
        return chance.choice(NUMBERS)
    return chance.choice(TEXTS) if kind < 0.95 else [chance.choice(NUMBERS)]


def tensor(chance: random.Random) -> Array:
    kind, dims = chance.random(), shape(chance, 0)
    if kind < 0.5:
        return grid(*dims, seed=chance.randint(0, 9))
    if kind < 0.9:
        count = int(np.prod(dims))
        return np.array([chance.choice(INTEGERS) for _ in range(count)], np.int64).reshape(dims)
    return np.full(dims, np.nan, np.float32) if kind < 0.95 else np.zeros(dims, bool)


@pytest.mark.parametrize("seed", range(8))
def test_random_nodes(seed: int) -> None:
    assert ops.__all__
    chance = random.Random(seed)
    for _ in range(150):
        inputs = {"x": grid(*shape(chance, 1))} if chance.random() < 0.8 else {}
        constants = {f"c{i}": tensor(chance) for i in range(chance.randint(0, 4))}
        outputs = ("y", "z", "w")[: chance.choice((1, 1, 1, 2, 3))]
        attributes: Attributes = {
            name: attribute(chance) for name in chance.sample(NAMES, chance.randint(0, 5))
        }
        op_type, opset = chance.choice(HANDLED), chance.randint(6, 23)
        made = node_model(op_type, inputs, constants, opset=opset, outputs=outputs, **attributes)
        with suppress(ModelError):
            read(made)


@pytest.mark.parametrize("seed", range(4))
def test_random_damage(seed: int) -> None:
    chance = random.Random(seed)
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["c"], pads=[1, 0], strides=[2]),
        helper.make_node("MaxPool", ["c"], ["p"], kernel_shape=[2]),
        helper.make_node("Reshape", ["p", "to"], ["r"]),
        helper.make_node("Gemm", ["r", "w"], ["y"], alpha=0.5),
    ]
    to = np.array([1, -1], np.int64)
    constants = {"k": grid(2, 1, 2), "b": grid(2), "to": to, "w": grid(6, 2)}
    intact = model(nodes, {"x": grid(1, 1, 8)}, constants).SerializeToString()
    read(intact)
    for _ in range(250):
        data = bytearray(intact)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        with suppress(ModelError):
            read(bytes(data))
