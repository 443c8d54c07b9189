"""The text of printed trees: each comparison once, a selection a node, as long as the ensemble."""

import re

import numpy as np
import pytest

from backends.vitis import emit
from synth.ir import Builder, Codes, Graph, Origin, Stage
from synth.ir.forest import Forest
from synth.ir.ops import Trees
from tests.csim_batch import SETTINGS
from tests.forests import add_forest, random_forest
from tests.typed_examples import wire


def scored(forest: Forest, features: int = 4) -> Graph:
    build = Builder("g", Stage.TYPED)
    x = build.input("x", Codes.full((features,), wire("fixed<10,10>")))
    operands = add_forest(build, forest, steps=0, leaves=3, base=3)
    return build.graph([build.add(Trees(), x, *operands, name="y", origin=Origin("trees"))])


def printed(forest: Forest) -> str:
    (text,) = (
        text
        for path, text in emit(scored(forest), SETTINGS).files.items()
        if path.endswith("_forest.h")
    )
    assert isinstance(text, str)
    return text


def grown(trees: int, *, depth: int = 6, outputs: int = 2, vector: bool = False) -> Forest:
    rng = np.random.default_rng(trees)
    return random_forest(
        rng, 4, -512, 511, outputs=outputs, trees=trees, depth=depth, stop=0.1, vector=vector
    )


@pytest.mark.parametrize("vector", [False, True])
def test_a_selection_is_printed_for_each_node_and_a_comparison_for_each_key(vector: bool) -> None:
    forest = grown(20, vector=vector)
    text = printed(forest)
    assert len(re.findall(r"k\[\d+\] \?|k\[\d+\]\n *\?", text)) == len(forest.nodes)
    asked = re.findall(r"k\[(\d+)\] = ", text)
    assert sorted(map(int, asked)) == list(range(len(forest.keys)))
    assert len(re.findall(r"[<>]=? -?\d", text)) == len(forest.steps)


def test_the_text_is_as_long_as_the_ensemble() -> None:
    few, many = grown(50), grown(400)
    sizes = [len(printed(forest)) / len(forest.nodes) for forest in (few, many)]
    assert sizes[1] < 1.1 * sizes[0]


def test_lines_stay_readable() -> None:
    text = printed(grown(30))
    assert max(map(len, text.splitlines())) <= 110


def chain(depth: int) -> Forest:
    """Return a tree in which every node has a leaf on one side."""
    keys = np.array([[0, i + 1, 0] for i in range(depth)])
    nodes = np.array([[i, ~i, i + 1] for i in range(depth)])
    nodes[-1, -1] = ~depth
    leaves = np.arange(depth + 1)[:, None]
    return Forest(np.arange(depth), keys, nodes, leaves, np.array([[depth, 0]]), np.zeros(1, int))


def test_a_deep_tree_is_several_functions() -> None:
    text = printed(chain(100))
    functions = re.findall(r"static int (tree_0\w*)\(", text)
    assert functions == ["tree_0_96", "tree_0_72", "tree_0_48", "tree_0_24", "tree_0"]
    deepest = max(line.count("    ") for line in text.splitlines())
    assert deepest < 30
