"""If, whose condition is known: one of its branches takes its place."""

from collections.abc import Sequence

from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = ["branch"]


@handles("If")
def branch(call: Call) -> Sequence[Value]:
    """The results of one branch, which reads what is around the node."""
    if call[0].array is None:
        call.refuse("its condition is computed; only a constant one is read")
    holds = bool(call.known_scalar(0, "condition"))
    return call.branch("then_branch" if holds else "else_branch")
