"""From a trained model to a project folder: the one function that most users need."""

import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from backends.base import Backend, Settings
from backends.cpp import Cpp
from backends.cstyle import RESERVED, is_identifier
from backends.vitis import Vitis
from bdt import quantise as trees
from projects.auto import Auto, front_files, parse_auto, searched
from projects.exported import exported
from projects.folder import creating
from projects.options import Options, check_layers, parse_options
from projects.project import Project
from projects.record import Record, record_files
from projects.stimuli import stimuli
from projects.vendored import ap_types_files
from projects.write import write_files
from quant.allocate.front import Front
from quant.calibrate import read_calibration
from quant.choose import choose
from quant.kept import absorbed
from quant.precision import parse_precision, parse_wires
from synth import __version__
from synth.errors import ModelError, PrecisionError, SettingsError, ShapeError
from synth.evaluate import Evaluator
from synth.fixed import Format
from synth.ir import Graph
from synth.ir.ops import Trees
from synth.load import load_graph
from synth.parts import Part, find
from synth.passes import is_quantised, prepare
from synth.passes.margin import margin
from synth.sized import Dimension, lifted, symbols_of

__all__ = ["check_values", "convert", "typed_graph"]

_BACKENDS: Mapping[str, Backend] = {Vitis.name: Vitis(), Cpp.name: Cpp()}
_GOLDEN_EVENTS = 64
"""Events that the test bench of a project replays."""

Progress = Callable[[str], None]


