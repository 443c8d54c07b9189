"""What each field of an ensemble means, on trees small enough to follow by hand."""

from math import exp, log, log1p, tanh
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bdt.builder import EnsembleBuilder
from bdt.ensemble import ZERO, Ensemble, Post
from bdt.predict import find_leaves, margin, predict
from synth.errors import ShapeError
from synth.exact import Array

NAN, INF = float("nan"), float("inf")
EPS = {name: float(np.finfo(name).eps) for name in ("float32", "float64")}
LEFT, RIGHT = 1, 2


def stump(*, threshold: float = 0.0, input_dtype: str = "float32", **fields: Any) -> Ensemble:
    """Return one split of the only feature; the left leaf is node 1, the right one 2."""
    header = {name: fields.pop(name) for name in ("missing", "category_floor") if name in fields}
    build = EnsembleBuilder("hand", 1, input_dtype=input_dtype, **header)
    build.tree(
        left=[1, -1, -1],
        right=[2, -1, -1],
        feature=0,
        threshold=threshold,
        value=[0.0, -1.0, 1.0],
        **fields,
    )
    return build.finish()


def sides(ensemble: Ensemble, *values: float) -> list[int]:
    return [int(leaf) for leaf in find_leaves(ensemble, np.array(values)[:, None])[:, 0]]


def leaves_only(*values: Any, target: Any = 0, weight: Any = 1.0, **header: Any) -> Ensemble:
    """Return trees of one leaf each: its value, or a value for each output."""
    build = EnsembleBuilder("hand", 1, **header)
    targets = np.broadcast_to(target, len(values))
    weights = np.broadcast_to(weight, len(values))
    for value, to, factor in zip(values, targets, weights, strict=True):
        build.tree(
            left=[-1],
            right=[-1],
            feature=0,
            threshold=0,
            value=[value],
            target=int(to),
            weight=float(factor),
        )
    return build.finish()


def constant(ensemble: Ensemble) -> list[Any]:
    """Return the scores of any row."""
    scores = margin(ensemble, np.zeros((2, 1)))
    assert_array_equal(scores[0], scores[1])
    assert scores.dtype == ensemble.sum_dtype
    return list(scores[0].tolist())


# Splits


def test_a_tie_goes_right_of_less_and_left_of_less_or_equal() -> None:
    below, above = np.nextafter(np.float32(0.5), np.array([0, 1], np.float32))
    assert sides(stump(threshold=0.5), below, 0.5, above) == [LEFT, RIGHT, RIGHT]
    assert sides(stump(threshold=0.5, less_equal=True), below, 0.5, above) == [LEFT, LEFT, RIGHT]


def test_each_node_has_its_own_comparison() -> None:
    build = EnsembleBuilder("hand", 2)
    build.tree(
        left=[1, -1, 3, -1, -1],
        right=[2, -1, 4, -1, -1],
        feature=[0, -1, 1, -1, -1],
        threshold=[1, 0, 2, 0, 0],
        less_equal=[False, False, True, False, False],
        value=np.arange(5),
    )
    ensemble = build.finish()
    x = np.array([[0, 0], [1, 2], [1, 3]])
    assert_array_equal(find_leaves(ensemble, x), [[1], [3], [4]])
    assert_array_equal(predict(ensemble, x), [[1.0], [3.0], [4.0]])


def test_features_are_cast_before_they_are_compared_and_thresholds_never() -> None:
    # As a float32, 0.1 is greater than as a float64.
    assert sides(stump(threshold=0.1, less_equal=True), 0.1) == [RIGHT]
    assert sides(stump(threshold=0.1, less_equal=True, input_dtype="float64"), 0.1) == [LEFT]
    assert sides(stump(threshold=float(np.float32(0.1)), less_equal=True), 0.1) == [LEFT]


