"""QKeras 0.9 and its fork for Keras 3: what their quantisers mean.

- `quantized_bits(bits, integer)` rounds half to even and saturates; `integer` does not count the
  sign, so the LSB is 2^(integer - bits + keep_negative). With one bit it is the sign, of 0 too.
- `alpha` is a factor behind it. "auto" and "auto_po2" find the factor in the data; a kernel's
  quantiser without an alpha becomes "auto_po2" and symmetric without saying so. Of weights the
  factor is read behind an evaluation and frozen; an activation's would depend on the batch.
- QKeras computes ``x + (q - x)`` for the sake of gradients, in float32: a weight may be off its
  grid by an ulp. Here it is the number of the grid.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from quant.formats.keras.activations import activated, clipped
from quant.formats.keras.sheet import Use, array_of
from synth.exact import Array

__all__ = ["exactly", "frozen", "quantised"]


def quantised(use: Use, x: str, quantiser: Any) -> str:
    """Return x behind an activation, which is a quantiser or a function."""
    if quantiser is None:
        return x
    name = type(quantiser).__name__
    if _package(quantiser) != "qkeras":
        return activated(use, x, quantiser)
    if name in _UNREAD:
        use.refuse(f"its quantiser {name} {_UNREAD[name]}")
    rule = _QUANTISERS.get(name) or _FUNCTIONS.get(getattr(quantiser, "__name__", ""))
    if rule is None:
        use.refuse(f"its quantiser {getattr(quantiser, '__name__', name)!r} is not read")
    noise = float(array_of(getattr(quantiser, "qnoise_factor", 1.0)))
    if noise != 1.0:
        use.refuse(
            f"its quantiser {name} has qnoise_factor={noise:g}, so it quantises in part; "
            "set it to 1"
        )
    return rule(use, x, quantiser)


def _package(quantiser: Any) -> str:
    return str(getattr(quantiser, "__module__", "")).partition(".")[0]


_UNREAD = {
    "bernoulli": "draws random numbers, after training too, so it has no bits to keep",
    "quantized_ulaw": "rounds to levels that lie on no common grid",
}


# Activations


def _on_grid(
    use: Use,
    x: str,
    step: float | Array,
    low: float,
    high: float,
    *,
    factor: float | Array = 1.0,
    rounding: str = "RND_CONV",
) -> str:
    """Return x rounded to codes of a step, each of which stands for `factor` times as much."""
    scale = np.asarray(step, np.float32)
    zero, bounds = np.zeros((), np.float32), [np.array(low), np.array(high)]
    code = use.custom("Quantise", x, scale, zero, *bounds, role="code", rounding=rounding)
    out = np.asarray(np.asarray(step, np.float64) * factor, np.float32)
    return use.custom("Dequantise", code, out, zero)


def _sign(use: Use, x: str, low: float | Array, high: float | Array, *, at: float = 0.0) -> str:
    """Return one of two numbers: the higher one from a threshold on."""
    above = use.add("GreaterOrEqual", x, _number(at), role="above")
    return use.add("Where", above, _number(high), _number(low))


def _number(value: float | Array) -> Array:
    return np.asarray(value, np.float32)


def _alpha(use: Use, quantiser: Any) -> Array:
    """Return the factor of an activation's quantiser."""
    alpha = quantiser.alpha
    if isinstance(alpha, str):
        use.refuse(
            f"its quantiser {type(quantiser).__name__} has alpha={alpha!r}: its scale would depend "
            "on the events of a batch; give it a number"
        )
    return np.ones(()) if alpha is None else np.asarray(array_of(alpha), np.float64)


def _bits(use: Use, x: str, quantiser: Any) -> str:
    return _fixed(use, x, quantiser)


def _fixed(use: Use, x: str, quantiser: Any, *, divisor: float = 1.0) -> str:
    """Return what quantized_bits makes of ``x / divisor``."""
    alpha, unsigned = _alpha(use, quantiser), _unsigned(quantiser)
    keep = int(bool(quantiser.keep_negative))
    if unsigned == 0:
        return _sign(use, x, -alpha if keep else 0 * alpha, alpha)
    top = 2.0**unsigned
    step = 2.0 ** (_integer(quantiser) - unsigned)
    low = keep * (-top + int(quantiser.symmetric))
    return _on_grid(use, x, step * divisor, low, top - 1, factor=alpha / divisor)


