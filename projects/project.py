"""A project: a folder with firmware, and beside it the graphs that say what it must compute."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.cpp import Cpp
from projects.compiled import Compiled, compile_header
from projects.export import export
from projects.options import positive
from projects.ports import Ports, single
from projects.record import Record, open_record
from projects.report import Report, make_report
from projects.run import run_stages
from projects.simulation import Simulation, simulation
from projects.sized import run_events
from projects.validate import Validation, validate
from synth.errors import ProjectError, SettingsError
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.inspect import summary
from synth.ir import Graph
from synth.passes import prepare
from synth.sized import at, symbols_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Project", "open_project"]

_KEPT = 256
"""Sizes at which the float model is kept ready to run."""


@dataclass(frozen=True, eq=False, repr=False)
class Project:
    """A converted model.

    Arrays are NumPy (or lists), events on the first axis; values are float64 and exactly on the
    grid of their format, or integer codes where ``raw=True``. A model of several inputs or outputs
    takes or gives ``{name: array}``.

    Attributes
    ----------
    folder
        Where it stands.
    record
        Its settings.
    imported, typed
        The float graph, as read; and the typed graph, None where no formats were chosen.
    """

    folder: Path
    record: Record
    imported: Graph
    typed: Graph | None
    progress: "Callable[[str], None]" = field(default=lambda _: None)

    def __repr__(self) -> str:
        target = ", ".join(filter(None, (self.record.backend, self.record.part)))
        return f"<Project {self.name}: {target}, in {self.folder}>"

    def predict(self, x: Any, *, raw: bool = False) -> Any:
        """Run the exact integer model; no compiler is needed.

        Parameters
        ----------
        x
            Events on the first axis. Floats are cast to the model's own element type and then to
            the input format, by its rounding and overflow.
        raw
            Take and give integer codes instead of values.

        Raises
        ------
        ShapeError, PrecisionError
            Input of another shape; NaN, infinity, or codes outside the input format.
        """
        # Encoding and decoding go along with each chunk of events, while it is in cache.
        results = (
            self._exact(self.ports.codes(x, raw=True))
            if raw
            else self._exact(self.ports.floats(x), wires=self.ports.wires)
        )
        return single(self.ports.named_outputs(results))

    def predict_float(self, x: Any) -> Any:
        """Run the float model, as imported. Trees take NaN for a missing value.

        Where dimensions are symbolic, the events of an array share their sizes; in a list of
        arrays, one an event, each has its own, and a list of results is returned.
        """
        return single(self.float_outputs(x))

    def float_outputs(self, x: Any) -> dict[str, Array]:
        """Run the float model, as imported, and return all outputs by name."""
        if self._sized:
            return run_events(self.imported, x, self._float_at)
        return self._float(self.ports.floats(x, missing=True))

    def _float_at(self, sizes: Mapping[str, int], x: dict[str, Array]) -> dict[str, Array]:
        run = self._at(tuple(sizes.items()))
        return run(Ports(run.graph, None, {}).floats(x, missing=True))

    def trace(self, x: Any) -> dict[str, tuple[Array, Array]]:
        """Return for each layer what the integer and the float model hand on, as values.

        The float model is the prepared one: batch normalisations are folded, and axes are in the
        order of the firmware.
        """
        pairs = self._layers
        typed = Evaluator(self.graph, [name for name, _ in pairs.values()])
        floats = Evaluator(self._prepared, [name for _, name in pairs.values()])
        exact, real = typed(self.ports.codes(x)), floats(self.ports.floats(x))
        return {layer: (self.graph.decode(a, exact[a]), real[b]) for layer, (a, b) in pairs.items()}

    def csim(self, x: Any, *, raw: bool = False, threads: int | None = None) -> Any:
        """Compile the generated C++ (once) and run it on all cores, or on `threads` of them.

        Raises
        ------
        ToolError
            No C++ compiler, or the code does not compile.
        ShapeError, PrecisionError
            As `predict`.
        SettingsError
            `threads` is no positive whole number.
        """
        workers = None if threads is None else positive("threads", threads)
        codes = self.ports.codes(x, raw=raw)
        return single(self.ports.outputs(self._csim.run(codes, workers), raw=raw))

    def compiled(self, x: Any, *, threads: int | None = None) -> Any:
        """Run the float model's C++ (of the backend "cpp"), compiled once, on all cores.

        Events of their own sizes are given and returned as in `predict_float`.

        Raises
        ------
        SettingsError
            The project is of another backend, or `threads` is no positive whole number.
        ToolError
            No C++ compiler, or the code does not compile.
        ShapeError, PrecisionError
            As `predict_float`.
        """
        workers = None if threads is None else positive("threads", threads)
        if not self._sized:
            feeds = self.ports.floats(x, missing=True)
            return single(self._compiled.run(feeds, workers))

        def run(sizes: Mapping[str, int], given: dict[str, Array]) -> dict[str, Array]:
            ports = Ports(self._at(tuple(sizes.items())).graph, None, {})
            return self._compiled.run(ports.floats(given, missing=True), workers)

        return single(run_events(self.imported, x, run))

    def validate(self, x: Any = None, *, events: int = 1000, seed: int = 0) -> Validation:
        """Compare the float model, the integer model and the compiled C++.

        Parameters
        ----------
        x
            Input; by default `events` random and edge cases (see `projects.stimuli`).
        events, seed
            How many events to make, and from which seed.

        Raises
        ------
        ShapeError, PrecisionError
            As `predict`; or `x` holds no events, which would show nothing.
        SettingsError
            `events` or `seed` is out of its range.
        ToolError
            As `csim`.
        """
        return validate(self, x, events=events, seed=seed)

    def report(self) -> Report:
        """Return what the design costs, each figure with its source."""
        return make_report(self.folder, self.record, self.graph)

    def build(self, stages: str | Sequence[str] | None = None) -> Report:
        """Run the part's tool flow, by default its first stage, where the tool is installed.

        Raises
        ------
        ToolError
            The tool is missing (the message has the command to run elsewhere), or it failed.
        """
        wanted = [stages] if isinstance(stages, str) else stages
        run_stages(self.folder, self.record.stages, wanted, self.progress)
        return self.report()

    def export(self, form: str, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the integer model in another tool's format, and return the file's path.

        Parameters
        ----------
        form
            "conifer": the JSON that conifer and CMSSW's conifer.h read; its scores are margins.
            "qonnx": a QONNX file that qonnx's executor runs to the same numbers, and
            `projects.export.read_qonnx` reads back.
        path
            The file to write; one that exists is replaced only if `overwrite`.

        Raises
        ------
        UnsupportedOp
            The format cannot hold the model.
        SettingsError, ProjectError
            There is no such format; the file exists or cannot be written.
        """
        return export(self.graph, form, path, modes=self.record.modes, overwrite=overwrite)

    def inspect(self) -> str:
        """Return the graph as a table: layers, formats, intervals, parameters."""
        return summary(self.typed or self.imported)

    @property
    def graph(self) -> Graph:
        """The typed graph: the integers that firmware and emulators compute.

        Raises
        ------
        ModelError
            The project was converted without number formats.
        """
        return self.ports.exact

    @property
    def name(self) -> str:
        """The project's name, which is also that of the top function."""
        return self.record.name

    @cached_property
    def ports(self) -> Ports:
        """The inputs and outputs."""
        return Ports(self.imported, self.typed, self.record.modes)

    @cached_property
    def _exact(self) -> Evaluator:
        return Evaluator(self.graph)

    @cached_property
    def _float(self) -> Evaluator:
        return Evaluator(self.imported)

    @cached_property
    def _sized(self) -> bool:
        """Whether events have their own sizes."""
        return bool(symbols_of(self.imported))

    @cached_property
    def _at(self) -> "Callable[[tuple[tuple[str, int], ...]], Evaluator]":
        """The float model at given sizes; the last ones are kept."""
        return lru_cache(maxsize=_KEPT)(lambda sizes: Evaluator(at(self.imported, dict(sizes))))

    @cached_property
    def _prepared(self) -> Graph:
        return prepare(self.imported)

    @cached_property
    def _csim(self) -> Simulation:
        return simulation(self.folder, self.record.backend)

    @cached_property
    def _compiled(self) -> Compiled:
        if self.record.backend != Cpp.name:
            raise SettingsError(
                f"{self.name!r} is a project of the backend {self.record.backend!r}: convert with "
                "backend='cpp' for C++ that computes the float model"
            )
        return compile_header(self.folder, "float")

    @cached_property
    def _layers(self) -> dict[str, tuple[str, str]]:
        """The last value of each layer, in the typed and in the prepared graph."""
        typed, real = _last_by_layer(self.graph), _last_by_layer(self._prepared)
        return {
            layer: (name, real[layer])
            for layer, name in typed.items()
            if layer in real
            and self.graph.types[name].shape == self._prepared.types[real[layer]].shape
        }


def _last_by_layer(graph: Graph) -> dict[str, str]:
    names = graph.computed()
    last: dict[str, str] = {}
    for name in names:
        last.pop(graph.origins[name].layer, None)
        last[graph.origins[name].layer] = name
    return last


def open_project(folder: str | os.PathLike[str]) -> Project:
    """Open a project that exists, of this version of synth or an earlier one.

    Raises
    ------
    ProjectError
        The folder is no project, was written by a newer synth, or was damaged.
    """
    given: Any = folder
    if not isinstance(given, str | os.PathLike) or not str(given):
        raise ProjectError(f"a project is opened by the path of its folder, not {given!r}")
    path = Path(os.path.expanduser(folder)).absolute()  # noqa: PTH111 -- as `convert`
    record, imported, typed = open_record(path)
    return Project(path, record, imported, typed)
