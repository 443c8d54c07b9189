"""Layers of PyTorch: the semantics of `synth.fixed`, gradients, and bit-exact conversion."""

import subprocess
import sys
from collections.abc import Callable
from math import log
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import synth
from quant.allocate.cost import COSTS, design_of
from quant.layers.torch import Conv1d, Conv2d, EBOPs, Linear, Quantiser, WeightQuantiser
from synth.errors import ModelError, SettingsError
from synth.exact import Array
from synth.fixed import Fixed, Overflow, Round, decode, encode

floats = st.floats(-1000, 1000, width=32)
data = st.lists(floats, min_size=1, max_size=8)


@given(seen=data, x=data, frac=st.floats(-4, 12))
def test_data_are_cast_as_fixed_point_numbers_are(
    seen: list[float], x: list[float], frac: float
) -> None:
    quantiser = Quantiser(frac=frac)
    quantiser.train()(torch.tensor(seen))
    if not any(seen):
        return
    quantiser.eval()
    values = torch.tensor(x)
    found = quantiser(values).detach().numpy()
    quantiser.before_export()
    width = int(quantiser.bits)
    lsb = int(-torch.log2(quantiser.scale))
    fmt = Fixed(signed=quantiser.signed, width=width, frac=lsb)
    codes = encode(values.numpy(), fmt, Round.RND_CONV, Overflow.SAT)
    np.testing.assert_array_equal(found, decode(codes, fmt))
    # What was seen is within half an LSB, or at the end of the range.
    worst = np.abs(quantiser(torch.tensor(seen)).detach().numpy() - np.array(seen, np.float32))
    assert worst.max() <= 2.0**-lsb


@given(w=st.lists(floats, min_size=4, max_size=4), frac=st.floats(-4, 10))
@pytest.mark.parametrize("shape", [(), (2, 1), (2, 2)])
def test_weights_are_rounded_and_never_saturate(
    shape: tuple[int, ...], w: list[float], frac: float
) -> None:
    weights = torch.tensor(w).reshape(2, 2)
    quantiser = WeightQuantiser(shape, frac).eval()
    found = quantiser(weights).detach().numpy()
    quantiser.settle(weights)
    scale = np.broadcast_to(quantiser.scale.numpy(), (2, 2))
    bits = np.broadcast_to(quantiser.bits.numpy(), (2, 2))
    np.testing.assert_array_equal(found, np.rint(weights.numpy() / scale) * scale)
    assert (np.abs(found / scale) < 2.0 ** (bits - 1)).all()
    widths = quantiser.widths(weights).detach().numpy()
    largest = np.abs(found / scale)
    if shape == (2, 2):
        expected = [[int(code).bit_length() for code in row] for row in largest]
        np.testing.assert_array_equal(widths, expected)
    else:
        assert widths.max() == int(largest.max()).bit_length()


def test_gradients_go_straight_through_and_follow_the_rounding_error() -> None:
    quantiser = Quantiser(frac=2)
    x = torch.tensor([0.3, -0.9, 5.0], requires_grad=True)
    quantiser.train()(torch.tensor([-1.0, 1.5]))
    quantiser.eval()
    (quantiser(x) * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 10, 0]
    errors = (0.25 - 0.3) + 10 * (-1.0 + 0.9)
    assert quantiser.frac.grad is not None
    assert float(quantiser.frac.grad) == pytest.approx(-log(2) * errors, rel=1e-5)


def mlp(per: str) -> nn.Sequential:
    layers = Linear(6, 8, per=per), nn.ReLU(), Linear(8, 8, per=per, bias=False), Linear(8, 3)
    return nn.Sequential(*layers)


def images(per: str) -> nn.Sequential:
    first = Conv2d(2, 4, 3, padding=1, per=per), nn.ReLU(), nn.MaxPool2d(2)
    last = Conv2d(4, 4, 3, groups=2, per=per), nn.Flatten(), Linear(16, 3, per=per)
    return nn.Sequential(*first, *last)


def lines(per: str) -> nn.Sequential:
    return nn.Sequential(Conv1d(2, 4, 3, stride=2, per=per), nn.ReLU(), nn.Flatten(), Quantiser())


