"""What the tests of the passes share: short graphs, and the comparison of two graphs."""

import numpy as np
from numpy.typing import ArrayLike

from synth.evaluate import evaluate
from synth.ir import Builder, Graph, Op, Origin, Shape, Stage, Tensor
from synth.ir.verify import verify
from tests.strategies import random_feeds

__all__ = ["Maker", "agree", "kinds", "same_structure"]


class Maker:
    """Builds a graph with layers named after their values."""

    def __init__(self, **inputs: Shape) -> None:
        self.build = Builder("test", Stage.IMPORTED)
        self.rng = np.random.default_rng(5)
        for name, shape in inputs.items():
            self.build.input(name, Tensor(shape))

    def random(self, *shape: int, name: str = "c") -> str:
        return self.constant(self.rng.normal(size=shape).astype(np.float32), name)

    def constant(self, value: ArrayLike, name: str = "c") -> str:
        return self.build.constant(np.asarray(value, np.float32), name=name)

    def add(self, name: str, op: Op, *inputs: str) -> str:
        return self.build.add(op, *inputs, name=name, origin=Origin(name))

    def graph(self, *outputs: str) -> Graph:
        return self.build.graph(outputs)


def kinds(graph: Graph) -> list[str]:
    """Return the operations of a graph, in order."""
    return [node.op.kind for node in graph.nodes]


def agree(before: Graph, after: Graph, *, rtol: float = 0.0, magnitude: float = 1.0) -> None:
    """Check that `after` is valid, and that both give every value that they name the same content.

    Without `rtol` the values must be equal; with it, errors up to ``rtol * magnitude`` may remain
    where sums cancel.
    """
    verify(after)
    assert after.outputs == before.outputs
    assert after.inputs == before.inputs
    feeds = random_feeds(before, 4)
    survivors = [node.output for node in before.nodes if after.producers().get(node.output) == node]
    assert all(after.origins[name] == before.origins[name] for name in survivors)
    names = [name for name in before.types if name in after.types]
    expected, found = evaluate(before, feeds, names), evaluate(after, feeds, names)
    for name in names:
        assert after.types[name] == before.types[name], name
        if rtol == 0:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
        else:
            np.testing.assert_allclose(
                found[name], expected[name], rtol=rtol, atol=rtol * magnitude, err_msg=name
            )


def same_structure(a: Graph, b: Graph) -> bool:
    """Whether two graphs have the same nodes, types and origins."""
    return (
        a.nodes == b.nodes and dict(a.types) == dict(b.types) and dict(a.origins) == dict(b.origins)
    )
