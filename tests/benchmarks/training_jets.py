"""Training for the hardware against quantising afterwards, on the jets; and what callbacks cost.

The float network that ships with synth, 16-64-32-32-5, is trained on, with HGQ2 and with the layers
of `quant.layers.torch`, towards its own scores (distillation), down to a budget. It is compared on
the held-out jets with what post-training quantisation needs for the same accuracy: uniform formats
rounded to nearest, and the front of `quant.search` (between its points, costs are interpolated as
logarithms). Overhead is what `BitExactValidation` on 1,000 jets and `ResourceLogger`, both every
epoch, take of an epoch.

`python -m tests.benchmarks.training_jets [hgq|layers] [epochs=120] [ebops=5460]`
"""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import torch
from hgq.config import LayerConfigScope, QuantizerConfigScope
from hgq.layers import QDense
from torch import nn
from torch.nn import functional

import quant
import quant.callbacks.keras as on_keras
import quant.callbacks.torch as on_torch
import synth
from projects.demo.jets import load_jets, model_path
from quant.allocate.cost import COSTS, design_of
from quant.layers.torch import EBOPs, Linear
from quant.quantise import quantise
from synth.evaluate import Evaluator
from synth.ir.ops import Dense
from synth.load import load_graph
from synth.passes import prepare
from tests.benchmarks.annealing import annealed
from tests.benchmarks.precision_budget import uniform

JETS = load_jets()
X, Y = np.array(JETS.x_train), np.array(JETS.y_train)
X_TEST, Y_TEST = np.array(JETS.x_test), np.array(JETS.y_test)
GRAPH = load_graph(model_path())
TEACHER = Evaluator(GRAPH)({GRAPH.inputs[0]: X})[GRAPH.outputs[0]].astype(np.float32)
"""The float network's scores, [jets, 5]."""
WIDTHS = (16, 64, 32, 32, 5)
BATCH = 512
LIMITS = 1e-9, 1e-3
RATE = 2e-3


Points = list[tuple[float, float]]
"""Accuracy on the held-out jets, and EBOPs."""


def accuracy_of(scores: Any) -> float:
    """Return the share of held-out jets that scores [jets, 5] tell right."""
    return float(np.mean(scores.argmax(1) == Y_TEST))


def tested(typed: Any) -> float:
    """Return the accuracy of a typed graph."""
    return accuracy_of(Evaluator(typed)({typed.inputs[0]: X_TEST}, wires={})[typed.outputs[0]])


def searched() -> Points:
    """Return what `quant.search` finds: the front down to few EBOPs."""
    front = quant.search(load_graph(model_path()), X, budget={"ebops": 4_000}, labels=Y)
    return [
        (tested(quantise(front.problem.full, front.wishes(point))), point.costs["ebops"])
        for point in front.points
    ]


def needed(points: Points, accuracy: float) -> float:
    """Return the EBOPs at which points reach an accuracy; infinite where none does."""
    enough = [cost for reached, cost in points if reached >= accuracy]
    if not enough:
        return math.inf
    cost = min(enough)
    above = max(reached for reached, other in points if other == cost)
    below = [(less, reached) for reached, less in points if less < cost]
    if not below:
        return cost
    less, reached = max(below)
    return float(less * (cost / less) ** ((accuracy - reached) / (above - reached)))


def by_hand() -> None:
    """Print what uniform formats give, rounded to nearest."""
    graph = load_graph(model_path())
    for weights, activations in ((8, 10), (6, 8)):
        typed = uniform(graph, X, weights, activations)
        accuracy, cost = tested(typed), COSTS["ebops"](design_of(typed))
        print(f"uniform {weights}/{activations}: accuracy {accuracy:.4f}, {cost:,.0f} EBOPs")


def kernels() -> list[tuple[Any, Any]]:
    """Return kernel [in, out] and bias of each layer of the float network."""
    graph = prepare(load_graph(model_path()))
    dense = [node for node in graph.nodes if isinstance(node.op, Dense)]
    return [(np.array(graph.constants[n.inputs[1]]), np.array(graph.constants[n.inputs[2]]))
            for n in dense]  # fmt: skip


def report(name: str, model: Any, shapes: Any, own: Any, points: Points) -> None:
    """Print what a training has reached, held to its integer model on every held-out jet."""
    made = synth.integer_model(model, shapes=shapes)
    scores = made.predict(X_TEST)
    equal = int((scores == own).all(axis=1).sum())
    accuracy, cost = accuracy_of(scores), COSTS["ebops"](design_of(made.graph))
    share = cost / needed(points, accuracy)
    print(
        f"{name}: accuracy {accuracy:.4f}, {cost:,.0f} EBOPs, {share:.2f} of what quant.search "
        f"needs for it; framework and integer model agree on {equal:,} of {len(X_TEST):,} "
        "held-out jets",
        flush=True,
    )


def overhead(name: str, plain: Callable[[], float], watched: Callable[[], float]) -> None:
    """Print how much longer an epoch is with callbacks: the median of pairs."""
    ratios = [watched() / plain() for _ in range(5)]
    print(f"{name}: an epoch with callbacks takes {statistics.median(ratios):.3f} of one without")


