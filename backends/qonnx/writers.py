"""One writer for each operation: nodes that compute the same real numbers."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from onnx import TensorProto

from backends.qonnx.sheet import DOUBLE, FLOAT, element_type
from backends.qonnx.site import Site
from backends.qonnx.trees import write_trees
from synth.exact import Array
from synth.ir import Op
from synth.ir.ops import (
    Abs,
    Add,
    Compare,
    Concat,
    Conv,
    Dense,
    Gather,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    Mul,
    Neg,
    Pad,
    Reduce,
    Relu,
    Reshape,
    Select,
    Slice,
    Sub,
    SumPool,
    Table,
    Transpose,
    Trees,
)
from synth.ir.windows import Window, patches

__all__ = ["WRITERS"]


Writer = Callable[[Site], str]


def _plain(op_type: str) -> Writer:
    return lambda site: site.write(op_type, site.tensors())


def _compare(site: Site) -> str:
    types = {
        "<": "Less",
        "<=": "LessOrEqual",
        ">": "Greater",
        ">=": "GreaterOrEqual",
        "==": "Equal",
    }
    holds = site.write(types[cast(Compare, site.node.op).relation], site.tensors(), "holds")
    return site.sheet.node("Cast", [holds], site.name, FLOAT, to=int(TensorProto.FLOAT))


def _select(site: Site) -> str:
    condition, a, b = site.tensors()
    chosen = site.write("Cast", [condition], "chosen", to=int(TensorProto.BOOL))
    return site.sheet.node("Where", [chosen, a, b], site.name, site.sheet.dtypes[a])


def _concat(site: Site) -> str:
    site = _repeated(site)
    return site.write("Concat", site.tensors(), axis=cast(Concat, site.node.op).axis)


def _repeated(site: Site) -> Site:
    """Return the site with all operands repeated for every event."""
    given = [
        site.values.batched(name) if name == x else x
        for name, x in zip(site.node.inputs, site.given, strict=True)
    ]
    return Site(**{**vars(site), "given": given})


# Products with constants


def _dense(site: Site) -> str:
    x, w = _operand(site, 0), _operand(site, 1)
    bias = len(site.given) == 3
    made = site.write("MatMul", [x, w], "product" if bias else "")
    return site.write("Add", [made, _operand(site, 2)]) if bias else made


def _operand(site: Site, position: int) -> str:
    """Return an operand in the operation's type; a constant parameter behind its `Quant`."""
    weight = position in site.node.op.parameters
    given = site.values.weight(site.node.inputs[position]) if weight else site.given[position]
    wide = site.dtype == DOUBLE or site.sheet.dtypes[site.given[0]] == DOUBLE
    return site.sheet.as_type(given, DOUBLE if wide else FLOAT)


@dataclass(frozen=True)
class _Images:
    """The operand of a window as [events, *image], with one spatial axis for what stands before."""

    site: Site
    x: str
    window: Window
    image: tuple[int, ...]

    @classmethod
    def of(cls, site: Site, window: Window, x: str) -> "_Images":
        """Make the axes before the spatial ones a single one, over which windows have size 1."""
        shape, rank = site.operands[0].shape, len(window.kernel)
        before = shape[: -rank - 1]
        if not before:
            return cls(site, x, window, shape)
        image = (math.prod(before), *shape[-rank - 1 :])
        ones, none = (1,), ((0, 0),)
        wider = Window(
            ones + window.kernel, ones + window.strides, ones + window.dilations,
            none + window.pads,
        )  # fmt: skip
        return cls(site, site.sheet.reshape(x, (-1, *image), f"{site.name}/images"), wider, image)

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.window.kernel)

    @property
    def wide(self) -> bool:
        """Whether ONNX's own operators do not take it: runtimes have them up to rank 3."""
        return self.rank > 3

    def operator(self, op_type: str, others: list[str], **attributes: Any) -> str:
        """Add an operator of ONNX's that has its channels first; the result has them last again."""
        sheet, name, window = self.site.sheet, self.site.name, self.window
        order = (0, self.rank + 1, *range(1, self.rank + 1))
        first = sheet.transpose(self.x, order, f"{name}/channels_first")
        ends = [pad[i] for i in (0, 1) for pad in window.pads]
        made = self.site.write(
            op_type, [first, *others], "windows", kernel_shape=list(window.kernel),
            strides=list(window.strides), dilations=list(window.dilations), pads=ends,
            **attributes,
        )  # fmt: skip
        return sheet.transpose(made, (0, *range(2, self.rank + 2), 1), f"{name}/channels_last")

    def positions(self) -> Array:
        """Return, for each window [outs, kernel, c], positions from 1, and 0 for padding."""
        numbers = np.arange(1, math.prod(self.image) + 1).reshape(1, *self.image)
        view = patches(numbers, self.window, fill=0)
        return np.asarray(view.reshape(-1, math.prod(self.window.kernel), self.image[-1]))

    def gathered(self, positions: Array) -> str:
        """Gather [events, *positions] from images with one zero before their elements."""
        site = self.site
        flat = site.sheet.reshape(self.x, (-1, math.prod(self.image)), f"{site.name}/flat")
        padded = site.write("Pad", [flat, site.integers([0, 1, 0, 0], "zero")], "padded")
        index = site.sheet.constant(positions.astype(np.int64), f"{site.name}/positions")
        return site.write("Gather", [padded, index], "windows", axis=1)


