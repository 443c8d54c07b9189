"""Random forests of integers: every corner of what the operation `Trees` may be given."""

from dataclasses import fields

import numpy as np

from synth.exact import Array, integers
from synth.ir import Builder, Origin
from synth.ir.forest import Forest

__all__ = ["add_forest", "random_forest"]


def random_forest(
    rng: np.random.Generator,
    features: int,
    least: int,
    most: int,
    *,
    outputs: int = 2,
    trees: int = 4,
    depth: int = 3,
    stop: float = 0.25,
    vector: bool = False,
    leaf_bits: int = 6,
    asked: int = 0,
) -> Forest:
    """Return a forest whose steps lie between (and just outside of) `least` and `most`.

    A node is a leaf with the probability `stop`, at the latest at `depth`. There are `asked` keys;
    a few if it is 0.
    """
    keys, steps = [], []
    for _ in range(asked or int(rng.integers(1, 9))):
        count = int(rng.choice([0, 1, 1, 1, 2, 3]))
        chosen = {least + int(rng.integers(0, 1 << 40)) % (most - least + 3) for _ in range(count)}
        steps += sorted(chosen)
        keys.append((int(rng.integers(features)), len(steps), 0))
    nodes: list[list[int]] = []
    ends, leaves = [], 0

    def grow(level: int) -> int:
        nonlocal leaves
        if level == depth or rng.random() < stop:
            leaves += 1
            return ~(leaves - 1)
        place = len(nodes)
        nodes.append([int(rng.integers(len(keys))), 0, 0])
        nodes[place][1:] = [grow(level + 1), grow(level + 1)]
        return place

    for _ in range(trees):
        grow(0)
        ends.append((len(nodes), -1 if vector else int(rng.integers(outputs))))
    bound = 1 << leaf_bits
    values = [int(rng.integers(-bound, bound)) for _ in range(leaves * (outputs if vector else 1))]
    return Forest(
        integers(np.array([*steps, None], object)[:-1]),
        np.array(keys, np.int64),
        np.array(nodes, np.int64).reshape(-1, 3),
        np.array(values, np.int64).reshape(leaves, -1),
        np.array(ends, np.int64),
        rng.integers(-bound, bound, outputs),
    )


def add_forest(
    build: Builder, forest: Forest, *, steps: int, leaves: int, base: int, layer: str = "trees"
) -> list[str]:
    """Add the constants of a forest with these fraction bits; return the operands behind x."""
    fracs = {"steps": steps, "leaves": leaves, "base": base}

    def constant(role: str, value: Array) -> str:
        origin = Origin(layer, role)
        return build.constant(value, frac=fracs.get(role, 0), name=f"{layer}.{role}", origin=origin)

    return [constant(field.name, getattr(forest, field.name)) for field in fields(forest)]