class Residual(nn.Module):
    def __init__(self, per: str) -> None:
        super().__init__()
        self.first, self.second = Linear(6, 6, per=per), Linear(6, 6, per=per)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(x))
        result: torch.Tensor = self.second(y) + y
        return result


MODELS: dict[str, tuple[Callable[[str], nn.Module], tuple[int, ...]]] = {
    "mlp": (mlp, (6,)),
    "images": (images, (2, 8, 8)),
    "lines": (lines, (2, 9)),
    "residual": (Residual, (6,)),
}


def trained(model: nn.Module, shape: tuple[int, ...], seed: int) -> Array:
    """Train on noise, so that formats differ from element to element; return other events."""
    torch.manual_seed(seed)
    penalty = EBOPs(model, beta=1e-4)
    optimiser = torch.optim.Adam(model.parameters(), 0.05)
    for _ in range(20):
        optimiser.zero_grad()
        (model(torch.randn(64, *shape)).square().mean() + penalty()).backward()
        optimiser.step()
    model.eval()
    x = np.random.default_rng(seed).normal(size=(2000, *shape)) * 3
    x[::2] = np.round(x[::2] * 64) / 64
    return x.astype(np.float32)


@pytest.mark.parametrize("per", ["weight", "channel", "tensor"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_converts_bit_for_bit(name: str, per: str) -> None:
    build, shape = MODELS[name]
    torch.manual_seed(3)
    model = build(per)
    x = trained(model, shape, seed=4)
    (argument,) = {"residual": ["x"]}.get(name, ["input"])
    made = synth.integer_model(model, shapes={argument: (1, *shape)})
    with torch.no_grad():
        own = model(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(made.predict(x), own)
    assert len(np.unique(own)) > 100


def test_the_penalty_bounds_what_the_integer_model_costs() -> None:
    """From above, as constants with zeros at their ends are shorter; both see pruned weights."""
    model = mlp("weight")
    trained(model, (6,), seed=1)
    first = model[0]
    assert isinstance(first, Linear)
    with torch.no_grad():
        first.weight[:, 0] = 0
        total = float(EBOPs(model, 1.0).total())
        costs = COSTS["ebops"](design_of(synth.integer_model(model, shapes=SHAPES).graph))
        assert 0.5 * total < costs <= total
        first.weight.zero_()
        assert float(EBOPs(model, 1.0).total()) < total


SHAPES = {"input": (1, 6)}


def test_convolutions_count_all_positions() -> None:
    model = images("tensor")
    model(torch.randn(4, 2, 8, 8))
    first = model[0]
    assert isinstance(first, Conv2d)
    bits = first.input.widths().item() * first.weights.widths(first.weight).item()
    assert first.ebops().item() == bits * 4 * 2 * 9 * 64


def test_noise_leaves_a_share_of_values_as_they_are() -> None:
    quantiser = Quantiser(frac=0)
    quantiser.noise = 0.25
    x = torch.rand(4000) + 0.1
    share = float((quantiser.train()(x) != x).float().mean())
    assert 0.2 < share < 0.3
    assert (quantiser.eval()(x) == torch.round(x)).all()


def test_what_cannot_be_is_named() -> None:
    with pytest.raises(SettingsError, match="per must be one of tensor, channel, weight, not 'x'"):
        Linear(2, 2, per="x")
    with pytest.raises(SettingsError, match="memory must be at least 1 batch, not 0"):
        Quantiser(memory=0)
    with pytest.raises(ModelError, match="Linear has no layers that quantise: build it of Linear"):
        EBOPs(nn.Linear(2, 2), 1e-6)
    with pytest.raises(ModelError, match="a quantiser has seen no data but zeros"):
        synth.integer_model(mlp("tensor"), shapes=SHAPES)


def test_without_pytorch_the_extra_is_named() -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "try:\n    import quant.layers.torch\n"
        "except ImportError as error:\n    print(error)"
    )
    done: Any = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "pip install 'synth[pytorch]'" in done.stdout
