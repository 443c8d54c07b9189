"""The writer: a typed graph and settings in, a Vitis HLS project as data out."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from backends.base import Plan, Settings
from backends.cstyle import is_identifier
from backends.vitis.bridge import bridge_source
from backends.vitis.design import Design
from backends.vitis.golden import golden_data
from backends.vitis.guard import check_size
from backends.vitis.layers import PRINTERS, print_node
from backends.vitis.manifest import manifest
from backends.vitis.scripts import commands, scripts
from backends.vitis.testbench import testbench_source
from backends.vitis.top import defines_header, parameters_header, top_header, top_source, weights
from synth.errors import GraphError, SettingsError, UnsupportedOp
from synth.exact import Array
from synth.ir import Graph, Stage
from synth.ir.serialise import digest

__all__ = ["Vitis", "emit"]

_STRATEGIES = ("latency", "resource")


class Vitis:
    """The backend for AMD's Vitis HLS."""

    name = "vitis"
    needs_part = True
    needs_integers = True

    def emit(self, imported: Graph, typed: Graph | None, settings: Settings) -> Plan:  # noqa: ARG002 -- the firmware is the typed graph
        """See `emit`."""
        assert typed is not None
        return emit(typed, settings)

    def golden(
        self,
        graph: Graph,
        settings: Settings,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
    ) -> dict[str, str]:
        """See `golden_data`."""
        return golden_data(Design(graph, settings), inputs, outputs)


def emit(graph: Graph, settings: Settings) -> Plan:
    """Write a typed graph as a Vitis HLS project in hls4ml's layout.

    Parameters
    ----------
    graph
        Of the typed stage.
    settings
        Names, part, clock, reuse.

    Returns
    -------
    Plan
        All files except ``tb_data/`` (see `golden_data`) and ``firmware/ap_types/``, which are
        copied when the project is written.

    Raises
    ------
    UnsupportedOp
        The graph holds operations that are not printed.
    SettingsError
        The name is no identifier, or the settings ask for a style that is not printed.
    DesignTooLarge
        The design is too large at its reuse factor; the message says which one would pass.
    PrecisionError
        A format is wider than ap_fixed can be.
    """
    _check_settings(settings)
    _check_graph(graph)
    design = Design(graph, settings)
    check_size(design)
    layers = [(node, print_node(design, node)) for node in graph.nodes]
    fingerprint = digest(graph)
    name = settings.name
    contents: dict[str, str | bytes] = {
        f"firmware/{name}.cpp": top_source(design, layers, fingerprint),
        f"firmware/{name}.h": top_header(design),
        "firmware/defines.h": defines_header(design, layers),
        "firmware/parameters.h": parameters_header(design, layers),
        f"{name}_bridge.cpp": bridge_source(design),
        f"{name}_test.cpp": testbench_source(design),
    }
    for header, text in weights(design, layers).items():
        contents[f"firmware/weights/{header}.h"] = text
    contents |= {f"firmware/lib/{header}": text for header, text in library().items()}
    contents |= scripts(settings)
    contents["manifest.json"] = manifest(design, fingerprint, contents)
    return Plan(contents, commands(settings))


def _check_settings(settings: Settings) -> None:
    if not is_identifier(settings.name):
        raise SettingsError(
            f"name {settings.name!r} cannot name a function in C++, Verilog, VHDL and Tcl: take up "
            "to 64 letters, digits and single underscores, beginning with a letter, no keyword"
        )
    if settings.io_type != "io_parallel":
        raise SettingsError(
            f"io_type {settings.io_type!r} is not printed by the vitis backend; use 'io_parallel'"
        )
    if settings.strategy not in _STRATEGIES:
        raise SettingsError(
            f"strategy {settings.strategy!r} is not printed by the vitis backend; "
            f"use one of {', '.join(map(repr, _STRATEGIES))}"
        )


def _check_graph(graph: Graph) -> None:
    if graph.stage is not Stage.TYPED:
        raise GraphError(f"the vitis backend prints typed graphs, not a {graph}: quantise it first")
    unknown = [node for node in graph.nodes if type(node.op) not in PRINTERS]
    if unknown:
        rows = ", ".join(f"{n.op.kind} (layer {graph.origins[n.output].layer!r})" for n in unknown)
        raise UnsupportedOp(f"the vitis backend does not print {rows}")


@cache
def library() -> dict[str, str]:
    """Return the hand-written kernels: text by name."""
    folder = files("backends.vitis") / "lib"
    return {
        entry.name: entry.read_text("utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".h")
    }
