"""What a search is about: the graph up to its scores, what may vary in it, and what data says of it.

Scores are the operands of a last softmax, sigmoid and so on: what stands behind them gets formats
that are fine enough not to matter, and costs the same in every design.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

import numpy as np

from quant.allocate.cost import Design, Product, element_widths, has_products, sums_of, widths_of
from quant.allocate.gradients import backward
from quant.allocate.levels import Activation, Kernel, activation_format, kernel_lattice, rms
from quant.allocate.losses import Kind, Loss
from quant.allocate.rounding import Lattice, error_feedback
from quant.allocate.simulate import Choice, Codes, Simulator, decoded
from quant.calibrate import Ranges, observe
from quant.quantise import Wishes, quantise
from synth.errors import UnsupportedOp
from synth.exact import Array
from synth.fixed import Format, Overflow, Round
from synth.ir import Builder, Graph, Node
from synth.ir.ops import Cast, Conv, Dense, Function, Softmax, Softplus, Table
from synth.ir.windows import patches

__all__ = [
    "Layer",
    "Levels",
    "Problem",
    "check_searchable",
    "fed_back",
    "grouped_rows",
    "moments_of",
    "rows_of",
    "scores_of",
    "stride",
]

Levels = Mapping[str, float]
"""A level for each tensor that may vary: see `quant.allocate.levels`."""

_ELEMENTS = 1 << 25
"""Elements of all values of all events that statistics may hold at once."""
_LARGEST_KERNEL = 2048
"""Inputs of an output beyond which weights are rounded to nearest: the moments grow as a square."""
_HEAD = 16
_DRAWN = 4096
"""Events that say how much the loss minds an error: a root mean square to a per cent."""
"""Bits of what no search varies."""


@dataclass(frozen=True)
class Layer:
    """A node with a kernel: the names of what it reads and makes."""

    node: Node
    kernel: str
    bias: str | None
    x: str


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
        """The events from which statistics come: all of `fit`, or as many as memory holds."""
        held = sum(int(np.prod(self.graph.types[n].shape)) for n in self.graph.computed())
        most = max(256, _ELEMENTS // max(held, 1))
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
    def derivatives(self) -> dict[str, Array]:
        """Derivatives of the loss by every value, drawn so that their squares are its curvature."""
        few = slice(0, _DRAWN)
        values = {name: x if name in self.graph.constants else x[few] for name, x in self.values.items()}
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
        found = {n: Activation.of(self.values[n], self._derivative(n)) for n in names}
        for name in self.graph.inputs:
            if name in found:
                found[name] = found[name].with_still(self._still(name))
        return found

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
                found.append(Layer(node, kernel, bias[0] if bias else None, x))
        return tuple(found)

    @cached_property
    def kernels(self) -> dict[str, Kernel]:
        """What is known of each kernel, by its name."""
        found = {}
        for layer in self.layers:
            w = self.graph.constants[layer.kernel]
            rows = rms(rows_of(layer, self.values[layer.x], w.shape))
            if isinstance(layer.node.op, Conv) and layer.node.op.groups > 1:
                # One lattice serves all groups: the rows' mean square over them.
                rows = np.sqrt((rows.reshape(-1, layer.node.op.groups, w.shape[-2]) ** 2).mean(1))
            columns = rms(self._derivative(layer.node.output))
            found[layer.kernel] = Kernel(rows.reshape(w.shape[:-1]), columns)
        return found

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of all tensors that have a level."""
        return (*self.activations, *self.kernels)

    # Costs and first roundings

    @cached_property
    def _candidates(self) -> dict[tuple[str, float], dict[str, Array]]:
        return {}

    def candidate(self, kernel: str, level: float) -> dict[str, Array]:
        """Return values of a kernel at a level and of its bias, as the search tries them.

        Errors are fed back on the float network's inputs, and the bias takes up their mean.
        """
        if (kernel, level) not in self._candidates:
            layer = next(one for one in self.layers if one.kernel == kernel)
            lattice = kernel_lattice(self.kernels[kernel], level)
            w = self.graph.constants[kernel].astype(np.float64)
            values = np.ldexp(fed_back(w, self._moments(layer), lattice), -lattice.frac)
            found = {kernel: values.astype(np.float32)}
            if layer.bias is not None:
                bias = self.graph.constants[layer.bias] + self._moved(layer, w - values)
                found[layer.bias] = bias.astype(np.float32)
            self._candidates[kernel, level] = found
        return self._candidates[kernel, level]

    def _moved(self, layer: Layer, change: Array) -> Array:
        """Return by how much the means of a layer's results fall when its kernel does."""
        means = self._means(layer)
        flat, each = change.reshape(-1, change.shape[-1]), change.shape[-1] // len(means)
        parts = [m @ flat[:, g * each : (g + 1) * each] for g, m in enumerate(means)]
        return np.concatenate(parts)

    @cached_property
    def _means_seen(self) -> dict[str, list[Array]]:
        return {}

    def _means(self, layer: Layer) -> list[Array]:
        if layer.kernel not in self._means_seen:
            shape = self.graph.constants[layer.kernel].shape
            rows = grouped_rows(layer, self.values[layer.x], shape)
            self._means_seen[layer.kernel] = [r.mean(axis=0) for r in rows]
        return self._means_seen[layer.kernel]

    @property
    def start(self) -> dict[str, Array]:
        """Values of constants that no level decides."""
        return {name: decoded(codes) for name, codes in self.defaults.items()}

    @cached_property
    def _second_moments(self) -> dict[str, list[Array] | None]:
        return {}

    def _moments(self, layer: Layer) -> list[Array] | None:
        kernel = layer.kernel
        if kernel not in self._second_moments:
            shape = self.graph.constants[kernel].shape
            self._second_moments[kernel] = moments_of(layer, self.values[layer.x], shape)
        return self._second_moments[kernel]

    def formats(self, levels: Levels) -> dict[str, Format]:
        """Return the formats of all values up to the scores."""
        chosen = {n: activation_format(a, levels[n]) for n, a in self.activations.items()}
        return {**self.fixed, **chosen}

    def format(self, name: str, level: float) -> Format:
        """Return the format of one value at a level."""
        return activation_format(self.activations[name], level)

    @cached_property
    def _sketches(self) -> dict[tuple[str, tuple[float, ...]], Product]:
        return {}

    def sketched(self, levels: Levels) -> Design:
        """Return the design of levels before the recipe; what was counted once is not again."""
        formats = self.formats(levels)
        held = {n: widths_of(f.type, self.graph.types[n].shape) for n, f in formats.items()}
        widths = self._widths(held)
        products = {}
        for node in self.graph.nodes:
            if has_products(node.op):
                key = node.output, tuple(levels[n] for n in self._deciding[node.output])
                if key not in self._sketches:
                    codes = self._sketched_codes(node, levels)
                    self._sketches[key] = self._product(node, widths(), codes)
                products[node.output] = self._sketches[key]
        return Design(products, held, self._sums, lambda: self.typed)

    def _widths(self, held: Mapping[str, Array]) -> Callable[[], Mapping[str, Array]]:
        return cache(lambda: element_widths(self.graph, held))

    def _sketched_codes(self, node: Node, levels: Levels) -> dict[str, Array]:
        found = {}
        for name in node.inputs:
            if name in self.kernels:
                lattice = kernel_lattice(self.kernels[name], levels[name])
                found[name] = lattice.common(self.candidate(name, levels[name])[name])[0]
        return found

    @cached_property
    def _deciding(self) -> dict[str, tuple[str, ...]]:
        """The levels on which the products of a node depend, by the node's result."""
        before: dict[str, frozenset[str]] = {n: frozenset({n}) for n in self.graph.inputs}
        found = {}
        for node in self.graph.nodes:
            parts = [before.get(n, frozenset({n})) for n in node.inputs]
            above = frozenset().union(*parts)
            if has_products(node.op):
                found[node.output] = tuple(sorted(above & set(self.variables)))
            held = node.output in self.activations or node.output in self.fixed
            before[node.output] = frozenset({node.output}) if held else above
        return found

    def design(self, formats: Mapping[str, Format], codes: Mapping[str, Array]) -> Design:
        """Return what costs see of a choice: codes by the name of a kernel or a bias."""
        shapes = {name: self.graph.types[name].shape for name in formats}
        held = {name: widths_of(fmt.type, shapes[name]) for name, fmt in formats.items()}
        widths = element_widths(self.graph, held)
        products = {}
        for node in self.graph.nodes:
            if has_products(node.op):
                products[node.output] = self._product(node, widths, codes)
        return Design(products, held, self._sums, lambda: self.typed)

    @cached_property
    def _sums(self) -> int:
        return sums_of(self.graph)

    def _product(
        self, node: Node, widths: Mapping[str, Array], codes: Mapping[str, Array]
    ) -> Product:
        x, other, *bias = node.inputs
        if x in self.graph.constants:
            x, other = other, x
        known = self._codes(codes, other)
        terms = self._codes(codes, bias[0]) if bias else None
        return Product(node.op, widths[x], known, None if known is not None else widths[other], terms)

    def _codes(self, codes: Mapping[str, Array], name: str) -> Array | None:
        if name in codes or name not in self.defaults:
            return codes.get(name)
        return self.defaults[name][0]

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
    """Return the scores of an imported graph by their names in the prepared one, with their loss."""
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