def _unsigned(quantiser: Any) -> int:
    return int(quantiser.bits) - int(bool(quantiser.keep_negative))


def _integer(quantiser: Any) -> int:
    return int(array_of(quantiser.integer))


def _linear(use: Use, x: str, quantiser: Any) -> str:
    _alpha(use, quantiser)
    step = array_of(quantiser.quantization_scale).astype(np.float64)
    if bool(quantiser.use_sign_function):
        return _sign(use, x, -step / 2, step / 2)
    low, high = (float(array_of(n)) for n in quantiser.get_clip_bounds())
    return _on_grid(use, x, step, low, high)


def _relu(use: Use, x: str, quantiser: Any) -> str:
    slope = float(quantiser.negative_slope)
    top = 2.0 ** (int(quantiser.bits) - (slope != 0.0))
    unit = 2.0 ** _integer(quantiser)
    if slope and slope * top < 1:
        use.refuse(f"negative_slope={slope:g} is finer than the LSB of {int(quantiser.bits)} bits")
    if quantiser.use_sigmoid:
        y = _sigmoid_relu(use, x, quantiser, top, unit)
    else:
        x = use.add("LeakyRelu", x, role="slope", alpha=slope) if slope else x
        y = _on_grid(use, x, unit / top, -slope * top, top - 1)
    bound = quantiser.relu_upper_bound
    if bound and not quantiser.is_quantized_clip:
        y = use.add("Min", y, _number(bound))
    return y


def _sigmoid_relu(use: Use, x: str, quantiser: Any, top: float, unit: float) -> str:
    """Return twice a sigmoid less 1, of which the positive part counts, or with a slope both."""
    slope = float(quantiser.negative_slope)
    x = use.add("Mul", x, _number(1 / unit), role="scaled")
    p = _sigmoid(use, x, quantiser)
    y = clipped(use, _twice(use, p, top, unit), 0.0, unit * (1 - 1 / top))
    if not slope:
        return y
    negative = _twice(use, p, slope * top, unit * slope)
    return use.add("Add", y, clipped(use, negative, -unit * slope, 0.0))


def _twice(use: Use, p: str, top: float, unit: float) -> str:
    """Return ``(2 round(p top) / top - 1) unit``."""
    scale, zero = _number(1 / top), np.zeros((), np.float32)
    code = use.custom("Quantise", p, scale, zero, zero, _number(top), role="code")
    return use.custom("Dequantise", code, _number(2 * unit / top), _number(top / 2), role="twice")


def _sigmoid(use: Use, x: str, quantiser: Any) -> str:
    """Return what QKeras takes for a sigmoid; a setting of its module says which."""
    function = sys.modules[type(quantiser).__module__]._sigmoid  # noqa: SLF001
    return _named_sigmoid(use, x, function.__name__)


def _named_sigmoid(use: Use, x: str, name: str) -> str:
    if name in _SLOPES:
        return use.add("HardSigmoid", x, role="sigmoid", alpha=_SLOPES[name], beta=0.5)
    return use.add("Sigmoid", x, role="sigmoid")


_SLOPES = {"hard_sigmoid": 0.5, "smooth_sigmoid": 0.1875}


def _as_tanh(use: Use, p: str) -> str:
    return use.add("Sub", use.add("Mul", p, _number(2), role="twice"), _number(1), role="tanh")


def _tanh(use: Use, x: str, quantiser: Any) -> str:
    top = 2.0 ** (int(quantiser.bits) - 1)
    if quantiser.use_real_tanh:
        p = use.add("Tanh", x, role="tanh")
    else:
        p = _as_tanh(use, _sigmoid(use, x, quantiser))
    return _on_grid(use, p, 1 / top, -top + int(quantiser.symmetric), top - 1)


def _quantised_sigmoid(use: Use, x: str, quantiser: Any) -> str:
    top = 2.0 ** int(quantiser.bits)
    real = quantiser.use_real_sigmoid
    p = use.add("Sigmoid", x, role="sigmoid") if real else _sigmoid(use, x, quantiser)
    return _on_grid(use, p, 1 / top, int(quantiser.symmetric), top - 1)


