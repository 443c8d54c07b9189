"""Operations on each element, as C++ expressions; chains of them become one function object."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from backends.cpp.values import CPP_TYPES, Values, literal
from synth.casting import CastKernel
from synth.errors import UnsupportedOp
from synth.fixed import Fixed
from synth.ir import Node
from synth.ir.ops import (
    Abs,
    Add,
    Bitwise,
    Cast,
    Clip,
    Compare,
    Convert,
    Dequantise,
    Div,
    Elu,
    Function,
    HardSigmoid,
    LeakyRelu,
    Maximum,
    Minimum,
    Mod,
    Mul,
    Neg,
    Pow,
    PRelu,
    Quantise,
    Relu,
    Select,
    Selu,
    Softplus,
    Softsign,
    Sub,
    Table,
)

__all__ = ["cast_modes", "expression", "is_unary", "lambda_of"]

Rule = Callable[[Any, Sequence[str], str], str]
"""From an operation, its operands as expressions and their type: the expression of its result."""

_ARITHMETIC = {
    Add: ("+", "add"),
    Sub: ("-", "subtract"),
    Mul: ("*", "multiply"),
    Div: ("/", "divide"),
}
_FUNCTIONS = {
    "exp": "lib::exponential({0})",
    "log": "lib::logarithm({0})",
    "tanh": "lib::hyperbolic_tangent({0})",
    "sigmoid": "lib::logistic({0})",
    "sqrt": "lib::square_root({0})",
    "reciprocal": "1 / {0}",
    "scaled_expm1": "{1} * lib::exponential_less_one({0})",
    "log1p_exp_neg": "lib::logarithm_of_one_and(lib::exponential(-{0}))",
    "softsign": "{0} / (1 + lib::absolute({0}))",
    "erf": "lib::error_function({0})",
    "floor": "lib::lower({0})",
    "ceil": "lib::upper({0})",
    "round": "lib::nearest({0})",
    "sign": "lib::sign({0})",
    **{
        name: f"std::{name}({{0}})"
        for name in (
            *("sin", "cos", "tan", "asin", "acos", "atan"),
            *("sinh", "cosh", "asinh", "acosh", "atanh"),
        )
    },
}


def expression(node: Node, values: Values, operands: Sequence[str]) -> str:
    """Return the expression of one element of an operation's result.

    Raises
    ------
    UnsupportedOp
        The operation does not work on each element, or is not printed here.
    """
    kind = values.working(node)
    if isinstance(node.op, Cast):
        return _cast(node, values, operands[0])
    if isinstance(node.op, Table):
        return _table(node, values, operands[0])
    aligned = [
        _aligned(x, values.type(name), kind if i or not isinstance(node.op, Select) else "", shift)
        for i, (x, name, shift) in enumerate(
            zip(operands, node.inputs, values.shifts(node), strict=True)
        )
    ]
    if type(node.op) not in _RULES:
        raise UnsupportedOp(f"{node.op.kind} is not printed as C++")
    return _RULES[type(node.op)](node.op, aligned, kind)


def is_unary(node: Node, values: Values) -> bool:
    """Whether an operation maps each element of one computed operand by itself."""
    computed = [x for x in node.inputs if x not in values.graph.constants]
    single = all(values.size(x) == 1 for x in node.inputs if x in values.graph.constants)
    if isinstance(node.op, Table):
        return True
    if isinstance(node.op, Cast):
        return isinstance(node.op.format.type, Fixed)
    same = values.size(node.output) == values.size(computed[0]) if computed else False
    return type(node.op) in _RULES and len(computed) == 1 and single and same


def lambda_of(nodes: Sequence[Node], values: Values, parameters: Sequence[tuple[str, str]]) -> str:
    """Print a function object that computes a chain of operations, each from the one before.

    Parameters
    ----------
    nodes
        The first reads the parameters, one an operand that is no constant of one element; the
        others are unary. None at all is a function that hands its parameter on.
    parameters
        Types and names.
    """
    last = parameters[0][1]
    lines = []
    waiting = [name for _, name in parameters]
    for number, node in enumerate(nodes):
        operands = []
        for position, name in enumerate(node.inputs):
            array = values.graph.constants.get(name)
            if array is not None and array.size == 1 and not isinstance(node.op, Table):
                operands.append(literal(array.reshape(-1)[0], values.type(name)))
            elif number == 0 and waiting:
                operands.append(waiting.pop(0))
            elif not isinstance(node.op, Table) or position == 0:
                operands.append(last)
        made = f"v{number}"
        text = expression(node, values, operands)
        kind = values.type(node.output)
        lines.append(f"const {kind} {made} = {kind}({text});")
        last = made
    taken = ", ".join(f"{kind} {name}" for kind, name in parameters)
    if len(lines) == 1:
        only = lines[0].split(" = ", 1)[1]
        return f"[=]({taken}) {{ return {only} }}"
    return "\n    ".join([f"[=]({taken}) {{", *lines, f"return {last};"]) + "\n}"


def _aligned(x: str, held: str, kind: str, shift: int) -> str:
    if kind and held != kind:
        x = f"{kind}({x})"
    if shift:
        x = f"{x} * {literal(1 << shift, kind)}"
    return x if shift == 0 else f"({x})"


def _arithmetic(op: Any, operands: Sequence[str], kind: str) -> str:
    symbol, name = _ARITHMETIC[type(op)]
    a, b = operands
    whole = kind not in ("float", "double")
    return f"lib::{name}<{kind}>({a}, {b})" if whole else f"({a} {symbol} {b})"


def _clip(op: Clip, operands: Sequence[str], kind: str) -> str:
    low, high = literal(op.lo, kind), literal(op.hi, kind)
    return f"lib::minimum(lib::maximum({operands[0]}, {low}), {high})"


def _elu(alpha: float, gamma: float, x: str, kind: str) -> str:
    scale, curve = literal(gamma, kind), literal(float(_in(kind, alpha)), kind)
    negative = f"{curve} * lib::exponential_less_one(lib::minimum({x}, {kind}(0)))"
    return f"{scale} * ({x} >= 0 ? {x} : {negative})"


def _in(kind: str, value: float) -> Any:
    return np.float32(value) if kind == "float" else np.float64(value)


def _function(op: Function, operands: Sequence[str], kind: str) -> str:
    if op.name not in _FUNCTIONS:
        raise UnsupportedOp(f"{op.name} is not printed as C++")
    constants = [literal(value, kind) for value in op.constants]
    return f"({_FUNCTIONS[op.name].format(operands[0], *constants)})"


def _hard_sigmoid(op: HardSigmoid, operands: Sequence[str], kind: str) -> str:
    line = f"{literal(op.alpha, kind)} * {operands[0]} + {literal(op.beta, kind)}"
    return f"lib::minimum(lib::maximum({line}, {kind}(0)), {kind}(1))"


_BITWISE = {"and": "({0} & {1})", "or": "({0} | {1})", "xor": "({0} ^ {1})"}


def _bitwise(op: Bitwise, operands: Sequence[str], kind: str) -> str:
    if op.function in _BITWISE:
        return _BITWISE[op.function].format(*operands)
    return f"lib::shift_{op.function}<{kind}>({operands[0]}, {operands[1]})"


def _quantise(op: Quantise, operands: Sequence[str], _kind: str) -> str:
    wraps = "true" if op.overflow == "WRAP" else "false"
    return f"lib::quantise<lib::Nearby::{op.rounding}, {wraps}>({', '.join(operands)})"


def _softplus(_op: Softplus, operands: Sequence[str], kind: str) -> str:
    (x,) = operands
    small = f"lib::logarithm_of_one_and(lib::exponential(-lib::absolute({x})))"
    return f"lib::maximum({x}, {kind}(0)) + {small}"


_RULES: dict[type, Rule] = {
    **dict.fromkeys(_ARITHMETIC, _arithmetic),
    Abs: lambda _op, x, kind: f"lib::absolute<{kind}>({x[0]})",
    Clip: _clip,
    Bitwise: _bitwise,
    Convert: lambda op, x, _kind: f"lib::to<{CPP_TYPES[op.to]}>({x[0]})",
    Mod: lambda op, x, kind: f"lib::{'remainder' if op.fmod else 'modulo'}<{kind}>({x[0]}, {x[1]})",
    Pow: lambda _op, x, kind: f"lib::power<{kind}>({x[0]}, {x[1]})",
    Compare: lambda op, x, _kind: f"({x[0]} {op.relation} {x[1]})",
    Dequantise: lambda _op, x, _kind: f"(({x[0]} - {x[2]}) * {x[1]})",
    Elu: lambda op, x, kind: _elu(op.alpha, 1.0, x[0], kind),
    Function: _function,
    HardSigmoid: _hard_sigmoid,
    LeakyRelu: lambda op, x, kind: f"({x[0]} >= 0 ? {x[0]} : {literal(op.alpha, kind)} * {x[0]})",
    Maximum: lambda _op, x, _kind: f"lib::maximum({x[0]}, {x[1]})",
    Minimum: lambda _op, x, _kind: f"lib::minimum({x[0]}, {x[1]})",
    Neg: lambda _op, x, kind: _arithmetic(Sub(), (f"{kind}(0)", x[0]), kind),
    PRelu: lambda _op, x, _kind: f"({x[0]} >= 0 ? {x[0]} : {x[1]} * {x[0]})",
    Quantise: _quantise,
    Relu: lambda _op, x, kind: f"lib::maximum({x[0]}, {kind}(0))",
    Select: lambda _op, x, _kind: f"({x[0]} != 0 ? {x[1]} : {x[2]})",
    Selu: lambda op, x, kind: _elu(op.alpha, op.gamma, x[0], kind),
    Softplus: _softplus,
    Softsign: lambda _op, x, _kind: f"({x[0]} / (1 + lib::absolute({x[0]})))",
}

# The typed stage's own


def cast_modes(op: Cast, kernel: CastKernel, *, exact: bool) -> str:
    """Print the template arguments of a cast; it rounds nothing if `exact`."""
    rounding = "TRN" if exact else op.format.rounding.value
    overflow = op.format.overflow.value if kernel.checks else "NONE"
    return f"lib::Rounding::{rounding}, lib::Overflow::{overflow}"


def _cast(node: Node, values: Values, x: str) -> str:
    op = node.op
    assert isinstance(op, Cast)
    source, target = values.graph.codes(node.inputs[0]), op.format.type
    assert isinstance(target, Fixed)
    kernel, shift = CastKernel(op, source), source.frac - target.frac
    modes = cast_modes(op, kernel, exact=shift <= 0)
    numbers = (*(int(end) for end in op.limits()), target.min, 1 << target.width)
    if kernel.carrier in ("int64", "object"):
        limits = ", ".join(_wide(value) for value in numbers)
        return f"lib::cast_integer<{modes}>(std::int64_t({x}), {shift}, {{{limits}}})"
    kind = "float" if kernel.carrier == "float32" else "double"
    limits = ", ".join(literal(value, kind) for value in numbers)
    scale = literal(float(Fraction(2) ** -shift), kind)
    return f"lib::cast<{modes}>({kind}({x}), {scale}, lib::Limits<{kind}>{{{limits}}})"


def _wide(value: int) -> str:
    """Print an integer of up to 128 bits, in parts where it is longer than a literal can be."""
    if -(1 << 63) < value < 1 << 63:
        return f"{value}LL"
    sign = "-" if value < 0 else ""
    high, low = divmod(abs(value), 1 << 62)
    return f"{sign}(lib::Wide({high}LL) * (1LL << 62) + {low}LL)"


def _table(node: Node, values: Values, x: str) -> str:
    op = node.op
    assert isinstance(op, Table)
    entries = node.inputs[1]
    kind = values.type(node.output)
    last = values.size(entries) - 1
    return f"lib::look_up<{kind}>({values.names[entries]}, {op.lo}L, {last}L, {x})"
