"""Every node case of the pinned onnx package: right, or refused by name."""

from pathlib import Path

import onnx
import pytest

from tests.synth.onnx.conformance import DOCS, Case, cases, compiled, outcome, readable

ONNX = "1.22"
PASSING = 1188
"""With the version that is pinned."""
EVERY = 12
"""One in so many is compiled here; `python -m tests.synth.onnx.conformance` compiles all."""


@pytest.fixture(scope="module")
def outcomes() -> list[tuple[Case, str]]:
    return [(case, outcome(case)) for case in cases()]


def test_no_case_is_wrong(outcomes: list[tuple[Case, str]]) -> None:
    wrong = {case.name: result for case, result in outcomes if result.startswith("WRONG")}
    assert not wrong
    if onnx.__version__.startswith(ONNX):
        assert sum(result == "pass" for _, result in outcomes) >= PASSING


def test_all_cases_of_the_listed_operators_pass(outcomes: list[tuple[Case, str]]) -> None:
    listed = {case.name: result for case, result in outcomes if case.listed}
    assert len(listed) > 800
    assert {name: result for name, result in listed.items() if result != "pass"} == {}


def test_cases_in_compiled_code(outcomes: list[tuple[Case, str]], tmp_path: Path) -> None:
    chosen = [case for case, result in outcomes if result == "pass"][::EVERY]
    found = compiled([(case, readable(case)) for case in chosen], tmp_path)
    assert {name: result for name, result in found.items() if result != "pass"} == {}


def test_the_page_is_about_the_installed_version(outcomes: list[tuple[Case, str]]) -> None:
    if not onnx.__version__.startswith(ONNX):
        pytest.skip(f"the page in docs is made with onnx {ONNX}")
    text = " ".join(DOCS.read_text("utf-8").split())
    passing = sum(result == "pass" for _, result in outcomes)
    assert f"Of {len(outcomes):,} cases, {passing:,} pass in `evaluate`" in text
