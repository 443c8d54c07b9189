"""Live PyTorch modules: the same predictions, under the modules' paths."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from synth.errors import ModelError
from synth.evaluate import evaluate
from synth.ir import Graph, Shape
from synth.ir.ops import Dense, Transpose
from synth.ir.serialise import digest
from synth.live.torch import to_onnx
from synth.load import load_graph
from synth.passes import prepare

# Sums of up to a hundred float32 products of order 1, in another order than torch's.
close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(7)


def agrees(model: nn.Module, graph: Graph, *shapes: Shape) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(20, *shape)).astype(np.float32) for shape in shapes]
    with torch.no_grad():
        expected = model.eval()(*map(torch.from_numpy, arrays))
    expected = expected if isinstance(expected, tuple) else (expected,)
    for candidate in (graph, prepare(graph)):
        found = evaluate(candidate, dict(zip(candidate.inputs, arrays, strict=True)))
        for name, value in zip(candidate.outputs, expected, strict=True):
            close(found[name], value.numpy())


class Network(nn.Module):
    """A small convolutional network in blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.fc1 = nn.Linear(4 * 3 * 4, 5)
        self.act = nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.flatten(self.block(x), 1)
        return torch.softmax(self.act(self.fc1(x)), -1)


def settled(model: nn.Module) -> nn.Module:
    """Give batch normalisation statistics of its own: fresh ones would hide a mistake."""
    for part in model.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            for values in (part.running_mean, part.running_var, part.weight.data, part.bias.data):
                assert values is not None
                values.uniform_(0.5, 1.5)
    return model


def test_a_convolutional_network_keeps_its_paths() -> None:
    model = settled(Network())
    graph = load_graph(model, shapes={"x": (1, 1, 8, 10)})
    assert graph.name == "Network"
    assert graph.inputs == ("x",)
    assert graph.types["x"].shape == (1, 8, 10)
    layers = {origin.layer for origin in graph.origins.values()}
    assert {"block.0", "block.2", "block.3", "fc1", "act"} <= layers
    agrees(model, graph, (1, 8, 10))
    assert not any(isinstance(node.op, Transpose) for node in prepare(graph).nodes)


def test_a_dense_network() -> None:
    model = settled(
        nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3))
    )
    graph = load_graph(model, name="tagger", shapes={"input": (1, 6)})
    assert graph.name == "tagger"
    agrees(model, graph, (6,))
    nodes = prepare(graph).nodes
    assert [type(node.op).__name__ for node in nodes] == ["Dense", "Relu", "Dense"]
    kernels = [prepare(graph).origins[n.inputs[1]].layer for n in nodes if isinstance(n.op, Dense)]
    assert kernels == ["0", "4"]


class Activations(nn.Module):
    """Each activation of the same sums."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)
        self.kinds = nn.ModuleList(
            [
                *(nn.ELU(0.7), nn.SELU(), nn.Sigmoid(), nn.Tanh(), nn.Softplus(), nn.Softsign()),
                *(nn.Hardsigmoid(), nn.Hardtanh(), nn.ReLU6(), nn.LeakyReLU(0.2), nn.PReLU()),
                *(nn.LeakyReLU(1.2), nn.LogSoftmax(-1), nn.Softmax(-1), nn.Hardswish()),
            ]
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = 3 * self.fc(x)
        return tuple(kind(y) for kind in self.kinds)


def test_activations() -> None:
    model = Activations()
    agrees(model, load_graph(model, shapes={"x": (1, 6)}), (6,))


class Two(nn.Module):
    """Two inputs, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(2, 3)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        joined = self.left(a) + self.right(b)
        return joined, torch.cat([a, joined], 1)


def test_several_inputs_and_outputs() -> None:
    model = Two()
    graph = load_graph(model, shapes={"a": (1, 4), "b": (1, 2)})
    assert graph.inputs == ("a", "b")
    agrees(model, graph, (4,), (2,))


def test_the_module_is_as_before_afterwards() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout())
    model[0].eval()
    load_graph(model, shapes={"input": (1, 4)})
    assert [part.training for part in model.modules()] == [True, False, True]


@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")  # torch.compile's own
def test_what_wraps_a_module_is_taken_off() -> None:
    """Compiling is put off until a call, so nothing is compiled here."""
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    graph = load_graph(model, shapes={"input": (1, 4)})
    wrappers: list[Any] = [torch.compile(model), nn.DataParallel(model)]
    for wrapped in wrappers:
        for twice in (wrapped, nn.DataParallel(wrapped)):
            found = load_graph(twice, shapes={"input": (1, 4)})
            assert found.name == "Sequential"
            assert digest(found) == digest(graph)


def test_double_precision_stays_and_half_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 3)).double()
    x = np.random.default_rng(0).normal(size=(20, 4))
    graph = load_graph(model, shapes={"input": (1, 4)})
    with torch.no_grad():
        own = model(torch.from_numpy(x)).numpy()
    (found,) = evaluate(graph, {"input": x}).values()
    np.testing.assert_allclose(found, own, rtol=1e-13, atol=1e-13)  # sums in another order
    words = r"parameter '0\.weight' of Sequential is of torch\.float16.*call model\.float\(\) first"
    with pytest.raises(ModelError, match=words):
        load_graph(model.half(), shapes={"input": (1, 4)})


def test_an_example_serves_as_well_as_shapes() -> None:
    model = nn.Linear(4, 3)
    assert to_onnx(model, np.zeros((1, 4))) == to_onnx(model, shapes={"input": (7, 4)})


def test_shapes_are_needed() -> None:
    with pytest.raises(
        ModelError, match=r"give the shape of each argument.*shapes={'a': \(1, 16\), 'b'"
    ):
        load_graph(Two())


def test_shapes_must_name_the_arguments() -> None:
    with pytest.raises(
        ModelError, match=r"shapes are given for \['a', 'c'\], but forward\(\) takes"
    ):
        load_graph(Two(), shapes={"a": (1, 4), "c": (1, 2)})


def test_shapes_have_a_batch_axis() -> None:
    with pytest.raises(ModelError, match="has no batch axis"):
        load_graph(nn.Linear(4, 3), shapes={"input": ()})


def test_the_exporters_refusal_is_passed_on() -> None:
    with pytest.raises(ModelError, match=r"PyTorch cannot export Linear to ONNX: .*shapes"):
        load_graph(nn.Linear(4, 3), shapes={"input": (1, 5)})