def _hswish(use: Use, x: str, quantiser: Any) -> str:
    """X times its shifted and clipped self; the quantiser's step takes the division in."""
    bound = float(quantiser.relu_upper_bound)
    shifted = use.add("Add", x, _number(float(quantiser.relu_shift)), role="shifted")
    product = use.add("Mul", x, clipped(use, shifted, 0.0, bound), role="product")
    return _fixed(use, product, quantiser, divisor=bound)


def _binary(use: Use, x: str, quantiser: Any) -> str:
    alpha = _alpha(use, quantiser)
    return _sign(use, x, 0 * alpha if quantiser.use_01 else -alpha, alpha)


def _ternary(use: Use, x: str, quantiser: Any) -> str:
    alpha = _alpha(use, quantiser)
    given = quantiser.threshold
    threshold = float(quantiser.default_threshold if given is None else given)
    below = use.add("LessOrEqual", x, _number(-threshold), role="below")
    rest = use.add("Where", below, _number(-alpha), _number(0.0), role="rest")
    above = use.add("GreaterOrEqual", x, _number(threshold), role="above")
    return use.add("Where", above, _number(alpha), rest)


def _po2(use: Use, x: str, quantiser: Any) -> str:
    """Return the sign times the nearest power of two, in the logarithm."""
    powers = _powers(use, use.add("Abs", x, role="magnitude"), quantiser)
    sign = _sign(use, x, -1.0, 1.0)
    return use.add("Mul", sign, powers)


def _relu_po2(use: Use, x: str, quantiser: Any) -> str:
    positive = _powers(use, use.add("Relu", x, role="positive"), quantiser)
    slope = float(quantiser.negative_slope)
    if not slope:
        return positive
    other = use.add("Mul", x, _number(-slope), role="negative")
    below = use.add("Neg", _powers(use, use.add("Relu", other, role="positive"), quantiser))
    above = use.add("GreaterOrEqual", x, _number(0.0), role="above")
    return use.add("Where", above, positive, below)


_MOST_POWERS = 64
_EPSILON = 1e-7


def _powers(use: Use, x: str, quantiser: Any) -> str:
    """Return the power of two of each magnitude: a step at the root of two neighbours' product."""
    low, high = int(quantiser._min_exp), int(quantiser._max_exp)  # noqa: SLF001
    factor = 2 if quantiser.quadratic_approximation else 1
    if quantiser.log2_rounding != "rnd":
        use.refuse(f"log2_rounding={quantiser.log2_rounding!r} is not read")
    if quantiser.max_value is not None:
        x = use.add("Min", x, _number(quantiser.max_value), role="limited")
    # The exponent of what is below 1e-7, Keras' epsilon, is the least one, and is not doubled.
    steps = [n for n in range(low + 1, high + 1) if 2.0 ** (factor * (n - 0.5)) > _EPSILON]
    if len(steps) > _MOST_POWERS:
        use.refuse(f"its quantiser has {len(steps)} exponents; {_MOST_POWERS} are read")
    least, lowest = 2.0**low, 2.0 ** (factor * (steps[0] - 1 if steps else low))
    y: str | Array = _number(least)
    if lowest != least:
        above = use.add("GreaterOrEqual", x, _number(_EPSILON), role="step")
        y = use.add("Where", above, _number(lowest), y, role="power")
    for n in steps:
        # Half way between two exponents lies no power of two, but one of four; it goes to the even.
        at_least = "Greater" if factor == 2 and n % 2 else "GreaterOrEqual"
        above = use.add(at_least, x, _number(2.0 ** (factor * (n - 0.5))), role="step")
        y = use.add("Where", above, _number(2.0 ** (factor * n)), y, role="power")
    return y if isinstance(y, str) else use.constant(y, "power")


def _round_sigmoid(use: Use, x: str, name: str) -> str:
    return _on_grid(use, _named_sigmoid(use, x, name), 1.0, 0, 1)


_QUANTISERS: dict[str, Callable[[Use, str, Any], str]] = {
    "binary": _binary,
    "quantized_bits": _bits,
    "quantized_hswish": _hswish,
    "quantized_linear": _linear,
    "quantized_po2": _po2,
    "quantized_relu": _relu,
    "quantized_relu_po2": _relu_po2,
    "quantized_sigmoid": _quantised_sigmoid,
    "quantized_tanh": _tanh,
    "stochastic_binary": _binary,
    "stochastic_ternary": _ternary,
    "ternary": _ternary,
}

