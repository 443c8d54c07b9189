"""Random networks that are quantised already, as the files that other tools write.

`qonnx_models` and `qdq_models` are Hypothesis strategies of `onnx.ModelProto`: a chain of layers
with branches, one input "x" with a free batch axis, one output "y", a quantiser on the input and
behind (almost) every layer. They draw bit widths, scales, zero points, rounding modes, granularity
and the shapes of parameters. With ``powers_of_two=True`` all scales are powers of two and all sums
are exact in float32, in any order: an executor in float32 must then agree bit by bit. Constants
come from a seed, so that Hypothesis shrinks the structure, not each number.

>>> @given(qonnx_models(powers_of_two=True))
... def test(proto):
...     graph = synth.load_graph(proto)
...     x = events(graph, 1000, seed=0)              # {"x": [1000, ...]}: random and edge cases
...     theirs = run_qonnx(proto, x)                 # qonnx's executor: {"y": ...}
...     ours = evaluate(graph, x)                    # our float evaluation
...     exact = rational(graph, x)["y"].floats       # the oracle (tests/rational.py)

`run_onnxruntime` executes what `qdq_models` draws, without onnxruntime's own rewritings. `events`
needs only the graph, so it serves models of any source: inputs lie on the ties of the quantiser
that reads them, beside them, at and beyond the ends of its range, on +0 and -0, and anywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from synth.ir import Graph
from synth.ir.ops import Movement, Quantise
from tests.synth.onnx.comparing import onnxruntime_results

__all__ = ["events", "qdq_models", "qonnx_models", "run_onnxruntime", "run_qonnx", "with_batch"]

Array = np.ndarray[Any, Any]
GENERAL = "qonnx.custom_op.general"
MODES = (
    *("ROUND", "HALF_EVEN", "HALF_UP", "HALF_DOWN", "CEIL", "FLOOR", "UP", "DOWN"),
    *("round", "Floor"),
)
SHAPES = ((6,), (3,), (2, 4, 4), (3, 5, 4), (2, 6))
"""Of one event: features, [channels, *spatial]."""


@st.composite
def qonnx_models(
    draw: st.DrawFn, *, powers_of_two: bool = False, most_layers: int = 4
) -> onnx.ModelProto:
    """Draw a network of QONNX's quantisers."""
    net = _Qonnx(draw, powers_of_two)
    return net.drawn(most_layers, {"": 13, GENERAL: net.trunc})


@st.composite
def qdq_models(
    draw: st.DrawFn, *, powers_of_two: bool = False, most_layers: int = 4
) -> onnx.ModelProto:
    """Draw a network of ONNX's own quantisers."""
    net = _Qdq(draw, powers_of_two)
    return net.drawn(most_layers, {"": 21})


