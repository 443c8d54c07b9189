"""Whole searches: fronts, budgets, resumption, executors, and what is refused."""

import json
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quant
from quant.allocate.budget import parse_budget
from quant.allocate.cost import COSTS, design_of
from quant.allocate.front import Front, Point, pareto
from quant.allocate.greedy import descend
from quant.allocate.merit import Certificate
from quant.allocate.simulate import Choice
from quant.precision import parse_precision, parse_wires
from quant.quantise import quantise
from synth.errors import (
    CalibrationError,
    PrecisionError,
    ProjectError,
    SettingsError,
    ToolError,
    UnsupportedOp,
)
from synth.evaluate import Evaluator
from synth.fixed import Fixed
from synth.ir import Builder, Origin, Stage, Tensor
from synth.ir.ops import Dense, Function, Relu, Trees
from tests.forests import add_forest, random_forest
from tests.projects.models import mlp
from tests.quant.allocate.problems import convolutional, data, dense

EVENTS = 1600
GRAPH = mlp()
X = data(GRAPH, EVENTS)["x"]
LABELS = Evaluator(GRAPH)({"x": X})["score"].argmax(axis=1)


def run(**options: Any) -> Front:
    arguments: dict[str, Any] = {"budget": {"ebops": 250}, "labels": LABELS} | options
    return quant.search(arguments.pop("graph", GRAPH), arguments.pop("data", X), **arguments)


@pytest.fixture(scope="module")
def front() -> Front:
    return run()


def test_the_chosen_point_is_within_the_budget_and_the_typed_graph_costs_what_it_says(
    front: Front,
) -> None:
    chosen = front.chosen
    assert 200 <= chosen.costs["ebops"] <= 250
    typed = quantise(front.problem.graph, front.wishes(chosen))
    assert COSTS["ebops"](design_of(typed)) == chosen.costs["ebops"]


def test_points_trade_cost_for_loss_and_are_certified_on_events_of_their_own(front: Front) -> None:
    costs = [point.costs["ebops"] for point in front.points]
    losses = [point.loss for point in front.points]
    assert len(front.points) >= 4
    assert costs == sorted(costs, reverse=True)
    assert losses == sorted(losses)
    typed = quantise(front.problem.full, front.wishes(front.chosen))
    held = slice(3, None, 4)
    values = Evaluator(typed)({"x": X[held]}, wires={})["score"]
    right = float((values.argmax(axis=1) == LABELS[held]).mean())
    assert front.chosen.certificate is not None
    assert front.chosen.certificate.value == right
    assert front.chosen.certificate.events == EVENTS // 4
    assert front.chosen.certificate.reference == 1.0


def test_the_front_prints_a_line_a_point_and_marks_the_chosen_one(front: Front) -> None:
    lines = str(front).splitlines()
    assert lines[0].split()[:3] == ["ebops", "adders", "bits"]
    assert "drop of accuracy (certified, 95 %)" in lines[0]
    assert len(lines) == len(front.points) + 1
    (marked,) = [line for line in lines if line.startswith("*")]
    assert f"{front.chosen.costs['ebops']:,.0f}" in marked
    assert json.loads(json.dumps(front.as_dict()))["merit"] == "accuracy"


def test_the_front_is_drawn(front: Front, tmp_path: Path) -> None:
    front.plot(tmp_path / "front.svg")
    assert "<svg" in (tmp_path / "front.svg").read_text()


def test_without_matplotlib_a_plot_says_what_to_install(
    front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ToolError, match=r"needs matplotlib: pip install 'synth\[plot\]'"):
        front.plot(tmp_path / "front.svg")


def test_a_limited_drop_gives_the_cheapest_point_that_keeps_it() -> None:
    found = run(budget={"accuracy_drop": 0.02})
    drop = found.chosen.drop
    assert drop.drop + drop.error <= 0.02
    cheaper = [p for p in found.points if p.costs["ebops"] < found.chosen.costs["ebops"]]
    assert all(p.drop.drop + p.drop.error > 0.02 for p in cheaper)


def test_a_mixture_meets_all_limits() -> None:
    found = run(budget={"weight_bits": 200, "activation_bits": 60, "accuracy_drop": 0.2})
    assert found.chosen.costs["weight_bits"] <= 200
    assert found.chosen.costs["activation_bits"] <= 60


