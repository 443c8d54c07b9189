"""Attention: products of matrices around a softmax; and rotary embeddings of positions."""

import math
from collections.abc import Sequence

import numpy as np

from synth.errors import FormatError, ShapeError
from synth.ir.ops import (
    Add,
    Compare,
    Concat,
    Function,
    Gather,
    MatMul,
    Mul,
    Select,
    Softmax,
    Transpose,
)
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = ["attention"]


@handles("Attention", since=23)
def attention(call: Call) -> Sequence[Value]:
    """Softmax of scaled and masked products of queries and keys, times values; past ones first."""
    heads = [call.integer(name, 0) for name in ("q_num_heads", "kv_num_heads", "kv_num_heads")]
    q, k, v = (_by_head(call, call[i], count) for i, count in enumerate(heads))
    if (q.rank, k.rank, v.rank) != (4, 4, 4):
        raise ShapeError(f"{call.node}: operands of ranks {q.rank}, {k.rank} and {v.rank}")
    _check_precision(call, q)
    before = 0 if call.optional(4) is None else call[4].shape[-2]
    k, v = _behind_past(call, k, 4), _behind_past(call, v, 5)
    scores = _Scores(call, q, _repeated(call, k, q), before)
    weights = call.add(Softmax((-1,)), scores.masked, role="softmax")
    y = call.add(MatMul(), weights, _repeated(call, v, q))
    if call[0].rank == 3:
        y = call.add(Transpose((0, 2, 1, 3)), y)
        y = call.reshape(y, (*y.shape[:2], y.shape[2] * y.shape[3]))
    return [y, k, v, scores.shown(weights)]


def _check_precision(call: Call, q: Value) -> None:
    precision = call.integer("softmax_precision", 0)
    if precision == 11 and q.dtype != "float64":
        call.refuse(f"its softmax of {q.dtype} is computed in float64")


def _by_head(call: Call, x: Value, heads: int) -> Value:
    """Return [n, steps, heads * size] as [n, heads, steps, size]."""
    if x.rank == 4:
        return x
    if x.rank != 3 or heads < 1 or x.shape[2] % heads:
        raise ShapeError(f"{call.node}: operand {x.shape} does not divide into {heads} heads")
    apart = call.reshape(x, (*x.shape[:2], heads, x.shape[2] // heads))
    return call.add(Transpose((0, 2, 1, 3)), apart)


def _behind_past(call: Call, x: Value, position: int) -> Value:
    past = call.optional(position)
    return x if past is None else call.add(Concat(-2), past, x)


def _repeated(call: Call, x: Value, q: Value) -> Value:
    """Give each head of the queries one: groups of them share a key and a value."""
    heads, wanted = x.shape[1], q.shape[1]
    if heads == wanted:
        return x
    if not heads or wanted % heads:
        raise ShapeError(f"{call.node}: {wanted} heads of queries for {heads} of keys or values")
    indices = np.repeat(np.arange(heads), wanted // heads)
    return call.add(Gather(-3, tuple(indices.tolist())), x)


class _Scores:
    """The products of queries and keys, on their way to the softmax."""

    def __init__(self, call: Call, q: Value, k: Value, before: int) -> None:
        self.call, self.before = call, before
        scale = call.number("scale", 1.0 / math.sqrt(max(q.shape[-1], 1)))
        scaled = call.add(Mul(), q, call.scalar(scale, q), role="query")
        turned = call.add(Transpose((0, 1, 3, 2)), k)
        self.raw = call.add(MatMul(), scaled, turned, role="score")
        self.capped = self._capped(call.number("softcap", 0.0))
        self.masked = self._causal(self._padded(self._biased(self.capped)))

    def shown(self, weights: Value) -> Value:
        """Return what the model wants to see, if it does."""
        mode = self.call.integer("qk_matmul_output_mode", 0)
        shown = {0: self.raw, 1: self.capped, 2: self.masked, 3: weights}
        if mode not in shown:
            raise FormatError(f"{self.call.node}: qk_matmul_output_mode is {mode}")
        return shown[mode]

    def _capped(self, cap: float) -> Value:
        """Return ``cap tanh(score / cap)``."""
        if cap <= 0:
            return self.raw
        call = self.call
        part = call.add(Mul(), self.raw, call.scalar(1.0 / cap, self.raw), role="capped")
        part = call.add(Function("tanh"), part, role="capped")
        return call.add(Mul(), part, call.scalar(cap, part), role="capped")

    def _biased(self, scores: Value) -> Value:
        """Add the mask, or, if it is one of bools, keep where it holds; it may end early."""
        call, mask = self.call, self.call.optional(3)
        if mask is None:
            return scores
        missing = scores.shape[-1] - mask.shape[-1] if mask.rank else 0
        if missing > 0:
            fill = np.full((*mask.shape[:-1], missing), mask.dtype != "bool", mask.dtype)
            fill = fill * -np.inf if mask.dtype != "bool" else fill
            mask = call.add(Concat(-1), mask, call.constant(fill.astype(mask.dtype)))
        mask, scores = call.same_rank(mask, scores)
        if mask.dtype == "bool":
            return self._kept(mask, scores)
        return call.add(Add(), scores, mask, role="masked")

    def _padded(self, scores: Value) -> Value:
        """Keep as many keys as `nonpad_kv_seqlen` says, for each element of the batch."""
        lengths = self.call.optional(6)
        if lengths is None:
            return scores
        call = self.call
        places = np.arange(scores.shape[-1], dtype=lengths.dtype).reshape(1, 1, 1, -1)
        lengths = call.reshape(lengths, (lengths.shape[0], 1, 1, 1))
        inside = call.add(Compare("<"), call.constant(places), lengths, role="mask")
        return self._kept(inside, scores)

    def _causal(self, scores: Value) -> Value:
        """Keep the keys up to each query's own place, behind the past ones."""
        if not self.call.integer("is_causal", 0):
            return scores
        rows, columns = scores.shape[-2:]
        inside = np.tri(rows, columns, self.before, bool)[None, None]
        return self._kept(self.call.constant(inside), scores)

    def _kept(self, inside: Value, scores: Value) -> Value:
        lowest = self.call.scalar(-np.inf, scores)
        return self.call.add(Select(), inside, scores, lowest, role="masked")
