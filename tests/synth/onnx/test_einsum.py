"""Einsum against NumPy, which defines it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.errors import FormatError, ShapeError
from synth.ir.ops import Dense, MatMul
from synth.onnx import read
from synth.passes import strip_batch
from tests.synth.onnx.comparing import Array, Attributes, check, grid, node_model

SUM: Attributes = {"rtol": 1e-5, "atol": 1e-5}
"""Products of more than two operands round, and their sums in another order than NumPy's."""


def made(equation: str, operands: list[Array], computed: int | None = None) -> Any:
    named = {f"x{i}": x for i, x in enumerate(operands)}
    keys = list(named)[:computed]
    inputs = {k: named[k] for k in keys}
    constants = {k: v for k, v in named.items() if k not in keys}
    return node_model("Einsum", inputs, constants, equation=equation), inputs


@st.composite
def equations(draw: st.DrawFn) -> tuple[str, list[Array]]:
    """Up to four operands; labels shared, repeated, summed or kept, axes of size 1, ellipses."""
    letters = "abcde"
    sizes = {letter: draw(st.integers(1, 3)) for letter in letters}
    dots = [draw(st.integers(1, 3)) for _ in range(draw(st.integers(0, 2)))]
    parts, operands = [], []
    seen: set[str] = set()
    for place in range(draw(st.integers(1, 4))):
        labels = [draw(st.sampled_from(letters)) for _ in range(draw(st.integers(0, 3)))]
        seen |= set(labels)
        one = {x for x in set(labels) if draw(st.integers(0, 5)) == 0 and labels.count(x) == 1}
        shape = [1 if x in one else sizes[x] for x in labels]
        text, at = "".join(labels), draw(st.integers(0, len(labels)))
        stands = draw(st.booleans())
        if dots and stands:
            own = dots[draw(st.integers(0, len(dots))) :]
            text = text[:at] + "..." + text[at:]
            shape[at:at] = own
        parts.append(text)
        operands.append(grid(*shape, seed=place))
    kept = [x for x in sorted(seen) if draw(st.booleans())]
    order: list[str] = list(draw(st.permutations(kept)))
    if any("..." in part for part in parts):
        order.insert(draw(st.integers(0, len(order))), "...")
    arrow = draw(st.integers(0, 3)) > 0
    return ",".join(parts) + ("->" + "".join(order) if arrow else ""), operands


@given(equations(), st.integers(1, 4))
@settings(max_examples=400, deadline=None)
def test_any_equation(case: tuple[str, list[Array]], computed: int) -> None:
    equation, operands = case
    expected = np.asarray(np.einsum(equation, *operands))
    model, inputs = made(equation, operands, computed)
    check(model, inputs, [expected.astype(np.float32)], **SUM)


def test_spaces_and_integers() -> None:
    a, b = np.arange(6, dtype=np.int64).reshape(2, 3), np.arange(12, dtype=np.int64).reshape(3, 4)
    model, inputs = made("i j , j k -> k i", [a, b])
    check(model, inputs, [np.einsum("ij,jk->ki", a, b)])


@pytest.mark.parametrize(
    ("equation", "shapes", "kind"),
    [
        ("bij,jk->bik", [(1, 2, 3), (3, 4)], Dense),
        ("bhi,hij->bhj", [(1, 2, 3), (2, 3, 4)], MatMul),
        ("...ij,...j->...i", [(1, 2, 3), (1, 3)], MatMul),
    ],
)
def test_each_event_is_multiplied_with_constants(
    equation: str, shapes: list[tuple[int, ...]], kind: type
) -> None:
    operands = [grid(*shape, seed=i) for i, shape in enumerate(shapes)]
    model, inputs = made(equation, operands, 1)
    graph = strip_batch(check(model, inputs, [np.einsum(equation, *operands)]))
    assert any(isinstance(node.op, kind) for node in graph.nodes)
    assert graph.types["x0"].shape == shapes[0][1:]


@pytest.mark.parametrize(
    ("equation", "shapes", "error", "words"),
    [
        ("i,j->ij", [(2,)], FormatError, "equation 'i,j->ij' for 1 operands"),
        ("ij->i", [(2,)], FormatError, "'ij' does not name the axes of a value of rank 1"),
        ("i->i", [(2, 3)], FormatError, "'i' does not name the axes of a value of rank 2"),
        ("1->1", [(2,)], FormatError, "'1' does not name the axes"),
        ("i->ii", [(2,)], FormatError, "equation 'i->ii' has no such result"),
        ("i->j", [(2,)], FormatError, "has no such result"),
        ("i,i->", [(2,), (3,)], ShapeError, r"axes 'i' have the sizes \[2, 3\]"),
        ("ii->", [(2, 3)], ShapeError, r"axes 'i' of \(2, 3\) differ"),
    ],
)
def test_equations_that_make_no_sense(
    equation: str, shapes: list[tuple[int, ...]], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        read(made(equation, [grid(*shape) for shape in shapes])[0])
