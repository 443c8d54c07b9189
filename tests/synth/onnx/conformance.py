"""The node cases of the onnx package: which pass, which are refused, and how.

``python -m tests.synth.onnx.conformance`` writes docs/onnx-operators.md.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from synth.errors import UnsupportedOp
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.ir import Graph
from synth.onnx import read

__all__ = ["Case", "cases", "difference", "document", "outcome", "readable", "run"]

PINNED = "1.22.0"
"""The version of the onnx package whose cases the document counts."""
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
        """The operator that the case is about: the first of its model, with its domain if any."""
        nodes = self.model.graph.node
        first = next((node for node in nodes if node.op_type != "Constant"), nodes[0])
        return f"{first.domain}.{first.op_type}" if first.domain else first.op_type

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
        if "bernoulli" in found.name:
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


# The document

_INTRODUCTION = """# ONNX operators

Counted with the node cases of the [onnx package](https://pypi.org/project/onnx/) {version}: small models that hold one operator each (or, if it is a function, the operators that it expands to), with inputs and outputs. A case is *read* if synth turns it into a graph and `synth.evaluate` computes the outputs, within the tolerance of the case and in the element type that it names; *C++* counts those that compiled C++ computes too. Everything else is refused with a message that names the node; no case is computed wrongly. Cases with random results (Bernoulli) are left out.

Operands that decide a shape must be constants of the model, as shapes are static. float16 is carried in float32. A project for an FPGA takes less: what has no rule for fixed point is refused by name, too.

{passed} of {count} cases are read. `python -m tests.synth.onnx.conformance` writes this page.

"""  # noqa: E501 -- paragraphs of Markdown are one line each
_HEAD = "| operator | cases | read | refused | C++ |\n|---|---:|---:|---|---:|\n"


def document(outcomes: Mapping[Case, str], compiled: Mapping[str, str] | None = None) -> str:
    """Return docs/onnx-operators.md.

    Parameters
    ----------
    outcomes
        Of `outcome`, for each case.
    compiled
        "pass", or why not, for the name of each case that was compiled as C++.
    """
    groups: dict[str, list[tuple[Case, str]]] = defaultdict(list)
    named = {case.name: case for case in outcomes}
    for case, found in outcomes.items():
        # A case in which a function is expanded belongs to the function.
        whole = named.get(case.name.split("_expanded")[0], case)
        groups[whole.operator].append((case, found))
    rows = [_row(name, groups[name], compiled) for name in sorted(groups, key=_by_domain)]
    passed = sum(found == "pass" for found in outcomes.values())
    introduction = _INTRODUCTION.format(version=PINNED, passed=passed, count=len(outcomes))
    return introduction + _HEAD + "".join(rows)


def _by_domain(operator: str) -> tuple[bool, str]:
    return "." in operator, operator.lower()


def _row(
    operator: str, found: Sequence[tuple[Case, str]], compiled: Mapping[str, str] | None
) -> str:
    passed = sum(text == "pass" for _, text in found)
    reasons = _reasons(operator, [text for _, text in found if text != "pass"])
    made = sum((compiled or {}).get(case.name) == "pass" for case, _ in found)
    cells = (f"{len(found)} | {passed} | {reasons}", "" if compiled is None else str(made))
    return f"| {operator} | {' | '.join(cells)} |\n"


_REASONS = (
    (r"element type (\w+), which", "elements", r"\1"),
    (r"casts to the element type (\d+)", "casts to", r"\1"),
    (r"is an? (sequence|optional);", "operands", r"\1s"),
    (r"(value) without a type", "an input without a type", ""),
    (r" be read: (\w+) node '[^']*' \(", "no reader for", r"\1"),
    (r"mode is '(\w+)' with", "the mode", r"\1"),
    (r" be read: \w+ node '[^']*': (.*?)(?:[;,:]| Replace)", "", r"\1"),
    (r"(constant, and not finite)", "a result that is", r"\1"),
)
"""What a message matches, the kind of reason, and which part of the message tells it."""


def _reasons(operator: str, texts: Sequence[str]) -> str:
    """Return in a few words what messages complain about."""
    kinds: dict[str, set[str]] = defaultdict(set)
    for text in texts:
        for pattern, kind, detail in _REASONS:
            match = re.search(pattern, text)
            if match:
                kinds[kind].add(_named(match.expand(detail)))
                break
        else:
            kinds[text].add("")
    said = [f"{kind} {', '.join(sorted(details))}".strip() for kind, details in kinds.items()]
    plain = operator.rpartition(".")[2]
    own = f"no reader for {plain}"
    return "; ".join(sorted("no reader" if reason == own else reason for reason in said))


def _named(detail: str) -> str:
    """Return a detail; of an element type that a message numbers, its name."""
    return onnx.TensorProto.DataType.Name(int(detail)) if detail.isdigit() else detail


def main() -> None:
    """Write the document."""
    DOCS.write_text(document({case: outcome(case) for case in cases()}))


if __name__ == "__main__":
    main()
