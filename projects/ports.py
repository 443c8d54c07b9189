"""Arrays of users become integer codes, and codes become arrays again.

Float input is cast first to the element type that the model declares and then to the format of the
wire, by that wire's own rounding and overflow, here on the host: the integer model, csim and test
benches all receive the same codes, so nothing rounds twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from synth.errors import ModelError, PrecisionError, ShapeError
from synth.exact import Array
from synth.fixed import Format, Overflow, Round, as_codes
from synth.ir import Graph
from synth.ir.ops import Trees

__all__ = ["Modes", "Ports", "single"]

Modes = tuple[Round, Overflow]
"""What happens on the way into a wire."""


_DEFAULT: Modes = (Round.RND, Overflow.SAT)


@dataclass(frozen=True)
class Ports:
    """The inputs and outputs of a project.

    Attributes
    ----------
    imported, typed
        The float and the integer graph, None where there is none. Inputs have the same names in
        both; outputs are known to users by the names of the float graph, and correspond by
        position.
    modes
        Rounding and overflow by input; nearest and saturating where nothing is said.
    """

    imported: Graph
    typed: Graph | None
    modes: Mapping[str, Modes]

    @property
    def exact(self) -> Graph:
        """The integer graph.

        Raises
        ------
        ModelError
            There is none.
        """
        if self.typed is None:
            raise ModelError(
                f"{self.imported.name!r} was converted without number formats, so it has no "
                "integer model: convert with calibration= or precision=, or use predict_float and "
                "compiled"
            )
        return self.typed

    def floats(self, x: Any, *, missing: bool = False) -> dict[str, Array]:
        """Return input in the model's own element types, [events, *shape] by name.

        Where `missing`, NaN passes as a missing value in features that only trees read.

        Raises
        ------
        ShapeError
            An input is missing, unknown, of another shape or not an array of numbers.
        PrecisionError
            A value is NaN or infinite.
        """
        given = self._named(x)
        return {
            name: _finite(name, array, self.imported, missing and self._only_trees(name))
            for name, array in given.items()
        }

    def _only_trees(self, name: str) -> bool:
        readers = self.imported.consumers()[name]
        return all(isinstance(node.op, Trees) for node in readers)

    def codes(self, x: Any, *, raw: bool = False) -> dict[str, Array]:
        """Return input as integer codes of the typed graph's input formats.

        Raises
        ------
        ShapeError
            As `floats`.
        PrecisionError
            As `floats`; or, where `raw`, a code is no integer or outside its format.
        """
        if raw:
            given = self._named(x)
            return {name: _checked(name, given[name], self.exact) for name in given}
        return {
            name: self.exact.encode(name, values, wire.rounding, wire.overflow)
            for (name, values), wire in zip(
                self.floats(x).items(), self.wires.values(), strict=True
            )
        }

    @cached_property
    def wires(self) -> dict[str, Format]:
        """The format of each input, with what happens on the way into it."""
        return {
            name: Format(self.exact.codes(name).format, *self.modes.get(name, _DEFAULT))
            for name in self.imported.inputs
        }

    def inputs_as_values(self, codes: Mapping[str, Array]) -> dict[str, Array]:
        """Return the float64 nearest to input codes, within what the model's own type holds."""
        values = {}
        for name, array in codes.items():
            value = self.exact.decode(name, array, nearest=True)
            dtype = np.dtype(self.imported.tensor(name).dtype)
            if dtype.kind == "f":
                most = float(np.finfo(dtype).max)
                value = np.clip(value, -most, most)
            values[name] = value
        return values

    def outputs(self, codes: Mapping[str, Array], *, raw: bool = False) -> dict[str, Array]:
        """Return output codes, or their values, under the names that the user knows."""
        named = self.named_outputs(codes)
        return named if raw else self._decoded(named, nearest=False)

    def nearest_outputs(self, codes: Mapping[str, Array]) -> dict[str, Array]:
        """Return outputs as the float64 nearest to them, for comparison with the float model."""
        return self._decoded(self.named_outputs(codes), nearest=True)

    def _decoded(self, named: Mapping[str, Array], *, nearest: bool) -> dict[str, Array]:
        return {
            name: self.exact.decode(typed, array, nearest=nearest)
            for (name, array), typed in zip(named.items(), self.exact.outputs, strict=True)
        }

    def named_outputs(self, results: Mapping[str, Array]) -> dict[str, Array]:
        """Return outputs of the typed graph under the names that the user knows."""
        pairs = zip(self.imported.outputs, self.exact.outputs, strict=True)
        return {name: results[typed] for name, typed in pairs}

    def _named(self, x: Any) -> dict[str, Array]:
        names = self.imported.inputs
        if not isinstance(x, Mapping):
            if len(names) != 1:
                raise ShapeError(
                    f"the model has inputs {', '.join(names)}: give a mapping from each name to "
                    "its array"
                )
            x = {names[0]: x}
        if set(x) != set(names):
            raise ShapeError(f"the model has inputs {sorted(names)}, not {sorted(map(str, x))}")
        arrays = {name: _shaped(name, x[name], self.imported) for name in names}
        counts = {name: len(array) for name, array in arrays.items()}
        if len(set(counts.values())) > 1:
            raise ShapeError(f"inputs differ in their number of events: {counts}")
        return arrays