# HGQ2


def hgq_model() -> Any:
    keras.utils.set_random_seed(0)
    scopes = (
        QuantizerConfigScope(place="all", default_q_type="kif", f0=6),
        LayerConfigScope(enable_ebops=True, beta0=1e-6),
    )
    with scopes[0], scopes[1]:
        model = keras.Sequential([keras.layers.Input((16,))])
        for i, width in enumerate(WIDTHS[1:-1]):
            model.add(QDense(width, activation="relu", name=f"fc{i}"))
        model.add(QDense(WIDTHS[-1], name="scores"))
    for layer, (kernel, bias) in zip(model.layers, kernels(), strict=True):
        for variable, value in zip(layer.weights, (kernel, bias), strict=False):
            variable.assign(value)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(RATE), loss=loss)
    return model


def hgq(target: float, epochs: int, points: Points) -> None:
    model = hgq_model()
    rate = keras.callbacks.LearningRateScheduler(lambda epoch: annealed(RATE, epoch, epochs))
    callbacks = [
        on_keras.BitExactValidation(X_TEST[:1000]),
        on_keras.ResourceLogger(),
        on_keras.BudgetController({"ebops": target}, limits=LIMITS, ramp=epochs // 2),
        rate,
    ]
    options = {"batch_size": BATCH, "verbose": 0}
    model.fit(X, TEACHER, epochs=epochs, callbacks=callbacks, **options)
    report("HGQ2", model, None, np.asarray(model.predict(X_TEST, verbose=0)), points)

    def epoch(callbacks: list[Any]) -> float:
        start = time.perf_counter()
        model.fit(X, TEACHER, callbacks=callbacks, **options)
        return time.perf_counter() - start

    overhead("HGQ2", lambda: epoch([]), lambda: epoch(callbacks[:2]))


# Our layers


def layers_model() -> nn.Sequential:
    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for i, width in enumerate(WIDTHS[1:]):
        parts += [Linear(WIDTHS[i], width), nn.ReLU()]
    with torch.no_grad():
        for layer, (kernel, bias) in zip(parts[::2], kernels(), strict=True):
            assert isinstance(layer, Linear)
            layer.weight.copy_(torch.from_numpy(kernel.T.copy()))
            layer.bias.copy_(torch.from_numpy(bias))
    return nn.Sequential(*parts[:-1])


def torch_epoch(model: nn.Module, optimiser: Any, penalty: EBOPs) -> None:
    inputs, targets = torch.from_numpy(X), torch.from_numpy(TEACHER)
    model.train()
    for rows in torch.randperm(len(X)).split(BATCH):
        optimiser.zero_grad()
        (functional.cross_entropy(model(inputs[rows]), targets[rows]) + penalty()).backward()
        optimiser.step()
    model.eval()


def layers(target: float, epochs: int, points: Points) -> None:
    model = layers_model()
    penalty = EBOPs(model, beta=1e-6)
    optimiser = torch.optim.Adam(model.parameters(), RATE)
    watching = [on_torch.BitExactValidation(X_TEST[:1000]), on_torch.ResourceLogger()]
    drive = on_torch.BudgetController({"ebops": target}, "beta", limits=LIMITS, ramp=epochs // 2)
    callbacks = on_torch.Callbacks(model, [*watching, drive], penalty=penalty)
    for epoch in range(epochs):
        optimiser.param_groups[0]["lr"] = annealed(RATE, epoch, epochs)
        torch_epoch(model, optimiser, penalty)
        logs: dict[str, float] = {}
        if callbacks.epoch(logs):
            break
        if epoch % 10 == 9:
            with torch.no_grad():
                right = accuracy_of(model(torch.from_numpy(X_TEST)).numpy())
            print(f"  epoch {epoch + 1}: accuracy {right:.4f}, {logs['ebops']:,.0f} EBOPs")
    with torch.no_grad():
        own = model(torch.from_numpy(X_TEST)).numpy()
    report("quant.layers.torch", model, {"input": (1, 16)}, own, points)
    watched = on_torch.Callbacks(model, watching)

    def timed(follow: Callable[[], Any]) -> float:
        start = time.perf_counter()
        torch_epoch(model, optimiser, penalty)
        follow()
        return time.perf_counter() - start

    timed(watched.epoch)  # exports the structure
    overhead("quant.layers.torch", lambda: timed(lambda: None), lambda: timed(watched.epoch))


TRAININGS = {"hgq": hgq, "layers": layers}


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    names = [name for name in sys.argv[1:] if name in TRAININGS] or list(TRAININGS)
    given = dict(word.split("=") for word in sys.argv[1:] if "=" in word)
    by_hand()
    points = searched()
    for accuracy, cost in points:
        print(f"quant.search: accuracy {accuracy:.4f}, {cost:,.0f} EBOPs", flush=True)
    for name in names:
        TRAININGS[name](float(given.get("ebops", 5460)), int(given.get("epochs", 120)), points)


if __name__ == "__main__":
    main()
