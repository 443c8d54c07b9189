"""Runs a graph: in floats (imported stage) or in exact integers (typed stage). The oracle.

A graph is compiled once into a list of steps. In the typed stage each step computes in the fastest
carrier (see `synth.exact`) that its proven interval allows, so that BLAS does the work and not
one bit is lost. Batches are cut into chunks that stay in cache, and chunks go over a pool of
threads with one BLAS thread each.
"""

import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from synth.casting import CastKernel
from synth.errors import GraphError, PrecisionError, ShapeError
from synth.exact import Array, Carrier, carrier, convert, integers, shift_left
from synth.fixed import (
    Fixed,
    FixedArray,
    Format,
    Overflow,
    Round,
    align,
    as_codes,
    encode,
    encode_in_floats,
    is_plain,
)
from synth.forests import ForestKernel
from synth.formats import in_int64
from synth.ir.forest import Forest
from synth.ir.graph import Graph, Node, Stage
from synth.ir.ops import Cast, Conv, Dense, Movement, Relu, Table, Trees
from synth.ir.types import Codes, Interval

__all__ = ["Evaluator", "cores", "evaluate"]

_CHUNK_ELEMENTS = 1 << 19
"""Elements of the widest value that a chunk aims at: four megabytes in float64 stay in cache, and
thousands of events share the cost of a call."""
_LEAST_EVENTS = 8
"""Smaller chunks would only hand Python's lock to and fro between threads."""
_MOST_WINDOWED = 1 << 22
"""Elements of a convolution's windows that a chunk may copy, whatever its events."""


@dataclass(frozen=True)
class _Step:
    output: str
    run: Callable[..., Array]
    inputs: tuple[str, ...]
    last_use: tuple[str, ...]
    """Values that no later step reads: their memory may be overwritten or freed."""


def evaluate(
    graph: Graph, feeds: Mapping[str, Array], wanted: Sequence[str] | None = None
) -> dict[str, Array]:
    """Run a graph once; see `Evaluator` for the arguments. To run it often, keep an Evaluator."""
    return Evaluator(graph, wanted)(feeds)


