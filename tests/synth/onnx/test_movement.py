"""Data movement against onnxruntime."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import ModelProto, helper

from synth.errors import FormatError, ShapeError, UnsupportedOp
from synth.onnx import read
from tests.synth.onnx.comparing import (
    Attributes,
    check,
    grid,
    model,
    node_model,
    onnxruntime_results,
)

Case = tuple[ModelProto, dict[str, np.ndarray]]
INT64 = np.iinfo(np.int64)


def i64(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


@st.composite
def reshapes(draw: st.DrawFn) -> Case:
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    to: list[int] = list(draw(st.permutations(shape)))
    if draw(st.booleans()):
        to[draw(st.integers(0, len(to) - 1))] = -1
    for i, n in enumerate(to):
        if n == shape[i] and draw(st.booleans()):
            to[i] = 0
    opset = draw(st.sampled_from([7, 13, 14, 19, 21, 23]))
    return node_model("Reshape", {"x": grid(*shape)}, {"to": i64(*to)}, opset=opset), {
        "x": grid(*shape)
    }


@given(reshapes())
def test_reshape(case: Case) -> None:
    check(*case)


def test_reshape_that_does_not_fit() -> None:
    x = {"x": grid(2, 3)}
    with pytest.raises(ShapeError, match=r"node_1.*\(2, 3\) has not as many elements as \(4, 2\)"):
        read(node_model("Reshape", x, {"to": i64(4, 2)}))
    with pytest.raises(ShapeError, match=r"sizes \[-1, -1\]; at most one may be -1, none less"):
        read(node_model("Reshape", x, {"to": i64(-1, -1)}))
    with pytest.raises(ShapeError, match=r"a size of 0 in \[2, 3, 0\] has no counterpart"):
        read(node_model("Reshape", x, {"to": i64(2, 3, 0)}))
    with pytest.raises(ShapeError, match=r"not as many elements as \(0, 3\)"):
        read(node_model("Reshape", x, {"to": i64(0, 3)}, opset=14, allowzero=1))
    with pytest.raises(UnsupportedOp, match="Reshape node 'node_1': its sizes are computed"):
        read(node_model("Reshape", {**x, "to": grid(2)}))


@pytest.mark.parametrize("axis", [None, 0, 1, 2, 3, -1])
@pytest.mark.parametrize("opset", [7, 11, 13, 23])
def test_flatten(axis: int | None, opset: int) -> None:
    x = grid(2, 3, 4)
    attributes: Attributes = {} if axis is None or (axis < 0 and opset < 11) else {"axis": axis}
    check(node_model("Flatten", {"x": x}, opset=opset, **attributes), {"x": x})


@pytest.mark.parametrize("opset", [7, 11, 13, 23])
@pytest.mark.parametrize("axes", [None, [0], [0, 2]])
def test_squeeze_and_unsqueeze(opset: int, axes: list[int] | None) -> None:
    x = grid(1, 3, 1, 4)
    for op_type in ("Squeeze", "Unsqueeze"):
        if op_type == "Unsqueeze" and axes is None:
            continue
        constants = {"axes": i64(*axes)} if axes and opset >= 13 else {}
        attributes: Attributes = {"axes": axes} if axes and opset < 13 else {}
        check(node_model(op_type, {"x": x}, constants, opset=opset, **attributes), {"x": x})


def test_squeeze_that_does_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"axes \(1,\) of shape \(2, 3\) are not all of size 1"):
        read(node_model("Squeeze", {"x": grid(2, 3)}, {"axes": i64(1)}))
    with pytest.raises(ShapeError, match=r"Squeeze node 'node_1': axis 5 is outside rank 2"):
        read(node_model("Squeeze", {"x": grid(2, 3)}, {"axes": i64(5)}))


@pytest.mark.parametrize("perm", [None, [0, 1, 2], [1, 2, 0]])
def test_transpose(perm: list[int] | None) -> None:
    x = grid(2, 3, 4)
    attributes: Attributes = {"perm": perm} if perm else {}
    check(node_model("Transpose", {"x": x}, **attributes), {"x": x})
    with pytest.raises(ShapeError, match=r"\(0, 0\) does not permute \(2, 3\)"):
        read(node_model("Transpose", {"x": grid(2, 3)}, perm=[0, 0]))


bound = st.one_of(st.integers(-9, 9), st.sampled_from([INT64.max, INT64.min, 1 << 31]))


@st.composite
def slices(draw: st.DrawFn) -> Case:
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    axes = draw(st.permutations(range(len(shape))))[: draw(st.integers(1, len(shape)))]
    starts, ends = [draw(bound) for _ in axes], [draw(bound) for _ in axes]
    opset = draw(st.sampled_from([7, 10, 11, 13, 23]))
    steps = [draw(st.sampled_from([-3, -2, -1, 1, 2, 3])) if opset >= 10 else 1 for _ in axes]
    for i, axis in enumerate(axes):
        if not range(shape[axis])[starts[i] : ends[i] : steps[i]]:
            # Nothing is left: take everything, in either direction.
            starts[i], ends[i] = (0, INT64.max) if steps[i] > 0 else (-1, INT64.min)
    x = grid(*shape)
    if opset < 10:
        made = node_model("Slice", {"x": x}, opset=opset, starts=starts, ends=ends, axes=axes)
    else:
        constants = {"b": i64(*starts), "e": i64(*ends), "a": i64(*axes), "s": i64(*steps)}
        made = node_model("Slice", {"x": x}, constants, opset=opset)
    return made, {"x": x}


@given(slices())
def test_slice(case: Case) -> None:
    check(*case)


def test_slices_with_omitted_operands() -> None:
    x = grid(4, 5)
    constants = {"b": i64(1, 0), "e": i64(3, 2)}
    check(node_model("Slice", {"x": x}, constants), {"x": x})
    check(node_model("Slice", {"x": x}, opset=9, starts=[1, 0], ends=[3, 2]), {"x": x})


def test_slice_that_does_not_fit() -> None:
    x = {"x": grid(4)}
    check(node_model("Slice", x, {"b": i64(2), "e": i64(2)}), x)
    step = {"b": i64(0), "e": i64(2), "a": i64(0), "s": i64(0)}
    with pytest.raises(FormatError, match=r"steps \(0,\) do not match"):
        read(node_model("Slice", x, step))
    with pytest.raises(FormatError, match=r"starts \(0, 1\), ends \(2,\)"):
        read(node_model("Slice", x, {"b": i64(0, 1), "e": i64(2)}))


@st.composite
def splits(draw: st.DrawFn) -> Case:
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    axis = draw(st.integers(0, 2))
    opset = draw(st.sampled_from([7, 11, 13, 18, 23]))
    equal = draw(st.booleans())
    count = len(sizes)
    if equal:
        sizes = [sizes[0]] * count
    shape = [2, 2, 2]
    shape[axis] = sum(sizes)
    x, names = grid(*shape), [f"y{i}" for i in range(count)]
    attributes: Attributes = {"axis": axis}
    constants: Attributes = {}
    if equal and opset >= 18:
        attributes["num_outputs"] = count
        if count > 1:
            x = x[tuple(slice(n - (i == axis and sizes[0] > 1)) for i, n in enumerate(shape))]
    elif not equal and opset >= 13:
        constants["sizes"] = i64(*sizes)
    elif not equal:
        attributes["split"] = sizes
    made = node_model("Split", {"x": x}, constants, opset=opset, outputs=names, **attributes)
    return made, {"x": x}


@given(splits())
def test_split(case: Case) -> None:
    check(*case)


def test_split_that_does_not_fit() -> None:
    x = {"x": grid(5)}
    with pytest.raises(ShapeError, match="an axis of 5 does not split into 2 alike"):
        read(node_model("Split", x, outputs=("a", "b")))
    with pytest.raises(ShapeError, match=r"sizes \(2, 2\) do not split an axis of 5 into 2"):
        read(node_model("Split", x, {"s": i64(2, 2)}, outputs=("a", "b")))


@pytest.mark.parametrize("indices", [np.int64(1), i64(0, -1, 2, 0), i64(0, 1, 2, 1).reshape(2, 2)])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("opset", [7, 11, 13])
def test_gather(indices: np.ndarray, axis: int, opset: int) -> None:
    x = grid(3, 4, 5)
    if opset < 11:
        indices, axis = indices % 3, axis % 3
    constants = {"i": np.asarray(indices)}
    check(node_model("Gather", {"x": x}, constants, opset=opset, axis=axis), {"x": x})


def test_gather_that_does_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"an index is outside axis -1 of \(3,\)"):
        read(node_model("Gather", {"x": grid(3)}, {"i": i64(3)}))
    for inputs, constants in (({"x": grid(3), "i": grid(3)}, {}), ({"x": grid(3)}, {"i": grid(3)})):
        with pytest.raises(FormatError, match="its indices are float32, not integers"):
            read(node_model("Gather", inputs, constants))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(axis: int) -> None:
    x, k = grid(3, 3), grid(3, 3, seed=1)
    made = node_model("Concat", {"x": x}, {"k": k}, operands=["x", "k", "x"], axis=axis)
    check(made, {"x": x})
    check(node_model("Concat", {"x": x}, axis=axis), {"x": x})


def test_concat_needs_an_axis() -> None:
    with pytest.raises(FormatError, match="Concat node 'node_1' lacks its attribute 'axis'"):
        read(node_model("Concat", {"x": grid(3)}))


@st.composite
def paddings(draw: st.DrawFn) -> Case:
    rank = draw(st.integers(1, 3))
    shape = [draw(st.integers(3, 5)) for _ in range(rank)]
    mode = draw(st.sampled_from(["constant", "constant", "reflect", "edge", "wrap"]))
    opset = draw(st.sampled_from([7, 11, 13, 18, 23]))
    assume(mode != "wrap" or opset >= 19)
    least = -1 if mode == "constant" else 0
    axes = sorted(draw(st.sets(st.integers(0, rank - 1), min_size=1)))
    if opset < 18:
        axes = list(range(rank))
    pads = [draw(st.integers(least, 2)) for _ in range(2 * len(axes))]
    fill = draw(st.sampled_from([0.0, 1.5])) if mode == "constant" else 0.0
    x = grid(*shape)
    if opset < 11:
        return node_model("Pad", {"x": x}, opset=7, pads=pads, mode=mode, value=fill), {"x": x}
    constants = {"pads": i64(*pads), "fill": np.float32(fill)}
    if opset >= 18:
        constants["axes"] = i64(*axes)
    return node_model("Pad", {"x": x}, constants, opset=opset, mode=mode), {"x": x}


@given(paddings())
def test_pad(case: Case) -> None:
    check(*case)


def test_pad_that_does_not_fit() -> None:
    x = {"x": grid(3, 3)}
    with pytest.raises(FormatError, match="Pad node 'node_1': 2 pads for 2 axes"):
        read(node_model("Pad", x, {"p": i64(1, 1)}))
    with pytest.raises(UnsupportedOp, match="its mode is 'odd'; constant, reflect, edge and wrap"):
        read(node_model("Pad", x, {"p": i64(1, 1, 1, 1)}, mode="odd"))
    with pytest.raises(ShapeError, match=r"pads \(-2, -1\) leave nothing of \(3, 3\)"):
        read(node_model("Pad", x, {"p": i64(-2, 0, -1, 0)}))
    with pytest.raises(ShapeError, match=r"pads \(3, 0\) reflect more than \(3, 3\) holds"):
        read(node_model("Pad", x, {"p": i64(3, 0, 0, 0)}, mode="reflect"))
    with pytest.raises(FormatError, match="more than 268435456 elements"):
        read(node_model("Pad", x, {"p": i64(1 << 40, 0, 0, 0)}, mode="edge"))


@pytest.mark.parametrize("sizes", [(2, 3, 4), (1,), (5, 2, 3, 4), (3, 1)])
def test_expand(sizes: tuple[int, ...]) -> None:
    x = grid(2, 3, 1)
    check(node_model("Expand", {"x": x}, {"to": i64(*sizes)}), {"x": x})
    with pytest.raises(ShapeError, match=r"\(2, 3, 1\) does not expand to \(5, 5\)"):
        read(node_model("Expand", {"x": x}, {"to": i64(5, 5)}))


def test_tile() -> None:
    x = grid(2, 3)
    check(node_model("Tile", {"x": x}, {"r": i64(2, 3)}), {"x": x})
    with pytest.raises(ShapeError, match=r"repeats \(2,\) do not fit a shape \(2, 3\)"):
        read(node_model("Tile", {"x": x}, {"r": i64(2)}))


def test_axes_too_long_to_list() -> None:
    x, long = {"x": grid(1)}, 1 << 23
    message = "node_1' makes an axis of 83886(08|09) elements: more than 4194304"
    with pytest.raises(FormatError, match=message):
        read(node_model("Expand", x, {"to": i64(long)}))
    with pytest.raises(FormatError, match=message):
        read(node_model("Tile", x, {"r": i64(long)}))
    with pytest.raises(FormatError, match=message):
        read(node_model("Pad", x, {"p": i64(long, 0)}, mode="edge"))
    with pytest.raises(FormatError, match=message):
        read(node_model("Resize", x, {"s": i64(long)}, operands=["x", "", "", "s"]))
    with pytest.raises(FormatError, match=message):
        read(node_model("Gather", x, {"i": np.zeros(long, np.int64)}))


COORDINATES = [
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
]
ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


@st.composite
def resizings(draw: st.DrawFn) -> Case:
    x = grid(1, 2, draw(st.integers(2, 7)), draw(st.integers(2, 7)))
    opset = draw(st.sampled_from([11, 13, 18, 19, 23]))
    coordinates = draw(st.sampled_from(COORDINATES))
    symmetric = coordinates == "half_pixel_symmetric"
    assume(not symmetric or opset >= 19)
    rounding = draw(st.sampled_from(ROUNDINGS))
    # Half pixels that fall on whole numbers: onnxruntime misses them by a rounding of float32.
    assume(rounding in ("round_prefer_floor", "round_prefer_ceil") or "half" not in coordinates)
    attributes: Attributes = {
        "mode": "nearest",
        "coordinate_transformation_mode": coordinates,
        "nearest_mode": rounding,
    }
    constants = {"roi": np.array([], np.float32), "scales": np.array([], np.float32)}
    if draw(st.booleans()):
        some = [0.5, 0.75, 1.0, 1.5, 2.0, 3.0] + ([] if symmetric else [2.6])
        scales = [draw(st.sampled_from(some)) for _ in range(2)]
        constants["scales"] = np.array([1, 1, *scales], np.float32)
    else:
        constants["sizes"] = i64(1, 2, draw(st.integers(1, 12)), draw(st.integers(1, 12)))
    made = node_model("Resize", {"x": x}, constants, opset=opset, **attributes)
    return made, {"x": x}


@given(resizings())
def test_resize(case: Case) -> None:
    check(*case)


@pytest.mark.parametrize(
    ("coordinates", "rounding", "size", "places"),
    [
        ("half_pixel", "floor", 1, [3]),
        ("half_pixel", "ceil", 1, [3]),
        ("half_pixel_symmetric", "floor", 1, [3]),
        ("half_pixel_symmetric", "ceil", 14, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 6]),
        ("tf_half_pixel_for_nn", "floor", 3, [1, 3, 5]),
        ("asymmetric", "round_prefer_ceil", 2, [0, 4]),
        ("asymmetric", "round_prefer_floor", 2, [0, 3]),
    ],
)
def test_resize_is_exact_where_places_are_ties(
    coordinates: str, rounding: str, size: int, places: list[int]
) -> None:
    x = np.arange(7, dtype=np.float32)
    attributes: Attributes = {
        "coordinate_transformation_mode": coordinates,
        "nearest_mode": rounding,
    }
    made = node_model(
        "Resize", {"x": x}, {"s": i64(size)}, operands=["x", "", "", "s"], opset=11, **attributes
    )
    check(made, {"x": x}, [np.array(places, np.float32)])


def test_resize_of_some_axes() -> None:
    x = grid(1, 2, 3, 4)
    made = node_model(
        "Resize", {"x": x}, {"s": i64(6, 8)}, operands=["x", "", "", "s"], opset=18, axes=[2, 3]
    )
    check(made, {"x": x})


@pytest.mark.parametrize("opset", [7, 9])
def test_upsample(opset: int) -> None:
    x, scales = grid(1, 2, 3, 4), [1.0, 1.0, 2.0, 3.0]
    constants = {"s": np.array(scales, np.float32)} if opset == 9 else {}
    attributes: Attributes = {"scales": scales} if opset == 7 else {}
    check(node_model("Upsample", {"x": x}, constants, opset=opset, **attributes), {"x": x})


def test_resize_of_opset_10() -> None:
    x = grid(1, 2, 3, 4)
    constants = {"s": np.array([1, 1, 2, 0.5], np.float32)}
    check(node_model("Resize", {"x": x}, constants, opset=10), {"x": x})


def test_resize_that_is_not_read() -> None:
    x = {"x": grid(1, 1, 3)}
    scales = {"s": np.array([1, 1, 2], np.float32)}
    operands = ["x", "", "s"]
    with pytest.raises(
        UnsupportedOp, match="Resize node 'node_1': its mode is 'linear' with coord"
    ):
        read(node_model("Resize", x, scales, operands=operands, mode="linear"))
    with pytest.raises(UnsupportedOp, match="its mode is 'linear'; only nearest is read"):
        read(node_model("Upsample", x, scales, opset=9, mode="linear"))
    policy: Attributes = {"keep_aspect_ratio_policy": "not_larger"}
    with pytest.raises(UnsupportedOp, match="its keep_aspect_ratio_policy is 'not_larger'"):
        read(node_model("Resize", x, scales, operands=operands, opset=18, **policy))
    with pytest.raises(FormatError, match=r"scales \[1.0, 2.0\] for 3 axes"):
        read(node_model("Resize", x, {"s": np.array([1, 2], np.float32)}, operands=operands))
    with pytest.raises(ShapeError, match=r"scales .* leave nothing of \(1, 1, 3\)"):
        read(node_model("Resize", x, {"s": np.array([1, 1, 0.25], np.float32)}, operands=operands))
    with pytest.raises(FormatError, match=r"sizes \(1, 1, 0\) for 3 axes of \(1, 1, 3\)"):
        read(node_model("Resize", x, {"s": i64(1, 1, 0)}, operands=["x", "", "", "s"]))


def test_dropout_is_nothing_and_its_mask_keeps_everything() -> None:
    x = grid(2, 3)
    made = node_model("Dropout", {"x": x}, outputs=("y", "mask"))
    check(made, {"x": x}, onnxruntime_results(made, {"x": x}))
    training = {"ratio": np.float32(0.5), "training": np.array(True)}
    with pytest.raises(UnsupportedOp, match="Dropout node 'node_1': it is in training mode"):
        read(node_model("Dropout", {"x": x}, training))


def test_arithmetic_on_static_shapes_leaves_no_trace() -> None:
    x = grid(2, 3, 4)
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"], axis=0),
        helper.make_node("Constant", [], ["two"], value_int=2),
        helper.make_node("Mul", ["batch", "two"], ["twice"]),
        helper.make_node("Div", ["twice", "two"], ["once"]),
        helper.make_node("Unsqueeze", ["once", "axis"], ["row"]),
        helper.make_node("Constant", [], ["rest"], value_ints=[-1]),
        helper.make_node("Concat", ["row", "rest"], ["to32"], axis=0),
        helper.make_node("Cast", ["to32"], ["to"], to=7),
        helper.make_node("Reshape", ["x", "to"], ["y"]),
    ]
    made = model(nodes, {"x": x}, {"zero": np.int64(0), "axis": i64(0)})
    graph = check(made, {"x": x})
    assert [node.op.kind for node in graph.nodes] == ["Reshape"]
    assert not graph.constants


def test_constants_made_by_nodes() -> None:
    x = grid(2, 3)
    value = helper.make_tensor("v", 1, [1], [1.5])
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], start=1),
        helper.make_node("ConstantOfShape", ["shape"], ["filled"], value=value),
        helper.make_node("Range", ["a", "b", "c"], ["steps"]),
        helper.make_node("Size", ["x"], ["size"]),
        helper.make_node("Cast", ["size"], ["count"], to=1),
        helper.make_node("Floor", ["half"], ["floor"]),
        helper.make_node("Constant", [], ["f"], value_float=0.25),
        helper.make_node("Constant", [], ["fs"], value_floats=[1.0, 2.0, 3.0]),
        helper.make_node("Sum", ["x", "filled", "steps", "count", "floor", "f", "fs"], ["y"]),
    ]
    numbers = {"a": np.float32(0), "b": np.float32(6), "c": np.float32(2), "half": np.float32(2.5)}
    graph = check(model(nodes, {"x": x}, numbers, opset=15), {"x": x})
    assert {node.op.kind for node in graph.nodes} == {"Add"}


@pytest.mark.parametrize(
    ("node", "constants", "message"),
    [
        (("ConstantOfShape", ["k"]), {"k": i64(-2)}, r"it fills the shape \(-2,\) with"),
        (("ConstantOfShape", ["k"]), {"k": i64(1 << 40)}, "more than 268435456 elements"),
        (
            ("Range", ["k", "k", "k"]),
            {"k": np.float32(0)},
            "no range from 0.0 to 0.0 in steps of 0",
        ),
    ],
)
def test_malformed_constants(
    node: tuple[str, list[str]], constants: dict[str, np.ndarray], message: str
) -> None:
    made = model([helper.make_node(*node, ["y"])], {"x": grid(1)}, constants)
    with pytest.raises(FormatError, match=message):
        read(made)


def test_constants_that_are_not_read() -> None:
    x = grid(2)
    with pytest.raises(UnsupportedOp, match="it holds value_string; only tensors and numbers"):
        read(model([helper.make_node("Constant", [], ["y"], value_string="a")], {"x": x}))
    with pytest.raises(UnsupportedOp, match="it casts to the element type 8"):
        read(node_model("Cast", {"x": x}, to=8))
    with pytest.raises(ShapeError, match="Div node 'node_1': an integer is divided by zero"):
        read(
            model(
                [helper.make_node("Div", ["k", "k"], ["y"], name="node_1")], {"x": x}, {"k": i64(0)}
            )
        )