def _conv(site: Site) -> str:
    op = cast(Conv, site.node.op)
    x, w = _operand(site, 0), _operand(site, 1)
    images, bias = _Images.of(site, op.window, x), len(site.given) == 3
    if site.sheet.dtypes[x] == DOUBLE or images.wide:
        made = _conv_by_windows(images, op.groups, w)
    else:
        rank, name = images.rank, f"{site.name}/kernel"
        if rank > len(op.window.kernel):
            w = site.sheet.reshape(w, (1, *site.operands[1].shape), f"{name}_images")
        kernel = site.sheet.transpose(w, (rank + 1, rank, *range(rank)), name)
        made = images.operator("Conv", [kernel], group=op.groups)
    made = _back(site, made, "product" if bias else "")
    return site.write("Add", [made, _operand(site, 2)]) if bias else made


def _back(site: Site, x: str, role: str) -> str:
    """Give a result its own axes behind that of the events."""
    name = f"{site.name}/{role}" if role else site.name
    return site.sheet.reshape(x, (-1, *site.result.shape), name)


def _conv_by_windows(images: _Images, groups: int, w: str) -> str:
    """Write a convolution as a product of matrices: ONNX's runtimes convolve in float32 only."""
    site, m = images.site, images.site.result.shape[-1]
    positions = images.positions()
    outs, taps, channels = positions.shape
    terms = taps * channels // groups
    by_group = positions.reshape(outs, taps, groups, -1).transpose(2, 0, 1, 3)
    windows = images.gathered(by_group.reshape(groups, outs, terms))
    name = f"{site.name}/kernel"
    flat = site.sheet.reshape(w, (terms, groups, m // groups), f"{name}_rows")
    kernels = site.sheet.transpose(flat, (1, 0, 2), name)
    made = site.write("MatMul", [windows, kernels], "sums")
    return site.sheet.transpose(made, (0, 2, 1, 3), f"{site.name}/by_position")


def _sum_pool(site: Site) -> str:
    x = site.tensors()[0]
    images = _Images.of(site, cast(SumPool, site.node.op).window, x)
    channels = site.result.shape[-1]
    if site.sheet.dtypes[x] == DOUBLE or images.wide:
        found, axes = images.gathered(images.positions()), site.integers([2], "axes")
        return _back(site, site.write("ReduceSum", [found, axes], "sums", keepdims=0), "")
    ones = site.number(np.ones((channels, 1, *images.window.kernel)), x, "ones")
    return _back(site, images.operator("Conv", [ones], group=channels), "")


def _max_pool(site: Site) -> str:
    images = _Images.of(site, cast(MaxPool, site.node.op).window, site.tensors()[0])
    window = images.window
    usual = all(max(pad) < k for pad, k in zip(window.pads, window.kernel, strict=True))
    if usual and not images.wide:
        return _back(site, images.operator("MaxPool", []), "")
    # Padding never wins: an element of the window stands in its place.
    positions = images.positions()
    held = np.where(positions == 0, positions.max(axis=1, keepdims=True), positions)
    made = site.write("ReduceMax", [images.gathered(held)], "most", axes=[2], keepdims=0)
    return _back(site, made, "")


def _reduce(site: Site) -> str:
    op = cast(Reduce, site.node.op)
    x = site.tensors()[0]
    if not op.axes:
        return site.write("Identity", [x])
    if op.function == "sum":
        return site.write("ReduceSum", [x, site.integers(list(op.axes), "axes")], keepdims=1)
    kind = {"max": "ReduceMax", "min": "ReduceMin"}[op.function]
    return site.write(kind, [x], axes=list(op.axes), keepdims=1)


def _table(site: Site) -> str:
    lo, entries = cast(Table, site.node.op).lo, site.given[1]
    x, kind = site.given[0], site.operands[0]
    last = site.operands[1].shape[0] - 1
    bound = abs(lo) + last + kind.interval.magnitude
    x = site.sheet.as_type(x, element_type(site.layer, bound, kind.frac))
    code = site.write("Mul", [x, site.number(2.0**kind.frac, x, "unit")], "code")
    place = site.write("Sub", [code, site.number(float(lo), x, "first")], "place")
    raised = site.write("Max", [place, site.number(0.0, x, "zero")], "raised")
    held = site.write("Min", [raised, site.number(float(last), x, "last")], "held")
    index = site.write("Cast", [held], "index", to=int(TensorProto.INT64))
    return site.sheet.node(
        "Gather", [entries, index], site.name, site.sheet.dtypes[entries], axis=0
    )


# Movement


def _reshape(site: Site) -> str:
    return site.sheet.reshape(site.given[0], (-1, *cast(Reshape, site.node.op).to), site.name)


def _transpose(site: Site) -> str:
    order = (0, *(axis + 1 for axis in cast(Transpose, site.node.op).permutation))
    return site.sheet.transpose(site.given[0], order, site.name)


def _slice(site: Site) -> str:
    op = cast(Slice, site.node.op)
    if not op.axes:
        return site.write("Identity", [site.given[0]])
    rows = zip(op.starts, op.steps, op.counts, strict=True)
    stops = [start + count * step for start, step, count in rows]
    before = -(1 << 31)  # any end before the first element
    columns = {
        "starts": list(op.starts),
        "ends": [stop if stop >= 0 else before for stop in stops],
        "axes": list(op.axes),
        "steps": list(op.steps),
    }
    return site.write("Slice", [site.given[0], *[site.integers(v, k) for k, v in columns.items()]])


def _pad(site: Site) -> str:
    pads = cast(Pad, site.node.op).pads
    ends = [0, *(pad[0] for pad in pads), 0, *(pad[1] for pad in pads)]
    return site.write("Pad", [site.given[0], site.integers(ends, "pads")])


def _gather(site: Site) -> str:
    op = cast(Gather, site.node.op)
    return site.write(
        "Gather", [site.given[0], site.integers(list(op.indices), "indices")], axis=op.axis
    )


WRITERS: Mapping[type[Op], Writer] = {
    Abs: _plain("Abs"),
    Add: _plain("Add"),
    Compare: _compare,
    Concat: _concat,
    Conv: _conv,
    Dense: _dense,
    Gather: _gather,
    MatMul: _plain("MatMul"),
    Maximum: _plain("Max"),
    MaxPool: _max_pool,
    Minimum: _plain("Min"),
    Mul: _plain("Mul"),
    Neg: _plain("Neg"),
    Pad: _pad,
    Reduce: _reduce,
    Relu: _plain("Relu"),
    Reshape: _reshape,
    Select: _select,
    Slice: _slice,
    Sub: _plain("Sub"),
    SumPool: _sum_pool,
    Table: _table,
    Transpose: _transpose,
    Trees: write_trees,
}
"""What writes each operation; `Cast` has a file of its own."""