def test_what_float32_cannot_hold_is_infinite() -> None:
    assert sides(stump(threshold=3e38), 1e39, -1e39, INF, -INF) == [RIGHT, LEFT, RIGHT, LEFT]
    assert sides(stump(threshold=INF), 1e39, 1.0) == [RIGHT, LEFT]
    assert sides(stump(threshold=INF, less_equal=True), 1e39, NAN) == [LEFT, RIGHT]


@pytest.mark.parametrize(("default_left", "side"), [(True, LEFT), (False, RIGHT)])
@pytest.mark.parametrize("less_equal", [True, False])
def test_nan_goes_where_the_node_says(default_left: bool, side: int, less_equal: bool) -> None:
    ensemble = stump(default_left=default_left, less_equal=less_equal)
    assert sides(ensemble, NAN, -1, 1) == [side, LEFT, RIGHT]
    assert sides(stump(default_left=default_left, categories={0: [3]}), NAN) == [side]


def test_where_zero_is_missing_so_is_what_float32_tells_not_from_it() -> None:
    beyond = float(np.nextafter(np.float32(ZERO), np.float32(1)))
    ensemble = stump(threshold=-5, zero_missing=True, default_left=True)
    assert sides(ensemble, 0.0, -0.0, ZERO, -ZERO, NAN) == [LEFT] * 5
    assert sides(ensemble, beyond, -beyond, 1) == [RIGHT] * 3
    assert sides(stump(threshold=-5, default_left=True), 0.0, ZERO) == [RIGHT] * 2


def test_nan_that_is_zero_is_compared() -> None:
    for default_left in (True, False):
        fields: dict[str, Any] = {"nan_zero": True, "default_left": default_left}
        assert sides(stump(threshold=0.5, **fields), NAN) == [LEFT]
        assert sides(stump(threshold=-0.5, **fields), NAN) == [RIGHT]
        assert sides(stump(categories={0: [0]}, **fields), NAN) == [LEFT]
        assert sides(stump(categories={0: [1]}, **fields), NAN) == [RIGHT]
    both = stump(threshold=-5, nan_zero=True, zero_missing=True, default_left=True)
    assert sides(both, NAN, 0.0) == [LEFT] * 2


def test_a_value_may_stand_for_missing() -> None:
    ensemble = stump(threshold=-2000, missing=-999.9, default_left=True)
    # It is compared as the features are, in float32.
    assert sides(ensemble, -999.9, float(np.float32(-999.9)), NAN) == [LEFT] * 3
    assert sides(ensemble, -999.8, 0) == [RIGHT] * 2
    assert sides(stump(threshold=-2000, default_left=True), -999.9) == [RIGHT]


def test_categories_are_what_is_left_of_a_number_without_its_fraction() -> None:
    ensemble = stump(categories={0: [0, 2, 70]})
    assert sides(ensemble, 0, 2, 2.9, 70, -0.5, -0.0) == [LEFT] * 6
    assert sides(ensemble, 1, 1.9, 3, 71, -1, -2, 1e9, INF, -INF) == [RIGHT] * 9


def test_categories_may_be_rounded_down() -> None:
    ensemble = stump(categories={0: [0, 2]}, category_floor=True)
    assert sides(ensemble, 0, 0.5, 2.9, -0.0, -0.5, -1) == [LEFT] * 4 + [RIGHT] * 2


def test_a_node_that_lists_no_category_sends_all_right() -> None:
    assert sides(stump(threshold=5, categories={0: []}), 0, 1, -3) == [RIGHT] * 3


def test_nodes_keep_their_own_categories() -> None:
    build = EnsembleBuilder("hand", 1)
    for listed in ([1], [2, 3]):
        build.tree(
            left=[1, -1, -1],
            right=[2, -1, -1],
            feature=0,
            threshold=0,
            value=np.arange(3),
            categories={0: listed},
        )
    found = find_leaves(build.finish(), np.arange(1, 5)[:, None])
    assert_array_equal(found, [[1, 2], [2, 1], [2, 1], [2, 2]])


# Sums


