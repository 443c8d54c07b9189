"""One event, one thread: emitted C++ against onnxruntime's C API, medians of alternating pairs.

``python -m tests.benchmarks.onnxruntime_latency [name ...]``; weights are random, of a fixed seed.
``small`` stands for models below 1 MFLOP, of which none is meant to be slower.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import synth
from projects.tools import require_compiler

FLAGS = ("-std=c++17", "-O3", "-march=native")
PAIRS = 31
TARGETS = {
    "mlp": 10.0,
    "jet": 10.0,
    "wide": 4.0,
    "lstm": 4.0,
    "cnn": 3.0,
    "layer": 1.0,
    "resnet": 1.0,
    "transformer": 1.0,
}


class Model:
    """Builds an ONNX model of one input x and one output y."""

    def __init__(self, *shape: int) -> None:
        self.random = np.random.default_rng(0)
        self.shape, self.last, self.width = shape, "x", shape[-1]
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, *shape: int, scale: float | None = None) -> str:
        scale = scale if scale is not None else (2 / np.prod(shape[:-1])) ** 0.5
        name = f"w{len(self.weights)}"
        values = self.random.normal(scale=scale, size=shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def integers(self, *values: int) -> str:
        name = f"i{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        outputs = attributes.pop("outputs", [name])
        self.nodes.append(helper.make_node(op, list(inputs), outputs, **attributes))
        self.last = name
        return name

    def dense(self, columns: int, activation: str = "") -> str:
        kernel = self.weight(self.width, columns)
        y = self.add("MatMul", self.last, kernel)
        y = self.add("Add", y, self.weight(columns, scale=0.1))
        self.width = columns
        return self.add(activation, y) if activation else y

    def conv(self, x: str, channels: tuple[int, int], size: int, stride: int = 1) -> str:
        kernel = self.weight(
            channels[1], channels[0], size, size, scale=(2 / channels[0]) ** 0.5 / size
        )
        pads = [size // 2] * 4
        bias = self.weight(channels[1], scale=0.1)
        return self.add(
            "Conv", x, kernel, bias, pads=pads, strides=[stride] * 2, kernel_shape=[size] * 2
        )

    def finish(self, *output: int) -> onnx.ModelProto:
        self.nodes[-1].output[0] = "y"
        graph = helper.make_graph(
            self.nodes,
            "model",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def mlp(widths: Sequence[int], end: str = "") -> onnx.ModelProto:
    model = Model(1, widths[0])
    for width in widths[1:-1]:
        model.dense(width, "Relu")
    model.dense(widths[-1], end)
    return model.finish(1, widths[-1])


def lstm() -> onnx.ModelProto:
    model = Model(20, 1, 6)
    operands = [model.weight(1, 128, 6, scale=0.4), model.weight(1, 128, 32, scale=0.2)]
    operands.append(model.weight(1, 256, scale=0.1))
    model.add("LSTM", "x", *operands, hidden_size=32, outputs=["v0"])
    return model.finish(20, 1, 1, 32)


def cnn() -> onnx.ModelProto:
    """Images of 16 x 16: two convolutions, of 8 and 16 channels, with pools, and a dense layer."""
    model = Model(1, 1, 16, 16)
    x = "x"
    for channels in ((1, 8), (8, 16)):
        x = model.add("Relu", model.conv(x, channels, 3))
        x = model.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    model.last, model.width = model.add("Flatten", x), 256
    model.dense(10)
    return model.finish(1, 10)


def layer() -> onnx.ModelProto:
    """One convolution of 16 x 16 pixels, from 8 channels to 16."""
    model = Model(1, 8, 16, 16)
    model.add("Relu", model.conv("x", (8, 16), 3))
    return model.finish(1, 16, 16, 16)


def resnet() -> onnx.ModelProto:
    """ResNet-18's layers on 3 x 224 x 224."""
    model = Model(1, 3, 224, 224)
    x = model.add("Relu", model.conv("x", (3, 64), 7, 2))
    x = model.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for wide in (64, 128, 256, 512):
        for stride in (1 if wide == 64 else 2, 1):
            inner = model.add("Relu", model.conv(x, (channels, wide), 3, stride))
            inner = model.conv(inner, (wide, wide), 3)
            x = model.conv(x, (channels, wide), 1, stride) if stride == 2 else x
            x = model.add("Relu", model.add("Add", inner, x))
            channels = wide
    x = model.add("GlobalAveragePool", x)
    model.last, model.width = model.add("Flatten", x), 512
    model.dense(1000)
    return model.finish(1, 1000)


