"""The closed set of operations, one file a family. `OPS` maps each name to its class."""

from synth.ir.op import Op
from synth.ir.ops.activation import (
    Clip,
    Elu,
    Function,
    HardSigmoid,
    LeakyRelu,
    PRelu,
    Selu,
    Softmax,
    Softplus,
    Softsign,
)
from synth.ir.ops.elementwise import (
    Abs,
    Add,
    Compare,
    Div,
    Elementwise,
    Maximum,
    Minimum,
    Mul,
    Neg,
    Relu,
    Select,
    Sub,
)
from synth.ir.ops.linear import Conv, Dense, MatMul
from synth.ir.ops.movement import Concat, Gather, Movement, Pad, Reshape, Slice, Transpose
from synth.ir.ops.numbers import Bitwise, Convert, CumSum, Mod, Pow
from synth.ir.ops.positions import Pick, Scatter, Smallest
from synth.ir.ops.quantisers import Dequantise, Quantise
from synth.ir.ops.recurrent import Gru, Lstm, Recurrent, Rnn
from synth.ir.ops.reduce import MaxPool, Reduce, SumPool
from synth.ir.ops.trees import Trees
from synth.ir.ops.typed import Cast, Table

__all__ = [
    "OPS",
    "Abs",
    "Add",
    "Bitwise",
    "Cast",
    "Clip",
    "Compare",
    "Concat",
    "Conv",
    "Convert",
    "CumSum",
    "Dense",
    "Dequantise",
    "Div",
    "Elementwise",
    "Elu",
    "Function",
    "Gather",
    "Gru",
    "HardSigmoid",
    "LeakyRelu",
    "Lstm",
    "MatMul",
    "MaxPool",
    "Maximum",
    "Minimum",
    "Mod",
    "Movement",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "Pick",
    "Pow",
    "Quantise",
    "Recurrent",
    "Reduce",
    "Relu",
    "Reshape",
    "Rnn",
    "Scatter",
    "Select",
    "Selu",
    "Slice",
    "Smallest",
    "Softmax",
    "Softplus",
    "Softsign",
    "Sub",
    "SumPool",
    "Table",
    "Transpose",
    "Trees",
]

OPS: dict[str, type[Op]] = {
    op.__name__: op
    for op in (
        *(Abs, Add, Compare, Div, Maximum, Minimum, Mul, Neg, Relu, Select, Sub),
        *(Conv, Dense, MatMul, MaxPool, Reduce, SumPool),
        *(Concat, Gather, Pad, Reshape, Slice, Transpose),
        *(Clip, Elu, Function, HardSigmoid, LeakyRelu, PRelu),
        *(Selu, Softmax, Softplus, Softsign),
        *(Gru, Lstm, Rnn),
        *(Bitwise, Convert, CumSum, Mod, Pow),
        *(Pick, Scatter, Smallest),
        *(Quantise, Dequantise),
        *(Cast, Table, Trees),
    )
}
