"""``synth demo``: a real jet tagger becomes a verified project, and is measured on fresh jets."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from projects.convert import convert
from projects.demo.jets import Jets, load_jets, model_path
from projects.demo.metrics import Efficiency, accuracy, efficiency_at
from projects.project import Project
from projects.render import show, table, validation_table
from projects.validate import Validation
from synth.exact import Array

__all__ = ["DemoResult", "Quality", "run_demo"]

PART = "xcvu13p-flga2577-2-e"
RATES = (1e-2, 1e-3)
"""False-positive rates at which the efficiency for top quarks is given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """How good one model is on the held-out jets."""

    model: str
    accuracy: float
    efficiencies: tuple[Efficiency, ...]


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demonstration showed.

    Attributes
    ----------
    folder
        Where the project is.
    times
        Seconds of each step, in their order.
    quality
        Of the float and the integer model.
    validation
        On made input, and `on_jets` on the held-out jets.
    """

    folder: Path
    times: dict[str, float]
    quality: tuple[Quality, ...]
    validation: Validation
    on_jets: Validation

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON holds it."""
        whole: dict[str, Any] = {
            "folder": str(self.folder),
            "times": self.times,
            "quality": [asdict(quality) for quality in self.quality],
        }
        for name in ("validation", "on_jets"):
            found: Validation = getattr(self, name)
            whole[name] = {"exact": found.exact, **asdict(found)}
        return whole


class _Narrator:
    """Says each step and, once it is done, its time."""

    def __init__(self, *, quiet: bool) -> None:
        self.times: dict[str, float] = {}
        self.quiet = quiet

    @contextmanager
    def step(self, line: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.times[line] = time.perf_counter() - began
        self.say(Text(f"{self.times[line]:7.2f} s  {line}"))

    def say(self, *items: Table | Text) -> None:
        if not self.quiet:
            show(*items)


def run_demo(output_dir: Path, *, quiet: bool = False) -> DemoResult:
    """Convert the tagger that ships with synth, validate it and measure it.

    Parameters
    ----------
    output_dir
        The project's folder; a project that stands there is replaced.
    quiet
        Print nothing.

    Raises
    ------
    SynthError
        As `convert` and `Project.validate`: a ToolError where there is no C++ compiler.
    """
    narrator = _Narrator(quiet=quiet)
    with narrator.step("load simulated jets: Pythia 8 and FastJet, 13 TeV, particle level"):
        jets = load_jets()
    with narrator.step(f"convert the 16-64-32-32-5 tagger for {PART}, calibrated on training jets"):
        project = convert(
            model_path(),
            part=PART,
            output_dir=output_dir,
            name="jet_tagger",
            calibration=jets.x_train,
            overwrite=True,
        )
    with narrator.step(
        f"run the float and the integer model on {len(jets.x_test):,} held-out jets"
    ):
        quality = _qualities(project, jets)
    with narrator.step("compile the firmware's C++ with the vendor's types, and run one jet"):
        project.csim(jets.x_test[:1])
    with narrator.step("validate on random and edge-case input"):
        validation = project.validate()
    with narrator.step("validate on the held-out jets"):
        on_jets = replace(project.validate(jets.x_test), stimuli="held-out jets")
    narrator.say(
        _quality_table(quality, len(jets.x_test)),
        validation_table(validation),
        validation_table(on_jets),
        Text(f"the project is in {project.folder}"),
    )
    return DemoResult(
        folder=project.folder,
        times=narrator.times,
        quality=quality,
        validation=validation,
        on_jets=on_jets,
    )


def _qualities(project: Project, jets: Jets) -> tuple[Quality, ...]:
    return (
        _quality("float", project.predict_float(jets.x_test), jets),
        _quality("integer", project.predict(jets.x_test), jets),
    )


def _quality(model: str, scores: Array, jets: Jets) -> Quality:
    return Quality(
        model=model,
        accuracy=accuracy(scores, jets.y_test),
        efficiencies=tuple(efficiency_at(rate, scores, jets.y_test) for rate in RATES),
    )


def _quality_table(qualities: tuple[Quality, ...], events: int) -> Table:
    header = ("model", "accuracy", *(f"efficiency for t at FPR {rate:g}" for rate in RATES))
    rows = [(q.model, f"{q.accuracy:.2%}", *map(str, q.efficiencies)) for q in qualities]
    return table(f"tagging {events:,} held-out jets (t against q and g)", header, rows)
