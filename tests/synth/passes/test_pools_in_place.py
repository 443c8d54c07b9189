"""Pools between transpositions go axis by axis, where the channels come first."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.ir import Builder, Graph, Stage, Tensor
from synth.ir.ops import MaxPool, Mul, Relu, Reshape, SumPool, Transpose
from synth.ir.windows import Window
from synth.passes import pools_in_place
from tests.synth.passes.graphs import agree, kinds


def pooled(
    op: type[MaxPool | SumPool],
    window: Window,
    shape: tuple[int, ...],
    *,
    factor: tuple[int, ...] | None = None,
    between: bool = False,
) -> Graph:
    """Return a pool of x [1, channels, *spatial], the way `layout` leaves it."""
    build, rank = Builder("g", Stage.IMPORTED), len(shape)
    x = build.input("x", Tensor(shape))
    y = build.add(Transpose((0, *range(2, rank), 1)), x, name="turned")
    y = build.add(op(window), y, name="pooled")
    if factor is not None:
        sides = tuple(n if f else 1 for n, f in zip(build.types[y].shape, factor, strict=True))
        weight = np.random.default_rng(0).integers(1, 5, sides).astype("float32")
        y = build.add(Mul(), y, build.constant(weight, name="w"), name="scaled")
    outputs = [y] if between else []
    y = build.add(Transpose((0, rank - 1, *range(1, rank - 1))), y, name="back")
    return build.graph([*outputs, build.add(Relu(), y, name="y")])


@st.composite
def windows(draw: st.DrawFn, sizes: tuple[int, ...]) -> Window:
    fields = []
    for size in sizes:
        dilation = draw(st.integers(1, 2))
        kernel = draw(st.integers(1, max((size - 1) // dilation + 1, 1)))
        # Less than half of a kernel, so that no window covers padding alone.
        pads = tuple(draw(st.integers(0, (kernel - 1) // 2)) for _ in range(2))
        fields.append((kernel, draw(st.integers(1, 3)), dilation, pads))
    return Window(*zip(*fields, strict=True))


@given(data=st.data())
def test_a_pool_is_one_along_each_axis(data: st.DataObject) -> None:
    sizes = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    op: type[MaxPool | SumPool] = MaxPool if data.draw(st.booleans()) else SumPool
    window = data.draw(windows(sizes))
    factor = data.draw(st.none() | st.tuples(*[st.booleans()] * (len(sizes) + 2)))
    graph = pooled(op, window, (1, data.draw(st.integers(1, 3)), *sizes), factor=factor)
    changed = pools_in_place(graph)
    assert not {"Transpose"} & set(kinds(changed))
    # Sums of up to 64 numbers below 5, times 4, in another order.
    rounding = 0.0 if op is MaxPool else 64 * 2.0**-24
    agree(graph, changed, rtol=rounding, magnitude=64 * 5 * 4)


@pytest.mark.parametrize("factor", [None, (False,) * 4])
def test_a_value_that_others_read_is_made_as_before(factor: tuple[int, ...] | None) -> None:
    graph = pooled(MaxPool, Window.of(2, 2), (1, 3, 4, 4), factor=factor, between=True)
    assert kinds(pools_in_place(graph)) == kinds(graph)


def test_a_pool_that_is_not_turned_back_stays() -> None:
    build = Builder("g", Stage.IMPORTED)
    x = build.add(Transpose((0, 2, 3, 1)), build.input("x", Tensor((1, 3, 4, 4))), name="t")
    pool = build.add(MaxPool(Window.of(2, 2)), x, name="p")
    turned = build.add(Transpose((0, 2, 1, 3)), pool, name="y")
    graph = build.graph([build.add(Reshape((27,)), turned, name="flat")])
    assert kinds(pools_in_place(graph)) == kinds(graph)
