"""The command line: the same verbs as in Python.

Exit codes: 0 all is well; 1 a validation found a difference; 2 a mistake in the arguments, the
model or the data, said in one line; 3 a tool is missing or failed; 130 interrupted. With ``--json``
standard output is one JSON document and nothing else, an error included.
"""

import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console

from projects.progress import Steps
from synth import __version__
from synth.errors import SettingsError, SynthError, ToolError

__all__ = ["app", "main"]

MISMATCH, MISTAKE, TOOL, INTERRUPTED = 1, 2, 3, 130

app = typer.Typer(
    help="Trained models to FPGA firmware that computes the same bits as its integer reference.",
    epilog="Exit codes: 0 well, 1 a validation found a difference, 2 a mistake in the arguments, "
    "the model or the data, 3 a tool is missing or failed, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]
Folder = Annotated[Path, typer.Argument(help="The folder of a project.")]
Texts = list[str] | None
_DIMENSION = "Size of a symbolic dimension, as seq=20, or its bounds, as nodes=1..128; repeatable."
_T = TypeVar("_T")


def main() -> NoReturn:
    """Run the command line; mistakes end in one clean line and a code that means something."""
    as_json = "--json" in sys.argv[1:]
    try:
        app()
    except ToolError as error:
        _fail(error, TOOL, as_json=as_json)
    except SynthError as error:
        _fail(error, MISTAKE, as_json=as_json)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(0)


def _fail(error: SynthError, code: int, *, as_json: bool) -> NoReturn:
    if as_json:
        _print_json({"error": {"kind": type(error).__name__, "message": str(error)}})
    Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    pass


@app.command()
def convert(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    output_dir: Annotated[Path, typer.Option(help="The project's folder.")],
    part: Annotated[
        str | None, typer.Option(help="The device's full order code; cpp needs none.")
    ] = None,
    backend: Annotated[str, typer.Option(help="The writer: vitis or cpp.")] = "vitis",
    name: Annotated[str | None, typer.Option(help="Of project and top function.")] = None,
    wires_in: Annotated[
        Texts, typer.Option("--input", help="Format of an input, as x='fixed<16,7>'; repeatable.")
    ] = None,
    wires_out: Annotated[Texts, typer.Option("--output", help="The same for outputs.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="A format, a .json file: layer to format, or auto.")
    ] = None,
    budget: Annotated[
        Texts, typer.Option(help="With auto: ebops=50000, accuracy_drop=0.005; repeatable.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Typical input: .npy, .npz (by input) or .csv.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="With auto: classes or targets, a row an event.")
    ] = None,
    merit: Annotated[
        str | None, typer.Option(help="With auto: accuracy, auc, efficiency@0.01, mse, ...")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="With auto: a file to go on from if interrupted.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="With auto: processes that search.")] = 1,
    clock_period: Annotated[float | None, typer.Option(help="In ns; 5 by default.")] = None,
    clock: Annotated[str | None, typer.Option(help="The same as '360 MHz'.")] = None,
    interval: Annotated[int, typer.Option(help="Initiation interval, in cycles.")] = 1,
    latency: Annotated[int | None, typer.Option(help="At most, in cycles.")] = None,
    reuse_factor: Annotated[
        Texts, typer.Option(help="A number, or layer=number; repeatable.")
    ] = None,
    strategy: Annotated[str, typer.Option(help="latency or resource.")] = "latency",
    io_type: Annotated[str, typer.Option(help="io_parallel.")] = "io_parallel",
    control: Annotated[str, typer.Option(help="Handshake: hs, none or chain.")] = "hs",
    ending: Annotated[
        str, typer.Option("--ending", help="prediction, or margin: without the last activation.")
    ] = "prediction",
    dimension: Annotated[Texts, typer.Option(help=_DIMENSION)] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing project.")] = False,
    as_json: Json = False,
) -> None:
    """Convert a trained model into a project."""
    from projects.convert import convert as run
    from projects.data import read_data, read_precision

    with Steps(quiet=as_json) as step, _processes(jobs) as executor:
        project = run(
            model,
            part=part,
            output_dir=output_dir,
            backend=backend,
            name=name,
            inputs=_wires(wires_in),
            outputs=_wires(wires_out),
            precision=read_precision(precision),
            budget=_amounts("--budget", budget) or None,
            calibration=None if calibration is None else read_data(calibration),
            labels=None if labels is None else read_data(labels),
            merit=merit,
            resume=resume,
            executor=executor,
            clock_period=clock_period,
            clock=clock,
            interval=interval,
            latency=latency,
            reuse_factor=_reuse(reuse_factor),
            strategy=strategy,
            io_type=io_type,
            control=control,
            output=ending,
            dimensions=_dimensions(dimension),
            overwrite=overwrite,
            progress=step,
        )
    if as_json:
        _print_json({"name": project.name, "folder": str(project.folder), "part": part})
        return
    front = project.folder / "synth" / "front.txt"
    if front.is_file():
        typer.echo(front.read_text("utf-8"), nl=False)
    typer.echo(f"{project.name} is in {project.folder}")


@app.command()
def inspect(
    model: Annotated[Path, typer.Argument(help="A project's folder, or an ONNX file.")],
    dimension: Annotated[Texts, typer.Option(help=_DIMENSION)] = None,
    as_json: Json = False,
) -> None:
    """Show a graph: layers, shapes, formats, intervals, parameters."""
    from projects.project import open_project
    from synth.inspect import rows, summary
    from synth.load import load_graph

    if model.is_dir():
        graph = open_project(model).graph
    else:
        graph = load_graph(model, dimensions=_dimensions(dimension))
    if as_json:
        _print_json(
            {"name": graph.name, "stage": graph.stage, "rows": list(map(asdict, rows(graph)))}
        )
    else:
        typer.echo(summary(graph))


@app.command()
def validate(
    folder: Folder,
    data: Annotated[
        Path | None, typer.Option(help="Input: .npy, .npz or .csv; by default made.")
    ] = None,
    events: Annotated[int, typer.Option(min=1, help="How many events to make.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="From which seed.")] = 0,
    as_json: Json = False,
) -> None:
    """Compare the float model, the integer model and the compiled C++."""
    from projects.data import read_data
    from projects.project import open_project
    from projects.render import show, validation_table

    project = open_project(folder)
    with Steps(quiet=as_json) as step:
        step("compiling and comparing")
        x = None if data is None else read_data(data)
        found = project.validate(x, events=events, seed=seed)
    if as_json:
        _print_json({"exact": found.exact, **asdict(found)})
    else:
        show(validation_table(found))
    if not found:
        raise typer.Exit(MISMATCH)


@app.command()
def report(folder: Folder, as_json: Json = False) -> None:
    """Show what the design costs, each figure with its source."""
    from projects.project import open_project

    _show_report(open_project(folder).report(), as_json=as_json)


@app.command()
def build(
    folder: Folder,
    stage: Annotated[
        Texts, typer.Option(help="library, hls or logic; repeatable. By default hls.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the part's tool flow, where the vendor's tool is installed."""
    from dataclasses import replace

    from projects.project import open_project

    project = open_project(folder)
    with Steps(quiet=as_json) as step:
        result = replace(project, progress=step).build(stage)
    _show_report(result, as_json=as_json)


@app.command()
def export(
    folder: Folder,
    form: Annotated[str, typer.Argument(help="conifer or qonnx.")],
    path: Annotated[Path, typer.Argument(help="The file to write.")],
    overwrite: Annotated[bool, typer.Option(help="Replace the file if it exists.")] = False,
) -> None:
    """Write the integer model in another tool's format."""
    from projects.project import open_project

    open_project(folder).export(form, path, overwrite=overwrite)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say which compilers, simulators and vendor tools are there, and what each unlocks."""
    from projects.doctor import examine
    from projects.render import doctor_table, show

    with Steps(quiet=as_json) as step:
        findings = examine(step)
    if as_json:
        _print_json([asdict(finding) for finding in findings])
    else:
        show(doctor_table(findings))


@app.command()
def demo(
    output_dir: Annotated[Path, typer.Option(help="The project's folder.")] = Path(
        "build", "jet_tagger"
    ),
    as_json: Json = False,
) -> None:
    """Convert a jet tagger that ships with synth, validate it, and measure it on held-out jets."""
    from projects.demo.run import run_demo

    result = run_demo(output_dir, quiet=as_json)
    if as_json:
        _print_json(result.as_dict())
    if not result.validation:
        raise typer.Exit(MISMATCH)


def _show_report(found: Any, *, as_json: bool) -> None:
    from projects.render import report_tables, show

    if as_json:
        _print_json(found.as_dict())
    else:
        show(*report_tables(found))


def _wires(texts: Sequence[str] | None) -> Any:
    """Read ``x=fixed<16,7>`` and ``fixed<16,7>``, which is for all; formats have no "="."""
    if not texts:
        return None
    if len(texts) == 1 and "=" not in texts[0]:
        return texts[0]
    return _pairs("--input and --output", texts, str)


def _reuse(texts: Sequence[str] | None) -> Any:
    if not texts:
        return 1
    if len(texts) == 1 and "=" not in texts[0]:
        return _whole("--reuse-factor", texts[0])
    return _numbers("--reuse-factor", texts)


def _numbers(option: str, texts: Sequence[str] | None) -> dict[str, int]:
    return _pairs(option, texts or (), lambda text: _whole(option, text))


def _processes(jobs: int) -> AbstractContextManager[Executor | None]:
    return ProcessPoolExecutor(jobs) if jobs > 1 else nullcontext()


def _amounts(option: str, texts: Sequence[str] | None) -> dict[str, float]:
    return _pairs(option, texts or (), lambda text: _amount(option, text))


def _amount(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingsError(f"{option}: {text!r} is no number") from None


def _dimensions(texts: Sequence[str] | None) -> dict[str, int | tuple[int, int]] | None:
    """Return sizes of symbolic dimensions, or the least and the greatest."""
    option = "--dimension"

    def read(text: str) -> int | tuple[int, int]:
        least, dots, most = text.partition("..")
        return (_whole(option, least), _whole(option, most)) if dots else _whole(option, text)

    return _pairs(option, texts or (), read) or None


def _whole(option: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise SettingsError(f"{option}: {text!r} is no whole number") from None


def _pairs(option: str, texts: Sequence[str], read: Callable[[str], _T]) -> dict[str, _T]:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key or not value:
            raise SettingsError(f"{option}: expected name=value, not {text!r}")
        pairs[key] = read(value)
    return pairs


if __name__ == "__main__":
    main()