def transformer(
    steps: int = 64, width: int = 128, heads: int = 4, layers: int = 2
) -> onnx.ModelProto:
    """An encoder: attention and a feed-forward part, each with a residue and a normalisation."""
    model = Model(1, steps, width)
    x = "x"
    for _ in range(layers):
        parts = []
        for _ in range(3):
            model.last, model.width = x, width
            split = model.add("Reshape", model.dense(width), model.integers(1, steps, heads, -1))
            parts.append(model.add("Transpose", split, perm=[0, 2, 1, 3]))
        keys = model.add("Transpose", parts[1], perm=[0, 1, 3, 2])
        scaled = model.add("MatMul", parts[0], keys)
        weights = model.add(
            "Softmax", model.add("Mul", scaled, model.weight(1, scale=0.2)), axis=-1
        )
        mixed = model.add("Transpose", model.add("MatMul", weights, parts[2]), perm=[0, 2, 1, 3])
        model.last = model.add("Reshape", mixed, model.integers(1, steps, width))
        x = _normal(model, model.add("Add", x, model.dense(width)), width)
        model.last = x
        model.dense(4 * width, "Relu")
        x = _normal(model, model.add("Add", x, model.dense(width)), width)
    return model.finish(1, steps, width)


def _normal(model: Model, x: str, width: int) -> str:
    scale, bias = model.weight(width, scale=1.0), model.weight(width, scale=0.1)
    return model.add("LayerNormalization", x, scale, bias, axis=-1)


def recurrent(op: str, steps: int, features: int, hidden: int) -> onnx.ModelProto:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    model = Model(steps, 1, features)
    operands = [model.weight(1, gates * hidden, n, scale=0.2) for n in (features, hidden)]
    operands.append(model.weight(1, 2 * gates * hidden, scale=0.1))
    model.add(op, "x", *operands, hidden_size=hidden, outputs=["v0"])
    return model.finish(steps, 1, 1, hidden)


def single(
    op: str, shape: Sequence[int], output: Sequence[int], **attributes: Any
) -> onnx.ModelProto:
    """One operator."""
    model = Model(*shape)
    model.add(op, "x", **attributes)
    return model.finish(*output)


def normalised(steps: int, width: int) -> onnx.ModelProto:
    model = Model(1, steps, width)
    _normal(model, "x", width)
    return model.finish(1, steps, width)


