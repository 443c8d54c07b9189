"""Layers of PyTorch whose number formats are trained: fraction bits by gradient, ranges by data.

::

    model = nn.Sequential(Linear(16, 64), nn.ReLU(), Linear(64, 5))
    penalty = EBOPs(model, beta=1e-6)
    ...
    loss = cross_entropy(model(x), y) + penalty()
    synth.convert(model, shapes={"input": (1, 16)}, part=..., output_dir=...)

A layer quantises its input, its weights and its bias; between layers stands what moves or compares
numbers only (ReLU, pools of maxima, reshapes, sums). Where sums stay below 2^24 LSBs, float32 holds
them exactly, and what the model computes in evaluation mode is what its integer model computes.

Numbers are rounded to nearest, ties to even, on a grid of ``2**-f`` and saturate. The gradient goes
straight through where nothing saturates. That of f comes from the rounding error, which shrinks by
half with each bit: ``d q / d f = -ln 2 (q - x)`` (Sun et al., arXiv 2405.00645).
"""

from math import log, prod
from typing import Any, cast

from synth.errors import MissingPackage, ModelError, SettingsError

try:
    import torch
except ModuleNotFoundError as error:
    raise MissingPackage.of_extra(__name__, "torch", "pytorch") from error

from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "Conv1d",
    "Conv2d",
    "EBOPs",
    "Grid",
    "Linear",
    "Quantiser",
    "WeightQuantiser",
    "mean_width",
    "set_mean_width",
]

EXACT_BITS = 24
"""Bits of a whole number that float32 holds exactly."""
_MOST_FRAC = 30.0
_MOST_INTEGER = 100.0
"""A range beyond 2^100, or within 2^-100, is taken for one of that size: powers stay normal."""


def _power(exponent: Tensor) -> Tensor:
    """Return ``2**e`` for whole e from -126 to 127, put together from its bits.

    Exponential functions of devices and of vector units may be off by a bit.
    """
    bits = (exponent.to(torch.int32) + 127) << 23
    return bits.view(torch.float32).to(exponent.dtype)


