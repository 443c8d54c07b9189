"""Costs counted by hand, the rows and the summary."""

import json
from dataclasses import asdict, dataclass

import numpy as np
import pytest

from synth.cost import RULES, Cost, cost, total
from synth.errors import UnsupportedOp
from synth.fixed import Format
from synth.inspect import rows, summary
from synth.ir import Builder, Graph, Node, Origin, Stage, Window
from synth.ir.op import Op
from synth.ir.ops import (
    OPS,
    Abs,
    Add,
    Cast,
    Conv,
    Dense,
    MatMul,
    Maximum,
    MaxPool,
    Mul,
    Reduce,
    Relu,
    Table,
)
from tests.synth.support import codes, fixed, imported, typed


def one(op: Op, shape: tuple[int, ...], *constants: object) -> Cost:
    build, x = typed(shape, "fixed<6,3>")
    held = [build.constant(np.array(c), frac=2) for c in constants]
    operands = [x, *held] if held or op.arity[0] == 1 else [x, x]
    y = build.add(op, *operands)
    return cost(build.graph([y]))[y]


def test_every_operation_has_a_rule() -> None:
    assert set(RULES) == set(OPS.values())


def test_an_operation_without_a_rule_is_refused() -> None:
    @dataclass(frozen=True)
    class Stranger(Op):
        stages = frozenset({Stage.TYPED})

    build, x = typed()
    y = build.add(Relu(), x, origin=Origin("odd"))
    graph = build.graph([y])
    object.__setattr__(graph, "nodes", (Node(Stranger(), (x,), y),))
    with pytest.raises(UnsupportedOp, match=r"Stranger \(layer 'odd'\): its cost has no rule"):
        cost(graph)


def test_zeros_and_powers_of_two_are_free() -> None:
    # Column by column: 3 and 5 times, one bias; -4, 7 and 0; nothing but a bias.
    kernel, bias = [[3, -4, 0], [5, 7, 0], [1, 0, 0]], [1, 0, 9]
    expected = Cost(3, 4, 12, 12 * 0 + 9 * 4 + 3 * 4, 0, 9)
    assert one(Dense(), (3,), kernel, bias) == expected
    twice = one(Dense(), (2, 3), kernel, bias)
    assert (twice.multiplications, twice.additions, twice.macs) == (6, 8, 18)
    assert twice.parameters == 12


def test_convolutions_count_every_position() -> None:
    window = Window((2,), (1,), (1,), ((1, 0),))
    found = one(Conv(window), (5, 1), [[[3, 4]], [[5, 0]]])
    assert (found.multiplications, found.additions, found.macs) == (5 * 2, 5 * 1, 5 * 4)


@pytest.mark.parametrize(
    ("op", "shape", "constants", "expected"),
    [
        (Mul(), (2, 3), [], Cost(multiplications=6, macs=6)),
        (Mul(), (2, 3), [[[3, 2, 0]]], Cost(2, 0, 3, 3 * 2, 0, 6)),
        (Add(), (2, 3), [], Cost(additions=6)),
        (Add(), (2, 3), [[[1, 0, 0]]], Cost(0, 2, 3, 3, 0, 0)),
        (Maximum(), (2, 3), [], Cost(additions=6)),
        (Abs(), (4,), [], Cost(additions=4)),
        (Relu(), (4,), [], Cost()),
        (MatMul(), (3, 3), [], Cost(27, 18, 0, 0, 0, 27)),
        (Reduce("sum", (-1,)), (2, 5), [], Cost(additions=8)),
        (MaxPool(Window.of(2)), (4, 3), [], Cost(additions=9)),
        (Table(-2), (4,), [[1, 2, -3]], Cost(table_bits=9)),
        (Cast(Format(fixed("fixed<4,2>"))), (4,), [], Cost()),
    ],
    ids=str,
)
def test_costs(op: Op, shape: tuple[int, ...], constants: list[object], expected: Cost) -> None:
    assert one(op, shape, *constants) == expected


def test_a_shared_constant_is_counted_once() -> None:
    build, x = typed((2,), "fixed<6,3>")
    w = build.constant(np.array([3, 5]), frac=0)
    graph = build.graph([build.add(Add(), build.add(Mul(), x, w), w)])
    assert total(cost(graph)).parameters == 2
    assert total(cost(graph)).parameter_bits == 6


def test_factors_beyond_64_bits() -> None:
    found = one(Mul(), (3,), np.array([1 << 80, (1 << 80) + 1, -(1 << 80)], dtype=object))
    assert found.multiplications == 1


def test_imported_graphs_have_costs_too() -> None:
    build, x = imported((2,))
    w = build.constant(np.array([[0.5, 3.0], [0.0, -0.25]], dtype=np.float32))
    found = total(cost(build.graph([build.add(Dense(), x, w)])))
    assert found == Cost(1, 1, 4, 128, 0, 4)


def network() -> Graph:
    build = Builder("tagger", Stage.TYPED)
    x = build.input("x", codes((3,), "fixed<6,3>"))
    w = build.constant(np.array([[3, 4], [5, 6], [0, 1]]), frac=2)
    y = build.add(Dense(), x, w, origin=Origin("hidden", "accumulator"))
    return build.graph([build.add(Relu(), y, origin=Origin("hidden\x1b[31m"))])


def test_rows_are_data() -> None:
    first, dense, last = rows(network())
    assert (first.op, first.shape, first.least, first.most) == ("Input", (3,), -4.0, 3.875)
    assert (dense.layer, dense.role, dense.format) == ("hidden", "accumulator", "fixed<10,5>")
    assert (dense.parameters, dense.multiplications, dense.macs) == (6, 3, 6)
    # 8 times 31 and 11 times 31, in units of 1/32.
    assert (dense.least, dense.most) == (-11.0, 11 * 31 / 32)
    assert last.least == 0
    json.dumps([asdict(row) for row in rows(network())], allow_nan=False)


def test_the_summary_reads_like_a_table() -> None:
    lines = summary(network()).splitlines()
    assert lines[0] == "typed graph 'tagger' of 2 nodes"
    assert lines[1].split()[:4] == ["layer", "op", "shape", "format"]
    assert [line.split()[1] for line in lines[3:6]] == ["Input", "Dense", "Relu"]
    assert "fixed<10,5>" in lines[4]
    assert "-11 .. 10.6562" in lines[4]
    assert "multiplications 3 of 6 MACs" in lines
    assert not any("\x1b" in line for line in lines)


def test_the_summary_of_an_imported_graph() -> None:
    build, x = imported((2, 2))
    text = summary(build.graph([build.add(Relu(), x)]))
    assert "2x2" in text
    assert "float32" in text


def test_values_beyond_the_floats() -> None:
    build, x = typed((), "fixed<8,3000>")
    row = rows(build.graph([build.add(Relu(), x)]))[0]
    assert (row.least, row.most) == (float("-inf"), float("inf"))
