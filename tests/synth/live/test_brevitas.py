"""Live modules of Brevitas: the bits of their own forward pass, under the modules' paths."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from synth.errors import ModelError
from synth.evaluate import evaluate
from synth.ir import Graph, Shape
from synth.ir.ops import Dense, Dequantise, Quantise
from synth.load import load_graph
from tests.float32_errors import tolerance
from tests.quantised_agreement import disagreements
from tests.quantised_networks import events
from tests.rational import rational

qnn = pytest.importorskip("brevitas.nn", reason="Brevitas is not installed")
quant = pytest.importorskip("brevitas.quant")
export = pytest.importorskip("brevitas.export")
binary = pytest.importorskip("brevitas.quant.binary")

FIXED: dict[str, Any] = {"weight_quant": quant.Int8WeightPerTensorFixedPoint, "bias": True}
BINARY_WEIGHT = binary.SignedBinaryWeightPerTensorConst
ACTIVATION = quant.Int8ActPerTensorFixedPoint
POSITIVE = quant.Uint8ActPerTensorFixedPoint


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(7)


class Dense3(nn.Module):
    """Three dense layers whose scales are powers of two."""

    def __init__(self) -> None:
        super().__init__()
        self.inp = qnn.QuantIdentity(act_quant=ACTIVATION, return_quant_tensor=True)
        self.body = nn.Sequential(
            qnn.QuantLinear(16, 12, weight_bit_width=4, **FIXED),
            qnn.QuantReLU(act_quant=POSITIVE, bit_width=5),
        )
        self.fc = qnn.QuantLinear(12, 6, weight_bit_width=3, **FIXED)
        self.act = qnn.QuantIdentity(act_quant=ACTIVATION, bit_width=6)
        self.head = qnn.QuantLinear(6, 3, weight_bit_width=8, **FIXED)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.act(self.fc(self.body(self.inp(x)))))
        return found


def convolutional() -> nn.Sequential:
    return nn.Sequential(
        qnn.QuantIdentity(act_quant=ACTIVATION, bit_width=6),
        qnn.QuantConv2d(2, 4, 3, padding=1, weight_bit_width=3, **FIXED),
        qnn.QuantReLU(act_quant=POSITIVE, bit_width=4),
        nn.MaxPool2d(2),
        qnn.QuantConv2d(4, 4, (2, 1), groups=4, weight_bit_width=4, **FIXED),
        qnn.QuantHardTanh(act_quant=ACTIVATION, max_val=1.0, min_val=-1.0, bit_width=4),
        nn.Flatten(),
        qnn.QuantLinear(8, 3, weight_bit_width=4, **FIXED),
    )


def binary_network() -> nn.Sequential:
    return nn.Sequential(
        qnn.QuantIdentity(act_quant=ACTIVATION, bit_width=4),
        qnn.QuantLinear(6, 5, bias=False, weight_quant=BINARY_WEIGHT, weight_scaling_init=0.25),
        qnn.QuantIdentity(act_quant=binary.SignedBinaryActPerTensorConst),
        qnn.QuantLinear(5, 4, weight_bit_width=2, **FIXED),
    )


class Recurring(nn.Module):
    """One quantiser and one layer, both used twice, and a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.act = qnn.QuantIdentity(act_quant=ACTIVATION, bit_width=7)
        self.fc = qnn.QuantLinear(6, 6, weight_bit_width=4, **FIXED)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(x)
        y = self.act(self.fc(x))
        found: torch.Tensor = self.fc(x + y)
        return found


def settled(model: nn.Module, shape: Shape) -> nn.Module:
    """Let the quantisers see data, so that they have scales of their own.

    Biases are floats: few bits let sums be exact in float32.
    """
    with torch.no_grad():
        model.train()(torch.randn(500, *shape))
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.copy_(torch.round(parameter * 256) / 256)
    return model.eval()