def test_trees_add_to_their_targets() -> None:
    ensemble = leaves_only(1.0, 2.0, 4.0, target=[0, 2, 0], outputs=(3,), base=[8, 16, 32])
    assert constant(ensemble) == [13.0, 16.0, 34.0]


def test_vector_leaves_add_to_all_outputs() -> None:
    ensemble = leaves_only([1, 2, 3, 4], [10, 20, 30, 40], target=-1, outputs=(2, 2))
    assert constant(ensemble) == [[11, 22], [33, 44]]
    assert predict(ensemble, np.zeros((5, 1))).shape == (5, 2, 2)


@pytest.mark.parametrize("outputs", [(1,), (3,), (2,), (2, 3)])
def test_scores_have_the_shape_of_the_outputs(outputs: tuple[int, ...]) -> None:
    for rows in (0, 1, 7):
        assert margin(leaves_only(1.0, outputs=outputs), np.zeros((rows, 1))).shape == (
            rows,
            *outputs,
        )


def test_weights_multiply_leaves() -> None:
    assert constant(leaves_only(1.0, 2.0, 3.0, weight=[0.5, -2.0, 4.0])) == [8.5]


def test_the_divisor_divides_the_base_unless_it_comes_last() -> None:
    assert constant(leaves_only(1.0, 2.0, base=3.0, divisor=4.0)) == [1.5]
    assert constant(leaves_only(1.0, 2.0, base=3.0, divisor=4.0, base_first=False)) == [3.75]


def test_sums_run_in_order_from_the_base() -> None:
    tiny = EPS["float32"] / 2  # next to 1 it is lost, twice it is not
    assert constant(leaves_only(tiny, tiny, base=1.0)) == [1.0]
    assert constant(leaves_only(tiny, tiny, base=1.0, base_first=False)) == [1 + 2 * tiny]
    assert constant(leaves_only(tiny, tiny, 1.0)) == [1 + 2 * tiny]
    assert constant(leaves_only(1.0, tiny, tiny)) == [1.0]
    assert constant(leaves_only(1.0, tiny, tiny, sum_dtype="float64")) == [1 + 2 * tiny]


def test_leaves_weights_and_products_are_rounded_to_the_type_of_sums() -> None:
    ensemble = leaves_only(0.1, weight=0.3)
    assert constant(ensemble) == [float(np.float32(0.1) * np.float32(0.3))]
    assert constant(leaves_only(0.1, weight=0.3, sum_dtype="float64")) == [0.1 * 0.3]
    assert constant(leaves_only(0.0, base=0.1)) == [float(np.float32(0.1))]
    assert constant(leaves_only(49.0, divisor=49.0, sum_dtype="float64")) == [1.0]
    assert constant(leaves_only(1.0, divisor=0.1)) == [float(1 / np.float32(0.1))]


# Post-processors


def posted(post: Post, *scores: float, sum_dtype: str = "float64", alpha: float = 1.0) -> Array:
    ensemble = leaves_only(
        list(scores), target=-1, outputs=(len(scores),), post=post, alpha=alpha, sum_dtype=sum_dtype
    )
    found = predict(ensemble, np.zeros((1, 1)))
    assert found.dtype == sum_dtype
    return np.asarray(found[0])


SCORES = (-3.0, -0.25, 0.0, 0.5, 2.0)
TOTAL = sum(exp(s) for s in SCORES)
EXPECTED = {
    Post.IDENTITY: list(SCORES),
    Post.SIGMOID: [1 / (1 + exp(-s)) for s in SCORES],
    Post.SOFTMAX: [exp(s) / TOTAL for s in SCORES],
    Post.EXPONENTIAL: [exp(s) for s in SCORES],
    Post.LOG1P_EXP: [log1p(exp(s)) for s in SCORES],
    Post.SIGNED_SQUARE: [-9.0, -0.0625, 0.0, 0.25, 4.0],
    Post.TANH: [tanh(s) for s in SCORES],
    Post.POSITIVE: [0.0, 0.0, 0.0, 1.0, 1.0],
    Post.LARGEST: [4.0],
}


