"""Functions that one table is too coarse for: split exponentials and segmented reciprocals."""

import numpy as np
import pytest

from quant.lookup import CUTS, Lookup
from synth.evaluate import Evaluator
from synth.fixed import Fixed, parse_fixed
from synth.ir import Builder, Codes, Graph, Origin, Stage
from synth.ir.ops import Cast, Function, Select, Table


def looked_up(function: Function, x: str, out: Fixed) -> Graph:
    build = Builder("m", Stage.TYPED)
    value = build.input("x", Codes.full((1,), parse_fixed(x)))
    return build.graph([Lookup(build, "y", Origin("layer"), function, out).add(value)])


@pytest.mark.parametrize(
    ("name", "x", "out", "tables", "relative"),
    [
        ("exp", "fixed<24,5>", "ufixed<20,-10>", 2, False),
        ("reciprocal", "ufixed<28,14>", "ufixed<24,2>", 3, True),
    ],
)
def test_several_tables_are_finer_than_one(
    name: str, x: str, out: str, tables: int, relative: bool
) -> None:
    domain = (1.0, 2.0**14) if name == "reciprocal" else (-16.0, -7.0)
    graph = looked_up(Function(name, domain=domain), x, parse_fixed(out))
    assert sum(isinstance(node.op, Table) for node in graph.nodes) == tables
    points = np.linspace(*domain, 4001)[:-1, None]
    got = Evaluator(graph)({"x": points}, wires={})[graph.outputs[0]]
    expected = np.exp(points) if name == "exp" else 1 / points
    # A segment's first step is 31/4096 of its start, half of which is lost, and half an LSB.
    bound = 31 / 8192 * expected + 2.0**-22 if relative else 2.0**-18
    assert np.all(np.abs(got - expected) <= bound)


def test_casts_onto_a_segment_count_as_cuts() -> None:
    graph = looked_up(
        Function("reciprocal", domain=(1.0, 2.0**14)), "ufixed<28,14>", parse_fixed("ufixed<24,2>")
    )
    assert any(isinstance(node.op, Select) for node in graph.nodes)
    casts = [node.output for node in graph.nodes if isinstance(node.op, Cast)]
    assert len(casts) == 3
    assert {graph.origins[name].role for name in casts} <= CUTS