def forward(model: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        y = model(torch.from_numpy(x))
    return np.asarray(getattr(y, "value", y).numpy())


def agree(model: nn.Module, shape: Shape, count: int = 1000) -> Graph:
    """Hold the graph, the oracle and the module to each other, bit by bit."""
    argument = "input" if isinstance(model, nn.Sequential) else "x"
    graph = load_graph(settled(model, shape), shapes={argument: (1, *shape)})
    feeds = events(graph, count)
    (name,) = graph.outputs
    exact = rational(graph, feeds)[name].floats
    np.testing.assert_array_equal(evaluate(graph, feeds)[name], exact)
    np.testing.assert_array_equal(forward(model, feeds[graph.inputs[0]]), exact)
    return graph


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    "dense": (Dense3, (16,)),
    "convolutional": (convolutional, (2, 4, 4)),
    "binary": (binary_network, (6,)),
    "recurring": (Recurring, (6,)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_powers_of_two(name: str) -> None:
    make, shape = NETWORKS[name]
    agree(make(), shape)


def test_layers_keep_their_names() -> None:
    graph = agree(Dense3(), (16,))
    kinds = (Quantise, Dequantise, Dense)
    layers = [graph.origins[node.output].layer for node in graph.nodes if type(node.op) in kinds]
    assert list(dict.fromkeys(layers)) == ["inp", "body.0", "body.1", "fc", "act", "head"]
    kernels = [node.inputs[1] for node in graph.nodes if isinstance(node.op, Dense)]
    assert kernels == ["body.0.weight", "fc.weight", "head.weight"]


def test_the_module_stays_as_it_is() -> None:
    model = settled(Dense3(), (16,))
    model.train()
    x = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
    before = forward(model.eval(), x)
    model.train()
    load_graph(model, shapes={"x": (1, 16)})
    assert model.training
    np.testing.assert_array_equal(forward(model.eval(), x), before)


def test_any_scale() -> None:
    """Each disagreement is within the derived distance of a rounding boundary."""
    model = nn.Sequential(
        qnn.QuantIdentity(bit_width=8),
        qnn.QuantLinear(16, 12, bias=True, weight_bit_width=5),
        qnn.QuantReLU(bit_width=5),
        qnn.QuantLinear(
            12, 4, bias=True, weight_bit_width=4, weight_quant=quant.Int8WeightPerChannelFloat
        ),
        qnn.QuantIdentity(bit_width=6, act_quant=quant.ShiftedUint8ActPerTensorFloat),
    )
    graph = load_graph(settled(model, (16,)), shapes={"input": (1, 16)})
    feeds = events(graph, 2000)
    ours = evaluate(graph, feeds)[graph.outputs[0]]
    disagreements(graph, feeds, ours, forward(model, feeds["input"]))
    # Off the ties, hardly any sum lies that near to a boundary.
    feeds = {"input": np.random.default_rng(0).normal(size=(2000, 16)).astype(np.float32)}
    exact, bound = tolerance(graph, feeds)
    step = np.abs(exact.floats[exact.floats != 0]).min()
    assert (bound > step / 2).mean() < 0.02


def test_qcdq_files(tmp_path: Path) -> None:
    """Brevitas' other export, read as the ONNX that it is."""
    model = settled(convolutional(), (2, 4, 4))
    x = torch.zeros(1, 2, 4, 4)
    options = {"dynamo": False, "opset_version": 13, "input_names": ["input"]}
    export.export_onnx_qcdq(model, args=x, export_path=str(tmp_path / "qcdq.onnx"), **options)
    graph = load_graph(tmp_path / "qcdq.onnx")
    feeds = events(graph, 1000)
    (name,) = graph.outputs
    exact = rational(graph, feeds)[name].floats
    np.testing.assert_array_equal(evaluate(graph, feeds)[name], exact)
    np.testing.assert_array_equal(forward(model, feeds[graph.inputs[0]]), exact)


def test_shapes_are_asked_for() -> None:
    with pytest.raises(ModelError, match=r"give the shape of each argument of its forward\(\)"):
        load_graph(Dense3())


def test_what_brevitas_cannot_export() -> None:
    class Branching(Dense3):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if float(x.detach().sum()) > 1e9:
                raise ValueError("too large")
            return super().forward(x)

    with pytest.raises(ModelError, match=r"export Branching to (ONNX|QONNX)"):
        load_graph(settled(Branching(), (16,)), shapes={"x": (1, 16)})
