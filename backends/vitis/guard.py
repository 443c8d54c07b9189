"""Refuses designs that no tool would survive, before any work is done on them."""

from dataclasses import replace

from backends.vitis.design import Design
from backends.vitis.work import Work, work
from synth.errors import DesignTooLarge
from synth.ir import Node

__all__ = ["LAYER_LIMIT", "TOTAL_LIMIT", "check_size"]

LAYER_LIMIT = 4096
"""Products or elements of one layer side by side: what Vitis partitions an array into."""

TOTAL_LIMIT = 16384
"""Multipliers of the whole design."""


def check_size(design: Design) -> None:
    """Refuse a design that is too large at its reuse factors.

    Raises
    ------
    DesignTooLarge
        With the layer, its size and the smallest power of two that would pass as reuse factor.
    """
    loads = [(node, work(design, node)) for node in design.graph.nodes]
    for node, load in loads:
        step = load.step(design.reuse(node))
        if step > LAYER_LIMIT:
            raise DesignTooLarge(_layer_message(design, node, load, step))
    total = _multipliers(design, loads)
    if total > TOTAL_LIMIT:
        raise DesignTooLarge(
            f"the design needs {total:,} multipliers at once, more than the {TOTAL_LIMIT:,} that "
            f"tools survive; convert it with reuse_factor={smallest_passing(design)} or more"
        )


def _layer_message(design: Design, node: Node, load: Work, step: int) -> str:
    layer = design.origin(node).layer
    reuse = smallest_passing(design)
    made = f"{load.elements:,} elements"
    if load.is_products:
        made = f"{load.multiplications:,} products"
    return (
        f"layer {layer!r} ({node.op.kind}) makes {made}, {step:,} of them at once at reuse factor "
        f"{design.reuse(node)}; tools survive {LAYER_LIMIT:,}: "
        f"convert it with reuse_factor={reuse} or more"
    )


def smallest_passing(design: Design) -> int:
    """Return the smallest power of two that passes as reuse factor of all layers."""
    loads = [(node, work(design, node)) for node in design.graph.nodes]
    reuse = 1
    while True:
        shared = replace(design, settings=replace(design.settings, reuse_factor=reuse))
        largest = max((load.step(reuse) for _, load in loads), default=0)
        if largest <= LAYER_LIMIT and _multipliers(shared, loads) <= TOTAL_LIMIT:
            return reuse
        reuse *= 2


def _multipliers(design: Design, loads: list[tuple[Node, Work]]) -> int:
    return sum(load.multipliers(design.reuse(node)) for node, load in loads)