@pytest.mark.parametrize("sum_dtype", ["float32", "float64"])
@pytest.mark.parametrize("post", EXPECTED)
def test_each_post_processor(post: Post, sum_dtype: str) -> None:
    # A function errs by 4 units in the last place at most, on either side; then at most six sums
    # and quotients round.
    found = posted(post, *SCORES, sum_dtype=sum_dtype)
    assert_allclose(found, EXPECTED[post], rtol=14 * EPS[sum_dtype], atol=0)


def test_every_post_processor_has_a_case() -> None:
    assert {*EXPECTED, Post.WEIGHTED_MEDIAN} == set(Post)


def test_alpha_is_a_factor_inside_of_the_sigmoid() -> None:
    assert_allclose(
        posted(Post.SIGMOID, 0.5, alpha=3.0), 1 / (1 + exp(-1.5)), rtol=14 * EPS["float64"]
    )


def test_scores_far_out_do_not_overflow() -> None:
    assert_array_equal(posted(Post.SIGMOID, -1e4, 1e4), [0, 1])
    assert_array_equal(posted(Post.SOFTMAX, -1e4, 1e4, 1e4), [0, 0.5, 0.5])
    assert_array_equal(posted(Post.LOG1P_EXP, -1e4, 1e4), [0, 1e4])
    assert_array_equal(posted(Post.EXPONENTIAL, 1e4), [INF])
    assert_allclose(posted(Post.LOG1P_EXP, 0.0), log(2), rtol=14 * EPS["float64"])


def test_the_first_of_equal_ones_is_the_largest() -> None:
    assert_array_equal(posted(Post.LARGEST, 1.0, 3.0, 3.0), [1])


def test_softmax_and_largest_take_each_target_by_itself() -> None:
    scores = [0.0, log(3), 2000.0, 2000.0]
    for post, expected in (
        (Post.SOFTMAX, [[0.25, 0.75], [0.5, 0.5]]),
        (Post.LARGEST, [[1.0], [0.0]]),
    ):
        ensemble = leaves_only(scores, target=-1, outputs=(2, 2), post=post, sum_dtype="float64")
        found = predict(ensemble, np.zeros((1, 1)))
        assert_allclose(found[0], expected, rtol=14 * EPS["float64"], atol=0)


@pytest.mark.parametrize(
    ("values", "weights", "median"),
    [
        ([5.0], [2.0], 5.0),
        ([3.0, 1.0, 2.0], [1.0, 1.0, 1.0], 2.0),
        ([3.0, 1.0, 2.0], [5.0, 1.0, 1.0], 3.0),
        ([3.0, 1.0, 2.0, 4.0], [1.0, 1.0, 1.0, 1.0], 2.0),  # exactly half is enough
        ([3.0, 1.0, 2.0], [1.0, 3.0, 2.0], 1.0),
        ([7.0, 7.0, 1.0], [1.0, 1.0, 1.0], 7.0),
        ([7.0, 1.0], [0.0, 0.0], 1.0),
    ],
)
def test_the_weighted_median_reaches_half_of_the_weight(
    values: list[float], weights: list[float], median: float
) -> None:
    trees = len(values)
    ensemble = leaves_only(
        *values, target=range(trees), weight=weights, outputs=(trees,), post=Post.WEIGHTED_MEDIAN
    )
    assert_array_equal(predict(ensemble, np.zeros((2, 1))), [[median], [median]])
    assert constant(ensemble) == values


# Rows


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 0), (2, 3, 1)])
def test_rows_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    words = r"the ensemble has 1 features: give rows \[n, 1\], not an array of shape \("
    with pytest.raises(ShapeError, match=words):
        predict(stump(), np.zeros(shape))


def test_lists_and_integers_are_rows_too() -> None:
    assert_array_equal(predict(stump(), np.array([[-1], [0]], np.int8)), [[-1], [1]])
