"""The scripts of a project, from whole-file templates, and the commands that run them."""

import re
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined

from backends.base import Command, Settings
from synth.errors import PartError

__all__ = ["COMPILE_FLAGS", "commands", "scripts"]

COMPILE_FLAGS = ("-std=c++14", "-O3", "-fPIC", "-fwrapv", "-fno-gnu-unique", "-pthread")
"""Of C simulation. Sums in machine integers wrap as two's complement does."""

_TEMPLATES = (
    *("build_lib.sh", "build_prj.tcl", "build_opt.tcl", "project.tcl"),
    *("vivado_synth.tcl", "hls_config.cfg"),
)


def scripts(settings: Settings) -> dict[str, str]:
    """Render every script.

    Raises
    ------
    PartError
        If the part is no order code: it would end up in Tcl.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", settings.part):
        raise PartError(f"part {settings.part!r} is no order code such as 'xcvu13p-flga2577-2-e'")
    environment = Environment(  # noqa: S701 - scripts, not HTML
        loader=FunctionLoader(_template), undefined=StrictUndefined, keep_trailing_newline=True
    )
    numbers = [*re.findall(r"\d+", settings.version), "0", "0", "0"][:3]
    values = {
        "name": settings.name,
        "part": settings.part,
        "clock_period": f"{settings.clock_period:g}",
        "version": re.sub(r"[^A-Za-z0-9.+-]", "_", settings.version),
        "ip_version": ".".join(numbers),
        "flags": " ".join(COMPILE_FLAGS),
    }
    return {path: environment.get_template(path).render(values) for path in _TEMPLATES}


def _template(name: str) -> str:
    return files("backends.vitis").joinpath("templates", f"{name}.j2").read_text("utf-8")


def commands(settings: Settings) -> tuple[Command, ...]:
    """Return what a runner may run, in order of need."""
    name = settings.name
    run = ("vitis-run", "--mode", "hls")
    report = f"{name}_prj/solution1/syn/report/csynth.xml"
    return (
        Command("library", ("sh", "build_lib.sh"), "g++", (f"build/lib{name}.so",)),
        Command("hls", (*run, "--tcl", "build_prj.tcl"), "vitis-run", (report,)),
        Command("hls_classic", ("vitis_hls", "-f", "build_prj.tcl"), "vitis_hls", (report,)),
        Command(
            "logic", ("vivado", "-mode", "batch", "-source", "vivado_synth.tcl"), "vivado",
            ("vivado_synth.rpt", "vivado_timing.rpt"),
        ),
    )  # fmt: skip
