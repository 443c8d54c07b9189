"""Builds small models, and holds what synth computes to what onnxruntime computes.

Operands are multiples of 1/8 of small magnitude: sums of their products are exact in float32 in any
order, so results are compared bit by bit, unless a test states a tolerance and where it comes from.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from synth.evaluate import Evaluator
from synth.ir import Graph
from synth.onnx import read

Array = NDArray[Any]
Attributes = dict[str, Any]

FUNCTION: Attributes = {"rtol": 1e-5, "atol": 1e-6}
"""Of transcendental functions: onnxruntime's approximations are within some 10 units of the last
place of float32 (6e-8); NumPy's within 4."""
QUOTIENT: Attributes = {"rtol": 1e-6, "atol": 1e-7}
"""Of a division done as a product with a rounded reciprocal: 2 roundings of 6e-8 each, and those of
the sums that follow."""


def grid(*shape: int, seed: int = 0, dtype: str = "float32") -> Array:
    """Return multiples of 1/8 between -4 and 4."""
    return np.asarray(np.random.default_rng(seed).integers(-32, 33, shape) / 8, dtype)


def node_model(
    op_type: str,
    inputs: Mapping[str, Any],
    constants: Mapping[str, Any] | None = None,
    *,
    opset: int = 13,
    outputs: Sequence[str] = ("y",),
    operands: Sequence[str] | None = None,
    domain: str = "",
    **attributes: Any,
) -> onnx.ModelProto:
    """Return a model of one node that reads `inputs` and then `constants` (or `operands`)."""
    constants = constants or {}
    names = [*inputs, *constants] if operands is None else list(operands)
    node = helper.make_node(
        op_type, names, list(outputs), name="node_1", domain=domain, **attributes
    )
    return model([node], inputs, constants, outputs=[o for o in outputs if o], opset=opset)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Any],
    constants: Mapping[str, Any] | None = None,
    *,
    outputs: Sequence[str] = ("y",),
    opset: int = 13,
    output_type: int = TensorProto.UNDEFINED,
) -> onnx.ModelProto:
    """Return a model of some nodes; the types of outputs are left to be inferred."""
    kinds = {name: helper.np_dtype_to_tensor_dtype(x.dtype) for name, x in inputs.items()}
    made = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(k, kinds[k], x.shape) for k, x in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(x, name) for name, x in (constants or {}).items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def split_model(
    op_type: str, operands: Mapping[str, Array], known: AbstractSet[str], **rest: Any
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """Return a model of one node with those of its operands as constants that are known.

    The inputs are returned with it.
    """
    inputs = {name: x for name, x in operands.items() if name not in known}
    constants = {name: x for name, x in operands.items() if name in known}
    return node_model(op_type, inputs, constants, operands=list(operands), **rest), inputs


def onnxruntime_results(made: onnx.ModelProto, inputs: Mapping[str, Array]) -> list[Array]:
    """Return what onnxruntime computes, without its optimisations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    results: list[Array] = session.run(None, dict(inputs))
    return results


def synth_results(graph: Graph, inputs: Mapping[str, Array]) -> list[Array]:
    """Return what the imported graph computes for one event, the model's batch."""
    results = Evaluator(graph, threads=1)({name: x[None] for name, x in inputs.items()})
    return [results[name][0] for name in graph.outputs]


def check(
    made: onnx.ModelProto,
    inputs: Mapping[str, Array],
    expected: Sequence[Array] | None = None,
    **tolerance: Any,
) -> Graph:
    """Hold synth to onnxruntime, or to `expected`: bit by bit, or within a tolerance."""
    graph = read(made)
    theirs = onnxruntime_results(made, inputs) if expected is None else expected
    assert list(graph.outputs) == [output.name for output in made.graph.output]
    for name, ours, other in zip(graph.outputs, synth_results(graph, inputs), theirs, strict=True):
        assert graph.types[name].shape == other.shape
        if expected is None and other.dtype != np.float16:
            assert ours.dtype == other.dtype == graph.tensor(name).dtype
        if tolerance:
            np.testing.assert_allclose(ours, other, **tolerance)
        else:
            np.testing.assert_array_equal(ours, other)
    return graph
