"""Whether the generated C++ computes the bits of the integer model, and where it begins not to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from backends.vitis import Vitis
from projects.csim import compile_csim
from projects.options import positive
from projects.simulation import simulation
from projects.stimuli import stimuli
from quant.agreement import Agreement, agreement
from quant.lookup import CUTS
from synth.errors import SettingsError, ShapeError
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.inspect import columns
from synth.ir import Graph

if TYPE_CHECKING:
    from projects.project import Project

__all__ = ["Divergence", "Validation", "first_divergence", "validate"]

_MADE = "random and edge cases"
_TRACED = 16
"""Events that are traced to find where a difference begins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Divergence:
    """The first value, in the order of computation, in which the C++ differs.

    Attributes
    ----------
    layer, value
        Of the source model; and the value's name in the typed graph.
    sample, index
        The event, and the element within it.
    expected, got
        What the integer model has, and what the C++ computed.
    """

    layer: str
    value: str
    sample: int
    index: tuple[int, ...]
    expected: float
    got: float

    def __str__(self) -> str:
        return (
            f"first divergence in layer {self.layer!r} ({self.value}), event {self.sample}, "
            f"element {list(self.index)}: {self.got!r} instead of {self.expected!r}"
        )


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The result of a validation; true where the C++ is exact.

    Attributes
    ----------
    events, stimuli
        How many events, and where they come from.
    mismatches
        Events in which some bit of some output of the C++ differs from the integer model.
    first_divergence
        Where that begins; None if nowhere.
    overflows
        Elements that casts saturated or wrapped, by layer.
    agreement
        Between the integer and the float model.
    """

    name: str
    events: int
    stimuli: str
    mismatches: int
    agreement: Agreement
    first_divergence: Divergence | None = None
    overflows: Mapping[str, int] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether every bit of every output agrees in every event."""
        return self.mismatches == 0

    def __bool__(self) -> bool:
        return self.exact

    def rows(self) -> list[tuple[str, str, str]]:
        """Return the table's rows: what, compared with what, and the result."""
        share = self.agreement.argmax
        same = "" if share is None else f", same largest output in {share:.2%}"
        # Extremes leave the range of any real data: there the integer model saturates, rightly.
        caveat = "; made input saturates" if self.stimuli.startswith(_MADE) else ""
        verdict = (
            "exact, every bit of every output"
            if self.exact
            else f"DIFFERS in {self.mismatches:,} of {self.events:,} events"
        )
        lost = sum(self.overflows.values())
        by_layer = ", ".join(f"{layer}: {count:,}" for layer, count in self.overflows.items())
        error = f"error {self.agreement.error:.3g} ({self.agreement.relative:.2%} of range)"
        return [
            ("integer model", "float model", f"{error}{same}{caveat}"),
            ("compiled C++", "integer model", verdict),
            ("overflows", "", f"{lost:,} ({by_layer})" if lost else "none"),
        ]

    def __str__(self) -> str:
        lines = [f"validation of {self.name} on {self.events:,} events ({self.stimuli})"]
        rows = [("model", "compared with", "result"), *self.rows()]
        lines += [f"  {line}" for line in columns(rows, left=3)]
        if self.first_divergence is not None:
            lines.append(str(self.first_divergence))
        return "\n".join(lines)


def validate(project: "Project", x: Any = None, *, events: int = 1000, seed: int = 0) -> Validation:
    """Compare the float model, the integer model and the compiled C++; see `Project.validate`."""
    ports, graph = project.ports, project.graph
    if x is None:
        events, seed = positive("events", events), _seed(seed)
        codes, source = stimuli(graph, events, seed), f"{_MADE}, seed {seed}"
        values = ports.inputs_as_values(codes)
    else:
        codes, source, values = ports.codes(x), "given", x
    count = len(next(iter(codes.values())))
    if not count:
        raise ShapeError("validation needs at least one event: the input given holds none")
    exact = Evaluator(graph, count_overflows=True)
    expected = exact(codes)
    backend = project.record.backend
    got = simulation(project.folder, backend).run(codes, None)
    wrong = _differing(expected, got, count)
    found = None
    if wrong.size:
        some = {name: array[wrong[:_TRACED]] for name, array in codes.items()}
        outputs = {name: array[wrong[:_TRACED]] for name, array in got.items()}
        traced = _trace(project, some) if backend == Vitis.name else {}
        found = first_divergence(graph, some, {**outputs, **traced}, wrong[:_TRACED])
    return Validation(
        name=project.name,
        events=count,
        stimuli=source,
        mismatches=len(wrong),
        first_divergence=found,
        overflows=_by_layer(graph, exact.overflows),
        agreement=agreement(project.float_outputs(values), ports.nearest_outputs(expected)),
    )


def _trace(project: "Project", codes: Mapping[str, Array]) -> dict[str, Array]:
    return compile_csim(project.folder, trace=True).trace(codes)


def _seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise SettingsError(f"seed must be a whole number of at least 0, not {seed!r}")
    return int(seed)


def first_divergence(
    graph: Graph, codes: Mapping[str, Array], traced: Mapping[str, Array], samples: Array
) -> Divergence | None:
    """Return where traced values first differ from the graph's, in the order of computation.

    Parameters
    ----------
    graph
        The typed graph.
    codes
        Of its inputs, [events, *shape].
    traced
        What the C++ computed, by value name; values that were not traced are passed over.
    samples
        By which numbers the events are known to the user.
    """
    names = graph.computed()
    common = [name for name in names if name in traced]
    expected = Evaluator(graph, common)(codes)
    for name in common:
        different = np.argwhere(expected[name] != traced[name])
        if len(different):
            event, *index = (int(i) for i in different[0])
            pair = [graph.decode(name, a[name])[event][*index] for a in (expected, traced)]
            return Divergence(
                layer=graph.origins[name].layer,
                value=name,
                sample=int(samples[event]),
                index=tuple(index),
                expected=float(pair[0]),
                got=float(pair[1]),
            )
    return None


def _differing(expected: Mapping[str, Array], got: Mapping[str, Array], events: int) -> Array:
    wrong = np.zeros(events, np.bool_)
    for name, array in expected.items():
        wrong |= np.asarray(array != got[name], np.bool_).reshape(events, -1).any(axis=1)
    return np.flatnonzero(wrong)


def _by_layer(graph: Graph, overflows: Mapping[str, int]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for node in graph.nodes:
        origin = graph.origins[node.output]
        count = overflows.get(node.output, 0)
        if count and origin.role not in CUTS:
            counts[origin.layer] = counts.get(origin.layer, 0) + count
    return counts
