"""Takes composites apart into the primitives of the typed stage; the values are floats still.

Each intermediate has a role of its own in the layer (exp, sum, reciprocal, ...), by which a
precision can be given to it.
"""

from collections.abc import Callable
from math import prod
from typing import cast

import numpy as np

from synth.ir import Graph, Node, Op
from synth.ir.ops import (
    Abs,
    Add,
    Clip,
    Compare,
    Div,
    Elu,
    Function,
    HardSigmoid,
    LeakyRelu,
    Maximum,
    Minimum,
    Mul,
    PRelu,
    Reduce,
    Relu,
    Select,
    Selu,
    Softmax,
    Softplus,
    Softsign,
    Sub,
)
from synth.passes.quantised import is_quantised
from synth.passes.rewrite import Rewrite, Rule, rewrite
from synth.passes.unroll import unroll

__all__ = ["decompose"]


def decompose(graph: Graph) -> Graph:
    """Return the graph with nothing but operations that have a typed form, and `Function`.

    Quantised graphs keep quotients by constants: scales are exact there, and reciprocals would not
    be.
    """
    rules = {**_RULES, Div: _exact_div} if is_quantised(graph) else _RULES
    return rewrite(unroll(graph), rules)


def _softmax(work: Rewrite, node: Node) -> str:
    """``exp(x - max x) / sum exp(x - max x)``: no exponential exceeds 1."""
    _, e, of_sum = _exponentials(work, node, work.inputs(node)[0], cast(Softmax, node.op).axes)
    return work.result(node, Mul(), e, of_sum("reciprocal"))


def _exponentials(
    work: Rewrite, node: Node, x: str, axes: tuple[int, ...]
) -> tuple[str, str, Callable[[str], str]]:
    """Return ``d = x - max x``, ``exp d``, and how to add a function of the sum of ``exp d``."""
    most = work.part(node, Reduce("max", axes), x, role="max")
    shifted = work.part(node, Sub(), x, most, role="shifted")
    # Where calibration tells nothing: 0 at most, which no interval of a difference shows.
    domain = (-np.inf, 0.0) if is_quantised(work.graph) else None
    e = work.part(node, Function("exp", domain=domain), shifted, role="exp")
    total = work.part(node, Reduce("sum", axes), e, role="sum")
    # The largest term is exp(0), so the sum of n terms lies between 1 and n.
    shape = work.shape(e)
    terms = (1.0, float(prod(shape[axis] for axis in axes)))

    def of_sum(name: str) -> str:
        return work.part(node, Function(name, domain=terms), total, role=name)

    return shifted, e, of_sum


def _log_softmax(work: Rewrite, node: Node) -> str | None:
    """``log softmax x = d - log sum exp d``, ``d = x - max x``: the quotient is never formed."""
    producer = work.producer(node.inputs[0])
    named = cast(Function, node.op).name == "log"
    if not named or producer is None or not isinstance(producer.op, Softmax):
        return None
    if not work.sole(node.inputs[0]):
        return None
    shifted, _, of_sum = _exponentials(work, node, work.inputs(producer)[0], producer.op.axes)
    return work.result(node, Sub(), shifted, of_sum("log"))


def _elu(work: Rewrite, node: Node) -> str:
    return _exponential(work, node, cast(Elu, node.op).alpha, 1.0)


def _selu(work: Rewrite, node: Node) -> str:
    op = cast(Selu, node.op)
    return _exponential(work, node, op.alpha, op.gamma)


def _exponential(work: Rewrite, node: Node, alpha: float, gamma: float) -> str:
    """``gamma relu(x) + alpha gamma (exp(min(x, 0)) - 1)``."""
    (x,) = work.inputs(node)
    positive = work.part(node, Relu(), x, role="positive")
    if gamma != 1:
        gain = work.scalar(node, gamma, x)
        positive = work.part(node, Mul(), positive, gain, role="scaled")
    zero = work.scalar(node, 0, x, role="bound")
    negative = work.part(node, Minimum(), x, zero, role="negative")
    table = Function("scaled_expm1", (alpha * gamma,))
    return work.result(node, Add(), positive, work.part(node, table, negative, role="exp"))


