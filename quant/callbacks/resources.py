"""What an integer model costs, by name: counts that are exact, not estimates."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from quant.allocate.cost import COSTS, design_of
from quant.forests import forest_of
from synth.cost import cost, total
from synth.ir import Graph
from synth.ir.ops import Trees
from synth.parts import Part

__all__ = ["resources"]


def _of_trees(graph: Graph) -> dict[str, float]:
    forests = [forest_of(graph, node) for node in graph.nodes if isinstance(node.op, Trees)]
    if not forests:
        return {}
    spans = [most - least for least, most in (forest.extremes() for forest in forests)]
    return {
        "keys": float(sum(len(forest.keys) for forest in forests)),
        "comparators": float(sum(len(forest.steps) for forest in forests)),
        "nodes": float(sum(len(forest.nodes) for forest in forests)),
        "trees": float(sum(len(forest.trees) for forest in forests)),
        "leaf_bits": float(max(int(span.max()).bit_length() for span in spans)),
    }


def _of_arithmetic(graph: Graph) -> dict[str, float]:
    sums = total(cost(graph))
    counts = {
        "multipliers": sums.multiplications,
        "additions": sums.additions,
        "parameter_bits": sums.parameter_bits,
        "table_bits": sums.table_bits,
    }
    return {name: float(count) for name, count in counts.items() if count}


def _of_products(graph: Graph) -> dict[str, float]:
    """Costs as budgets count them, where anything is multiplied."""
    design = design_of(graph)
    return {n: float(rule(design)) for n, rule in COSTS.items()} if design.products else {}


_FIGURES: Mapping[str, Callable[[Graph], dict[str, float]]] = MappingProxyType(
    {"trees": _of_trees, "arithmetic": _of_arithmetic, "products": _of_products}
)
"""What `resources` counts, each with its rule."""


def resources(graph: Graph, part: Part | None = None) -> dict[str, float]:
    """Return what a typed graph costs, by name.

    Of trees: "keys" (distinct questions to a feature), "comparators" (the steps of all keys),
    "nodes", "trees", and "leaf_bits" (of the widest leaf, counted from the least of its tree). Of
    products: "ebops", "adders", "bits", "weight_bits" and "activation_bits", as budgets count them
    (see `quant.allocate.cost`). Of any model, where not zero: "multipliers" (products by what is no
    power of two), "additions", "parameter_bits", "table_bits". With a part whose multiplier blocks
    are known: "multipliers_of_dsp", the multipliers over those blocks.
    """
    found = {name: value for rule in _FIGURES.values() for name, value in rule(graph).items()}
    if part is not None and part.dsp:
        found["multipliers_of_dsp"] = found.get("multipliers", 0.0) / part.dsp
    return found