@dataclass
class _Network:
    """A network that is being drawn.

    Attributes
    ----------
    x, shape
        The latest value and the shape of one event of it.
    lsb
        What the latest value is a multiple of, if all scales are powers of two.
    seen
        Earlier values, for branches that meet again: name, shape.
    """

    draw: st.DrawFn
    powers: bool
    x: str = "x"
    shape: tuple[int, ...] = ()
    lsb: float = 1.0
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    seen: list[tuple[str, tuple[int, ...], float]] = field(default_factory=list)
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.integer(0, 2**16))
        self.shape = self.pick(*SHAPES)

    # Draws

    def pick(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def integer(self, least: int, most: int) -> int:
        return self.draw(st.integers(least, most))

    def flag(self) -> bool:
        return self.draw(st.booleans())

    def scale(self, span: float, shape: tuple[int, ...] = ()) -> Array:
        """Draw scales near ``span``, of one exponent or of neighbouring ones."""
        exponents = self.rng.integers(-1, 2, shape) if shape else 0
        scale = np.exp2(np.round(np.log2(span)) + exponents)
        if not self.powers:
            scale = span * self.rng.uniform(0.6, 1.6, shape)
        return np.asarray(scale, np.float32)

    # Parts

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype)
        return name

    def node(self, op_type: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        made = helper.make_node(op_type, inputs, [name], name=f"{op_type}_{name}", domain=domain,
                                **attributes)  # fmt: skip
        self.nodes.append(made)
        return name

    def follow(self, x: str, shape: tuple[int, ...] | None = None) -> None:
        self.x, self.shape = x, self.shape if shape is None else shape

    def drawn(self, most_layers: int, opsets: Mapping[str, int]) -> onnx.ModelProto:
        kind = TensorProto.FLOAT
        dims: list[int | str | None] = ["batch", *self.shape]
        self.quantiser()
        for _ in range(self.integer(1, most_layers)):
            self.seen.append((self.x, self.shape, self.lsb))
            self.layer()
        self.node("Identity", self.x)
        self.nodes[-1].output[0] = "y"
        graph = helper.make_graph(
            self.nodes,
            "drawn",
            [helper.make_tensor_value_info("x", kind, dims)],
            [helper.make_tensor_value_info("y", kind, ["batch", *self.shape])],
            [self.tensor(name, value) for name, value in self.constants.items()],
        )
        imports = [helper.make_opsetid(*entry) for entry in opsets.items()]
        return helper.make_model(graph, opset_imports=imports, ir_version=10)

    def tensor(self, name: str, value: Array) -> onnx.TensorProto:
        return numpy_helper.from_array(value, name)

    # What the two kinds of networks do in their own ways

    def quantiser(self) -> None:
        raise NotImplementedError

    def weight(self, shape: tuple[int, ...], axis: int) -> tuple[str, float]:
        """Return a kernel that was quantised, with its LSB; outputs are on ``axis``."""
        raise NotImplementedError

    def bias(self, size: int, lsb: float) -> str:
        raise NotImplementedError

    # Layers

    def layer(self) -> None:
        options = [self.dense, self.join, self.piecewise, self.affine, self.move]
        if len(self.shape) == 3:
            options += [self.conv, self.pool]
        self.pick(*options)()
        if self.integer(0, 4) or self.lsb < 2.0**-12:
            self.quantiser()

    def dense(self) -> None:
        if len(self.shape) > 1 and self.flag():
            size = int(np.prod(self.shape))
            self.follow(self.node("Flatten", self.x), (size,))
        outputs = self.integer(1, 6)
        w, lsb = self.weight((self.shape[-1], outputs), 1)
        self.lsb *= lsb
        if len(self.shape) == 1 and self.flag():
            y = self.node("Gemm", self.x, w, self.bias(outputs, self.lsb))
        else:
            y = self.node("MatMul", self.x, w)
            y = self.node("Add", y, self.bias(outputs, self.lsb)) if self.flag() else y
        self.follow(y, (*self.shape[:-1], outputs))

    def conv(self) -> None:
        channels, *spatial = self.shape
        groups = self.pick(1, channels)
        outputs = groups * self.integer(1, 3)
        kernel = [self.integer(1, 3), self.integer(1, 3)]
        pads = [self.integer(0, k - 1) for k in (*kernel, *kernel)]
        strides = [self.integer(1, 2), self.integer(1, 2)]
        w, lsb = self.weight((outputs, channels // groups, *kernel), 0)
        self.lsb *= lsb
        operands = [self.x, w, *([self.bias(outputs, self.lsb)] if self.flag() else [])]
        attributes: dict[str, Any] = {"kernel_shape": kernel, "pads": pads, "strides": strides}
        y = self.node("Conv", *operands, group=groups, **attributes)
        rows = zip(spatial, kernel, pads[:2], pads[2:], strides, strict=True)
        out = [(n + a + b - k) // s + 1 for n, k, a, b, s in rows]
        self.follow(y, (outputs, *out))

    def pool(self) -> None:
        if min(self.shape[1:]) < 2:
            return
        channels, *spatial = self.shape
        out = [n // 2 for n in spatial]
        kind = self.pick("MaxPool", "AveragePool")
        y = self.node(kind, self.x, kernel_shape=[2, 2], strides=[2, 2])
        self.lsb /= 4 if kind == "AveragePool" else 1
        self.follow(y, (channels, *out))

    def join(self) -> None:
        """Let an earlier value of the same shape and similar LSB meet this one."""
        near = [x for x in self.seen if x[1] == self.shape and max(x[2], self.lsb) < 16]
        if not near:
            return
        other, _, lsb = self.pick(*near)
        kind = self.pick("Add", "Sub", "Max", "Min", "Concat")
        self.lsb = min(self.lsb, lsb)
        if kind == "Concat":
            joined = self.node(kind, self.x, other, axis=1)
            self.follow(joined, (2 * self.shape[0], *self.shape[1:]))
        else:
            self.follow(self.node(kind, self.x, other))

    def piecewise(self) -> None:
        kind = self.pick("Relu", "Neg", "Abs", "LeakyRelu", "PRelu", "Clip", "HardSigmoid")
        slopes = np.exp2(-self.rng.integers(0, 4, self.shape))
        if kind == "PRelu":
            self.follow(self.node(kind, self.x, self.constant(slopes)))
        elif kind == "Clip":
            self.follow(self.node(kind, self.x, self.constant(-1.0), self.constant(2.0)))
        elif kind in ("LeakyRelu", "HardSigmoid"):
            self.follow(self.node(kind, self.x, alpha=0.125))
        else:
            self.follow(self.node(kind, self.x))
        self.lsb /= 8 if kind in ("PRelu", "LeakyRelu", "HardSigmoid") else 1

    def affine(self) -> None:
        per = self.pick((), self.shape, (self.shape[0], *(1 for _ in self.shape[1:])))
        factor = self.rng.integers(-4, 5, per) / 4
        self.follow(self.node("Mul", self.x, self.constant(factor)))
        self.lsb /= 4

    def move(self) -> None:
        if len(self.shape) == 3:
            y = self.node("Transpose", self.x, perm=[0, 1, 3, 2])
            self.follow(y, (self.shape[0], self.shape[2], self.shape[1]))
        else:
            ends = [self.constant([n], np.int64) for n in (1, self.shape[0] + 1, 1)]
            if self.shape[0] > 1:
                y = self.node("Slice", self.x, *ends)
                self.follow(y, (self.shape[0] - 1, *self.shape[1:]))


class _Qonnx(_Network):
    trunc = 1
    """The version of the operator set: that of Trunc."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.trunc = self.pick(1, 2)

    def quant(self, x: str, span: float, shape: tuple[int, ...], widths: tuple[int, int]) -> Array:
        """Add a quantiser and return its scale."""
        width = self.integer(*widths)
        scale = self.scale(span * 2.0**-width, shape)
        zero = 0 if self.integer(0, 2) else self.integer(-3, 3)
        attributes = {"signed": int(self.flag()), "narrow": int(self.flag())}
        if x not in self.constants and width > 1 and self.integer(0, 9) == 0:
            width = 1 if not self.flag() else width
        name = self.node(
            self.pick("Quant", "IntQuant"),
            x,
            self.constant(scale),
            self.constant(zero),
            self.constant(width),
            domain=GENERAL,
            rounding_mode=self.pick(*MODES),
            **attributes,
        )
        # One signed bit makes odd multiples of the scale, less the zero point.
        self.made = name
        return scale

    def quantiser(self) -> None:
        kind = self.pick("Quant", "Quant", "Quant", "Quant", "BipolarQuant", "Trunc")
        channels = (1, self.shape[0], *(1 for _ in self.shape[1:]))
        per = self.pick((), (), channels)
        if kind == "BipolarQuant" and self.nodes:
            scale = self.scale(1.0, per)
            self.follow(self.node(kind, self.x, self.constant(scale), domain=GENERAL))
        else:
            scale = self.quant(self.x, 8.0, per, (2, 8))
            self.follow(self.made)
        if kind == "Trunc" and scale.ndim == 0:
            scale = self.truncation(scale)
        self.lsb = float(scale.min())

    def truncation(self, scale: Array) -> Array:
        drop, width = self.integer(0, 3), self.constant(8)
        attributes: dict[str, Any] = {}
        mode = self.pick(*MODES)
        first = [self.x, self.constant(scale), self.constant(0), width]
        if self.trunc == 1:
            rest = [self.constant(8 - drop)]
        else:
            scale = np.asarray(scale * 2.0**drop, np.float32)
            rest = [self.constant(scale), self.constant(8 - drop)]
            attributes = {"signed": int(self.flag()), "narrow": int(self.flag())}
        made = self.node(
            "Trunc", *first, *rest, domain=GENERAL, rounding_mode=mode, **attributes
        )  # fmt: skip
        self.follow(made)
        return scale

    def weight(self, shape: tuple[int, ...], axis: int) -> tuple[str, float]:
        per = tuple(n if i == axis else 1 for i, n in enumerate(shape))
        raw = self.constant(self.rng.normal(size=shape))
        scale = self.quant(raw, 4.0, self.pick((), per), (1, 8))
        return self.made, float(scale.min())

    def bias(self, size: int, lsb: float) -> str:
        raw = self.constant(self.rng.normal(size=size))
        self.quant(raw, lsb * 2.0**8, (), (8, 8))
        return self.made


@dataclass
class _Code:
    """A type of codes, by ONNX's name of it."""

    name: str
    least: int
    most: int


CODES = tuple(
    _Code(name, least, most)
    for name, least, most in (
        ("UINT8", 0, 255),
        ("INT8", -128, 127),
        ("UINT4", 0, 15),
        ("INT4", -8, 7),
        ("UINT16", 0, 65535),
        ("INT16", -(2**15), 2**15 - 1),
    )
)


class _Qdq(_Network):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.typed: dict[str, str] = {}
        """The element types of constants that hold codes."""

    def tensor(self, name: str, value: Array) -> onnx.TensorProto:
        if name not in self.typed:
            return super().tensor(name, value)
        kind = getattr(TensorProto, self.typed[name])
        return helper.make_tensor(name, kind, value.shape, value.reshape(-1).tolist())

    def codes(self, value: Any, code: _Code | str) -> str:
        name = self.constant(value, np.int64)
        self.typed[name] = code if isinstance(code, str) else code.name
        return name

    def zero(self, code: _Code, shape: tuple[int, ...] = ()) -> str:
        """Draw zero points not far from the middle."""
        middle = (code.least + code.most + 1) // 2
        return self.codes(middle + self.rng.integers(-3, 4, shape), code)

    def quantiser(self) -> None:
        code = self.pick(*CODES)
        per = self.flag() and self.nodes and len(self.shape) > 1
        shape: tuple[int, ...] = (self.shape[0],) if per else ()
        attributes: dict[str, Any] = {"axis": 1} if per else {}
        width = min((code.most - code.least).bit_length(), 8)
        scale = self.scale(8.0 * 2.0**-width, shape)
        held = self.constant(scale), self.zero(code, shape)
        quantised = self.node("QuantizeLinear", self.x, *held, **attributes)
        self.follow(self.node("DequantizeLinear", quantised, *held, **attributes))
        self.lsb = float(scale.min())

    def weight(self, shape: tuple[int, ...], axis: int) -> tuple[str, float]:
        code = self.pick(*CODES[:4])
        values = self.codes(self.rng.integers(code.least, code.most + 1, shape), code)
        per = self.flag()
        wide: tuple[int, ...] = (shape[axis],) if per else ()
        attributes: dict[str, Any] = {"axis": axis} if per else {}
        scale = self.scale(4.0 / (code.most - code.least), wide)
        operands = [values, self.constant(scale)]
        if self.flag() or code.least == 0:
            operands.append(self.zero(code, wide))
        return self.node("DequantizeLinear", *operands, **attributes), float(scale.min())

    def bias(self, size: int, lsb: float) -> str:
        values = self.codes(self.rng.integers(-(2**10), 2**10, size), "INT32")
        return self.node("DequantizeLinear", values, self.constant(lsb))


# Inputs


def events(graph: Graph, count: int, seed: int = 0) -> dict[str, Array]:
    """Return random and edge-case inputs [count, *shape] of an imported graph."""
    rng = np.random.default_rng(seed)
    return {name: _inputs(graph, name, count, rng) for name in graph.inputs}


def _inputs(graph: Graph, name: str, count: int, rng: np.random.Generator) -> Array:
    kind = graph.tensor(name)
    shape = (count, *kind.shape)
    if kind.dtype.startswith(("int", "uint")):
        info = np.iinfo(kind.dtype)
        return rng.integers(info.min, info.max, shape, dtype=kind.dtype, endpoint=True)
    found = _quantiser(graph, name)
    if found is None:
        return rng.normal(size=shape).astype(kind.dtype)
    scale, zero, lo, hi = (graph.constants[x].astype(np.float64) for x in found)
    lo, hi = np.maximum(lo - zero, -(2.0**12)), np.minimum(hi - zero, 2.0**12)
    steps = np.floor(rng.uniform(lo - 2, hi + 3, shape))
    halves = (steps + rng.choice([0.0, 0.5], shape)) * scale
    # A sum with a zero point is exact in float32 if few bits lie behind the LSB.
    fine = np.round((steps + rng.uniform(size=shape)) * 2**10) / 2**10 * scale
    far = np.where(rng.uniform(size=shape) < 0.5, lo - 0.5, hi + 0.5) * scale
    kinds = [halves, fine, far, 0.0 * steps, -0.0 * np.abs(steps)]
    if not zero.any():
        beside = np.nextafter(halves.astype(np.float32), rng.choice([-np.inf, np.inf], shape))
        kinds += [beside, rng.normal(size=shape) * scale * (hi - lo) / 4, 1e3 * far, 1e-30 * far]
    picked = rng.choice(len(kinds), shape, p=_chances(len(kinds)))
    chosen: Array = np.choose(picked, [np.broadcast_to(x, shape) for x in kinds])
    return chosen.astype(kind.dtype)


def _chances(kinds: int) -> Array:
    chances = np.array([6, 6, 1, 1, 1, 6, 6, 1, 1][:kinds], np.float64)
    return np.asarray(chances / chances.sum())


def _quantiser(graph: Graph, name: str) -> tuple[str, ...] | None:
    """Return the parameters of the first quantiser that reads an input as it is."""
    rank = len(graph.tensor(name).shape)
    for node in graph.consumers()[name]:
        if isinstance(node.op, Quantise) and node.inputs[0] == name:
            return node.inputs[1:]
        if isinstance(node.op, Movement):
            found = _quantiser(graph, node.output)
            if found and all(graph.constants[x].size == 1 for x in found):
                return found if rank >= graph.constants[found[0]].ndim else None
    return None


# Executors


def with_batch(proto: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """Return the model with a size for the batch axis of its inputs and outputs."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(proto)
    del fixed.graph.value_info[:]
    held = {tensor.name for tensor in fixed.graph.initializer}
    for value in (*fixed.graph.input, *fixed.graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.name not in held and dims:
            dims[0].Clear()
            dims[0].dim_value = batch
    return fixed


def run_qonnx(
    proto: onnx.ModelProto,
    feeds: Mapping[str, Array],
    *,
    everything: bool = False,
    keep_shapes: bool = False,
) -> dict[str, Array]:
    """Return what qonnx's executor computes: outputs, or every value by its name in the file.

    Its channels-last operators need the shapes that a file states, for the batch that it states.
    """
    from qonnx.core.modelwrapper import ModelWrapper  # noqa: PLC0415  (slow to import)
    from qonnx.core.onnx_exec import execute_onnx  # noqa: PLC0415
    from qonnx.transformation.infer_shapes import InferShapes  # noqa: PLC0415

    batch = len(next(iter(feeds.values())))
    if keep_shapes:
        wrapped = ModelWrapper(proto)
    else:
        wrapped = ModelWrapper(with_batch(proto, batch)).transform(InferShapes())
    results: dict[str, Array] = execute_onnx(wrapped, dict(feeds), everything)
    return results


def run_onnxruntime(proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return what onnxruntime computes, node by node as the file says."""
    names = [output.name for output in proto.graph.output]
    return dict(zip(names, onnxruntime_results(proto, feeds), strict=True))