def _softplus(work: Rewrite, node: Node) -> str:
    """``log(1 + exp x) = relu(x) + log(1 + exp(-|x|))``: a table of a bounded function."""
    (x,) = work.inputs(node)
    positive = work.part(node, Relu(), x, role="positive")
    size = work.part(node, Abs(), x, role="absolute")
    log = work.part(node, Function("log1p_exp_neg"), size, role="log")
    return work.result(node, Add(), positive, log)


def _softsign(work: Rewrite, node: Node) -> str:
    return work.result(node, Function("softsign"), *work.inputs(node))


def _hard_sigmoid(work: Rewrite, node: Node) -> str:
    (x,), op = work.inputs(node), cast(HardSigmoid, node.op)
    slope, offset = work.scalar(node, op.alpha, x), work.scalar(node, op.beta, x, role="bias")
    product = work.part(node, Mul(), x, slope, role="scaled")
    line = work.part(node, Add(), product, offset, role="line")
    positive = work.part(node, Relu(), line, role="positive")
    return work.result(node, Minimum(), positive, work.scalar(node, 1, x, role="bound"))


def _clip(work: Rewrite, node: Node) -> str | None:
    (x,), op = work.inputs(node), cast(Clip, node.op)
    steps: list[tuple[Op, float | None]] = []
    if op.lo == 0:
        steps.append((Relu(), None))
    elif op.lo != -np.inf:
        steps.append((Maximum(), op.lo))
    if op.hi != np.inf:
        steps.append((Minimum(), op.hi))
    if not steps:
        return work.same(node, x)
    for position, (step, bound) in enumerate(steps):
        operands = [x] if bound is None else [x, work.scalar(node, bound, x, role="bound")]
        last = position == len(steps) - 1
        x = (
            work.result(node, step, *operands)
            if last
            else work.part(node, step, *operands, role="bounded")
        )
    return x


def _leaky(work: Rewrite, node: Node) -> str:
    slope = work.scalar(node, cast(LeakyRelu, node.op).alpha, work.inputs(node)[0])
    return _sloped(work, node, slope)


def _prelu(work: Rewrite, node: Node) -> str:
    return _sloped(work, node, work.inputs(node)[1])


def _sloped(work: Rewrite, node: Node, slope: str) -> str:
    """``x >= 0 ? x : slope x``, which is the greater of both for slopes from 0 to 1."""
    x, value = work.inputs(node)[0], work.array(slope)
    if value is not None and not value.any():
        return work.result(node, Relu(), x)
    product = work.part(node, Mul(), x, slope, role="scaled")
    if value is not None and np.all((value >= 0) & (value <= 1)):
        return work.result(node, Maximum(), x, product)
    zero = work.scalar(node, 0, x, role="bound")
    positive = work.part(node, Compare(">="), x, zero, role="condition")
    return work.result(node, Select(), positive, x, product)


def _div(work: Rewrite, node: Node) -> str:
    a, b = work.inputs(node)
    ones, divisor = work.array(a), work.array(b)
    if divisor is not None:
        with np.errstate(divide="ignore"):
            value = (1 / divisor.astype(np.float64)).astype(divisor.dtype)
        return work.result(node, Mul(), a, work.constant(value, b, work.build.origins[b]))
    same_shape = work.shape(b) == work.graph.types[node.output].shape
    if ones is not None and same_shape and np.all(ones == 1):
        return work.result(node, Function("reciprocal"), b)
    inverse = work.part(node, Function("reciprocal"), b, role="reciprocal")
    return work.result(node, Mul(), a, inverse)


def _exact_div(work: Rewrite, node: Node) -> str | None:
    return None if work.array(work.inputs(node)[1]) is not None else _div(work, node)


_RULES: dict[type[Op], Rule] = {
    Clip: _clip,
    Div: _div,
    Elu: _elu,
    Function: _log_softmax,
    HardSigmoid: _hard_sigmoid,
    LeakyRelu: _leaky,
    PRelu: _prelu,
    Selu: _selu,
    Softmax: _softmax,
    Softplus: _softplus,
    Softsign: _softsign,
}
