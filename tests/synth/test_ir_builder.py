"""The builder: what it infers, and what it refuses in which words."""

import numpy as np
import pytest

from synth.errors import GraphError, PrecisionError, ShapeError
from synth.fixed import Fixed, FixedArray, Format
from synth.ir import Builder, Codes, Origin, Stage, Tensor
from synth.ir.ops import Add, Cast, Concat, Dense, Relu, Softmax, Table
from tests.synth.support import codes, imported, typed


def test_types_are_inferred_as_nodes_are_added() -> None:
    build, x = typed((3,), "fixed<4,4>")
    y = build.add(Add(), x, x)
    graph = build.graph([y])
    assert str(graph.codes(y).format) == "fixed<5,5>"
    assert graph.codes(y).interval.hull == (-16, 14)


def test_names_are_made_unique() -> None:
    build, x = imported((3,))
    names = [build.add(Relu(), x, name="y") for _ in range(3)]
    assert names == ["y", "y_1", "y_2"]


def test_dead_nodes_and_constants_are_dropped() -> None:
    build, x = imported((3,))
    kept = build.add(Relu(), x)
    build.add(Add(), x, build.constant(np.ones(3, np.float32), name="unused"))
    graph = build.graph([kept])
    assert len(graph.nodes) == 1
    assert not graph.constants
    assert set(graph.types) == set(graph.origins) == {x, kept}


def test_constants_cannot_be_written() -> None:
    for build, frac in ((typed()[0], 2), (imported()[0], None)):
        name = build.constant(np.arange(3, dtype=np.int32), frac=frac)
        with pytest.raises(ValueError, match="read-only"):
            build.constants[name][0] = 1


def test_a_constant_is_a_copy() -> None:
    mine = np.arange(3)
    build = typed()[0]
    name = build.constant(mine, frac=0)
    mine[0] = 7
    assert build.constants[name].tolist() == [0, 1, 2]


def test_an_origin_is_that_of_the_first_operand_unless_given() -> None:
    build, x = imported((3,))
    y = build.add(Relu(), x, origin=Origin("hidden"))
    z = build.add(Relu(), y)
    assert str(build.origins[z]) == "hidden.activation"


def test_two_inputs_of_one_name() -> None:
    build, x = imported()
    with pytest.raises(GraphError, match="two values are called 'x'"):
        build.input(x, Tensor((2,)))


def test_an_input_of_the_other_stage() -> None:
    build, _ = imported()
    with pytest.raises(
        GraphError, match=r"input 'y' is fixed<4,4>.*the imported stage cannot hold"
    ):
        build.input("y", codes((2,), "fixed<4,4>"))


def test_an_operation_of_the_other_stage() -> None:
    build, x = typed()
    with pytest.raises(GraphError, match="Softmax has no place in the typed stage"):
        build.add(Softmax(), x)
    build, x = imported()
    with pytest.raises(GraphError, match="Table has no place in the imported stage"):
        build.add(Table(0), x, x)


def test_too_few_operands() -> None:
    build, x = typed()
    with pytest.raises(GraphError, match="Add takes 2 to 2 operands, not 1"):
        build.add(Add(), x)
    with pytest.raises(GraphError, match="Concat takes 1 to"):
        build.add(Concat(-1))


def test_an_unknown_operand() -> None:
    build, x = typed()
    with pytest.raises(GraphError, match="Add reads 'ghost', which nothing computes before it"):
        build.add(Add(), "ghost", x)


def test_a_kernel_that_is_computed() -> None:
    build, x = typed((3, 3))
    with pytest.raises(GraphError, match=r"Dense: operand 1 \('x'\) must be constant"):
        build.add(Dense(), x, x)


def test_errors_of_shapes_and_formats_name_the_layer() -> None:
    build, x = typed((3,))
    y = build.input("y", codes((2,), "fixed<4,4>"))
    with pytest.raises(ShapeError, match=r"do not broadcast \(layer 'sum'\)"):
        build.add(Add(), x, y, origin=Origin("sum"))
    target = FixedArray.stack([Fixed(signed=True, width=4, frac=0)] * 2)
    with pytest.raises(PrecisionError, match=r"shape \(2,\) do not fit a tensor \(3,\).*'out'"):
        build.add(Cast(Format(target)), x, origin=Origin("out"))


def test_formats_by_element_that_do_not_fit_an_input() -> None:
    target = FixedArray.stack([Fixed(signed=True, width=4, frac=0)] * 2)
    with pytest.raises(PrecisionError, match="give one an element"):
        Codes.full((3,), target)


def test_an_output_that_nothing_computes() -> None:
    build, _ = typed()
    with pytest.raises(GraphError, match="output 'ghost' is computed by nothing"):
        build.graph(["ghost"])


def test_codes_must_be_integers() -> None:
    build = Builder("floats", Stage.TYPED)
    with pytest.raises(PrecisionError, match="Codes must be integers"):
        build.constant(np.array([0.5]), frac=1)
