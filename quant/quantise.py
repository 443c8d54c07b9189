"""Imported to typed: every value gets a format, and what was a float becomes an integer.

The graph comes prepared (`synth.passes.prepare`): only primitives are left, so that every
intermediate has a format. Linear operations are exact; a `Cast` follows where their result is
handed on, behind the comparison-like operations that come next (a ReLU acts on the exact sum).
Functions of one variable become tables over the interval that their operand can take.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np

from quant.calibrate import Ranges
from quant.forests import TreeRules, forest_of, read_by_trees
from quant.formats_for import constant_codes, covering, rounded_constant, trimmed
from quant.kept import Keeper, absorbed, reaches_quantiser
from quant.lookup import Lookup
from quant.precision import Precision
from quant.tables import value_range
from synth.errors import PrecisionError, UnsupportedOp
from synth.exact import Array
from synth.fixed import Fixed, FixedArray, Format, Overflow, Round
from synth.ir import Builder, Codes, Graph, Node, Op, Origin, Stage
from synth.ir.ops import (
    Abs,
    Add,
    Cast,
    Conv,
    Dense,
    Function,
    MatMul,
    Maximum,
    Minimum,
    Mul,
    Neg,
    Reduce,
    Relu,
    Select,
    Sub,
    SumPool,
    Trees,
)

__all__ = ["Wishes", "quantise"]

_HEADROOM = 2.0
"""A range seen in calibration is stretched by this much before a format is chosen to cover it."""


@dataclass(frozen=True)
class Wishes:
    """Everything that decides formats.

    Attributes
    ----------
    precision
        What the user said by layer and role.
    inputs, outputs
        Wires: formats that neighbouring firmware fixes.
    ranges
        Seen in calibration; None if there was none, and then `precision` must be complete.
    width
        Bits of a value whose format is chosen here.
    leaf_bits
        Bits of a leaf of trees; by default `width`.
    trees
        The rules of trees; None if there are none.
    activations
        By name of a value of the prepared graph: the format that it is cast to, or that an input
        or a table has, whatever `precision` says; a wire alone comes before it.
    constants
        By name of a constant of the prepared graph: its codes and their fraction bits. A format a
        channel or a weight is codes of a common LSB that have trailing zeros.
    """

    precision: Precision = field(default_factory=Precision)
    inputs: Mapping[str, Format] = field(default_factory=dict)
    outputs: Mapping[str, Format] = field(default_factory=dict)
    ranges: Ranges | None = None
    width: int = 16
    leaf_bits: int | None = None
    trees: TreeRules | None = None
    activations: Mapping[str, Format] = field(default_factory=dict)
    constants: Mapping[str, tuple[Array, int]] = field(default_factory=dict)


def quantise(graph: Graph, wishes: Wishes) -> Graph:
    """Return the typed graph of a prepared imported one.

    Raises
    ------
    PrecisionError
        A wish names an unknown layer or a format of the wrong shape, or a format must be chosen and
        there is no calibration data.
    UnsupportedOp
        An operation that is no primitive (a pass is missing).
    """
    wishes.precision.check_layers(origin.layer for origin in graph.origins.values())
    _check_overrides(graph, wishes)
    return _Quantiser(graph, wishes).run()


class _Quantiser:
    def __init__(self, graph: Graph, wishes: Wishes) -> None:
        self.source = graph
        self.wishes = wishes
        self.build = Builder(graph.name, Stage.TYPED)
        self.typed: dict[str, str] = {}
        self.exact: set[str] = set()
        """Imported values whose typed counterpart still awaits its cast."""
        self.readers = graph.consumers()
        nothing = wishes.ranges is None and not wishes.precision.complete
        self.keeper = Keeper(graph, self.build, only=nothing)
        self.entries = absorbed(graph, wishes.inputs)

    def run(self) -> Graph:
        for name in self.source.inputs:
            self._input(name)
        for node in self.source.nodes:
            self._node(node)
        return self.build.graph([self._output(name) for name in self.source.outputs])

    # Edges

    def _input(self, name: str) -> None:
        wire = self.wishes.inputs.get(name) or self.wishes.activations.get(name)
        wire = wire or self._wish("input", Origin(name, "input"))
        entry = self.entries.get(name)
        shape = self.source.types[name].shape
        if entry is not None:
            fmt = entry.format.type
        else:
            fmt = wire.type if wire else self._chosen_input(name)
        origin = self.source.origins[name]
        self.typed[name] = self.build.input(name, Codes.full(shape, fmt), origin)
        self.keeper.take(name, self.typed[name], None if entry is None else entry.scale)

    def _chosen_input(self, name: str) -> Fixed | FixedArray:
        low, high = self._seen(name)
        forests = read_by_trees(self.source, name)
        if forests and self.wishes.trees is not None and self.wishes.ranges is not None:
            grid = self.wishes.ranges.grids[name]
            return self.wishes.trees.wires(forests, grid, self.wishes.width)
        return covering(low, high, self.wishes.width)

    def _output(self, name: str) -> str:
        wire = self.wishes.outputs.get(name)
        if name in self.source.constants:
            codes, frac = constant_codes(np.asarray(self.source.constants[name]), self.wishes.width)
            return self.build.constant(codes, frac=frac, name=name)
        if self.keeper.active:
            return self.keeper.output(name, wire)
        value = self.typed[name]
        if wire is not None and self.build.codes(value).format != wire.type:
            origin = self.source.origins.get(name, Origin(name))
            return self.build.add(Cast(wire), value, name=f"{name}.wire", origin=origin)
        return value

    # Nodes

    def _node(self, node: Node) -> None:
        if not self.keeper.active:
            self._chosen(node)
        elif self.keeper.node(node):
            asked = self.wishes.precision.named("activation", self.source.origins[node.output])
            if asked is not None:
                self.keeper.cast(node.output, asked)
        else:
            for name in node.inputs:
                if name not in self.source.constants:
                    self.typed[name] = self.keeper.plain(name, self._covering)
            self._chosen(node)
            self.keeper.take(node.output, self.typed[node.output])

    def _covering(self, low: float, high: float) -> Format:
        return Format(covering(low, high, self.wishes.width), Round.RND, Overflow.SAT)

    def _chosen(self, node: Node) -> None:
        """Add a node whose formats are wished for, or chosen from ranges."""
        if isinstance(node.op, Function):
            self._function(node, node.op)
            return
        if isinstance(node.op, Trees):
            self._trees(node, node.op)
            return
        if Stage.TYPED not in node.op.stages:
            raise UnsupportedOp(
                f"{node.op.kind} (layer {self.source.origins[node.output].layer!r}) has no rule "
                "that makes integers of it"
            )
        operands = self._operands(node)
        origin = self.source.origins[node.output]
        exact = self.build.infer(node.op, *operands)
        assert isinstance(exact, Codes)
        awaits = _grows(node.op) or any(x in self.exact for x in node.inputs)
        limit = self._wish("accumulator", origin) if isinstance(node.op, _SUMS) else None
        if awaits and limit is None and self._deferred(node):
            self.exact.add(node.output)
            awaits = False
        fmt = self._named(node.output)
        if fmt is None and awaits:
            fmt = self._activation(node.output, origin, exact)
        self._finish(node, operands, exact, limit, fmt)

    def _trees(self, node: Node, op: Trees) -> None:
        """Leaves are few bits and their sums exact: nothing is cast that nobody asked for."""
        origin = self.source.origins[node.output]
        if self.wishes.trees is None:
            raise UnsupportedOp(f"Trees (layer {origin.layer!r}): no rule makes integers of them")
        leaves = self._wish("leaf", origin) or self.wishes.leaf_bits or self.wishes.width
        x = self._codes(node.inputs[0])
        given = forest_of(self.source, node)
        seen = self._rounded_features(node.inputs[0])
        forest, frac = self.wishes.trees.integer_forest(given, x, leaves, seen)
        fracs = {"steps": x.frac, "leaves": frac, "base": frac}
        operands = [self.typed[node.inputs[0]]]
        for field_ in fields(forest):
            role, codes = field_.name, getattr(forest, field_.name)
            operands.append(
                self.build.constant(
                    codes,
                    frac=fracs.get(role, 0),
                    name=f"{node.output}.{role}",
                    origin=Origin(origin.layer, role),
                )
            )
        exact = self.build.infer(op, *operands)
        assert isinstance(exact, Codes)
        limit = self._wish("accumulator", origin)
        fmt = self.wishes.outputs.get(node.output) or self._wish("activation", origin)
        self._finish(node, operands, exact, limit, fmt)

    def _rounded_features(self, name: str) -> Array | None:
        """Return the events [events, features] of an input that is rounded to a format of ours.

        None for what the model computes, for wires, whose values are on their grid as they come,
        and where there was no calibration.
        """
        if name in self.wishes.inputs or self.wishes.ranges is None:
            return None
        events = self.wishes.ranges.events.get(name)
        if events is None:
            return None
        return events.reshape(-1, events.shape[-1]).astype(self.source.tensor(name).dtype)

    def _finish(
        self,
        node: Node,
        operands: list[str],
        exact: Codes,
        limit: Format | None,
        fmt: Format | None,
    ) -> None:
        """Add the node and its casts; the last of them bears the source's name."""
        name, origin = node.output, self.source.origins[node.output]
        inner = Origin(origin.layer, "accumulator")
        casts = [c for c in (limit, fmt) if c is not None and c.type != exact.format]
        names = [*[f"{name}.accumulator", f"{name}.limited"][: len(casts)], name]
        origins = [*[inner] * len(casts), origin]
        value = self.build.add(node.op, *operands, name=names[0], origin=origins[0])
        for target, label, source in zip(casts, names[1:], origins[1:], strict=True):
            value = self.build.add(Cast(target), value, name=label, origin=source)
        self.typed[name] = value

    def _deferred(self, node: Node) -> bool:
        """Whether the only reader takes the exact value and casts behind itself."""
        if node.output in self.source.outputs or node.output in self.wishes.activations:
            return False
        readers = self.readers[node.output]
        if self.keeper.active and reaches_quantiser(self.source, self.readers, node.output):
            return True
        if len(readers) != 1:
            return False
        reader = readers[0].op
        if isinstance(reader, _COMPARES | Function):
            return True
        others = [x for x in readers[0].inputs if x != node.output]
        constant = all(x in self.source.constants for x in others)
        if isinstance(node.op, SumPool | Reduce | Sub | Add) and isinstance(reader, Mul):
            return constant
        return False

    def _activation(self, name: str, origin: Origin, exact: Codes) -> Format:
        wish = self._wish("activation", origin)
        if wish is not None:
            return wish
        low, high = self._seen(name)
        scale = 2.0**-exact.frac
        least, most = exact.interval.hull
        low, high = max(low, least * scale), min(high, most * scale)
        fmt = covering(low, high, self.wishes.width)
        if fmt.frac >= exact.frac:
            # Finer than the exact value: keep its LSB and only the bits that its range needs.
            fmt = Fixed.containing(_floor(low, exact.frac), _ceil(high, exact.frac), exact.frac)
        return Format(fmt, Round.RND, Overflow.SAT)

    # Operands

    def _operands(self, node: Node) -> list[str]:
        computed = [x for x in node.inputs if x not in self.source.constants]
        fracs = [self._codes(x).frac for x in computed]
        return [
            self._constant(x, node, position, fracs)
            if x in self.source.constants
            else self.typed[x]
            for position, x in enumerate(node.inputs)
        ]

    def _constant(self, name: str, node: Node, position: int, fracs: list[int]) -> str:
        values = np.asarray(self.source.constants[name])
        origin = self.source.origins[name]
        if not np.isfinite(values).all():
            raise PrecisionError(
                f"layer {origin.layer!r}: constant {name!r} is infinite somewhere (a mask?), which "
                "no number format holds; use a finite number of the size of the other operand"
            )
        adds = position == 2 or not isinstance(node.op, Dense | Conv | Mul | MatMul)
        role = "bias" if adds else "weight"
        named = Origin(origin.layer, role)
        if name in self.wishes.constants:
            codes, frac = trimmed(*self.wishes.constants[name])
            return self.build.constant(codes, frac=frac, name=f"{node.output}.{role}", origin=named)
        wish = self._wish(role, origin, self.source.origins[node.output])
        if wish is not None:
            if isinstance(wish.type, FixedArray):
                raise PrecisionError(f"layer {origin.layer!r}: weights need one format for all")
            codes, frac = trimmed(rounded_constant(values, wish), wish.type.frac)
        elif adds:
            codes, frac = self._bias(values, node, fracs)
        else:
            codes, frac = constant_codes(values, self.wishes.width)
        return self.build.constant(codes, frac=frac, name=f"{node.output}.{role}", origin=named)

    def _bias(self, values: np.ndarray, node: Node, fracs: list[int]) -> tuple[np.ndarray, int]:
        """A term rounds at the LSB of what it is added to: that costs no adder."""
        frac = max(fracs)
        if isinstance(node.op, Dense | Conv):
            frac += self.build.codes(f"{node.output}.weight").frac
        largest = float(np.abs(values).max(initial=0.0))
        frac = max(frac, covering(0.0, largest, self.wishes.width).frac if largest else 0)
        frac = min(frac, 1000)
        fmt = Fixed.containing(_floor(-largest, frac), _ceil(largest, frac), frac)
        return trimmed(rounded_constant(values, Format(fmt)), frac)

    def _function(self, node: Node, function: Function) -> None:
        origin = self.source.origins[node.output]
        x = self._codes(node.inputs[0])
        out = self._table_format(node, function, x, origin)
        lookup = Lookup(self.build, node.output, origin, function, out)
        self.typed[node.output] = lookup.add(self.typed[node.inputs[0]])

    def _table_format(self, node: Node, function: Function, x: Codes, origin: Origin) -> Fixed:
        wish = self._named(node.output) or self._wish("table", origin)
        if wish is not None:
            if isinstance(wish.type, FixedArray):
                raise PrecisionError(f"layer {origin.layer!r}: a table needs one format for all")
            return wish.type
        low, high = value_range(function, x)
        if self.wishes.ranges is not None:
            seen = self._seen(node.output)
            low, high = max(low, min(seen[0], high)), min(high, max(seen[1], low))
        return covering(low, high, self.wishes.width)

    # Look-ups

    def _codes(self, name: str) -> Codes:
        return self.build.codes(self.typed[name])

    def _named(self, name: str) -> Format | None:
        """Return the format that a value must have: its wire's, or the one it was given by name."""
        return self.wishes.outputs.get(name) or self.wishes.activations.get(name)

    def _wish(self, role: str, *origins: Origin) -> Format | None:
        return self.wishes.precision.find(role, *origins)

    def _seen(self, name: str) -> tuple[float, float]:
        if self.wishes.ranges is None:
            layer = self.source.origins[name].layer
            raise PrecisionError(
                f"no format is given for layer {layer!r} and there is no calibration data to "
                "choose one from: pass calibration=x_train (--calibration x.npy), "
                "or precision='fixed<16,6>'"
            )
        low, high = self.wishes.ranges.overall[name]
        return min(low * _HEADROOM, low), max(high * _HEADROOM, high)


def _check_overrides(graph: Graph, wishes: Wishes) -> None:
    for name in (*wishes.activations, *wishes.constants):
        if name not in graph.types:
            raise PrecisionError(f"{graph} has no value {name!r} that a format could be given to")
    for name, (codes, _) in wishes.constants.items():
        shape = graph.types[name].shape
        if name not in graph.constants or np.shape(codes) != shape:
            raise PrecisionError(
                f"codes of shape {np.shape(codes)} were given for {name!r}, which is "
                f"{'a constant of shape' if name in graph.constants else 'computed, of shape'} "
                f"{shape}"
            )


def _grows(op: Op) -> bool:
    if isinstance(op, Reduce):
        return op.function == "sum"
    return isinstance(op, Dense | Conv | MatMul | Add | Sub | Mul | SumPool)


_SUMS = (Dense, Conv, MatMul, SumPool, Reduce)
_COMPARES = Relu | Maximum | Minimum | Neg | Abs | Select


def _floor(value: float, frac: int) -> int:
    return int(np.floor(np.ldexp(value, frac)))


def _ceil(value: float, frac: int) -> int:
    return int(np.ceil(np.ldexp(value, frac)))