def convert(
    model: Any,
    *,
    part: str | None = None,
    output_dir: str | os.PathLike[str],
    backend: str = "vitis",
    name: str | None = None,
    inputs: Any = None,
    outputs: Any = None,
    precision: Any = None,
    budget: Any = None,
    calibration: Any = None,
    labels: Any = None,
    merit: Any = None,
    resume: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    clock_period: float | None = None,
    clock: str | None = None,
    interval: int = 1,
    latency: int | None = None,
    reuse_factor: int | Mapping[str, int] = 1,
    strategy: str = "latency",
    io_type: str = "io_parallel",
    control: str = "hs",
    output: str = "prediction",
    dimensions: Mapping[str, Dimension] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Project:
    """Convert a trained model into a project whose firmware computes the bits of `predict`.

    Parameters
    ----------
    model
        An ONNX file, its bytes or its protobuf; a live Keras or PyTorch model; or a graph.
    part
        The device's full order code: package and speed grade matter. Only "cpp" needs none.
    output_dir
        The project's folder. It appears when it is complete, and not at all if anything fails.
    backend
        The writer: "vitis" for HLS firmware; "cpp" for a C++ header that computes the float model
        and, where formats are given or chosen, another that computes the integers.
    name
        Of the project and of its top function; by default made from the model's.
    inputs, outputs
        Wires that neighbouring firmware fixes: a format such as "fixed<16,7>", or by name a format
        or a list of them, one a feature. Nothing changes them. Without modes, values are rounded to
        nearest and saturate on their way in.
    precision
        None: formats are chosen from `calibration` so that the integer model agrees with the float
        one. Otherwise a format for everything, a mapping by layer and role, or a configuration of
        hls4ml's, whose reuse factors and strategy count as well. "auto", or a mapping with
        ``"default": "auto"`` that fixes some layers: the best formats for `budget`.
    budget
        With "auto": limits on costs ("ebops", "adders", "bits") or on the loss of the merit
        ("accuracy_drop"), as in ``{"ebops": 50_000}``; see `quant.search`.
    calibration
        Typical input: an array, ``{input: array}``, or an iterator of batches.
    labels, merit
        With "auto": the events' classes or targets, and the figure of merit ("accuracy",
        "agreement", "auc", "efficiency@0.01", "mse", or a function of outputs and labels).
    resume, executor
        With "auto": a file from which an interrupted search goes on, and where the search works.
    clock_period, clock
        The clock's period in ns (by default 5), or its frequency as in "360 MHz".
    interval, latency
        Initiation interval in cycles, and an upper bound on the latency in cycles.
    reuse_factor
        How many products share a multiplier: a number, or by layer, with a "default".
    strategy, io_type
        hls4ml's words: "latency" or "resource"; "io_parallel".
    control
        The block's handshake: "hs", "none" or "chain" (ap_ctrl_hs and so on).
    output
        "prediction", or "margin" to leave out the softmax or sigmoid that ends the model.
    dimensions
        Values of symbolic dimensions, as in ``{"seq": 20}``. With the backend "cpp", the least and
        the greatest size of those that each call gives: ``{"nodes": (1, 128)}``.
    shapes
        Shapes of the inputs of a live PyTorch model, batch first, as in ``{"x": (1, 16)}``.
    overwrite
        Replace a project that stands in `output_dir`, once the new one is complete.
    progress
        Called with a line before each step.

    Raises
    ------
    SynthError
        Whatever is wrong with the model, an argument or the folder, by its own subclass (see
        `synth.errors`); nothing half-written remains.
    """
    options = parse_options(
        precision=precision,
        clock_period=clock_period,
        clock=clock,
        interval=interval,
        latency=latency,
        reuse_factor=reuse_factor,
        strategy=strategy,
        io_type=io_type,
        control=control,
        output=output,
    )
    auto = parse_auto(
        precision,
        calibration=calibration,
        budget=budget,
        merit=merit,
        labels=labels,
        resume=resume,
        executor=executor,
    )
    writer = _backend(backend)
    device = _device(part, writer)
    _check_name(name)
    say = progress or (lambda _: None)
    with creating(_folder(output_dir), overwrite=overwrite) as partial:
        say("reading the model")
        imported = load_graph(model, name=name, dimensions=dimensions, shapes=shapes)
        imported = imported.renamed(name or _name_from(imported.name))
        check_values(imported)
        if options.output == "margin":
            imported = lifted(imported, margin)
        check_layers(options, imported)
        asked = any(given is not None for given in (inputs, outputs, precision, calibration))
        again = exported(model, imported, inputs, outputs, precision, output=options.output)
        asked |= is_quantised(imported) or again is not None
        _check_sizes(imported, writer, asked=asked)
        modes: dict[str, Any] = {}
        typed, front = None, None
        if again is not None:
            modes, typed = dict(again.modes), again.graph
        elif asked or writer.needs_integers:
            say("choosing number formats")
            modes, typed, front = _quantised(
                imported,
                auto,
                say,
                inputs=inputs,
                outputs=outputs,
                precision=precision,
                calibration=calibration,
            )
        say("writing the project")
        settings = _settings(imported.name, device, options)
        plan = writer.emit(imported, typed, settings)
        record = Record(
            name=imported.name,
            backend=backend,
            part=settings.part,
            version=__version__,
            settings=_jsonable(settings),
            modes=modes,
            stages=plan.commands,
        )
        write_files(plan.files, partial)
        write_files(record_files(record, imported, typed), partial)
        if front is not None:
            write_files(front_files(front), partial / "synth")
        if isinstance(writer, Vitis) and typed is not None:
            write_files(ap_types_files(), partial / "firmware" / "ap_types")
            say("writing golden data for the test bench")
            write_files(_golden(writer, typed, settings), partial)
    return Project(_folder(output_dir), record, imported, typed)


def _check_sizes(graph: Graph, writer: Backend, *, asked: bool) -> None:
    """Refuse symbolic dimensions where integers are wanted: they are proven for one size."""
    for symbol in symbols_of(graph):
        bounds = f"dimension {symbol.name!r} may be {symbol.least} to {symbol.most}"
        remedy = f"give one size, dimensions={{{symbol.name!r}: {symbol.most}}}"
        if writer.needs_integers:
            raise ShapeError(
                f"{bounds}, but the backend {writer.name!r} writes hardware of fixed sizes: "
                f"{remedy}, or use backend='cpp'"
            )
        if asked:
            raise ShapeError(
                f"{bounds}, but number formats are chosen and proven for one size: {remedy}, or "
                "leave out precision, calibration, inputs and outputs for the float header alone"
            )


def _backend(name: Any) -> Backend:
    if not isinstance(name, str) or name not in _BACKENDS:
        raise SettingsError(f"backend must be one of {', '.join(_BACKENDS)}, not {name!r}")
    return _BACKENDS[name]


def _device(part: Any, writer: Backend) -> Part | None:
    if part is None and not writer.needs_part:
        return None
    if part is None:
        raise SettingsError(
            f"part is missing: the backend {writer.name!r} writes for a device, so give its full "
            "order code, such as part='xcvu13p-flga2577-2-e'"
        )
    return find(part)


def _folder(output_dir: Any) -> Path:
    if not isinstance(output_dir, str | os.PathLike) or not str(output_dir):
        raise SettingsError(f"output_dir must be the path of a folder, not {output_dir!r}")
    # Unlike Path's own, this leaves "~" as it is where nobody of that name is known.
    return Path(os.path.expanduser(output_dir)).absolute()  # noqa: PTH111


def _check_name(name: Any) -> None:
    if name is None:
        return
    if not isinstance(name, str) or not is_identifier(name):
        raise SettingsError(
            f"name must be letters, digits and underscores, as it becomes the top function and the "
            f"top module, and no keyword of C++, Verilog, VHDL or Tcl; {name!r} is not: "
            f"try {_name_from(str(name))!r}"
        )


def _name_from(text: str) -> str:
    """Make an identifier of a model's name, which can be anything."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")[:60].rstrip("_").lower()
    if not name or name[0].isdigit():
        name = f"model_{name}".rstrip("_")
    if name in RESERVED:
        return f"{name}_model"
    return name if is_identifier(name) else f"model_{name}"[:64]


def check_values(graph: Graph) -> None:
    """Refuse what no hardware is made of.

    Raises
    ------
    ModelError
        The graph has no inputs.
    ShapeError
        A value has no elements.
    """
    if not graph.inputs:
        raise ModelError(f"model {graph.name!r} has no inputs: its outputs are constants")
    # Trees that ask nothing have no steps.
    trees = {name for node in graph.nodes if isinstance(node.op, Trees) for name in node.inputs[1:]}
    for name, kind in graph.types.items():
        if 0 in kind.shape and name not in trees:
            raise ShapeError(
                f"value {name!r} of layer {graph.origins[name].layer!r} has the shape "
                f"{kind.shape}, which is no element: remove that layer"
            )


def typed_graph(
    imported: Graph,
    *,
    inputs: Any,
    outputs: Any,
    precision: Any,
    calibration: Any,
) -> tuple[dict[str, Any], Graph]:
    """Return rounding and overflow by input, and the typed graph of an imported one.

    The arguments are those of `convert`.

    Raises
    ------
    SynthError
        As `convert` does.
    """
    wished = parse_precision(precision)
    entering, leaving = _wires(imported, inputs, outputs)
    data = None if calibration is None else read_calibration(calibration, imported)
    prepared = prepare(imported)
    typed, _ = choose(prepared, wished, entering, leaving, data, trees=trees)
    wires = {**entering, **{k: v.format for k, v in absorbed(prepared, entering).items()}}
    return _modes(wires), typed


def _quantised(
    imported: Graph,
    auto: Auto | None,
    say: Progress,
    *,
    inputs: Any,
    outputs: Any,
    precision: Any,
    calibration: Any,
) -> tuple[dict[str, Any], Graph, Front | None]:
    """Return rounding and overflow by input, the typed graph, and the front of a search."""
    if auto is None:
        modes, typed = typed_graph(
            imported, inputs=inputs, outputs=outputs, precision=precision, calibration=calibration
        )
        return modes, typed, None
    if is_quantised(imported):
        raise PrecisionError(
            f"precision='auto': model {imported.name!r} is quantised already and keeps its "
            "formats; leave precision= and budget= out, or give the float model"
        )
    entering, leaving = _wires(imported, inputs, outputs)
    typed, front = searched(imported, auto, calibration, entering, leaving, progress=say)
    return _modes(entering), typed, front


def _wires(
    imported: Graph, inputs: Any, outputs: Any
) -> tuple[dict[str, Format], dict[str, Format]]:
    entering = parse_wires(inputs, imported.inputs, imported, "inputs")
    return entering, parse_wires(outputs, imported.outputs, imported, "outputs")


def _modes(wires: Mapping[str, Format]) -> dict[str, Any]:
    return {name: (wire.rounding, wire.overflow) for name, wire in wires.items()}


def _settings(name: str, part: Part | None, options: Options) -> Settings:
    return Settings(
        name=name,
        part="" if part is None else part.code,
        clock_period=options.clock_period,
        interval=options.interval,
        latency=options.latency,
        reuse_factor=options.reuse_factor,
        strategy=options.strategy,
        io_type=options.io_type,
        control=options.control,
    )


def _jsonable(settings: Settings) -> dict[str, Any]:
    """Return settings as JSON holds them; a frozen mapping is none that `asdict` can copy."""
    return {
        key: dict(value) if isinstance(value, Mapping) else value
        for key, value in vars(settings).items()
    }


def _golden(writer: Vitis, graph: Graph, settings: Settings) -> Mapping[str, str]:
    codes = stimuli(graph, _GOLDEN_EVENTS)
    return writer.golden(graph, settings, codes, Evaluator(graph)(codes))
