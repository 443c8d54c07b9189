"""What a search is about: the graph up to its scores, what may vary in it, and what data says.

Scores are the operands of a last softmax, sigmoid and so on: what stands behind them gets formats
that are fine enough not to matter, and costs the same in every design.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from quant.allocate.gradients import backward
from quant.allocate.levels import Activation, Kernel, activation_format, rms
from quant.allocate.losses import Kind, Loss
from quant.allocate.moments import Layer, rows_of, some
from quant.allocate.simulate import Choice, Codes, Simulator, decoded
from quant.calibrate import Ranges, observe
from quant.quantise import Wishes, quantise
from synth.errors import UnsupportedOp
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.fixed import Format, Overflow, Round
from synth.ir import Builder, Graph
from synth.ir.ops import Cast, Conv, Dense, Function, Softmax, Softplus, Table, Trees

__all__ = ["Levels", "Problem", "check_searchable", "scores_of"]

Levels = Mapping[str, float]
"""A level for each tensor that may vary: see `quant.allocate.levels`."""

_ELEMENTS = 1 << 25
"""Elements of all values of all events that statistics may hold at once."""
_HEAD = 16
"""Bits of what no search varies."""
_EVENTS = 8192
"""Events from which moments and ranges come at the most: a percent of a second moment."""
_DRAWN = 4096
"""Events that say how much the loss minds an error: a root mean square to a per cent."""


@dataclass(frozen=True)
class Problem:
    """A prepared graph with data, and the choices that are open.

    Attributes
    ----------
    full
        The prepared graph.
    fit
        Data that formats, roundings and training see, by input.
    kinds
        The loss behind each score.
    wishes
        Wires and what the user fixed: that is not searched.
    seed
        Of whatever is drawn.
    """

    full: Graph
    scores: Mapping[str, Kind]
    fit: Mapping[str, Array]
    wishes: Wishes = field(default_factory=Wishes)
    seed: int = 0

    @cached_property
    def graph(self) -> Graph:
        """The prepared graph up to the scores."""
        return _cut(self.full, list(self.scores))

    @cached_property
    def simulator(self) -> Simulator:
        """The graph in floats."""
        return Simulator(self.graph)

    @cached_property
    def sample(self) -> dict[str, Array]:
        """The events from which statistics come: some of `fit`, or as many as memory holds."""
        held = sum(int(np.prod(self.graph.types[n].shape)) for n in self.graph.computed())
        most = min(_EVENTS, max(256, _ELEMENTS // max(held, 1)))
        return {name: x[:most].astype(np.float32) for name, x in self.fit.items()}

    @cached_property
    def values(self) -> dict[str, Array]:
        """Every value of the float model on the sample."""
        return self.simulator.run(self.sample)

    @cached_property
    def loss(self) -> Loss:
        """The loss on the sample."""
        return Loss(self.scores, {name: self.values[name] for name in self.scores})

    @cached_property
    def lessons(self) -> tuple[dict[str, Array], Loss]:
        """All of `fit` with the loss on it: what training sees."""
        feeds = {name: x.astype(np.float32) for name, x in self.fit.items()}
        scores = Evaluator(self.graph)(feeds)
        return feeds, Loss(self.scores, {n: scores[n].astype(np.float32) for n in self.scores})

    @cached_property
    def derivatives(self) -> dict[str, Array]:
        """Derivatives of the loss by every value, drawn so that their squares are its curvature."""
        few = slice(0, _DRAWN)
        values = {
            name: x if name in self.graph.constants else x[few] for name, x in self.values.items()
        }
        return backward(self.graph, values, self.loss.take(few).sampled(self.seed))

    # What may vary

    @cached_property
    def typed(self) -> Graph:
        """The graph with formats of a few bits: its casts show which values get a format."""
        wishes = replace(self.wishes, ranges=self._ranges, width=8)
        return quantise(self.graph, replace(wishes, outputs={}))

    @cached_property
    def activations(self) -> dict[str, Activation]:
        """The values whose formats are chosen, in the order of computation."""
        typed = self.typed
        made = {n.output for n in typed.nodes if isinstance(n.op, Cast | Table)} | set(typed.inputs)
        names = [n for n in self.graph.computed() if n in made and not self._fixed(n)]
        tables = {node.output for node in self.graph.nodes if isinstance(node.op, Function)}
        found = {n: self._activation(n, together=n in tables) for n in names}
        for name in self.graph.inputs:
            if name in found:
                found[name] = found[name].with_still(self._still(name))
        return found

    def _activation(self, name: str, *, together: bool) -> Activation:
        x, derivative = self.values[name], self._derivative(name)
        if together:
            # One table serves all elements, so they have one format: that of one channel.
            x, derivative = x[..., None], derivative[..., None]
        return Activation.of(x, derivative)

    def _still(self, name: str) -> Array:
        """Say which channels of an input never change in the data."""
        rows = self.values[name].reshape(-1, self.values[name].shape[-1])
        return np.asarray((rows == rows[0]).all(axis=0))

    @property
    def remarks(self) -> list[str]:
        """What the user should know of the data: features that never change."""
        found = []
        for name in self.graph.inputs:
            flat = self.sample[name].reshape(len(self.sample[name]), -1)
            still = np.flatnonzero((flat == flat[0]).all(axis=0))
            if len(still) and name in self.activations:
                shown = ", ".join(map(str, still[:5])) + (", ..." if len(still) > 5 else "")
                found.append(
                    f"features {shown} of input {name!r} are constant in the calibration data "
                    f"({len(still)} of {flat.shape[1]}): they get the range of the others"
                )
        return found

    def _derivative(self, name: str) -> Array:
        found = self.derivatives.get(name)
        return np.ones_like(self.values[name]) if found is None else found

    def _fixed(self, name: str) -> bool:
        wires = name in self.wishes.inputs or name in self.wishes.outputs
        origin = self.graph.origins[name]
        roles = ("input",) if name in self.graph.inputs else ("activation", "table")
        return wires or any(self.wishes.precision.find(role, origin) for role in roles)

    @cached_property
    def fixed(self) -> dict[str, Format]:
        """The formats of values that are not chosen here, up to the scores."""
        typed, found = self.typed, {}
        for name in (*typed.inputs, *(n.output for n in typed.nodes)):
            if name in self.graph.types and name not in self.activations and self._fixed(name):
                found[name] = Format(typed.codes(name).format, Round.RND, Overflow.SAT)
        return found

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The nodes with kernels that may be chosen, in the order of computation."""
        found = []
        for node in self.graph.nodes:
            if not isinstance(node.op, Dense | Conv):
                continue
            x, kernel, *bias = node.inputs
            origins = self.graph.origins[kernel], self.graph.origins[node.output]
            if self.wishes.precision.find("weight", *origins) is None:
                places = int(np.prod(self.graph.types[node.output].shape[:-1]))
                found.append(Layer(node, kernel, bias[0] if bias else None, x, places))
        return tuple(found)

    @cached_property
    def kernels(self) -> dict[str, Kernel]:
        """What is known of each kernel, by its name."""
        found = {}
        for layer in self.layers:
            shape = self.graph.constants[layer.kernel].shape
            groups = rows_of(layer, some(layer, self.values[layer.x]), shape)
            # One lattice serves all groups of a convolution: their mean square counts.
            rows = np.sqrt(np.mean([rms(one) ** 2 for one in groups], axis=0))
            columns = rms(self._derivative(layer.node.output))
            found[layer.kernel] = Kernel(rows.reshape(shape[:-1]), columns)
        return found

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of all tensors that have a level."""
        return (*self.activations, *self.kernels)

    def formats(self, levels: Levels) -> dict[str, Format]:
        """Return the formats of all values up to the scores."""
        chosen = {name: self.format(name, levels[name]) for name in self.activations}
        return {**self.fixed, **chosen}

    def format(self, name: str, level: float) -> Format:
        """Return the format of one value at a level."""
        key = name, level
        if key not in self._formats:
            self._formats[key] = activation_format(self.activations[name], level)
        return self._formats[key]

    @cached_property
    def _formats(self) -> dict[tuple[str, float], Format]:
        return {}

    @cached_property
    def defaults(self) -> dict[str, Codes]:
        """Constants as `quantise` rounds them by itself: what stays where no search has a say."""
        typed = quantise(self.graph, replace(self.wished(Choice()), outputs={}))
        producers, found = self.graph.producers(), {}
        for node in typed.nodes:
            source = producers.get(node.output.removesuffix(".accumulator"))
            for name, own in zip(source.inputs if source else (), node.inputs, strict=False):
                if name in self.graph.constants and own in typed.constants:
                    found[name] = typed.constants[own], typed.codes(own).frac
        return found

    @property
    def start(self) -> dict[str, Array]:
        """Values of constants that no level decides."""
        return {name: decoded(codes) for name, codes in self.defaults.items()}

    def wished(self, choice: Choice) -> Wishes:
        """Return the wishes from which `quantise` makes the whole typed graph of a choice."""
        return replace(
            self.wishes,
            ranges=self._ranges,
            width=_HEAD,
            activations=choice.activations,
            constants=choice.constants,
        )

    @cached_property
    def _ranges(self) -> Ranges:
        return observe(self.full, self.sample)


def scores_of(graph: Graph, prepared: Graph) -> dict[str, Kind]:
    """Return the loss of each score of an imported graph, by its name in the prepared one."""
    producers, found = graph.producers(), {}
    for name in graph.outputs:
        node = producers.get(name)
        kind: Kind = "square"
        score = name
        if node is not None and node.inputs[0] in prepared.types:
            if isinstance(node.op, Softmax) and node.op.axes == (-1,):
                score, kind = node.inputs[0], "softmax"
            elif isinstance(node.op, Function) and node.op.name == "sigmoid":
                score, kind = node.inputs[0], "sigmoid"
            elif isinstance(node.op, Softplus):
                score = node.inputs[0]
        found[score] = kind
    return found


def _cut(graph: Graph, outputs: list[str]) -> Graph:
    build = Builder(graph.name, graph.stage)
    for name in graph.inputs:
        build.input(name, graph.tensor(name), graph.origins[name])
    for name, value in graph.constants.items():
        build.constant(value, name=name, origin=graph.origins[name])
    for node in graph.nodes:
        build.add(node.op, *node.inputs, name=node.output, origin=graph.origins[node.output])
    return build.graph(outputs)


def check_searchable(problem: Problem) -> None:
    """Raise UnsupportedOp if there is nothing in the graph that could be searched."""
    if any(isinstance(node.op, Trees) for node in problem.full.nodes):
        raise UnsupportedOp(
            f"{problem.full}: precision='auto' searches networks, and the model holds trees, whose "
            "formats follow from calibration alone: leave precision and budget out"
        )
    if not problem.layers:
        raise UnsupportedOp(
            f"{problem.full}: precision='auto' chooses formats of kernels, and the model has no "
            "dense layer or convolution whose weights are free; give a precision instead"
        )
