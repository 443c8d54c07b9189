"""Validation must be able to fail, and say where: the firmware is broken in many places."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from projects.convert import convert
from projects.project import Project, open_project
from projects.validate import Divergence, Validation, first_divergence
from quant.agreement import Agreement
from synth.errors import ToolError
from synth.evaluate import Evaluator
from tests.projects.models import PART, broken, events, mlp


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("validated") / "mlp"
    return convert(mlp(), part=PART, output_dir=folder, calibration=events(mlp(), 2000))


def test_the_firmware_is_exact(project: Project) -> None:
    validation = project.validate()
    assert validation
    assert validation.exact
    assert validation.mismatches == 0
    assert validation.first_divergence is None
    assert validation.events == 1000
    assert sum(validation.overflows.values()) > 0, "extremes saturate"
    assert set(validation.overflows) <= {"fc1", "relu1", "fc2", "softmax"}


def test_on_real_input_nothing_overflows_and_the_float_model_agrees(project: Project) -> None:
    validation = project.validate(events(mlp(), 500, seed=9))
    assert validation.exact
    assert validation.overflows == {}
    assert validation.agreement.relative < 0.01
    assert validation.agreement.argmax is not None
    assert validation.agreement.argmax > 0.99
    text = str(validation)
    assert "validation of mlp on 500 events (given)" in text
    assert "exact, every bit of every output" in text
    assert "none" in text


def a_code(change: int) -> Callable[[str], str]:
    """Change the last number of a file of weights."""

    def apply(text: str) -> str:
        found = list(re.finditer(r"(?<![\w.])-?\d+(?=[,\s}LUl]*};)", text))
        assert found, text[-300:]
        last = found[-1]
        return text[: last.start()] + str(int(last[0]) + change) + text[last.end() :]

    return apply


@pytest.mark.parametrize(("path", "layer"), [("fc1", "fc1"), ("fc2", "fc2")])
def test_a_changed_weight_is_found_in_its_layer(
    project: Project, tmp_path: Path, path: str, layer: str
) -> None:
    changed = broken(project, tmp_path / "p", f"firmware/weights/{path}_weight*.h", a_code(64))
    validation = changed.validate()
    assert not validation
    assert validation.mismatches > 10
    found = validation.first_divergence
    assert found is not None
    assert found.layer == layer
    assert found.got != found.expected
    assert f"first divergence in layer '{layer}'" in str(validation)
    assert f"DIFFERS in {validation.mismatches:,} of 1,000 events" in str(validation)


def narrowed(value: str) -> Callable[[str], str]:
    """Take bits off the type of the value that a comment or a name says."""

    def apply(text: str) -> str:
        pattern = rf"(typedef ap_u?fixed<)(\d+)(,\s*)(-?\d+)(>\s+{value}\w*_t;)"
        assert re.search(pattern, text), text
        return re.sub(
            pattern,
            lambda m: f"{m[1]}{int(m[2]) - 3}{m[3]}{int(m[4]) - 3}{m[5]}",
            text,
            count=1,
        )

    return apply


def test_a_changed_type_is_found_in_its_layer(project: Project, tmp_path: Path) -> None:
    changed = broken(project, tmp_path / "p", "firmware/defines.h", narrowed("fc2"))
    found = changed.validate().first_divergence
    assert found is not None
    assert found.layer == "fc2"


def swapped(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("path", "change", "layer"),
    [
        ("firmware/parameters.h", swapped("AP_RND", "AP_TRN"), "relu1"),
        ("firmware/parameters.h", swapped("AP_SAT", "AP_WRAP"), "relu1"),
        ("firmware/mlp.cpp", swapped("synth_lib::Relu>", "synth_lib::Neg>"), "relu1"),
        ("firmware/lib/elementwise.h", swapped("S(0) : a;", "a : a;"), "relu1"),
        ("firmware/mlp.cpp", swapped("(x, fc1_weight", "(x, 1 + fc1_weight"), "fc1"),
    ],
)
def test_a_changed_line_is_found_in_its_layer(
    project: Project, tmp_path: Path, path: str, change: Callable[[str], str], layer: str
) -> None:
    changed = broken(project, tmp_path / "p", path, change)
    found = changed.validate().first_divergence
    assert found is not None
    assert found.layer == layer


def test_code_that_does_not_compile_is_a_failed_tool(project: Project, tmp_path: Path) -> None:
    changed = broken(project, tmp_path / "p", "firmware/mlp.cpp", swapped("using", "usin"))
    with pytest.raises(ToolError, match=r"failed \(exit code 1\)"):
        changed.validate()


def test_a_divergence_is_placed_at_the_first_value_in_order(project: Project) -> None:
    graph = project.graph
    codes = {"x": np.arange(12).reshape(3, 4)}
    traced = Evaluator(graph, [node.output for node in graph.nodes])(codes)
    samples = np.array([5, 7, 9])
    assert first_divergence(graph, codes, traced, samples) is None
    relu = next(node.output for node in graph.nodes if graph.origins[node.output].layer == "relu1")
    last = graph.outputs[0]
    wrong = {**traced, relu: traced[relu].copy(), last: traced[last] + 1}
    wrong[relu][1, 2] += 1
    found = first_divergence(graph, codes, wrong, samples)
    assert found is not None
    assert (found.layer, found.value, found.sample, found.index) == ("relu1", relu, 7, (2,))
    assert found.got - found.expected == float(graph.codes(relu).container.step)


def test_the_table_shows_a_failure() -> None:
    validation = Validation(
        name="m",
        events=1000,
        stimuli="given",
        mismatches=3,
        agreement=Agreement(error=0.25, relative=0.1, argmax=None),
        first_divergence=Divergence(
            layer="fc1", value="fc1", sample=2, index=(0, 1), expected=1.5, got=1.25
        ),
        overflows={"fc1": 1200},
    )
    assert str(validation).splitlines() == [
        "validation of m on 1,000 events (given)",
        "  model          compared with  result",
        "  integer model  float model    error 0.25 (10.00% of range)",
        "  compiled C++   integer model  DIFFERS in 3 of 1,000 events",
        "  overflows                     1,200 (fc1: 1,200)",
        "first divergence in layer 'fc1' (fc1), event 2, element [0, 1]: 1.25 instead of 1.5",
    ]


def test_without_a_compiler_it_says_so(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    x = events(mlp(), 3)["x"]
    assert project.predict(x).shape == (3, 3), "needs none"
    with pytest.raises(ToolError, match=r"no C\+\+ compiler"):
        project.validate()
    with pytest.raises(ToolError, match=r"no C\+\+ compiler"):
        open_project(project.folder).csim(x)