def moves(rows: int, columns: int) -> onnx.ModelProto:
    """Movements alone: a transposition, parts, their concatenation, and padding."""
    model = Model(1, rows, columns)
    y = model.add("Transpose", "x", perm=[0, 2, 1])
    parts = [
        model.add("Slice", y, *(model.integers(n) for n in (start, start + columns // 2, 1)))
        for start in (columns // 2, 0)
    ]
    y = model.add("Concat", *parts, axis=1)
    model.add("Pad", y, model.integers(0, 1, 1, 0, 1, 1))
    return model.finish(1, columns + 2, rows + 2)


def separable(size: int, channels: int) -> onnx.ModelProto:
    """A convolution of each channel, and one across channels."""
    model = Model(1, channels, size, size)
    kernel = model.weight(channels, 1, 3, 3, scale=0.4)
    x = model.add("Conv", "x", kernel, pads=[1] * 4, kernel_shape=[3, 3], group=channels)
    model.add("Relu", model.conv(x, (channels, channels), 1))
    return model.finish(1, channels, size, size)


SMALL: dict[str, Callable[[], onnx.ModelProto]] = {
    "mlp_2_8_1": lambda: mlp((2, 8, 1)),
    "mlp_10_200_200_3": lambda: mlp((10, 200, 200, 3), "Sigmoid"),
    "mlp_300_300_300_1": lambda: mlp((300, 300, 300, 1)),
    "dense_1000_400": lambda: mlp((1000, 400)),
    "dense_33_17": lambda: mlp((33, 17), "Tanh"),
    "lstm_10_4_64": lambda: recurrent("LSTM", 10, 4, 64),
    "lstm_50_8_16": lambda: recurrent("LSTM", 50, 8, 16),
    "lstm_3_100_100": lambda: recurrent("LSTM", 3, 100, 100),
    "gru_20_6_32": lambda: recurrent("GRU", 20, 6, 32),
    "gru_6_40_100": lambda: recurrent("GRU", 6, 40, 100),
    "rnn_30_16_48": lambda: recurrent("RNN", 30, 16, 48),
    "attention_16_32": lambda: transformer(16, 32, 2, 1),
    "attention_8_64": lambda: transformer(8, 64, 4, 1),
    "normalisation_64_64": lambda: normalised(64, 64),
    "normalisation_1_4096": lambda: normalised(1, 4096),
    "softmax_100_100": lambda: single("Softmax", (1, 100, 100), (1, 100, 100), axis=-1),
    "softmax_over_rows": lambda: single("Softmax", (1, 100, 100), (1, 100, 100), axis=1),
    "maxpool_16_32": lambda: single(
        "MaxPool", (1, 16, 32, 32), (1, 16, 16, 16), kernel_shape=[2, 2], strides=[2, 2]
    ),
    "averagepool_8_30": lambda: single(
        "AveragePool", (1, 8, 30, 30), (1, 8, 28, 28), kernel_shape=[3, 3]
    ),
    "globalpool_64_20": lambda: single("GlobalAveragePool", (1, 64, 20, 20), (1, 64, 1, 1)),
    "sigmoid_20000": lambda: single("Sigmoid", (1, 20000), (1, 20000)),
    "transpose_100_200": lambda: single("Transpose", (1, 100, 200), (1, 200, 100), perm=[0, 2, 1]),
    "reduce_rows": lambda: single("ReduceMax", (1, 200, 300), (1, 1, 300), axes=[1]),
    "moves_60_80": lambda: moves(60, 80),
    "separable_16_24": lambda: separable(16, 24),
    "separable_10_64": lambda: separable(10, 64),
}
"""Below 1 MFLOP: of every kind of layer, of round sizes and others."""
MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "mlp": lambda: mlp((7, 64, 64, 64, 1)),
    "jet": lambda: mlp((16, 64, 32, 32, 5), "Softmax"),
    "wide": lambda: mlp((30, 100, 100, 100, 1)),
    "lstm": lstm,
    "cnn": cnn,
    "layer": layer,
    "resnet": resnet,
    "transformer": transformer,
    **SMALL,
}


def measure(name: str, scratch: Path) -> None:
    model = MODELS[name]()
    onnx.save(model, scratch / f"{name}.onnx")
    start = time.perf_counter()
    project = synth.convert(model, backend="cpp", output_dir=scratch / name, name=f"{name}_model")
    program = scratch / f"run_{name}"
    header = f"{name}_model_float"
    source = Path(__file__).with_suffix(".cpp")
    defines = [
        f'-DMODEL_HEADER="{header}.h"',
        f"-DMODEL_NAMESPACE={header}_v1_0_0",
    ]
    command = [require_compiler(), *FLAGS, *defines, f"-I{project.folder}", str(source), "-ldl"]
    subprocess.run([*command, "-o", str(program)], check=True)
    spent = time.perf_counter() - start
    library = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"))
    shapes = [
        ",".join(str(d.dim_value) for d in value.type.tensor_type.shape.dim)
        for value in (model.graph.input[0], model.graph.output[0])
    ]
    weights = str(project.folder / f"{header}.weights")
    arguments = [
        str(program),
        str(library),
        str(scratch / f"{name}.onnx"),
        weights,
        *shapes,
        str(PAIRS),
    ]

    def run(mode: str) -> list[float]:
        done = subprocess.run([*arguments, mode], check=True, capture_output=True, text=True)
        return [float(word) for word in done.stdout.split()]

    ours, theirs, ratio, error = run("both")
    memory = run("ours")[0] / run("theirs")[0]
    print(
        f"{name:20} {ours * 1e9:12,.0f} ns, onnxruntime {theirs * 1e9:12,.0f} ns: "
        f"{ratio:.2f} times (target {TARGETS.get(name, 1):g}), memory {memory:.2f} of its, "
        f"{spent:.1f} s to emit and compile, error {error:.0e}"
    )


def main() -> None:
    print(f"flags: {' '.join(FLAGS)}; onnxruntime {onnxruntime.__version__}, one thread")
    names = [n for name in sys.argv[1:] or TARGETS for n in (SMALL if name == "small" else [name])]
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            measure(name, Path(scratch))


if __name__ == "__main__":
    main()
