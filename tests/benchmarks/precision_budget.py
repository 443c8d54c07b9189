"""What a budget costs: integer models of float ones against uniform formats, certified.

Networks: the jet tagger, and two networks trained here on scikit-learn's digits (fixed seed), a
64-64-32-10 perceptron and a small convolutional one. For each: an average of 8-bit weights and
10-bit activations (no measurable loss is the target), of 4 and 6 (under 1.0 points of accuracy),
and half the EBOPs of uniform 6 and 8 (under 0.3). Searches see the training data; the loss is
measured on the test data (of digits there are 540, so one event is 0.19 points).

`python -m tests.benchmarks.precision_budget [more.npz]`: jets that ``scripts/jets/simulate.py
more.npz --like projects/demo/jets.npz`` has made take the place of the 10,000 held-out ones, whose
statistical error is 0.3 points.
"""

import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits

import quant
from projects.demo.jets import load_jets, model_path
from quant.allocate.cost import COSTS, design_of
from quant.allocate.merit import certified, find_merit
from quant.calibrate import observe
from quant.formats_for import constant_codes, covering
from quant.quantise import Wishes, quantise
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.fixed import Format, Overflow, Round
from synth.ir import Graph
from synth.ir.ops import Conv, Dense
from synth.load import load_graph
from synth.passes import prepare
from synth.passes.margin import margin

Data = tuple[Array, Array, Array, Array]


def jets() -> tuple[Graph, Data]:
    held = load_jets()
    test: tuple[Array, Array] = held.x_test, held.y_test
    if sys.argv[1:]:
        with np.load(sys.argv[1]) as file:
            test = file["x"], file["y"].astype(np.int64)
    return load_graph(model_path()), (held.x_train, held.y_train, *test)


def digits(layers: Callable[[], torch.nn.Module], shape: tuple[int, ...]) -> tuple[Graph, Data]:
    """Train a network on the digits, 1257 to train on and 540 held out."""
    held = load_digits()
    x = (held.data / 16).astype(np.float32).reshape(-1, *shape)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[540:], order[:540]
    torch.manual_seed(0)
    model = layers()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    inputs, targets = torch.tensor(x[train]), torch.tensor(held.target[train])
    for _ in range(60):
        for batch in torch.randperm(len(train)).split(64):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs[batch]), targets[batch]).backward()
            optimiser.step()
    scores = torch.nn.Sequential(model.eval(), torch.nn.Softmax(1))
    graph = load_graph(scores, shapes={"input": (1, *shape)})
    return graph, (x[train], held.target[train], x[test], held.target[test])


def perceptron() -> torch.nn.Module:
    nn = torch.nn
    return nn.Sequential(
        *(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    )


def convolutional() -> torch.nn.Module:
    nn = torch.nn
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64, 10)),
    )


def uniform(graph: Graph, x: Array, weights: int, activations: int) -> Graph:
    """Return the typed graph up to its scores: one format a tensor, everything to nearest."""
    cut = prepare(margin(graph))
    ranges = observe(cut, {cut.inputs[0]: x})
    plain = quantise(cut, Wishes(ranges=ranges, width=8))
    formats = {
        name: Format(covering(*ranges.overall[name], activations), Round.RND, Overflow.SAT)
        for name in plain.types
        if name in ranges.overall
        and (name in plain.inputs or type(plain.producers()[name].op).__name__ == "Cast")
    }
    kernels = [node.inputs[1] for node in cut.nodes if isinstance(node.op, Dense | Conv)]
    codes = {name: constant_codes(np.asarray(cut.constants[name]), weights) for name in kernels}
    wishes = Wishes(ranges=ranges, width=16, activations=formats, constants=codes)
    return quantise(cut, wishes)


def counts(graph: Graph) -> tuple[int, int]:
    """Return the weights and the activations of a typed graph."""
    design = design_of(graph)
    weights = sum(p.codes.size for p in design.products.values() if p.codes is not None)
    return weights, sum(bits.size for bits in design.activations.values())


def tested(graph: Graph, typed: Graph, data: Data) -> Any:
    """Return the certificate of a typed graph on the test data."""
    expected = Evaluator(prepare(graph))({graph.inputs[0]: data[2]})[graph.outputs[0]]
    got = Evaluator(typed)({typed.inputs[0]: data[2]}, wires={})[typed.outputs[0]]
    return certified(find_merit("accuracy", data[3], got, decides=True), expected, got, data[3])


def measure(name: str, graph: Graph, data: Data, pool: Executor) -> None:
    six = uniform(graph, data[0], 6, 8)
    weights, activations = counts(six)
    half = COSTS["ebops"](design_of(six)) / 2
    print(
        f"{name}: {weights} weights, {activations} activations, {len(data[2]):,} events to test "
        f"with; uniform 6/8: {2 * half:,.0f} EBOPs"
    )
    for w, a in ((8, 10), (6, 8), (4, 6)):
        print(f"  nearest, uniform {w}/{a}: {tested(graph, uniform(graph, data[0], w, a), data)}")
    budgets: list[tuple[str, dict[str, float]]] = [
        (f"average {w}/{a}", {"weight_bits": w * weights, "activation_bits": a * activations})
        for w, a in ((8, 10), (4, 6))
    ]
    for label, budget in [*budgets, ("half the EBOPs of 6/8", {"ebops": half})]:
        start = time.perf_counter()
        front = quant.search(graph, data[0], budget=budget, labels=data[1], executor=pool)
        spent = time.perf_counter() - start
        chosen = front.chosen
        typed = quantise(front.problem.full, front.wishes(chosen))
        costs = chosen.costs
        average = costs["weight_bits"] / weights, costs["activation_bits"] / activations
        print(
            f"  {label}: {average[0]:.2f}/{average[1]:.2f} bits, {costs['ebops']:,.0f} EBOPs, "
            f"{costs['adders']:,.0f} adders; drop {chosen.certificate} in the search, "
            f"{tested(graph, typed, data)} on test data; {spent:.1f} s",
            flush=True,
        )


def main() -> None:
    with ProcessPoolExecutor(2) as pool:
        measure("jets", *jets(), pool)
        measure("digits, dense", *digits(perceptron, (64,)), pool)
        measure("digits, convolutional", *digits(convolutional, (1, 8, 8)), pool)


if __name__ == "__main__":
    main()