_FUNCTIONS: dict[str, Callable[[Use, str, Any], str]] = {
    "binary_sigmoid": lambda use, x, _: _round_sigmoid(use, x, "hard_sigmoid"),
    "binary_tanh": lambda use, x, _: _as_tanh(use, _round_sigmoid(use, x, "hard_sigmoid")),
    "hard_sigmoid": lambda use, x, _: _named_sigmoid(use, x, "hard_sigmoid"),
    "hard_tanh": lambda use, x, _: _as_tanh(use, _named_sigmoid(use, x, "hard_sigmoid")),
    "smooth_sigmoid": lambda use, x, _: _named_sigmoid(use, x, "smooth_sigmoid"),
    "smooth_tanh": lambda use, x, _: _as_tanh(use, _named_sigmoid(use, x, "smooth_sigmoid")),
}


# Weights


def frozen(use: Use, tensor: Any, quantiser: Any, role: str = "weight") -> str:
    """Return a weight behind its quantiser: codes and what one of them stands for."""
    if quantiser is None:
        return use.constant(array_of(tensor), role)
    codes, unit = _codes(use, tensor, quantiser, role)
    if unit is None:
        return use.constant(codes.astype(np.float32), role)
    zero = np.zeros((1,) * codes.ndim, np.float32)
    return use.custom("Dequantise", codes, unit, zero, role=role)


def exactly(use: Use, tensor: Any, quantiser: Any, role: str) -> Array:
    """Return the values of a weight behind its quantiser, in float64."""
    if quantiser is None:
        return array_of(tensor).astype(np.float64)
    codes, unit = _codes(use, tensor, quantiser, role)
    return codes if unit is None else codes * unit


def _codes(use: Use, tensor: Any, quantiser: Any, role: str) -> tuple[Array, Array | None]:
    """Return a weight's codes and their unit; of powers of two, the numbers themselves."""
    name = type(quantiser).__name__
    if _package(quantiser) != "qkeras" or name in _UNREAD or name not in _UNITS:
        use.refuse(f"its {role}'s quantiser {name} {_UNREAD.get(name, 'is not read')}")
    values = array_of(quantiser(tensor)).astype(np.float64)
    unit = _UNITS[name](quantiser)
    if unit is None:
        return np.sign(values) * 2.0 ** np.rint(np.log2(np.abs(values))), None
    unit = np.where(unit > 0, unit, 1.0)  # that of a channel of zeros
    unit = unit.reshape((1,) * (values.ndim - unit.ndim) + unit.shape)
    return np.rint(values / unit), unit


def _scale(quantiser: Any) -> Array:
    """Return the factor that the last evaluation took."""
    scale = quantiser.scale
    return np.ones(()) if scale is None else array_of(scale).astype(np.float64)


def _bits_unit(quantiser: Any) -> Array:
    unsigned = _unsigned(quantiser)
    step = 2.0 ** (_integer(quantiser) - unsigned)
    if unsigned == 0 and not isinstance(quantiser.alpha, str):
        step = 1.0
    return _scale(quantiser) * step


def _linear_unit(quantiser: Any) -> Array:
    unit = array_of(quantiser.quantization_scale).astype(np.float64)
    return unit / 2 if bool(quantiser.use_sign_function) else unit


def _relu_unit(quantiser: Any) -> Array:
    unsigned = int(quantiser.bits) - (float(quantiser.negative_slope) != 0.0)
    return np.array(2.0 ** (_integer(quantiser) - unsigned))


_UNITS: dict[str, Callable[[Any], Array | None]] = {
    "binary": _scale,
    "quantized_bits": _bits_unit,
    "quantized_hswish": _bits_unit,
    "quantized_linear": _linear_unit,
    "quantized_po2": lambda _: None,
    "quantized_relu": _relu_unit,
    "quantized_relu_po2": lambda _: None,
    "quantized_sigmoid": lambda q: np.array(2.0 ** -int(q.bits)),
    "quantized_tanh": lambda q: np.array(2.0 ** (1 - int(q.bits))),
    "stochastic_binary": _scale,
    "stochastic_ternary": _scale,
    "ternary": _scale,
}
"""What one code of a weight stands for, from its quantiser; None where it is a power of two."""
