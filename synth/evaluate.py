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
from synth.errors import ShapeError
from synth.exact import Array, Carrier, carrier, convert, integers, shift_left
from synth.fixed import Fixed, FixedArray, align
from synth.ir.graph import Graph, Node, Stage
from synth.ir.ops import Cast, Conv, Dense, Movement, Relu, Table
from synth.ir.types import Codes

__all__ = ["Evaluator", "evaluate"]

_CHUNK_ELEMENTS = 1 << 16
"""Elements of the widest intermediate that a chunk may hold: half a megabyte in float64."""


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
        self.overflows: Counter[str] = Counter()
        self._count = count_overflows
        self._threads = threads or len(os.sched_getaffinity(0))
        typed = graph.stage is Stage.TYPED
        prepare = self._exact if typed else self._float
        self._memory = threading.local()
        self._steps = _steps(graph, self.wanted, prepare)
        self._constants = {} if typed else {k: v[None] for k, v in graph.constants.items()}
        self._chunk = max(1, _CHUNK_ELEMENTS // _widest(graph))

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run a batch.

        Parameters
        ----------
        feeds
            For each input an array [events, *shape]: floats in the imported stage, integer codes of
            the input's format in the typed one.

        Returns
        -------
        dict
            Each wanted value, [events, *shape]: floats, or int64 codes (Python integers where 64
            bits are too few) of the value's format.

        Raises
        ------
        ShapeError
            An input is missing, unknown or of another shape; or inputs differ in events.
        """
        events = self._check(feeds)
        chunks = [
            slice(start, min(start + self._chunk, events))
            for start in range(0, max(events, 1), self._chunk)
        ]
        with one_blas_thread():
            first = self._run(feeds, chunks[0])
            if len(chunks) == 1:
                return first
            results = {k: np.empty((events, *v.shape[1:]), v.dtype) for k, v in first.items()}
            self._store(results, chunks[0], first)
            rest = chunks[1:]

            def work(chunk: slice) -> None:
                self._store(results, chunk, self._run(feeds, chunk))

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
        counts = {len(feeds[name]) for name in names}
        if len(counts) != 1:
            raise ShapeError(f"inputs differ in their number of events: {sorted(counts)}")
        return counts.pop()

    def _run(self, feeds: Mapping[str, Array], events: slice) -> dict[str, Array]:
        values = dict(self._constants)
        for name in self.graph.inputs:
            values[name] = self._enter(name, np.asarray(feeds[name])[events])
        for step in self._steps:
            values[step.output] = step.run(*[values[x] for x in step.inputs])
            for name in step.last_use:
                del values[name]
        count = events.stop - events.start
        return {name: self._leave(name, values, count) for name in self.wanted}

    @staticmethod
    def _store(results: dict[str, Array], events: slice, part: dict[str, Array]) -> None:
        for name, array in part.items():
            results[name][events] = array

    def _enter(self, name: str, array: Array) -> Array:
        kind = self.graph.types[name]
        if not isinstance(kind, Codes):
            return array.astype(kind.dtype, copy=False)
        if isinstance(kind.format, Fixed):
            return convert(array, carrier(kind.interval.magnitude))
        return integers(align(array, kind.frac - np.asarray(kind.format.frac)))

    def _leave(self, name: str, values: dict[str, Array], events: int) -> Array:
        kind = self.graph.types[name]
        if not isinstance(kind, Codes):
            value = values[name]
        elif name in self.graph.constants:
            value = self.graph.constants[name][None]
        else:
            value = values[name]
            # A copy in any case: Dense keeps its memory.
            value = integers(value) if value.dtype.kind == "f" else integers(value.copy())
            if isinstance(kind.format, FixedArray):
                # Exact: values of a coarser element are multiples of its LSB.
                shifts = kind.frac - kind.format.frac
                value = integers(value // align(np.ones_like(shifts), shifts))
        return np.broadcast_to(value, (events, *value.shape[1:])) if len(value) != events else value

    # The imported stage: the operation itself on floats.

    def _float(self, node: Node, _owned: frozenset[str]) -> _Step:
        return _Step(node.output, node.op.evaluate, node.inputs, ())

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
            return self._dense(node, [a for a in arguments if not isinstance(a, int)], target)
        if isinstance(op, Relu):
            relu = _relu_over if node.inputs[0] in owned else op.evaluate
            return _Step(node.output, relu, node.inputs, ())
        moves = isinstance(op, Movement) and len(arguments) == 1

        def run(*arrays: Array) -> Array:
            if moves:
                return op.evaluate(arrays[0])
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

    def _buffer(self, name: str, rows: int, kernel: Array) -> Array:
        kept: dict[str, Array] = self._memory.__dict__
        if name not in kept or len(kept[name]) < rows:
            kept[name] = np.empty((rows, kernel.shape[1]), kernel.dtype)
        return kept[name][:rows]

    def _cast(self, node: Node, owned: bool) -> _Step:
        assert isinstance(node.op, Cast)
        counter = self._counter(node.output) if self._count else None
        kernel = CastKernel(node.op, self.graph.codes(node.inputs[0]), counter)
        if node.inputs[0] in self.graph.constants:
            held = self.graph.constants[node.inputs[0]][None]
            return _Step(node.output, lambda: kernel(held, owned=False), (), ())
        return _Step(node.output, lambda x: kernel(x, owned), node.inputs, ())

    def _counter(self, name: str) -> Callable[[int], None]:
        def add(count: int) -> None:
            if count:
                self.overflows[name] += count

        return add


def _relu_over(x: Array) -> Array:
    return np.maximum(x, x.dtype.type(0) if x.dtype.kind != "O" else 0, out=x)


def _shifted(array: Array, shift: int) -> Array:
    return array if shift == 0 else array * array.dtype.type(1 << shift)


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
    views = {node.output for node in nodes if isinstance(node.op, Movement)}
    steps = []
    for i, node in enumerate(nodes):
        dying = [n for n in dict.fromkeys(node.inputs) if last[n] == i and n not in kept]
        step = prepare(node, frozenset(dying) - views - _viewed(nodes))
        dead = tuple(n for n in dying if n in {x for s in nodes for x in s.inputs})
        steps.append(_Step(step.output, step.run, step.inputs, dead))
    return steps


def _viewed(nodes: Sequence[Node]) -> set[str]:
    return {name for node in nodes if isinstance(node.op, Movement) for name in node.inputs}


def _widest(graph: Graph) -> int:
    """The largest number of elements an event needs at once; a convolution's windows included."""
    sizes = [1]
    for name, kind in graph.types.items():
        if name not in graph.constants:
            sizes.append(int(np.prod(kind.shape)))
    for node in graph.nodes:
        if isinstance(node.op, Conv):
            positions = int(np.prod(graph.types[node.output].shape[:-1]))
            sizes.append(positions * int(np.prod(graph.types[node.inputs[1]].shape[:-1])))
    return max(sizes)


def one_blas_thread() -> Any:
    """Limit BLAS to one thread: our chunks use the cores, and two levels of threads thrash."""
    return _controller().limit(limits=1, user_api="blas")


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