def rows_of(layer: Layer, x: Array, shape: tuple[int, ...]) -> Array:
    """Return what the kernel is multiplied with, [positions, inputs of an output x groups].

    Groups of a convolution stand next to the kernel's own axes: [positions, taps, groups, inner].
    """
    op = layer.node.op
    if isinstance(op, Dense):
        return x.reshape(-1, shape[0])
    assert isinstance(op, Conv)
    windows = patches(x, op.window, fill=0)
    taps = int(np.prod(op.window.kernel))
    return windows.reshape(-1, taps * op.groups * shape[-2])


_POSITIONS = 1 << 16


def grouped_rows(layer: Layer, x: Array, shape: tuple[int, ...]) -> list[Array]:
    """Return for each group the inputs of its outputs, [positions, inputs], float64.

    Of many positions (of a convolution) evenly spaced ones are taken.
    """
    rows = rows_of(layer, x, shape)
    rows = rows[:: stride(len(rows))].astype(np.float64)
    groups = layer.node.op.groups if isinstance(layer.node.op, Conv) else 1
    if groups == 1:
        return [rows]
    split = rows.reshape(len(rows), -1, groups, shape[-2])
    return [split[:, :, g].reshape(len(rows), -1) for g in range(groups)]


def stride(positions: int) -> int:
    """Return how far apart the positions are that moments are taken from."""
    return max(1, positions // _POSITIONS)


def moments_of(layer: Layer, x: Array, shape: tuple[int, ...]) -> list[Array] | None:
    """Return the second moments of each group's inputs, about the mean where a bias can mend it."""
    if int(np.prod(shape[:-1])) > _LARGEST_KERNEL:
        return None
    found = []
    for rows in grouped_rows(layer, x, shape):
        centred = rows - rows.mean(axis=0) if layer.bias is not None else rows
        found.append(centred.T @ centred / len(rows))
    return found


def fed_back(w: Array, moments: list[Array] | None, lattice: Lattice) -> Array:
    """Round a kernel [*kernel, outputs] group by group; to nearest without moments."""
    if moments is None:
        return lattice.round(w)
    flat, groups = w.reshape(-1, w.shape[-1]), len(moments)
    frac = np.broadcast_to(lattice.frac, w.shape).reshape(flat.shape)
    each = w.shape[-1] // groups
    codes = np.empty(flat.shape)
    for g, second in enumerate(moments):
        own = slice(g * each, (g + 1) * each)
        part = Lattice(frac[:, own], lattice.most)
        codes[:, own] = error_feedback(second, flat[:, own], part)
    return codes.reshape(w.shape)


def check_searchable(problem: Problem) -> None:
    """Raise UnsupportedOp if nothing in the graph could be searched."""
    if not problem.kernels:
        raise UnsupportedOp(
            f"{problem.full}: precision='auto' chooses formats of kernels, and the model has no "
            "dense layer or convolution whose weights are free; give a precision instead"
        )
