"""Tree ensembles as C++: each comparison once, a function of nested selections for each tree.

What is printed is as long as the ensemble has nodes: nothing is padded, and no node is printed
twice. Functions stay small, as compilers take more than linear time for large ones.
"""

from collections.abc import Mapping

import numpy as np

from backends.cstyle import comment, integer_literal
from backends.text import Lines
from backends.vitis.design import Design
from backends.vitis.types import MAX_WIDTH
from backends.vitis.weights import constant_array
from synth.errors import PrecisionError
from synth.exact import Array, shift_left
from synth.fixed import Fixed
from synth.ir import Node
from synth.ir.forest import Forest

__all__ = ["forest_source"]

_DEEPEST = 24
"""Selections inside one another, in one function."""
_MOST_KEYS = 256
"""Comparisons in one function."""
_LINE = 76


def forest_source(design: Design, node: Node, name: str, members: list[str]) -> str:
    """Print the struct `name` of a layer of trees, as lib/trees.h describes it."""
    return str(_ForestPrinter(design, node, name).lines(members))


class _ForestPrinter:
    def __init__(self, design: Design, node: Node, name: str) -> None:
        self.name = name
        self.design, self.node = design, node
        self.forest = _aligned(design, node)
        forest = self.forest
        self.x = design.type(node.inputs[0])
        self.frac = design.codes(node.inputs[0]).frac
        self.sums = design.type(node.output)
        self.outputs = len(forest.base)
        low, high = int(forest.leaves.min()), int(forest.leaves.max())
        self.leaf = Fixed.containing(low, high, self.sums.frac)
        if self.leaf.width > MAX_WIDTH:
            raise PrecisionError(
                f"leaves of {self.leaf.width} bits: at most {MAX_WIDTH} are printed"
            )
        # Leaves of several values or of many bits are numbered, and their values stand in a table.
        self.numbered = forest.leaves.shape[1] > 1 or self.leaf.width > 31
        self.slots = _slots(forest)

    def lines(self, members: list[str]) -> Lines:
        forest, lines = self.forest, Lines()
        title = f"{self.design.origin(self.node)}: {len(forest.trees):,} trees"
        lines.add(f"// {comment(title)}, {len(forest.nodes):,} nodes, {len(forest.keys):,} keys")
        with lines.block(f"struct {self.name} {{", "};"):
            lines.add(*members)
            features = self.design.codes(self.node.inputs[0]).shape[-1]
            lines.add(
                f"static const int features = {features}, keys = {max(len(forest.keys), 1)};",
                f"static const int slots = {sum(map(len, self.slots))}, outputs = {self.outputs};",
                f"static const bool on_machine = {self.sums.width} <= synth_lib::machine_width;",
                f"typedef synth_lib::Number<{str(self.leaf.signed).lower()}, {self.leaf.width}, "
                "on_machine>::type leaf_t;",
            )
            self._keys(lines)
            for tree in range(len(forest.trees)):
                self._tree(lines, tree)
            self._vote(lines)
            self._sum(lines)
        return lines

    # Keys

    def _keys(self, lines: Lines) -> None:
        """Print a function for each feature, or each few hundred comparisons of it."""
        calls = []
        feature = self.forest.keys[:, 0]
        for run in np.split(np.arange(len(feature)), np.flatnonzero(np.diff(feature)) + 1):
            for start in range(0, len(run), _MOST_KEYS):
                part = run[start : start + _MOST_KEYS].tolist()
                calls.append((part[0], int(feature[part[0]])))
                opening = f"template <class S> static void ask_{part[0]}(const S &x, bool *k) {{"
                lines.add("", f"// Feature {feature[part[0]]}: codes of 2^{-self.frac}.")
                with lines.block(opening, "}"):
                    lines.flush_left("#pragma HLS INLINE")
                    lines.add(*(f"k[{key}] = {self._question(key)};" for key in part))
        lines.add("")
        with lines.block("template <class S> static void ask(const S *x, bool *k) {", "}"):
            lines.flush_left("#pragma HLS INLINE")
            lines.add(*(f"ask_{key}(x[{feature}], k);" for key, feature in calls))
            if not calls:
                lines.add("(void)x;", "k[0] = false;")

    def _question(self, key: int) -> str:
        """Print whether x has passed an odd number of steps: as the ranges that answer yes."""
        start, stop = self.forest.step_starts[key : key + 2]
        steps = [self._literal(int(step)) for step in self.forest.steps[start:stop]]
        ranges = [
            f"(x >= {low} && x < {high})"
            for low, high in zip(steps[:-1:2], steps[1::2], strict=True)
        ]
        if len(steps) % 2:
            ranges.append(f"x >= {steps[-1]}")
        return " || ".join(ranges) or "false"

    def _literal(self, value: int) -> str:
        if -(1 << 63) <= value < 1 << 63:
            return integer_literal(value)
        return f'S("{value}", 10)'

    # Trees

    def _tree(self, lines: Lines, tree: int) -> None:
        """Print a function a tree, and one more for each subtree that would nest too deep."""
        root = int(self.forest.roots[tree])
        waiting, functions = [root], []
        while waiting:
            ref = waiting.pop()
            name = f"tree_{tree}" if ref == root else f"tree_{tree}_{ref}"
            functions.append((name, self._select(ref, tree, 0, waiting)))
        # Those that others call come first.
        for name, text in reversed(functions):
            lines.add("")
            argument = "const bool *k" if "k" in text[0] else "const bool *"
            with lines.block(f"static int {name}({argument}) {{", "}"):
                lines.flush_left("#pragma HLS INLINE")
                text[-1] += ";"
                lines.add(f"return {text[0]}", *text[1:])

    def _select(self, ref: int, tree: int, depth: int, waiting: list[int]) -> list[str]:
        """Return the lines of an expression; what lies too deep is a call, and waits."""
        if ref < 0:
            return [str(self._leaf_text(~ref, tree))]
        if depth == _DEEPEST:
            waiting.append(ref)
            return [f"tree_{tree}_{ref}(k)"]
        key, low, high = self.forest.nodes[ref].tolist()
        yes = self._select(high, tree, depth + 1, waiting)
        no = self._select(low, tree, depth + 1, waiting)
        flat = f"(k[{key}] ? {yes[0]} : {no[0]})"
        if len(yes) == len(no) == 1 and len(flat) <= _LINE:
            return [flat]
        lines = [f"? {yes[0]}", *yes[1:], f": {no[0]}", *no[1:]]
        lines[-1] += ")"
        return [f"(k[{key}]", *(f"    {line}" for line in lines)]

    def _leaf_text(self, leaf: int, tree: int) -> int:
        if self.numbered:
            return leaf - int(self.forest.leaf_starts[tree])
        return int(self.forest.leaves[leaf, 0])

    # Sums

    def _vote(self, lines: Lines) -> None:
        """Print the leaf of each tree into its slot; slots of one output lie side by side."""
        place = 0
        lines.add("")
        with lines.block("static void vote(const bool *k, leaf_t *leaf) {", "}"):
            lines.flush_left("#pragma HLS INLINE")
            for output, trees in enumerate(self.slots):
                for tree in trees:
                    lines.add(f"leaf[{place}] = {self._voted(tree, output)};")
                    place += 1

    def _voted(self, tree: int, output: int) -> str:
        if not self.numbered:
            return f"leaf_t(tree_{tree}(k))"
        width = self.forest.leaves.shape[1]
        column = output if width > 1 else 0
        start = int(self.forest.leaf_starts[tree]) * width + column
        factor = f" * {width}" if width > 1 else ""
        return f"leaf_t({self.name}_leaves[{start} + tree_{tree}(k){factor}])"

    def _sum(self, lines: Lines) -> None:
        lines.add("")
        with lines.block("template <class Y> static void sum(const leaf_t *leaf, Y *y) {", "}"):
            lines.flush_left("#pragma HLS INLINE")
            lines.add(
                "typedef typename synth_lib::Modular<"
                "synth_lib::Layout<Y>::width, synth_lib::Signed<Y>::width>::type A;",
                "typedef typename A::sum_t S;",
            )
            place = 0
            for output, trees in enumerate(self.slots):
                total = self._levels(lines, output, len(trees), f"(leaf + {place})")
                base = self._literal(int(self.forest.base[output]))
                lines.add(f"A::store(S({total}) + {base}, y[{output}]);")
                place += len(trees)

    def _levels(self, lines: Lines, output: int, count: int, terms: str) -> str:
        """Print an adder tree level by level; return its sum."""
        if count == 0:
            return "0"
        width = self.leaf.width
        sign = str(self.leaf.signed).lower()
        while count > 1:
            width += 1
            name, half = f"sum_{output}_{width}", (count + 1) // 2
            lines.add(f"synth_lib::Number<{sign}, {width}, on_machine>::type {name}[{half}];")
            lines.flush_left(self.design.partition(name, half, half))
            lines.add(f"synth_lib::add_pairs<{count}>({terms}, {name});")
            terms, count = name, half
        return f"{terms}[0]"

    @property
    def tables(self) -> Mapping[str, str]:
        """The values of numbered leaves: [leaves, width]."""
        if not self.numbered:
            return {}
        name = f"{self.name}_leaves"
        leaves = self.forest.leaves
        return {name: constant_array(name, leaves, self.leaf, leaves.shape, "leaves by tree")}


def forest_tables(design: Design, node: Node, name: str) -> Mapping[str, str]:
    """Print the constant arrays that the struct `name` reads."""
    return _ForestPrinter(design, node, name).tables


def _aligned(design: Design, node: Node) -> Forest:
    """Return the forest in codes of the features and of the sums."""
    kinds = [design.codes(value) for value in node.inputs]
    shifts = node.op.align(*[kind.frac for kind in kinds]).shifts
    arrays: list[Array] = [
        shift_left(design.graph.constants[value], shift) if shift else design.graph.constants[value]
        for value, shift in zip(node.inputs[1:], shifts[1:], strict=True)
    ]
    if shifts[0]:
        # Steps finer than the features: x << s has passed a step where x has, rounded up.
        arrays[0] = -(-arrays[0].astype(object) >> shifts[0])
    return Forest(*arrays)


def _slots(forest: Forest) -> list[list[int]]:
    """Return the trees that add to each output."""
    target = forest.trees[:, 1]
    return [np.flatnonzero((target == i) | (target < 0)).tolist() for i in range(len(forest.base))]
