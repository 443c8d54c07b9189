"""Recurrent layers: what x contributes at once, and then step by step."""

from dataclasses import dataclass, field

import numpy as np

from backends.cpp.layout import broadcast_strides, is_sized, loop_of
from backends.cpp.site import BLOCK, Group, Site, packed, padded_bias
from backends.cpp.values import literal
from synth.ir import Node
from synth.ir.ops import Gru, Lstm, Recurrent

__all__ = ["print_recurrent"]

_ACTIVATIONS = {
    "affine": "{a} * x + {b}",
    "elu": "x >= 0 ? x : {a} * lib::exponential_less_one(lib::minimum(x, {zero}))",
    "hardsigmoid": "lib::minimum(lib::maximum({a} * x + {b}, {zero}), {one})",
    "leakyrelu": "x >= 0 ? x : {a} * x",
    "relu": "lib::maximum(x, {zero})",
    "scaledtanh": "{a} * lib::hyperbolic_tangent({b} * x)",
    "sigmoid": "lib::logistic(x)",
    "softplus": (
        "lib::maximum(x, {zero}) + lib::logarithm_of_one_and(lib::exponential(-lib::absolute(x)))"
    ),
    "softsign": "x / (1 + lib::absolute(x))",
    "tanh": "lib::hyperbolic_tangent(x)",
    "thresholdedrelu": "x >= {a} ? x : {zero}",
}

_QUOTIENTS = {"sigmoid": "logistic_quotient", "tanh": "hyperbolic_tangent_quotient"}


def print_recurrent(site: Site, group: Group) -> list[str]:
    """Print a recurrent layer of one direction, for each sequence of an event."""
    return _Layer(site, group.head).lines(site.pointer(group.output))


