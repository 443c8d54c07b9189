"""Moves reshapes that add or drop axes of size 1 towards the outputs, to meet their inverse.

Exporters wrap a batch normalisation of a dense layer in such a pair; once it is gone, the kernel
takes the normalisation in.
"""

from synth.ir import Graph, Node, Op, Shape
from synth.ir.ops import OPS, Elementwise, Reshape
from synth.passes.rewrite import Rewrite, Rule, rewrite
from synth.passes.strip_batch import ELEMENT_BY_ELEMENT

__all__ = ["sink_squeezes"]


def sink_squeezes(graph: Graph) -> Graph:
    """Return the graph with such reshapes behind all that computes element by element."""
    return rewrite(graph, _RULES)


def _sink(work: Rewrite, node: Node) -> str | None:
    inputs = work.inputs(node)
    computed = [x for x in inputs if work.array(x) is None]
    reshape = work.nodes.get(computed[0]) if len(set(computed)) == 1 else None
    if reshape is None or not isinstance(reshape.op, Reshape):
        return None
    source, to = reshape.inputs[0], reshape.op.to
    before = work.shape(source)
    same_result = work.graph.types[node.output].shape == to
    if not same_result or _extent(before) != _extent(to):
        return None
    operands = [source if x in computed else _squeezed(work, x, to, before) for x in inputs]
    name = work.unused(f"{node.output}.squeezed")
    held = work.add(node.op, *operands, name=name, origin=work.graph.origins[node.output])
    return work.result(node, Reshape(to), held)


def _extent(shape: Shape) -> Shape:
    """Return the sizes other than 1: what an added or dropped axis leaves as it is."""
    return tuple(n for n in shape if n != 1)


def _squeezed(work: Rewrite, constant: str, of: Shape, to: Shape) -> str:
    """Return a constant that broadcasts to `to` as the given one does to `of`."""
    value = work.array(constant)
    assert value is not None
    sizes = iter([n for n, size in zip(value.shape, of, strict=True) if size != 1])
    shape = tuple(1 if size == 1 else next(sizes) for size in to)
    return work.constant(value.reshape(shape), constant, work.build.origins[constant])


_RULES: dict[type[Op], Rule] = {
    op: _sink for op in OPS.values() if issubclass(op, Elementwise) or op in ELEMENT_BY_ELEMENT
}