class Evaluator:
    """A graph ready to run.

    Parameters
    ----------
    graph
        Of either stage.
    wanted
        Names of the values to return; by default the graph's outputs.
    count_overflows
        Whether to count, in `overflows`, the elements that each `Cast` saturated or wrapped.
    threads
        By default one a core.
    """

    def __init__(
        self,
        graph: Graph,
        wanted: Sequence[str] | None = None,
        *,
        count_overflows: bool = False,
        threads: int | None = None,
    ) -> None:
        self.graph = graph
        self.wanted = tuple(dict.fromkeys(graph.outputs if wanted is None else wanted))
        for name in self.wanted:
            if name not in graph.types:
                raise GraphError(f"{graph} computes no value {name!r}")
        self.overflows: Counter[str] = Counter()
        self._count = count_overflows
        self._counting = threading.Lock()
        self._threads = threads or cores()
        typed = graph.stage is Stage.TYPED
        prepare = self._exact if typed else self._float
        self._memory = threading.local()
        self._steps = _steps(graph, self.wanted, prepare)
        self._constants = {k: v[None] for k, v in graph.constants.items()}
        self._chunk = _events_a_chunk(graph)

    def __call__(
        self, feeds: Mapping[str, Array], *, wires: Mapping[str, Format] | None = None
    ) -> dict[str, Array]:
        """Run a batch.

        Parameters
        ----------
        feeds
            For each input an array [events, *shape]: floats in the imported stage, integer codes of
            the input's format in the typed one.
        wires
            In the typed stage: take and return values instead of codes; inputs are encoded with the
            rounding and overflow of these formats (RND and SAT where an input is not named).

        Returns
        -------
        dict
            Each wanted value, [events, *shape], in memory of its own: floats, or codes of the
            value's format: int64, or Python integers in formats of more than 63 bits.

        Raises
        ------
        ShapeError
            An input is missing, unknown or of another shape; or inputs differ in events.
        PrecisionError
            An input of the typed stage holds no integers, or codes outside its format.
        """
        events = self._check(feeds)
        chunks = [
            slice(start, min(start + self._chunk, events))
            for start in range(0, max(events, 1), self._chunk)
        ]
        with one_blas_thread():
            first = self._run(feeds, chunks[0], wires)
            if len(chunks) == 1:
                return first
            results = {k: np.empty((events, *v.shape[1:]), v.dtype) for k, v in first.items()}
            self._store(results, chunks[0], first)
            rest = chunks[1:]

            def work(chunk: slice) -> None:
                self._store(results, chunk, self._run(feeds, chunk, wires))

            with ThreadPoolExecutor(min(self._threads, len(rest))) as pool:
                list(pool.map(work, rest))
        return results

    def _check(self, feeds: Mapping[str, Array]) -> int:
        names = set(self.graph.inputs)
        if set(feeds) != names:
            raise ShapeError(f"the graph takes inputs {sorted(names)}, not {sorted(feeds)}")
        for name in self.graph.inputs:
            shape, given = self.graph.types[name].shape, np.shape(feeds[name])
            if given[1:] != shape or not given:
                raise ShapeError(f"input {name!r} has shape {given}, not (events, *{shape})")
        counts = {len(feeds[name]) for name in names} or {1}
        if len(counts) != 1:
            raise ShapeError(f"inputs differ in their number of events: {sorted(counts)}")
        return counts.pop()

    def _run(
        self, feeds: Mapping[str, Array], events: slice, wires: Mapping[str, Format] | None
    ) -> dict[str, Array]:
        values = dict(self._constants)
        for name in self.graph.inputs:
            part = np.asarray(feeds[name])[events]
            if wires is None:
                values[name] = self._enter(name, part)
            else:
                values[name] = self._aligned(name, self._encoded(name, part, wires.get(name)))
        for step in self._steps:
            values[step.output] = step.run(*[values[x] for x in step.inputs])
            for name in step.last_use:
                del values[name]
        count = events.stop - events.start
        results = {name: self._leave(name, values, count) for name in self.wanted}
        if wires is None:
            return results
        return {k: self.graph.decode(k, v) for k, v in results.items()}

    def _encoded(self, name: str, values: Array, wire: Format | None) -> Array:
        fmt = self.graph.codes(name).format
        rounding, overflow = (wire.rounding, wire.overflow) if wire else (Round.RND, Overflow.SAT)
        if name in self.graph.scales:
            return self.graph.encode(name, values, rounding, overflow)
        if values.dtype.kind == "f" and is_plain(fmt, rounding, overflow):
            if not np.isfinite(values).all():
                raise PrecisionError(f"input {name!r} holds NaN or infinity")
            return encode_in_floats(values, fmt)
        return encode(values, fmt, rounding, overflow)

    @staticmethod
    def _store(results: dict[str, Array], events: slice, part: dict[str, Array]) -> None:
        for name, array in part.items():
            results[name][events] = array

    def _enter(self, name: str, array: Array) -> Array:
        kind = self.graph.types[name]
        if not isinstance(kind, Codes):
            with np.errstate(over="ignore"):
                return array.astype(kind.dtype, copy=False)
        array = as_codes(array)
        least, most = kind.format.min, kind.format.max
        if isinstance(kind.format, Fixed):
            outside = bool(array.size) and bool(array.min() < least or array.max() > most)
        else:
            outside = bool(np.any(array < least) or np.any(array > most))
        if outside:
            raise PrecisionError(
                f"input {name!r} has codes in {array.min()}..{array.max()}, outside its format "
                f"{kind.format}; cast or encode them first"
            )
        return self._aligned(name, array)

    def _aligned(self, name: str, array: Array) -> Array:
        """Return codes of an input in its carrier and in units of its finest LSB."""
        kind = self.graph.codes(name)
        if isinstance(kind.format, Fixed):
            return convert(array, carrier(kind.interval.magnitude))
        shifts = kind.frac - np.asarray(kind.format.frac)
        held = carrier(kind.interval.magnitude)
        if array.dtype.kind == "f" and held in ("float32", "float64"):
            return np.asarray(array.astype(held, copy=False) * np.ldexp(1.0, shifts).astype(held))
        return integers(align(array, shifts))

    def _leave(self, name: str, values: dict[str, Array], events: int) -> Array:
        kind = self.graph.types[name]
        value = values[name]
        if isinstance(kind, Codes):
            value = integers(value)
            if isinstance(kind.format, FixedArray):
                # Exact: values of a coarser element are multiples of its LSB.
                shifts = kind.frac - kind.format.frac
                value = integers(value // align(np.ones_like(shifts), shifts))
            # By the format and not by what is there: chunks must agree.
            narrow = in_int64(int(np.max(kind.format.width)))
            value = value.astype(np.int64 if narrow else object, copy=False)
        if len(value) != events:
            value = np.broadcast_to(value, (events, *value.shape[1:]))
        # Never the user's memory, a constant's, or that which Dense keeps.
        return value.copy() if value is values[name] or value.base is not None else value

    # The imported stage: the operation itself on floats.

    def _float(self, node: Node, _owned: frozenset[str]) -> _Step:
        if isinstance(node.op, Trees):
            forest = Forest(*(self.graph.constants[name] for name in node.inputs[1:]))
            return _Step(node.output, ForestKernel(forest), node.inputs[:1], ())

        dtype = self.graph.tensor(node.output).dtype

        def run(*arrays: Array) -> Array:
            # IEEE's infinities and NaN are what the float model gives. Constants that are held
            # exactly may be of a wider type than what they meet.
            with np.errstate(all="ignore"):
                return node.op.evaluate(*arrays).astype(dtype, copy=False)

        return _Step(node.output, run, node.inputs, ())

    # The typed stage: aligned integers in the node's carrier.

    def _exact(self, node: Node, owned: frozenset[str]) -> _Step:
        graph, op = self.graph, node.op
        if isinstance(op, Cast):
            return self._cast(node, node.inputs[0] in owned)
        if isinstance(op, Table):
            entries = graph.codes(node.inputs[1])
            held = convert(entries.interval.lo, carrier(entries.interval.magnitude))[None]
            return _Step(node.output, lambda x: op.evaluate(x, held), node.inputs[:1], ())
        kinds = [graph.codes(name) for name in node.inputs]
        shifts = op.align(*[kind.frac for kind in kinds]).shifts
        aligned = [k.interval.shifted(s) for k, s in zip(kinds, shifts, strict=True)]
        if isinstance(op, Trees):
            return self._trees(node, op, shifts[0], aligned)
        target = carrier(op.magnitude(*aligned))
        arguments: list[Array | int] = []
        computed: list[tuple[str, int]] = []
        for name, shift in zip(node.inputs, shifts, strict=True):
            if name in graph.constants:
                arguments.append(convert(shift_left(graph.constants[name], shift), target)[None])
            else:
                arguments.append(len(computed))
                computed.append((name, shift))
        if isinstance(op, Dense):
            return self._dense(node, [a for a in arguments[1:] if not isinstance(a, int)], target)
        if isinstance(op, Relu):
            relu = _relu_over if node.inputs[0] in owned else op.evaluate
            return _Step(node.output, relu, node.inputs, ())
        if isinstance(op, Movement) and len(arguments) == 1:
            return _Step(node.output, op.evaluate, node.inputs, ())

        def run(*arrays: Array) -> Array:
            ready = [
                _shifted(convert(a, target), s) for a, (_, s) in zip(arrays, computed, strict=True)
            ]
            return op.evaluate(*[ready[a] if isinstance(a, int) else a for a in arguments])

        return _Step(node.output, run, tuple(name for name, _ in computed), ())

    def _dense(self, node: Node, parameters: Sequence[Array], target: Carrier) -> _Step:
        """The same as `Dense.evaluate`, into memory that each thread keeps from chunk to chunk."""
        kernel, *bias = [parameter[0] for parameter in parameters]

        def run(x: Array) -> Array:
            x = convert(x, target)
            rows = x.reshape(-1, x.shape[-1])
            y = self._buffer(node.output, len(rows), kernel)
            np.matmul(rows, kernel, out=y)
            if bias:
                y += bias[0]
            return y.reshape(*x.shape[:-1], kernel.shape[1])

        return _Step(node.output, run, node.inputs[:1], ())

    def _trees(self, node: Node, op: Trees, shift: int, aligned: Sequence[Interval]) -> _Step:
        """Features and steps in one carrier, leaves and sums in another."""
        compared, summed = carrier(op.compared(*aligned)), carrier(op.summed(*aligned))
        _, steps, keys, nodes, leaves, trees, base = (interval.lo for interval in aligned)
        kernel = ForestKernel(
            Forest(
                convert(steps, compared), keys, nodes, convert(leaves, summed), trees,
                convert(base, summed),
            )
        )  # fmt: skip
        run = lambda x: kernel(_shifted(convert(x, compared), shift))  # noqa: E731
        return _Step(node.output, run, node.inputs[:1], ())

    def _buffer(self, name: str, rows: int, kernel: Array) -> Array:
        kept: dict[str, Array] = self._memory.__dict__
        if name not in kept or len(kept[name]) < rows:
            kept[name] = np.empty((rows, kernel.shape[1]), kernel.dtype)
        return kept[name][:rows]

    def _cast(self, node: Node, owned: bool) -> _Step:
        assert isinstance(node.op, Cast)
        # A constant overflows once, whatever the number of chunks: it is not counted.
        counts = self._count and node.inputs[0] not in self.graph.constants
        counter = self._counter(node.output) if counts else None
        kernel = CastKernel(node.op, self.graph.codes(node.inputs[0]), counter)
        return _Step(node.output, lambda x: kernel(x, owned), node.inputs, ())

    def _counter(self, name: str) -> Callable[[int], None]:
        def add(count: int) -> None:
            if count:
                with self._counting:
                    self.overflows[name] += count

        return add


def _relu_over(x: Array) -> Array:
    return np.maximum(x, x.dtype.type(0) if x.dtype.kind != "O" else 0, out=x)


def _shifted(array: Array, shift: int) -> Array:
    if shift == 0:
        return array
    if array.dtype.kind == "O":
        return shift_left(array, shift)
    # Beyond 62 only zeros have another carrier than Python integers.
    return np.asarray(array * array.dtype.type(1 << min(shift, 62)))


def cores() -> int:
    """Return how many cores this process may use (macOS does not tell: all of them)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _steps(
    graph: Graph, wanted: tuple[str, ...], prepare: Callable[[Node, frozenset[str]], _Step]
) -> list[_Step]:
    """Prepare the nodes that the wanted values need, and note where each value is read last."""
    needed, nodes = set(wanted), []
    for node in reversed(graph.nodes):
        if node.output in needed:
            nodes.append(node)
            needed.update(node.inputs)
    nodes.reverse()
    last = {name: i for i, node in enumerate(nodes) for name in node.inputs}
    kept = {*wanted, *graph.inputs, *graph.constants}
    # Views share memory with their operand: neither may be overwritten.
    moved = [node for node in nodes if isinstance(node.op, Movement)]
    shared = {name for node in moved for name in (node.output, *node.inputs)}
    steps = []
    for i, node in enumerate(nodes):
        dying = [n for n in dict.fromkeys(node.inputs) if last[n] == i and n not in kept]
        step = prepare(node, frozenset(dying) - shared)
        steps.append(_Step(step.output, step.run, step.inputs, tuple(dying)))
    return steps


def _events_a_chunk(graph: Graph) -> int:
    """Choose the events of a chunk by the widest value and the widest convolution."""
    values = [kind.shape for name, kind in graph.types.items() if name not in graph.constants]
    widest = max(int(np.prod(shape)) for shape in values) if values else 1
    windowed = 1
    for node in graph.nodes:
        if isinstance(node.op, Conv):
            positions = int(np.prod(graph.types[node.output].shape[:-1]))
            terms = int(np.prod(graph.types[node.inputs[1]].shape[:-1])) * node.op.groups
            windowed = max(windowed, positions * terms)
    events = max(_LEAST_EVENTS, _CHUNK_ELEMENTS // max(widest, 1))
    return max(1, min(events, _MOST_WINDOWED // windowed))


def one_blas_thread() -> Any:
    """Limit BLAS to one thread: our chunks use the cores, and two levels of threads thrash."""
    return _controller().limit(limits=1, user_api="blas")


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
