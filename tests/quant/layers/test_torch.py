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
from quant.layers.torch import (
    Conv1d,
    Conv2d,
    EBOPs,
    Grid,
    Linear,
    Quantiser,
    WeightQuantiser,
    _power,
    mean_width,
    set_mean_width,
)
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
    with pytest.raises(ModelError, match=r"layer '0\.input': a quantiser has seen no data but zer"):
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


# Powers of two


def test_powers_of_two_are_exact_for_every_exponent() -> None:
    exponents = np.arange(-126, 128)
    for dtype in (torch.float32, torch.float64):
        found = _power(torch.from_numpy(exponents).to(dtype)).numpy()
        np.testing.assert_array_equal(found, np.ldexp(1.0, exponents))


@pytest.mark.parametrize("size", [2.0**-140, 2.0**-100, 2.0**-60, 2.0**60, 2.0**100, 2.0**127])
def test_ranges_of_every_size_are_computed_with_normal_powers(size: float) -> None:
    x = torch.tensor([size, -size / 3, 0.0])
    quantiser, weights = Quantiser(frac=30), WeightQuantiser((), 30)
    for found in (quantiser.train()(x), weights(x)):
        assert torch.isfinite(found).all()
    assert (quantiser.widths() >= 1).all()
    assert (quantiser.widths() <= 24).all()


# The mean width


def learnt(per: str) -> nn.Sequential:
    """Return a network whose fraction bits differ, and which has seen data."""
    torch.manual_seed(5)
    model = mlp(per)
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, Grid):
                part.frac.add_(torch.randn(part.frac.shape))
    model(torch.randn(64, 6))
    return model


def fractions(model: nn.Module) -> Array:
    grids = [part for part in model.modules() if isinstance(part, Grid)]
    return np.concatenate([grid.frac.detach().numpy().ravel() for grid in grids])


def test_the_mean_width_counts_operands_of_products() -> None:
    """Both operands of each product, one by one; convolutions at all positions."""
    model = nn.Sequential(Conv1d(2, 4, 3, groups=2), nn.ReLU(), nn.Flatten(), Linear(16, 3))
    model(torch.randn(8, 2, 6))
    operands = []
    for layer, places in ((model[0], 4), (model[3], 1)):
        assert isinstance(layer, Conv1d | Linear)
        weights = layer.weights.widths(layer.weight).detach()
        data = layer.input.widths().detach()
        for index in np.ndindex(*weights.shape):
            channel = index[1] + (index[0] // 2 if isinstance(layer, Conv1d) else 0)
            operands += [float(weights[index]), float(data[channel])] * places
    assert mean_width(model) == pytest.approx(np.mean(operands), rel=1e-12)
    assert mean_width(nn.Linear(2, 2)) is None


@pytest.mark.parametrize("per", ["weight", "channel", "tensor"])
def test_the_mean_width_moves_and_learnt_differences_remain(per: str) -> None:
    model = learnt(per)
    before = fractions(model)
    step = {"weight": 0.05, "channel": 0.2, "tensor": 0.9}[per]  # of so many formats
    for bits in (5.0, 3.3, 8.0):
        set_mean_width(model, bits)
        assert mean_width(model) == pytest.approx(bits, abs=step)
        shift = fractions(model) - before
        np.testing.assert_allclose(shift, shift[0], atol=1e-5)  # of float32's sums


def test_a_mean_width_as_near_as_can_be_changes_nothing() -> None:
    model = learnt("tensor")
    before = fractions(model)
    width = mean_width(model)
    assert width is not None
    for bits in (width, width + 1e-9, width - 1e-9):
        set_mean_width(model, bits)
        np.testing.assert_array_equal(fractions(model), before)


def test_a_mean_width_keeps_the_limits_and_returns_from_them() -> None:
    model = learnt("weight")
    before, width = fractions(model), mean_width(model)
    assert width is not None
    set_mean_width(model, 0.1)
    for layer in model:
        if isinstance(layer, Linear):
            assert (layer.input.widths() == 1 + layer.input.signed).all()
            assert (layer.weights.widths(layer.weight) == 0).all()
    set_mean_width(model, 99)
    for layer in model:
        if isinstance(layer, Linear):
            assert layer.input.widths().max() == 24
            assert layer.weights.widths(layer.weight).max() == 23  # and a sign
    set_mean_width(model, width)
    assert mean_width(model) == pytest.approx(width, abs=0.05)
    shift = fractions(model) - before
    np.testing.assert_allclose(shift, shift[0], atol=1e-4)  # of float32's sums


# Numbers that are none


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("name", "layer", "words"),
    [
        ("2.weight", "2", "weights"),
        ("3.bias", "3", "weights"),
        ("2.weights.frac", "2", "fraction bits of weights"),
        ("2.input.frac", "2.input", "fraction bits"),
        ("2.input.low", "2.input", "ends of the range"),
        ("2.input.high", "2.input", "ends of the range"),
    ],
)
def test_numbers_that_are_none_are_named_with_their_layer(
    name: str, layer: str, words: str, value: float
) -> None:
    model = learnt("weight")
    model.state_dict()[name].view(-1)[:1] = value
    message = f"layer '{layer}': 1 of its {words} are NaN or infinite, so training has diverged"
    with pytest.raises(ModelError, match=message):
        synth.integer_model(model, shapes=SHAPES)
