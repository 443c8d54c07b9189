"""The node cases of the onnx package: none is computed wrongly, and most are computed."""

import onnx
import pytest

from tests.synth.onnx.conformance import (
    DOCS,
    PINNED,
    Case,
    cases,
    difference,
    document,
    outcome,
    readable,
    run,
)

PASSING = 1182
"""Cases of the pinned version that are computed: more is progress, fewer a fault."""

pinned = pytest.mark.skipif(
    onnx.__version__ != PINNED,
    reason=f"the document counts the cases of onnx {PINNED}; installed is {onnx.__version__}",
)


@pytest.fixture(scope="module")
def outcomes() -> dict[Case, str]:
    return {case: outcome(case) for case in cases()}


def test_nothing_is_computed_wrongly(outcomes: dict[Case, str]) -> None:
    assert {case.name: text for case, text in outcomes.items() if text.startswith("WRONG")} == {}


@pinned
def test_as_much_is_computed_as_before(outcomes: dict[Case, str]) -> None:
    assert sum(text == "pass" for text in outcomes.values()) >= PASSING


@pinned
def test_the_document_is_up_to_date(outcomes: dict[Case, str]) -> None:
    """All but the column of C++, which takes a compiler."""
    found, expected = DOCS.read_text().splitlines(), document(outcomes).splitlines()
    remedy = "write it again: python -m tests.synth.onnx.conformance"
    assert list(map(_without_last, found)) == list(map(_without_last, expected)), remedy


def _without_last(line: str) -> str:
    return line.rsplit("|", 2)[0]


def test_the_document_counts_compiled_cases(outcomes: dict[Case, str]) -> None:
    relu = [case for case in outcomes if case.operator == "Relu"]
    made = document(outcomes, {case.name: "pass" for case in relu[:1]})
    (row,) = (line for line in made.splitlines() if line.startswith("| Relu "))
    assert row.endswith("| 1 |")
    (row,) = (line for line in made.splitlines() if line.startswith("| Abs "))
    assert row.endswith("| 0 |")


def test_the_comparison_can_fail(outcomes: dict[Case, str]) -> None:
    case = next(case for case in outcomes if case.name == "test_relu")
    ((feeds, expected),) = case.data
    found = run(readable(case), feeds)
    assert difference(case, found, expected) == ""
    assert "instead of" in difference(case, {k: v + 1 for k, v in found.items()}, expected)
    assert "instead of float32" in difference(
        case, {k: v.astype("float64") for k, v in found.items()}, expected
    )
    assert "no output of" in difference(case, {}, expected)
