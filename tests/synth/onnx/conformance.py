"""The node cases of the onnx package: which pass, which are refused, and how.

``python -m tests.synth.onnx.conformance`` writes docs/onnx-operators.md; it takes minutes, as it
compiles all of them.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from backends.cpp import emit_header
from projects.compiled import Compiled
from synth.errors import UnsupportedOp
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.ir import Graph
from synth.onnx import read
from tests.cpp_batch import compile_headers

__all__ = ["DOCS", "Case", "cases", "difference", "outcome", "readable", "run", "table"]

TOGETHER = 60
"""Cases in one run of the compiler."""
DOCS = Path(__file__).parents[3] / "docs" / "onnx-operators.md"


@dataclass(frozen=True, eq=False)
class Case:
    """A model of one node (or a few), and what it must compute.

    Attributes
    ----------
    data
        Sets of inputs and outputs, both by name; None stands for no tensor.
    """

    name: str
    model: onnx.ModelProto
    data: tuple[tuple[Mapping[str, Any], Mapping[str, Any]], ...]
    rtol: float
    atol: float

    @property
    def operator(self) -> str:
        """The operator that the case is about: the first of its model."""
        nodes = self.model.graph.node
        return next((node.op_type for node in nodes if node.op_type != "Constant"), "Constant")

    def with_constants(self, first: int) -> "Case":
        """Return the case with the values of the inputs from `first` on in the model."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        ((feeds, _),) = self.data
        for value in list(model.graph.input)[first:]:
            if value.name in feeds:
                tensor = numpy_helper.from_array(feeds[value.name], value.name)
                model.graph.initializer.append(tensor)
                model.graph.input.remove(value)
        return replace(self, model=model)

    def graph(self) -> Graph:
        """Return the graph as it is read: with all axes that the model has."""
        empty = {
            f"{value.name}:{axis}": 0
            for value in self.model.graph.input
            for axis, dim in enumerate(value.type.tensor_type.shape.dim)
            if dim.HasField("dim_value") and dim.dim_value == 0
        }
        return read(self.model, dimensions=empty)


def cases() -> Iterator[Case]:
    """Yield all node cases of the installed package, in the order of their names."""
    for found in sorted(load_model_tests(kind="node"), key=lambda case: case.name):
        if "bernoulli" in found.name or found.name in _ROUNDED_TIES:
            continue  # Which numbers are drawn is left to implementations.
        folder = Path(str(found.model_dir))
        model = onnx.load(folder / "model.onnx")
        names = [value.name for value in model.graph.input]
        results = [value.name for value in model.graph.output]
        sets = tuple(
            (_values(data, "input", names), _values(data, "output", results))
            for data in sorted(folder.glob("test_data_set_*"))
        )
        yield Case(found.name, model, sets, found.rtol, found.atol)


_ROUNDED_TIES = ("test_dynamicquantizelinear_expanded",)
"""Cases whose numbers rest on a quotient that is a tie as float32 rounds it: 0.5 / (5 / 255), which
is below 25.5. Quantisers are exact here."""


def _values(folder: Path, side: str, names: Sequence[str]) -> dict[str, Any]:
    """Return arrays by name; what is no tensor (a sequence, an optional) is left out."""
    values = {}
    for number, name in enumerate(names):
        tensor = onnx.TensorProto()
        path = folder / f"{side}_{number}.pb"
        if path.exists():
            try:
                tensor.ParseFromString(path.read_bytes())
                values[name] = numpy_helper.to_array(tensor)
            except (DecodeError, TypeError, ValueError):
                continue
    return values