class _Rounded(torch.autograd.Function):
    """``clamp(round(x 2**f), lo, hi) 2**-f`` for a whole f, with gradients of x and f."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, frac: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
        scale = _power(frac)
        code = torch.round(x * scale)
        kept = torch.clamp(code, lo, hi)
        q = kept / scale
        ctx.save_for_backward(q - x, kept == code, frac)
        return q

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        error, inside, frac = ctx.saved_tensors
        through = grad * inside
        return through, _summed_to(-log(2) * through * error, frac.shape), None, None


def _rounded(x: Tensor, frac: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    return cast(Tensor, cast(Any, _Rounded).apply(x, frac, lo, hi))


def _summed_to(x: Tensor, shape: torch.Size) -> Tensor:
    """Return x summed over the axes that broadcasting has made."""
    x = x.sum(dim=tuple(range(x.ndim - len(shape)))) if x.ndim > len(shape) else x
    wide = tuple(i for i, n in enumerate(shape) if n == 1 and x.shape[i] != 1)
    return x.sum(dim=wide, keepdim=True) if wide else x


def _whole(frac: Tensor) -> Tensor:
    """Return the nearest whole numbers, through which gradients pass."""
    bounded = frac.clamp(-_MOST_FRAC, _MOST_FRAC)
    return bounded + (bounded.round() - bounded).detach()


def _integer_bits(size: Tensor) -> Tensor:
    """Return the bits in front of the point of numbers of these magnitudes: ``size < 2**i``."""
    return torch.frexp(size).exponent.to(size.dtype)


def _check_finite(**tensors: Tensor | None) -> None:
    for what, tensor in tensors.items():
        wrong = 0 if tensor is None else int((~torch.isfinite(tensor)).sum())
        if wrong:
            raise ModelError(
                f"{wrong} of its {what.replace('_', ' ')} are NaN or infinite, so training has "
                "diverged or has met such data: go back to an earlier state, and lower the "
                "learning rate or clean the data"
            )


class Grid(nn.Module):
    """What quantisers share: learnt fraction bits, and how an exporter sees them as QONNX.

    Attributes
    ----------
    noise
        The share of values that are quantised while training.
    """

    scale: Tensor
    bits: Tensor
    zero: Tensor

    def __init__(self, shape: tuple[int, ...], frac: float) -> None:
        super().__init__()
        # Optimisers such as Adam move numbers that begin alike in unison: widths would fall
        # together, a whole bit at once, and costs in leaps that no budget can be driven by.
        self.frac = nn.Parameter(float(frac) - 0.5 + torch.rand(shape))
        self.noise = 1.0
        for name in ("scale", "bits"):
            self.register_buffer(name, torch.ones(shape), persistent=False)
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def _partly(self, x: Tensor, q: Tensor) -> Tensor:
        """Leave a share of the values as they are while training."""
        if not self.training or self.noise >= 1:
            return q
        return torch.where(torch.rand_like(x) < self.noise, q, x)

    def _exported(self, x: Tensor, *, signed: bool) -> Tensor:
        return torch.onnx.ops.symbolic(
            "qonnx.custom_op.general::Quant",
            (x, self.scale, self.zero, self.bits),
            {"signed": int(signed), "narrow": 0, "rounding_mode": "ROUND"},
            dtype=x.dtype,
            shape=x.shape,
            version=1,
        )


class WeightQuantiser(Grid):
    """Rounds constants; each group is as wide as its widest code, so that nothing saturates.

    Weights whose codes are all 0 cost nothing: they are pruned.

    Parameters
    ----------
    shape
        Of the fraction bits, against which weights broadcast.
    frac
        Fraction bits to begin with.
    """

    def forward(self, w: Tensor) -> Tensor:
        """Return w on its grid."""
        if torch.compiler.is_exporting():
            return self._exported(w, signed=True)
        frac = self._limited(w)
        q = _rounded(w, frac, *_unbounded(w))
        return self._partly(w, q)

    def _limited(self, w: Tensor) -> Tensor:
        """Return whole fraction bits, so few that codes are exact in float32."""
        whole = _whole(self.frac)
        return torch.minimum(whole, EXACT_BITS - 1 - _integer_bits(self._largest(w.detach())))

    def _largest(self, w: Tensor) -> Tensor:
        """Return the greatest magnitude of each group."""
        size, shape = w.abs(), self.frac.shape
        if len(shape) == 0:
            return size.max()
        wide = [i for i, n in enumerate(shape) if n == 1 and w.shape[i] != 1]
        return size.amax(dim=wide, keepdim=True) if wide else size

    def widths(self, w: Tensor) -> Tensor:
        """Return the bits of each group without the sign, through which gradients of f pass."""
        frac = self._limited(w)
        with torch.no_grad():
            code = torch.round(self._largest(w) * _power(frac))
        return torch.relu(_integer_bits(code) - frac.detach() + frac) * (code > 0)

    @torch.no_grad()
    def settle(self, w: Tensor) -> None:
        """Bring the exporter's view up to date, for these weights.

        Raises
        ------
        ModelError
            A weight or its fraction bits are NaN or infinite.
        """
        _check_finite(weights=w, fraction_bits_of_weights=self.frac)
        frac, widths = self._limited(w), self.widths(w)
        self.scale.copy_(_power(-frac))
        # A group of zeros still has a format: two bits, of which it needs none.
        self.bits.copy_(torch.clamp(widths + 1, min=2))


def _unbounded(x: Tensor) -> tuple[Tensor, Tensor]:
    most = x.new_tensor(float(1 << EXACT_BITS))
    return -most, most


class Quantiser(Grid):
    """Rounds data, and saturates at the range that training has seen.

    Parameters
    ----------
    features
        Channels of the input, for fraction bits of their own; None for one format.
    axis
        Of the channels.
    frac
        Fraction bits to begin with.
    memory
        Batches after which an extreme that does not come again has lost most of its weight.

    Raises
    ------
    SettingsError
        The memory is below one batch.
    ModelError
        When it is exported: no data but zeros have been seen, so there is no range; or it is NaN
        or infinite.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self, features: int | None = None, *, axis: int = -1, frac: float = 6, memory: float = 1000
    ) -> None:
        super().__init__((features,) if features else (), frac)
        if memory < 1:
            raise SettingsError(f"Quantiser: memory must be at least 1 batch, not {memory!r}")
        self.axis, self._decay = axis, 1 - 1 / memory
        self.exported_signed = True
        self._rank = 0
        for name in ("low", "high"):
            self.register_buffer(name, torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return x on its grid; a batch in training mode widens the range."""
        if torch.compiler.is_exporting():
            return self._exported(x, signed=self.exported_signed)
        # An evaluation before any training, such as Lightning's sanity check, sets a first range.
        if self.training or not self._has_seen():
            self._see(x.detach())
        frac, (lo, hi) = self._limited(), self._bounds()
        self._rank = x.ndim
        view = self._view()
        q = _rounded(x, frac.reshape(view), lo.reshape(view), hi.reshape(view))
        return self._partly(x, q)

    @torch.no_grad()
    def _see(self, x: Tensor) -> None:
        low, high = torch.aminmax(x)
        self.low.copy_(torch.minimum(low, self.low * self._decay))
        self.high.copy_(torch.maximum(high, self.high * self._decay))

    @property
    def signed(self) -> bool:
        """Whether a negative number was seen."""
        return bool(self.low < 0)

    def _view(self) -> tuple[int, ...]:
        """Return the shape in which bits by channel meet the latest data."""
        if not self.frac.ndim:
            return ()
        shape = [1] * self._rank
        shape[self.axis] = -1
        return tuple(shape)

    def _integer(self) -> Tensor:
        """Return the bits before the point of what was seen, the sign apart."""
        integer = torch.maximum(_integer_bits(self.high), _integer_bits(-self.low))
        return integer.clamp(-_MOST_INTEGER, _MOST_INTEGER)

    def _limited(self) -> Tensor:
        """Return whole fraction bits that leave a bit beside the sign, and at most 24 with it."""
        integer, sign = self._integer(), float(self.signed)
        whole = _whole(self.frac)
        most = whole.new_tensor(EXACT_BITS - sign) - integer
        return torch.maximum(torch.minimum(whole, most), 1 - integer)

    def _bounds(self) -> tuple[Tensor, Tensor]:
        top = _power((self._integer() + self._limited()).detach())
        return (-top if self.signed else torch.zeros_like(top)), top - 1

    def widths(self) -> Tensor:
        """Return the bits of each channel, the sign included, through which gradients pass."""
        return self._integer() + float(self.signed) + self._limited()

    def _has_seen(self) -> bool:
        return bool(self.low < 0 or self.high > 0)

    @torch.no_grad()
    def before_export(self) -> None:
        """Bring the exporter's view up to date."""
        _check_finite(fraction_bits=self.frac, ends_of_the_range=torch.stack([self.low, self.high]))
        if not self._has_seen():
            raise ModelError(
                "a quantiser has seen no data but zeros, so it has no range: train the model, or "
                "run some batches in training mode (model.train(); model(x))"
            )
        self.exported_signed = self.signed
        view = self._view()
        self.scale = _power(-self._limited()).reshape(view)
        self.bits = self.widths().reshape(view)


class _Quantised(nn.Module):
    """A layer of products that quantises what it reads."""

    weight: Tensor
    bias: Any
    input: Quantiser
    weights: WeightQuantiser
    biases: WeightQuantiser | None

    def _quantisers(self, frac: float, per: str, features: int, axis: int) -> None:
        shapes: dict[str, tuple[int, ...]] = {
            "tensor": (),
            "channel": (len(self.weight), *(1,) * (self.weight.ndim - 1)),
            "weight": tuple(self.weight.shape),
        }
        if per not in shapes:
            raise SettingsError(f"per must be one of {', '.join(shapes)}, not {per!r}")
        self.input = Quantiser(None if per == "tensor" else features, axis=axis, frac=frac)
        self.weights = WeightQuantiser(shapes[per], frac)
        self.biases = None
        if self.bias is not None:
            self.biases = WeightQuantiser(tuple(self.bias.shape) if per != "tensor" else (), frac)
        self._products = 1

    def _operands(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        bias = self.bias if self.biases is None else self.biases(self.bias)
        return self.input(x), self.weights(self.weight), bias

    def before_export(self) -> None:
        """Bring the exporter's view of the constants up to date."""
        self.weights.settle(self.weight)
        if self.biases is not None:
            self.biases.settle(self.bias)

    def mean_width(self) -> Tensor:
        """Return the mean width of what is multiplied: weights and data count alike."""
        widths = self.weights.widths(self.weight).expand(self.weight.shape)
        return (widths.double().mean() + self.input.widths().double().mean()) / 2

    def products(self) -> int:
        """Return how many products one event takes, as far as the layer was called."""
        return self.weight.numel() * self._products

    def ebops(self) -> Tensor:
        """Return bits of weights times bits of data, summed over the products of one event."""
        widths = self.weights.widths(self.weight).expand(self.weight.shape)
        # Each output has as many weights as there are channels of the input in its group.
        by_channel = widths.reshape(*self.weight.shape[:2], -1).sum(dim=2)
        data = self.input.widths()
        if data.ndim:
            groups = data.numel() // by_channel.shape[1]
            data = data.reshape(groups, 1, -1)
            by_channel = by_channel.reshape(groups, -1, by_channel.shape[1])
        return (by_channel * data).sum() * self._products


class Linear(_Quantised, nn.Linear):
    """``x w + b`` of quantised operands; arguments beyond these are those of `nn.Linear`.

    Parameters
    ----------
    frac
        Fraction bits to begin with; before they are rounded they are spread over half a bit to
        either side, at random.
    per
        What has a format of its own: each "weight", each output "channel", or the "tensor". The
        first two give each feature of the input its own, too.
    """

    def __init__(self, *args: Any, frac: float = 6, per: str = "weight", **options: Any) -> None:
        nn.Linear.__init__(self, *args, **options)
        self._quantisers(frac, per, self.in_features, -1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sums, exactly as far as float32 holds them."""
        self._products = prod(x.shape[1:-1])
        return functional.linear(*self._operands(x))


class _Conv(_Quantised):
    """Convolutions of quantised operands; arguments are those of `Linear` and of PyTorch's own."""

    _conv_forward: Any

    def forward(self, x: Tensor) -> Tensor:
        """Return the sums, exactly as far as float32 holds them."""
        x, weight, bias = self._operands(x)
        y = cast(Tensor, self._conv_forward(x, weight, bias))
        self._products = prod(y.shape[2:])
        return y


class Conv1d(_Conv, nn.Conv1d):
    """A convolution of [batch, channels, length]; see `Linear` for `frac` and `per`."""

    def __init__(self, *args: Any, frac: float = 6, per: str = "weight", **options: Any) -> None:
        nn.Conv1d.__init__(self, *args, **options)
        self._quantisers(frac, per, self.in_channels, 1)


class Conv2d(_Conv, nn.Conv2d):
    """A convolution of [batch, channels, height, width]; see `Linear` for `frac` and `per`."""

    def __init__(self, *args: Any, frac: float = 6, per: str = "weight", **options: Any) -> None:
        nn.Conv2d.__init__(self, *args, **options)
        self._quantisers(frac, per, self.in_channels, 1)


def _layers(model: nn.Module) -> list[_Quantised]:
    return [part for part in model.modules() if isinstance(part, _Quantised)]


@torch.no_grad()
def mean_width(model: nn.Module) -> float | None:
    """Return the mean width, in bits, of all that a model's layers multiply for an event.

    As `EBOPs` counts them: a weight without its sign, 0 bits if it is pruned; data with their sign.
    Biases and lone quantisers stand in no product. None for a model without layers of this module.
    """
    layers = _layers(model)
    if not layers:
        return None
    sums = [float(layer.mean_width()) * layer.products() for layer in layers]
    return sum(sums) / sum(layer.products() for layer in layers)


@torch.no_grad()
def set_mean_width(model: nn.Module, bits: float) -> None:
    """Shift all fraction bits of a model by one number, so that `mean_width` comes nearest to bits.

    So the differences that were learnt remain. Widths stay within their limits: 24 bits with the
    sign, and at the lower end 0 for weights and 1 beside the sign for data.
    """
    grids = [part for part in model.modules() if isinstance(part, Grid)]
    learnt = [grid.frac.clone() for grid in grids]

    def shifted(shift: float) -> float:
        for grid, frac in zip(grids, learnt, strict=True):
            grid.frac.copy_(frac + shift)
        return mean_width(model) or 0.0

    side = 1 if bits > shifted(0) else -1
    near, far = 0.0, 4 * _MOST_FRAC
    end = shifted(side * far)
    goal = min(bits, end) if side > 0 else max(bits, end)
    while far - near > _FINEST_SHIFT:
        middle = (near + far) / 2
        if side * (shifted(side * middle) - goal) < 0:
            near = middle
        else:
            far = middle
    # Of equally good shifts the least: what is as near as it can be stays as it is.
    shifted(side * min((0.0, near, far), key=lambda size: abs(shifted(side * size) - goal)))


_FINEST_SHIFT = 2.0**-10


class EBOPs:
    """The cost of a model as a penalty for its loss: ``loss + penalty()``.

    Parameters
    ----------
    model
        With layers of this module.
    beta
        Loss for one EBOP; a `BudgetController` turns it.

    Raises
    ------
    ModelError
        The model has no such layers.
    """

    def __init__(self, model: nn.Module, beta: float) -> None:
        self.model, self.beta = model, beta
        if not _layers(model):
            raise ModelError(
                f"{type(model).__name__} has no layers that quantise: build it of Linear, Conv1d "
                "and Conv2d of quant.layers.torch"
            )

    def total(self) -> Tensor:
        """Return the EBOPs of one event, with gradients of all fraction bits.

        They count whole groups by their widest code; `synth.cost` of the integer model, which
        counts each constant's own bits, is lower.
        """
        return torch.stack([layer.ebops() for layer in _layers(self.model)]).sum()

    def __call__(self) -> Tensor:
        """Return what is to be added to the loss."""
        return self.beta * self.total()
