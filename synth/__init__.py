"""Trained models to FPGA firmware that computes the same bits as its integer reference.

>>> import synth
>>> project = synth.convert("jet_tagger.onnx", part="xcvu13p-flga2577-2-e",
...                         output_dir="build/jet_tagger", calibration=x_train)
>>> project.predict(x_test)
>>> print(project.validate(x_test))

What is offered here is imported when it is first used, so that ``import synth`` costs nothing. This
file alone reaches up to the packages that are built on this one.
"""

import importlib
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from projects.convert import convert
    from projects.integers import IntegerModel, integer_model
    from projects.project import Project, open_project
    from projects.report import Report
    from projects.validate import Validation
    from synth.errors import SynthError
    from synth.fixed import Fixed, FixedArray, Format, Overflow, Round, parse_format
    from synth.ir import Graph
    from synth.load import load_graph

__all__ = [
    "Fixed",
    "FixedArray",
    "Format",
    "Graph",
    "IntegerModel",
    "Overflow",
    "Project",
    "Report",
    "Round",
    "SynthError",
    "Validation",
    "__version__",
    "convert",
    "integer_model",
    "load_graph",
    "open_project",
    "parse_format",
]

__version__ = "0.1.0"

_HOMES = {
    "Fixed": "synth.fixed",
    "FixedArray": "synth.fixed",
    "Format": "synth.fixed",
    "Graph": "synth.ir",
    "IntegerModel": "projects.integers",
    "Overflow": "synth.fixed",
    "Project": "projects.project",
    "Report": "projects.report",
    "Round": "synth.fixed",
    "SynthError": "synth.errors",
    "Validation": "projects.validate",
    "convert": "projects.convert",
    "integer_model": "projects.integers",
    "load_graph": "synth.load",
    "open_project": "projects.project",
    "parse_format": "synth.fixed",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'synth' has no attribute {name!r}")
    found = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _check_siblings() -> None:
    """Say at once if a stray file is found where one of our packages is meant.

    Their names are ordinary words, and Python takes the first match on its path.
    """
    home = Path(__file__).resolve().parents[1]
    for name in ("quant", "bdt", "backends", "projects"):
        spec = PathFinder.find_spec(name)
        if spec is None or spec.origin is None:
            raise ImportError(
                f"synth's package {name!r} is missing beside {home / 'synth'}: install synth again"
            )
        if Path(spec.origin).resolve() != home / name / "__init__.py":
            raise ImportError(
                f"{spec.origin} shadows synth's own package {name!r}, which is in {home / name}: "
                "rename that file, or run Python from another folder"
            )


_check_siblings()