def single(results: dict[str, Array]) -> Any:
    """Return the only array of a mapping of one, else the mapping."""
    return next(iter(results.values())) if len(results) == 1 else results


def _shaped(name: str, value: Any, graph: Graph) -> Array:
    shape = graph.types[name].shape
    wanted = f"({', '.join(map(str, ('events', *shape)))}{',' if not shape else ''})"
    try:
        array = np.asarray(value)
    except ValueError:
        raise ShapeError(f"input {name!r}: expected {wanted}, got rows of unequal length") from None
    except (TypeError, RuntimeError) as error:  # tensors that need a gradient, or on a device
        raise ShapeError(f"input {name!r}: expected an array {wanted}: {error}") from None
    if array.dtype.kind not in "biufO" or (array.dtype.kind == "O" and not _numbers(array)):
        raise ShapeError(f"input {name!r}: expected numbers {wanted}, got {array.dtype}")
    if array.shape == shape:
        raise ShapeError(
            f"input {name!r}: expected {wanted}, got {array.shape}, which is one event: give it "
            "as x[None]"
        )
    if array.ndim != len(shape) + 1 or array.shape[1:] != shape:
        raise ShapeError(f"input {name!r}: expected {wanted}, got {array.shape}")
    return array


def _numbers(array: Array) -> bool:
    return all(isinstance(item, int | float | np.number) for item in array.flat)


def _finite(name: str, array: Array, graph: Graph, missing: bool) -> Array:
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except OverflowError:
            raise PrecisionError(f"input {name!r}: a value is too large for float64") from None
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(graph.tensor(name).dtype, copy=False)
    checked = array if array.dtype.kind == "f" and cast.dtype.kind != "f" else cast
    if checked.dtype.kind == "f":
        bad = np.isinf(checked) if missing else ~np.isfinite(checked)
        if not bad.any():
            return cast
        _refuse(name, array, checked)
    return cast


def _refuse(name: str, given: Array, cast: Array) -> NoReturn:
    bad = ~np.isfinite(given)
    if not bad.any():
        event = int(np.argwhere(~np.isfinite(cast))[0][0])
        raise PrecisionError(
            f"input {name!r}: a value in event {event} is too large for the model's {cast.dtype}"
        )
    raise PrecisionError(
        f"input {name!r}: {int(bad.sum())} values are NaN or infinite (first in event "
        f"{int(np.argwhere(bad)[0][0])}), which hardware has no code for; remove or replace them"
    )


def _checked(name: str, array: Array, graph: Graph) -> Array:
    target = graph.codes(name).format
    try:
        codes = as_codes(array)
    except PrecisionError as error:
        raise PrecisionError(f"input {name!r}, raw: {error}") from None
    outside = (codes < target.min) | (codes > target.max)
    if np.any(outside):
        index = tuple(int(i) for i in np.argwhere(outside)[0])
        raise PrecisionError(f"input {name!r}, raw: code {codes[index]} at {index} is no {target}")
    return codes
