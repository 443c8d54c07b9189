"""The front as a picture; matplotlib is loaded here and nowhere else."""

from pathlib import Path
from typing import TYPE_CHECKING

from synth.errors import ToolError

if TYPE_CHECKING:
    from quant.allocate.front import Front

__all__ = ["draw"]


def draw(front: "Front", path: Path) -> None:
    """Draw cost against the certified drop of the merit, 95 % intervals as bars.

    Raises
    ------
    ToolError
        matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        raise ToolError(
            "plotting a front needs matplotlib: pip install 'synth[plot]', or print the front"
        ) from None
    proofs = [(p.costs[front.cost], p.certificate) for p in front.points]
    shown = [(cost, proof) for cost, proof in proofs if proof is not None]
    cost = [pair[0] for pair in shown]
    drop = [pair[1].drop for pair in shown]
    below = [pair[1].drop - min(pair[1].low, pair[1].drop) for pair in shown]
    above = [max(pair[1].high, pair[1].drop) - pair[1].drop for pair in shown]
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.errorbar(cost, drop, yerr=[below, above], marker="o", capsize=3)
    axes.set_xscale("log")
    axes.set_xlabel(front.cost)
    axes.set_ylabel(f"drop of {front.merit}, 95 % interval")
    figure.savefig(path)