def run(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Evaluate one event."""
    given = {name: np.asarray(feeds[name])[None] for name in graph.inputs}
    return {name: array[0] for name, array in Evaluator(graph, threads=1)(given).items()}


def difference(case: Case, found: Mapping[str, Array], expected: Mapping[str, Any]) -> str:
    """Return what is wrong with results; nothing if they are right."""
    common = [name for name in expected if name in found]
    if not common:
        return f"no output of {sorted(expected)} is a tensor"
    for name in common:
        made, array, rtol = found[name], expected[name], case.rtol
        if array.dtype.name in ("float16", "bfloat16"):
            # Both are carried in float32, which has more digits than bfloat16 by far.
            rtol = max(rtol, 2.0**-8) if array.dtype.name == "bfloat16" else rtol
            array = array.astype(np.float32)
        if array.dtype.name in ("int2", "int4", "uint2", "uint4"):
            array = array.astype(f"{array.dtype.name[:-1]}8")
        if made.dtype != array.dtype or made.shape != array.shape:
            return f"{name}: {made.dtype}{made.shape} instead of {array.dtype}{array.shape}"
        if not np.allclose(made, array, rtol=rtol, atol=case.atol, equal_nan=True):
            return f"{name}: {made.reshape(-1)[:5]} instead of {array.reshape(-1)[:5]}"
    return ""


def readable(case: Case) -> Graph:
    """Return the graph of a case.

    Where an operand must be known because it decides a shape, all operands but the first, or all,
    are constants of the model instead of inputs.

    Raises
    ------
    UnsupportedOp
        It cannot be read either way.
    """
    for known in (False, True):
        try:
            return (case.with_constants(1) if known else case).graph()
        except UnsupportedOp as error:
            if "constant" not in str(error) or len(case.data) != 1:
                raise
    return case.with_constants(0).graph()


def outcome(case: Case) -> str:
    """Return "pass", "refused: ..." or "WRONG: ..."."""
    try:
        graph = readable(case)
    except UnsupportedOp as error:
        return f"refused: {' '.join(str(error).split())}"
    except Exception as error:  # noqa: BLE001 -- the suite must name every kind
        return f"WRONG: {type(error).__name__}: {error}"
    for feeds, expected in case.data:
        try:
            wrong = difference(case, run(graph, feeds), expected)
        except Exception as error:  # noqa: BLE001
            return f"WRONG: {type(error).__name__}: {error}"
        if wrong:
            return f"WRONG: {wrong}"
    return "pass"


def compiled(passing: Sequence[tuple[Case, Graph]], folder: Path) -> dict[str, str]:
    """Return the outcome of each case in compiled C++: "pass", "refused: ..." or "WRONG: ..."."""
    found, printed = {}, []
    for case, graph in passing:
        try:
            emit_header(graph, "g")
        except UnsupportedOp as error:
            found[case.name] = f"refused: {error}"
            continue
        printed.append((case, graph))
    for start in range(0, len(printed), TOGETHER):
        part = printed[start : start + TOGETHER]
        models = compile_headers([graph for _, graph in part], folder / str(start))
        for (case, graph), model in zip(part, models, strict=True):
            found[case.name] = _compiled_outcome(case, graph, model)
    return found


def _compiled_outcome(case: Case, graph: Graph, model: Compiled) -> str:
    for feeds, expected in case.data:
        results = model.run({name: np.asarray(feeds[name])[None] for name in graph.inputs})
        wrong = difference(case, {name: array[0] for name, array in results.items()}, expected)
        if wrong:
            return f"WRONG: {wrong}"
    return "pass"


def table(evaluated: Mapping[str, tuple[str, str]], in_cpp: Mapping[str, str]) -> str:
    """Return the page: outcomes by case, (operator, outcome) in `evaluate` and the one in C++."""
    rows: dict[str, list[int]] = {}
    reasons: dict[str, str] = {}
    for name, (operator, result) in evaluated.items():
        row = rows.setdefault(operator, [0, 0, 0])
        row[0] += 1
        row[1] += result == "pass"
        row[2] += in_cpp.get(name) == "pass"
        if result != "pass":
            reasons.setdefault(operator, _reason(result))
        elif in_cpp.get(name) != "pass":
            reasons.setdefault(operator, _reason(in_cpp.get(name, "refused: not compiled")))
    totals = [sum(column) for column in zip(*rows.values(), strict=True)]
    lines = [
        _PAGE.format(onnx.__version__, *totals),
        "| operator | cases | `evaluate` | C++ | the first that is refused |",
        "|---|---|---|---|---|",
    ]
    for operator, row in sorted(rows.items()):
        lines.append(f"| {operator} | {' | '.join(map(str, row))} | {reasons.get(operator, '')} |")
    return "\n".join(lines) + "\n"


_PAGE = """\
# ONNX operators

This page is generated (`python -m tests.synth.onnx.conformance`): the node cases of the package
onnx {0}, by the operator they are about. Of {1:,} cases, {2:,} pass in `evaluate` and {3:,} in the
compiled C++ of the backend `cpp`; every other one is refused by name. None gives a wrong number.

An operand that decides a shape must be known: such cases are read with their operands as constants.
Cases of drawn numbers are left out, and one whose expected code rests on a quotient that float32
rounds to a tie. Half precision is carried in float32, integers of 2 and 4 bits in 8.
"""


def _reason(result: str) -> str:
    text = result.partition(": ")[2]
    text = text.partition("cannot be read: ")[2] or text
    text = text.partition(" Replace them")[0].replace("|", "/")
    return text if len(text) < 110 else f"{text[:107]}..."


def main() -> None:
    """Write the page."""
    evaluated, passing = {}, []
    for case in cases():
        result = outcome(case)
        evaluated[case.name] = (case.operator, result)
        if result == "pass":
            passing.append((case, readable(case)))
    with tempfile.TemporaryDirectory() as scratch:
        in_cpp = compiled(passing, Path(scratch))
    wrong = {name: result for name, result in in_cpp.items() if result.startswith("WRONG")}
    assert not wrong, wrong
    DOCS.write_text(table(evaluated, in_cpp), "utf-8")


if __name__ == "__main__":
    main()
