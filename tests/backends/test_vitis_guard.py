"""Designs that no tool would survive are refused with a reuse factor that passes."""

import re
from dataclasses import replace

import numpy as np
import pytest

from backends.base import Settings
from backends.vitis import emit
from backends.vitis.sharing import lanes, products
from synth.errors import DesignTooLarge
from synth.ir import Builder, Codes, Graph, Origin, Stage
from synth.ir.ops import Relu
from tests.csim_batch import SETTINGS
from tests.typed_examples import dense_network, wire


def refusal(graph: Graph, settings: Settings = SETTINGS) -> tuple[str, int]:
    with pytest.raises(DesignTooLarge) as caught:
        emit(graph, settings)
    message = str(caught.value)
    found = re.search(r"reuse_factor=(\d+) or more", message)
    assert found
    return message, int(found[1])


def check_smallest(graph: Graph, reuse: int) -> None:
    emit(graph, replace(SETTINGS, reuse_factor=reuse))
    with pytest.raises(DesignTooLarge):
        emit(graph, replace(SETTINGS, reuse_factor=reuse // 2))


def test_a_layer_of_too_many_products_is_refused() -> None:
    graph = dense_network((784, 64, 10))
    message, reuse = refusal(graph)
    assert message == (
        "layer 'fc1' (Dense) makes 50,176 products, 50,176 of them at once at reuse factor 1; "
        "tools survive 4,096: convert it with reuse_factor=16 or more"
    )
    check_smallest(graph, reuse)


def test_a_design_of_too_many_multipliers_is_refused() -> None:
    graph = dense_network((64, 64, 64, 64, 64, 64))
    message, reuse = refusal(graph)
    assert "the design needs 20,480 multipliers at once, more than the 16,384" in message
    assert reuse == 2
    check_smallest(graph, reuse)


def test_a_movement_of_too_many_elements_is_refused() -> None:
    build = Builder("net", Stage.TYPED)
    x = build.input("x", Codes.full((5000,), wire("fixed<4,2>")))
    graph = build.graph([build.add(Relu(), x, origin=Origin("act"))])
    message, reuse = refusal(graph)
    assert "layer 'act' (Relu) makes 5,000 elements, 5,000 of them at once" in message
    assert reuse == 2
    check_smallest(graph, reuse)


def test_a_layer_may_have_a_reuse_factor_of_its_own() -> None:
    emit(dense_network((784, 64, 10)), replace(SETTINGS, reuse_factor={"fc1": 16}))
    message, _ = refusal(dense_network((784, 64, 10)), replace(SETTINGS, reuse_factor={"fc1": 8}))
    assert "6,272 of them at once at reuse factor 8" in message


@pytest.mark.parametrize("sizes", [(1, 16, 64), (3, 7, 5), (10, 1, 1), (4, 9, 12)])
def test_shared_products_are_all_made_with_no_more_iterations_than_asked(
    sizes: tuple[int, int, int],
) -> None:
    total = int(np.prod(sizes))
    for reuse in range(1, total + 3):
        block = products(*sizes, reuse)
        steps = (block.row_step, block.term_step, block.output_step)
        blocks = [-(-n // s) for n, s in zip(sizes, steps, strict=True)]
        assert block.iterations == np.prod(blocks) <= reuse
        assert block.multipliers * block.iterations >= total
    assert products(*sizes, 1).multipliers == total
    assert products(*sizes, total).multipliers == 1


def test_a_dividing_reuse_factor_wastes_nothing() -> None:
    for reuse in (2, 4, 8, 64, 512):
        assert products(1, 16, 64, reuse).multipliers == 1024 // reuse


def test_lanes_cover_all_elements() -> None:
    for size in range(20):
        for reuse in range(1, 25):
            spread = lanes(size, reuse)
            assert size <= spread.step * spread.iterations
            assert spread.iterations <= reuse
