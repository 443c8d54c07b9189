"""Designs as a search tries them: thousands, so nothing is computed twice."""

from collections.abc import Callable, Mapping
from functools import cache, cached_property

import numpy as np

from quant.allocate.cost import Design, Product, element_widths, has_products, sums_of, widths_of
from quant.allocate.levels import kernel_lattice
from quant.allocate.moments import Inputs, fed_back, inputs_of, mean_results
from quant.allocate.problem import Levels, Problem
from synth.exact import Array
from synth.fixed import Format
from synth.ir import Node

__all__ = ["Sketch", "design"]


class Sketch:
    """Candidates for the kernels of a problem, and what designs of them cost."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._candidates: dict[tuple[str, float], dict[str, Array]] = {}
        self._inputs: dict[str, Inputs] = {}
        self._products: dict[tuple[str, tuple[float, ...]], Product] = {}

    def candidate(self, kernel: str, level: float) -> dict[str, Array]:
        """Return values of a kernel at a level and of its bias.

        Errors are fed back on the float network's inputs, and the bias takes up their mean.
        """
        key = kernel, level
        if key not in self._candidates:
            problem = self.problem
            layer = next(one for one in problem.layers if one.kernel == kernel)
            w = problem.graph.constants[kernel].astype(np.float64)
            if kernel not in self._inputs:
                self._inputs[kernel] = inputs_of(layer, problem.values[layer.x], w.shape)
            inputs = self._inputs[kernel]
            lattice = kernel_lattice(problem.kernels[kernel], level)
            values = np.ldexp(fed_back(w, inputs, lattice), -lattice.frac)
            found = {kernel: values.astype(np.float32)}
            if layer.bias is not None:
                bias = problem.graph.constants[layer.bias] + mean_results(inputs, w - values)
                found[layer.bias] = bias.astype(np.float32)
            self._candidates[key] = found
        return self._candidates[key]

    def design(self, levels: Levels) -> Design:
        """Return the design of levels, before the recipe."""
        problem = self.problem
        formats = problem.formats(levels)
        held = {n: widths_of(f.type, problem.graph.types[n].shape) for n, f in formats.items()}
        widths: Callable[[], Mapping[str, Array]] = cache(
            lambda: element_widths(problem.graph, held)
        )
        products = {}
        for node, deciding in self._deciding:
            key = node.output, tuple(levels[name] for name in deciding)
            if key not in self._products:
                codes = self._codes(node, levels)
                self._products[key] = _product(problem, node, widths(), codes)
            products[node.output] = self._products[key]
        return Design(products, held, self._sums, lambda: problem.typed)

    @cached_property
    def _sums(self) -> int:
        return sums_of(self.problem.graph)

    def _codes(self, node: Node, levels: Levels) -> dict[str, Array]:
        found = {}
        for name in node.inputs:
            if name in self.problem.kernels:
                lattice = kernel_lattice(self.problem.kernels[name], levels[name])
                found[name] = lattice.common(self.candidate(name, levels[name])[name])[0]
        return found

    @cached_property
    def _deciding(self) -> list[tuple[Node, tuple[str, ...]]]:
        """Each node with products, and the tensors on whose levels they depend."""
        problem, found = self.problem, []
        before: dict[str, frozenset[str]] = {n: frozenset({n}) for n in problem.graph.inputs}
        for node in problem.graph.nodes:
            parts = [before.get(name, frozenset({name})) for name in node.inputs]
            above = frozenset[str]().union(*parts)
            if has_products(node.op):
                found.append((node, tuple(sorted(above & set(problem.variables)))))
            held = node.output in problem.activations or node.output in problem.fixed
            before[node.output] = frozenset({node.output}) if held else above
        return found


def design(problem: Problem, formats: Mapping[str, Format], codes: Mapping[str, Array]) -> Design:
    """Return what costs see of formats, and of codes by the name of a kernel or a bias."""
    graph = problem.graph
    held = {n: widths_of(fmt.type, graph.types[n].shape) for n, fmt in formats.items()}
    widths = element_widths(graph, held)
    products = {
        node.output: _product(problem, node, widths, codes)
        for node in graph.nodes
        if has_products(node.op)
    }
    return Design(products, held, sums_of(graph), lambda: problem.typed)


def _product(
    problem: Problem, node: Node, widths: Mapping[str, Array], codes: Mapping[str, Array]
) -> Product:
    x, other, *bias = node.inputs
    if x in problem.graph.constants:
        x, other = other, x

    def known(name: str) -> Array | None:
        if name in codes or name not in problem.defaults:
            return codes.get(name)
        return problem.defaults[name][0]

    factors = known(other)
    terms = known(bias[0]) if bias else None
    return Product(node.op, widths[x], factors, widths[other] if factors is None else None, terms)