@dataclass
class _Layer:
    site: Site
    node: Node
    offsets: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        values, op = self.site.values, self.node.op
        assert isinstance(op, Recurrent)
        self.op: Recurrent = op
        self.stem = values.names[self.node.output]
        self.kind = values.type(self.node.output)
        x, kernel, recurrent = (values.shape(name) for name in self.node.inputs[:3])
        self.steps, self.features = x[-2:]
        self.hidden, self.columns = recurrent[-2:]
        self.row = -(-self.columns // BLOCK) * BLOCK
        names = self.node.inputs
        known = all(name in values.graph.constants for name in names[1:3])
        single = values.size(names[1]) == kernel[-2] * kernel[-1]
        bias = "bias" not in op.extras or self._name("bias") in values.graph.constants
        # Kernels of one matrix are packed; others are read element by element.
        whole = values.size(names[2]) == self.hidden * self.columns
        self.packed = known and single and whole and bias

    def lines(self, y: str) -> list[str]:
        """Return the statements."""
        values = self.site.values
        out = values.shape(self.node.output)
        lead = out[:-2]
        strides = [[stride * self.steps * out[-1] for stride in broadcast_strides(lead, lead)]]
        for name in self.node.inputs:
            shape = values.shape(name)
            each = shape[-2] * shape[-1]
            strides.append([s * each for s in broadcast_strides(shape[:-2], lead)])
        names = [f"at_{i}_" for i in range(len(strides))]
        return [
            *loop_of(lead, *strides).opening(names, unused=True),
            *(f"    {line}" for line in self._sequence(f"{y} + at_0_ * L", out[-1])),
            "});",
        ]

    def _sequence(self, y: str, width: int) -> list[str]:
        """Return the steps of one sequence: states lie side by side where the result has them."""
        lines = [f"{self.kind} *const first_ = {self._room('first', width)};"]
        for number, state in enumerate(self.op.states):
            given = state in self.op.extras
            first = self._element(state, "k_", "l_") if given else f"{self.kind}(0)"
            place = f"first_[(k_ + {number * self.hidden}) * L + l_]"
            lines += [
                f"for (long k_ = 0; k_ < {self.hidden}; ++k_)",
                f"    for (int l_ = 0; l_ < L; ++l_) {place} = {first};",
            ]
        lines += [
            *self._inputs(),
            f"{self.kind} *const sums_ = {self._room('sums', self.row)};",
            f"const {self.kind} *old_ = first_;",
            f"for (long t_ = 0; t_ < {self.steps}; ++t_) {{",
            f"    const {self.kind} *const row_ = rows_ + t_ * {self.row} * L;",
            f"    {self.kind} *const now_ = {y} + t_ * {width} * L;",
            *(f"    {line}" for line in self._step()),
        ]
        if "mask" in self.op.extras:
            lines.append(f"    lib::hold<L, {width}>(now_, old_, {self._accessor('mask')}, t_);")
        return [*lines, "    old_ = now_;", "}"]

    # Sums of gates

    def _inputs(self) -> list[str]:
        """Return what computes the contribution of x to all steps."""
        x = f"{self.site.pointer(self.node.inputs[0])} + at_1_ * L"
        lines = [f"{self.kind} *const rows_ = {self._room('rows', self.steps * self.row)};"]
        if self.packed:
            kernel = self._matrix(1)
            bias = self._constant("bias")[: self.columns] if "bias" in self.op.extras else None
            offset = padded_bias(bias, self.columns, 1)
            weights = self.site.constant(self.node.inputs[1], packed(kernel, 1), self.kind)
            start = self.site.constant(f"{self.stem}_bias", offset, self.kind)
            sizes = f"{self.features}, {self.columns}"
            call = f"lib::contribute<L, {self.steps}, {sizes}>("
            if is_sized(self.steps):
                call = f"lib::contribute_sized<{sizes}>({self.steps}, "
            return [*lines, f"{call}rows_, {x}, {weights}, {start});"]
        bias_of = "bias" in self.op.extras
        element = self._element("bias", "m_", "l_") if bias_of else f"{self.kind}(0)"
        unused = "" if bias_of else "[[maybe_unused]] "
        return [
            *lines,
            f"for (long t_ = 0; t_ < {self.steps}; ++t_)",
            f"    lib::add_computed<L, {self.features}, {self.columns}>(",
            f"        rows_ + t_ * {self.row} * L,",
            f"        [&]({unused}long m_, {unused}int l_) {{ return {element}; }},",
            f"        {x} + t_ * {self.features} * L, {self._accessor_at(1)});",
        ]

    def _product(self, target: str, row: str, state: str, first: int, count: int) -> list[str]:
        """Return what adds the contribution of a state to columns of gates; `row` may be empty."""
        if self.packed:
            kernel = self._matrix(2)[:, first : first + count]
            stem = f"{self.node.inputs[2]}_{first}"
            weights = self.site.constant(stem, packed(kernel, 1), self.kind)
            zeros = self.site.constant(f"{self.stem}_zeros", np.zeros(self.row), self.kind)
            start = row or "nullptr"
            sizes = f"L, {self.hidden}, {count}"
            return [f"lib::add_state<{sizes}>({target}, {start}, {state}, {weights}, {zeros});"]
        begin = f"{row}[m_ * L + l_]" if row else f"{self.kind}(0)"
        unused = "" if row else "[[maybe_unused]] "
        column = f"m_ / {count} * {self.columns} + {first} + m_ % {count}"
        read = self._accessor_at(2)
        return [
            f"lib::add_computed<L, {self.hidden}, {count}>(",
            f"    {target}, [&]({unused}long m_, {unused}int l_) {{ return {begin}; }}, {state},",
            f"    [&](long m_, int l_) {{ return {read}({column}, l_); }});",
        ]

    # Steps

    def _step(self) -> list[str]:
        if isinstance(self.op, Gru):
            return self._gru(self.op)
        every = self._product("sums_", "row_", "old_", 0, self.columns)
        if not isinstance(self.op, Lstm):
            return [*every, f"lib::rnn<L, {self.hidden}>(now_, sums_, {self._gate(0)});"]
        peepholes = "peepholes" in self.op.extras
        flags = f"{_cpp(peepholes)}, {_cpp(self.op.input_forget)}"
        read = self._accessor("peepholes") if peepholes else "[](long, int) { return 0; }"
        return [
            *every,
            f"lib::lstm<L, {self.hidden}, {flags}>(",
            f"    now_, now_ + {self.hidden} * L, old_ + {self.hidden} * L, sums_, {read},",
            f"    {self._quotient(0)}, {self._quotient(1)}, {self._quotient(2)});",
        ]

    def _gru(self, op: Gru) -> list[str]:
        size, linear = self.hidden, op.linear_before_reset
        own = self._room("own", -(-size // BLOCK) * BLOCK)
        lines = [
            f"{self.kind} *const own_ = {own};",
            *self._product("sums_", "row_", "old_", 0, 2 * size),
            f"lib::apply(sums_, {2 * size} * L, {self._gate(0)});",
        ]
        source = "old_"
        if not linear:
            source = "reset_"
            lines += [
                f"{self.kind} *const reset_ = {self._room('reset', size)};",
                f"for (long i_ = 0; i_ < {size} * L; ++i_)",
                f"    reset_[i_] = sums_[{size} * L + i_] * old_[i_];",
            ]
        lines += self._product("own_", "", source, 2 * size, size)
        inner = f"[](long, int) {{ return {self.kind}(0); }}"
        if "bias" in op.extras:
            element = self._element("bias", f"k_ + {3 * size}", "l_")
            inner = f"[&](long k_, int l_) {{ return {element}; }}"
        return [
            *lines,
            f"lib::gru<L, {size}, {_cpp(linear)}>(",
            f"    now_, old_, sums_, row_ + {2 * size} * L, own_,",
            f"    {inner}, {self._gate(1)});",
        ]

    def _gate(self, which: int) -> str:
        if self.op.clip == np.inf:
            return self._activation(which)
        end = literal(self.op.clip, self.kind)
        cut = f"lib::minimum(lib::maximum(x, -{end}), {end})"
        return f"[=]({self.kind} x) {{ return ({self._activation(which)})({cut}); }}"

    def _quotient(self, which: int) -> str:
        """Return an activation as a quotient; that of the cell (the third) is not clipped."""
        function = _QUOTIENTS.get(self.op.activations[which])
        if function and self.kind == "float" and (which == 2 or self.op.clip == np.inf):
            return f"[]({self.kind} x) {{ return lib::{function}(x); }}"
        plain = self._activation(which) if which == 2 else self._gate(which)
        return f"[]({self.kind} x) {{ return lib::Quotient<{self.kind}>{{({plain})(x), 1}}; }}"

    def _activation(self, which: int) -> str:
        op, kind = self.op, self.kind
        numbers = {"a": op.alphas[which], "b": op.betas[which], "zero": 0.0, "one": 1.0}
        texts = {name: literal(number, kind) for name, number in numbers.items()}
        return f"[]({kind} x) {{ return {_ACTIVATIONS[op.activations[which]].format(**texts)}; }}"

    # Operands

    def _name(self, extra: str) -> str:
        return self.node.inputs[3 + list(self.op.extras).index(extra)]  # type: ignore[arg-type]

    def _accessor(self, extra: str) -> str:
        return self._accessor_at(3 + list(self.op.extras).index(extra))  # type: ignore[arg-type]

    def _accessor_at(self, position: int) -> str:
        name = self.node.inputs[position]
        if name in self.site.values.graph.constants:
            return f"lib::shared({self.site.shared(name)} + at_{position + 1}_)"
        return f"lib::each<L>({self.site.pointer(name)} + at_{position + 1}_ * L)"

    def _element(self, extra: str, index: str, lane: str) -> str:
        return f"{self._accessor(extra)}({index}, {lane})"

    def _constant(self, extra: str) -> np.ndarray:
        return self.site.values.graph.constants[self._name(extra)].reshape(-1)

    def _matrix(self, position: int) -> np.ndarray:
        array = self.site.values.graph.constants[self.node.inputs[position]]
        return array.reshape(array.shape[-2:])

    def _room(self, what: str, count: int) -> str:
        return self.site.temporary(f"{self.stem}_{what}", self.kind, count)


def _cpp(value: bool) -> str:
    return "true" if value else "false"