def test_a_budget_that_cannot_be_met_names_the_best_that_can() -> None:
    with pytest.raises(
        PrecisionError,
        match=r"budget activation_bits=3: no design is that cheap; the cheapest found has \d+ act",
    ):
        _ = run(budget={"activation_bits": 3}).chosen
    with pytest.raises(
        PrecisionError,
        match=r"ebops=60, accuracy_drop=0.0001: no design is that good; the best within .* loses",
    ):
        _ = run(budget={"ebops": 60, "accuracy_drop": 1e-4}).chosen


def test_the_same_seed_gives_the_same_front_here_and_in_other_threads(front: Front) -> None:
    with ThreadPoolExecutor(2) as pool:
        again = run(executor=pool)
    assert again.as_dict() == front.as_dict()


@pytest.mark.slow
def test_processes_give_the_same_front(front: Front) -> None:
    with ProcessPoolExecutor(1) as pool:
        assert run(executor=pool).as_dict() == front.as_dict()


def test_an_interrupted_search_goes_on_to_the_same_front(front: Front, tmp_path: Path) -> None:
    state = tmp_path / "search.json"

    def stop(line: str) -> None:
        if line.startswith("point 3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(resume=state, progress=stop)
    lines: list[str] = []
    again = run(resume=state, progress=lines.append)
    assert any(line.startswith("resumed: ") and line.endswith(" 2 points") for line in lines)
    assert again.as_dict() == front.as_dict()
    assert [path.name for path in tmp_path.iterdir()] == ["search.json"]


def test_a_state_of_something_else_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "search.json"
    run(resume=state)
    fixed = parse_precision({"relu1": "ufixed<7,3>"})
    wires = parse_wires("fixed<9,4>", GRAPH.inputs, GRAPH, "inputs")
    for other in ({"seed": 1}, {"precision": fixed}, {"inputs": wires}):
        with pytest.raises(ProjectError, match="a search of another model, data, seed, budget or"):
            run(resume=state, **other)
    state.write_text("{}")
    with pytest.raises(ProjectError, match="is not the state of a search"):
        run(resume=state)
    with pytest.raises(ProjectError, match="cannot write there"):
        run(resume=tmp_path / "missing" / "search.json")


def test_the_path_is_the_same_from_any_step_of_it_and_saves_at_every_step() -> None:
    problem = dense()
    path = descend(problem, COSTS["ebops"], [], lambda _: None)
    costs = [stop.cost for stop in path]
    assert costs == sorted(costs, reverse=True)
    assert len(costs) > 20
    again = descend(problem, COSTS["ebops"], path[:10], lambda _: None)
    assert again == path
    landed = descend(problem, COSTS["ebops"], [], lambda _: None, costs[20] + 1)
    extra = [stop for stop in landed if stop not in path]
    assert all(stop.cost <= costs[20] + 1 for stop in extra)


def test_a_dominated_point_is_not_on_the_front() -> None:
    sure = Certificate(1, 1, 0, 0, 0, 9)
    base = Point({}, Choice(), {"ebops": 5}, 0.1, sure)
    points = [base, replace(base, costs={"ebops": 6}, loss=0.2), replace(base, loss=0.01)]
    points.append(replace(base, costs={"ebops": 9}, loss=0.001))
    assert [p.loss for p in pareto(points, "ebops")] == [0.001, 0.01]


def test_without_labels_agreement_with_the_float_model_counts() -> None:
    found = run(labels=None, budget={"adders": 60})
    assert found.merit == "agreement"
    assert found.cost == "adders"
    assert found.chosen.costs["adders"] <= 60


def test_a_convolution_is_searched_and_keeps_its_decisions() -> None:
    graph = convolutional()
    found = run(graph=graph, data=data(graph, 800), labels=None, budget={"accuracy_drop": 0.05})
    assert found.chosen.certificate is not None
    assert found.chosen.certificate.value >= 0.9


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_a_function_of_features_of_different_sizes_has_one_format(name: str) -> None:
    rng = np.random.default_rng(0)
    build = Builder("hidden", Stage.IMPORTED)
    x = build.input("x", Tensor((6,)))
    for i, columns in enumerate((8, 3)):
        # Columns from 1/16 to 8: each output, and what it does behind, is of another size.
        drawn = rng.normal(size=(6 if i == 0 else 8, columns)) * np.geomspace(1 / 16, 8, columns)
        w = build.constant(
            drawn.astype(np.float32), name=f"w{i}", origin=Origin(f"fc{i}", "weight")
        )
        x = build.add(Dense(), x, w, name=f"fc{i}", origin=Origin(f"fc{i}"))
        if i == 0:
            x = build.add(Function(name), x, name="act", origin=Origin("act"))
    graph = build.graph([x])
    found = run(graph=graph, data=data(graph, 800), labels=None, budget={"accuracy_drop": 0.05})
    assert found.chosen.drop.drop < 0.05
    typed = quantise(found.problem.full, found.wishes(found.chosen))
    fmt = found.chosen.choice.activations["act"].type
    assert isinstance(fmt, Fixed)
    assert typed.codes("act").format == fmt


def test_a_limit_that_leaves_room_is_used() -> None:
    problem = dense()
    usual = descend(problem, COSTS["ebops"], [], lambda _: None)[0]
    roomy = descend(problem, COSTS["ebops"], [], lambda _: None, 1.3 * usual.cost)
    best = min(roomy, key=lambda stop: (stop.cost > 1.3 * usual.cost, stop.loss))
    assert usual.cost < best.cost <= 1.3 * usual.cost
    assert best.loss < usual.loss


def test_wires_and_fixed_layers_stay_as_they_are() -> None:
    wires = parse_wires("fixed<9,4>", GRAPH.inputs, GRAPH, "inputs")
    fixed = parse_precision({"fc1": {"weight": "fixed<6,2>"}, "relu1": "ufixed<7,3>"})
    found = run(inputs=wires, precision=fixed, budget={"ebops": 600})
    typed = quantise(found.problem.full, found.wishes(found.chosen))
    assert typed.codes("x").format == wires["x"].type
    assert str(typed.codes("relu1").format) == "ufixed<7,3>"
    codes, frac = typed.constants["fc1.weight"], typed.codes("fc1.weight").frac
    expected = np.clip(np.rint(GRAPH.constants["fc1.weight"] * 16), -32, 31) / 16
    np.testing.assert_array_equal(codes * 2.0**-frac, expected)
    assert found.problem.variables == ("fc2", "fc2.weight")


def test_fixed_formats_that_leave_nothing_to_search_contradict_a_budget() -> None:
    every = parse_precision({"activation": "fixed<8,4>", "input": "fixed<8,4>"})
    with pytest.raises(
        PrecisionError, match=r"budget\['activation_bits'\] contradicts precision=: every format"
    ):
        run(precision=every, budget={"activation_bits": 100})
    weights = parse_precision({"weight": "fixed<8,4>"})
    with pytest.raises(UnsupportedOp, match="no dense layer or convolution whose weights are free"):
        run(precision=weights)


def test_a_model_without_weights_and_one_of_trees_have_nothing_to_search() -> None:
    build = Builder("plain", Stage.IMPORTED)
    x = build.input("x", Tensor((4,)))
    plain = build.graph([build.add(Relu(), x, name="y")])
    with pytest.raises(UnsupportedOp, match="no dense layer or convolution whose weights are free"):
        run(graph=plain, labels=None)
    build = Builder("forest", Stage.IMPORTED)
    x = build.input("x", Tensor((4,)))
    forest = random_forest(np.random.default_rng(0), 4, -3, 3)
    floats = {k: getattr(forest, k).astype(np.float32) for k in ("steps", "leaves", "base")}
    operands = add_forest(build, replace(forest, **floats), steps=0, leaves=0, base=0)
    trees = build.add(Trees(), x, *operands)
    with pytest.raises(UnsupportedOp, match="searches networks, and the model holds trees"):
        run(graph=build.graph([trees]), labels=None)


def test_features_that_never_move_are_remarked_upon() -> None:
    still = X.copy()
    still[:, [1, 3]] = 0.5
    lines: list[str] = []
    run(data=still, progress=lines.append)
    assert (
        "features 1, 3 of input 'x' are constant in the calibration data (2 of 4): they get the "
        "range of the others" in lines
    )


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"data": X[:150], "labels": None}, CalibrationError, "calibration has 150 events"),
        ({"labels": LABELS[:-1]}, CalibrationError, "labels has 1599 rows, and calibration 1600"),
        ({"data": np.full_like(X, np.nan)}, CalibrationError, "holds NaN or infinity"),
        ({"merit": "recall"}, SettingsError, "merit must be one of"),
        ({"budget": {"luts": 5}}, SettingsError, "hardware estimates join later"),
        ({"data": np.zeros_like(X)}, CalibrationError, "every feature .* is constant"),
    ],
)
def test_bad_input_is_refused(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        run(**options)


def test_the_cost_of_a_mixture_counts_what_is_beyond_its_limits_first() -> None:
    problem = dense()
    budget = parse_budget({"ebops": 100, "adders": 1e6})
    costs = [stop.cost for stop in descend(problem, budget.scalar, [], lambda _: None)]
    assert costs == sorted(costs, reverse=True)
