"""The verifier: each rule, broken once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from synth.errors import GraphError
from synth.fixed import Format
from synth.ir import Codes, Graph, Interval, Node, Origin, Stage, Tensor
from synth.ir.op import Op
from synth.ir.ops import Add, Cast, Dense, Relu, Softmax
from synth.ir.verify import verify
from tests.synth.support import codes, fixed, imported, typed
from tests.typed_graphs import typed_graphs


def small() -> Graph:
    build, x = typed((3,), "fixed<6,3>")
    w = build.constant(np.arange(6).reshape(3, 2), frac=2, name="w")
    y = build.add(Dense(), x, w, name="y", origin=Origin("hidden"))
    z = build.add(Cast(Format(fixed("fixed<4,2>"))), y, name="z")
    return build.graph([z])


def floats(value: object = 1.0) -> Graph:
    build, x = imported((1,))
    c = build.constant(np.array([value], dtype=np.float32), name="c")
    return build.graph([build.add(Add(), x, c, name="y")])


def with_entry(field: str, name: str, value: object) -> Callable[[Graph], Graph]:
    def change(graph: Graph) -> Graph:
        entries = dict(getattr(graph, field))
        if value is None:
            del entries[name]
        else:
            entries[name] = value
        changes: dict[str, Any] = {field: MappingProxyType(entries)}
        return replace(graph, **changes)

    return change


def with_node(place: int, **changes: Any) -> Callable[[Graph], Graph]:
    def change(graph: Graph) -> Graph:
        nodes = list(graph.nodes)
        nodes[place] = replace(nodes[place], **changes)
        return replace(graph, nodes=tuple(nodes))

    return change


@dataclass(frozen=True)
class Stranger(Op):
    stages = frozenset({Stage.TYPED})


def narrowed(lo: int, hi: int, text: str = "fixed<4,2>") -> Codes:
    return Codes((2,), fixed(text), Interval(np.full(2, lo), np.full(2, hi)))


RULES: list[tuple[Callable[[Graph], Graph], str]] = [
    (lambda g: replace(g, nodes=g.nodes[::-1]), "'z'.*reads 'y', which nothing computes before"),
    (lambda g: replace(g, nodes=g.nodes * 2), "'y' .*is defined twice"),
    (lambda g: replace(g, inputs=("x", "x")), "'x' .*is defined twice"),
    (lambda g: replace(g, inputs=()), "'x' .*has a type but no definition"),
    (lambda g: replace(g, outputs=()), "has no outputs"),
    (lambda g: replace(g, outputs=("z", "ghost")), "output 'ghost' is computed by nothing"),
    (lambda g: replace(g, stage=Stage.IMPORTED), r"'x' \(layer 'x'\) is .*, of the other stage"),
    (with_entry("types", "y", None), r"value 'y' \(layer 'hidden'\) has no type"),
    (with_entry("types", "q", codes((2,), "fixed<4,2>")), "'q' .*has a type but no definition"),
    (
        with_entry("types", "y", Tensor((2,))),
        r"'y' \(layer 'hidden'\) is float32\[2\], of the other",
    ),
    (with_entry("origins", "y", None), r"value 'y' \(layer 'unknown'\) has no origin"),
    (
        with_entry("types", "z", narrowed(-8, 6)),
        r"fixed<4,2>\[2\] is recorded with the interval -8",
    ),
    (with_entry("types", "z", narrowed(-8, 7, "fixed<4,3>")), r"but fixed<4,3>\[2\] is recorded"),
    (with_entry("types", "z", codes((3,), "fixed<4,2>")), r"but fixed<4,2>\[3\] is recorded"),
    (
        with_entry(
            "types", "x", Codes((3,), fixed("fixed<6,3>"), Interval(*[np.zeros(3, int)] * 2))
        ),
        "is an input whose interval is not all of its format",
    ),
    (
        with_entry("types", "x", Codes((3,), fixed("fixed<6,3>"), Interval(*[np.full(3, 99)] * 2))),
        r"has an interval beyond its format fixed<6,3>",
    ),
    (
        with_entry(
            "types",
            "x",
            Codes((3,), fixed("fixed<6,3>"), Interval(np.full(3, 1), np.zeros(3, int))),
        ),
        "has an empty interval: its ends are swapped",
    ),
    (
        with_entry(
            "types", "x", Codes((3,), fixed("fixed<6,3>"), Interval(*[np.zeros(2, int)] * 2))
        ),
        r"has an interval of shape \(2,\), not \(3,\)",
    ),
    (
        with_entry("constants", "w", np.zeros((2, 2), int)),
        r"'w' .*has shape \(2, 2\), but its type",
    ),
    (
        with_entry("constants", "w", np.zeros((3, 2), int)),
        "is a constant that its type .* does not",
    ),
    (with_node(0, op=Stranger()), "is computed by Stranger, which is no operation of the graph"),
    (with_node(0, op=Softmax()), "is computed by Softmax, which this stage does not have"),
    (with_node(0, inputs=("x",)), "gives Dense 1 operands"),
    (with_node(0, inputs=("x", "x")), "needs a constant as operand 1 of Dense"),
    (with_node(0, op=Add()), r"'y' \(layer 'hidden'\) cannot be typed: Add: operands of ranks"),
    (with_node(1, op=Relu()), "is ufixed<.*but fixed<4,2>"),
]


@pytest.mark.parametrize(("change", "words"), RULES)
def test_each_rule(change: Callable[[Graph], Graph], words: str) -> None:
    verify(small())
    with pytest.raises(GraphError, match=words):
        verify(change(small()))


def test_constants_are_numbers() -> None:
    verify(floats())
    verify(floats(np.inf))
    with pytest.raises(GraphError, match=r"'c' .*has 1 of 1 elements NaN"):
        verify(floats(np.nan))


def test_constants_have_their_element_type() -> None:
    with pytest.raises(GraphError, match=r"'c' .*is of float64, but its type says float32"):
        verify(with_entry("constants", "c", np.ones(1))(floats()))


def test_a_graph_reads_something() -> None:
    build, _ = imported()
    graph = replace(build.graph([build.constant(np.ones(1))]), inputs=())
    kept = {k: v for k, v in graph.types.items() if k != "x"}
    with pytest.raises(GraphError, match="has no inputs: its outputs are constants"):
        verify(replace(graph, types=MappingProxyType(kept)))


@settings(max_examples=30)
@given(typed_graphs())
def test_a_recorded_interval_that_is_too_narrow_is_noticed(graph: Graph) -> None:
    node: Node = graph.nodes[-1]
    kind = graph.codes(node.output)
    if kind.interval.constant or not kind.shape:
        return
    lo = kind.interval.lo.copy()
    first = np.unravel_index(int(np.argmax(lo < kind.interval.hi)), lo.shape)
    lo[first] += 1
    wrong = Codes(kind.shape, kind.format, Interval(lo, kind.interval.hi))
    with pytest.raises(GraphError, match="is recorded with the interval"):
        verify(with_entry("types", node.output, wrong)(graph))
