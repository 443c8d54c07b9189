"""QKeras models: every bit of QKeras' own `predict` where scales are powers of two.

Where they are not, the reader's arithmetic is exact and QKeras' is of float32: a quantiser behind
such a sum may fall on the other side of a rounding boundary that lies within its error.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from synth.errors import ModelError, UnsupportedOp
from synth.evaluate import evaluate
from synth.exact import Array
from synth.load import load_graph
from synth.passes import prepare
from tests.qkeras.frameworks import FORK, keras, qkeras

EVENTS = 10_000
BITS = "quantized_bits(6,0,alpha=1)"
FRONT = "quantized_bits(8,2,alpha=1)"
layers = keras.layers


def events(shape: tuple[int, ...], seed: int = 3) -> Array:
    """Return random events and ties of grids down to 2^-6."""
    x = (np.random.default_rng(seed).normal(size=(EVENTS, *shape)) * 2).astype(np.float32)
    x[EVENTS // 3 :] = np.round(x[EVENTS // 3 :] * 64) / 64
    return x


def model_of(build: Callable[[Any], Any], shape: tuple[int, ...], seed: int = 5) -> Any:
    """Return a model with random weights, some of them past their quantisers' range."""
    x = keras.Input(shape, name="x")
    model = keras.Model(x, build(x))
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        shape, kind = tuple(variable.shape), str(variable.dtype)
        if "variance" in variable.name:
            variable.assign(rng.uniform(0.3, 2, shape).astype(np.float32))
        elif "float32" in kind:
            variable.assign((rng.normal(size=shape) * 0.6).astype(np.float32))
    return model


def both(model: Any, x: Array) -> list[tuple[str, Array, Array]]:
    """Return the name, our result and QKeras' own of each output."""
    graph = load_graph(model)
    theirs = model.predict(x, verbose=0, batch_size=len(x))
    theirs = theirs if isinstance(theirs, list | tuple) else [theirs]
    ours = evaluate(graph, {graph.inputs[0]: x})
    again = evaluate(prepare(graph), {graph.inputs[0]: x})
    for name in graph.outputs:
        np.testing.assert_array_equal(ours[name], again[name])
    return [(n, ours[n], np.asarray(y)) for n, y in zip(graph.outputs, theirs, strict=True)]


def agrees(model: Any, x: Array, *, grid: float | None = None) -> None:
    """Hold results to QKeras' own, on a grid where QKeras may be an ulp off: it is x + (q - x)."""
    for name, ours, theirs in both(model, x):
        if grid is not None:
            np.testing.assert_allclose(theirs, np.rint(theirs / grid) * grid, rtol=0, atol=1e-5)
            theirs = np.rint(theirs / grid) * grid
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
        assert len(np.unique(theirs)) > 1, name


ACTIVATIONS = (
    "quantized_bits(6,0,alpha=1)",
    "quantized_bits(6,1,symmetric=1)",
    "quantized_bits(6,2,keep_negative=0,alpha=0.5)",
    "quantized_bits(1,0,alpha=1)",
    "quantized_bits(5,1,use_stochastic_rounding=1)",
    "binary(alpha=1)",
    "binary()",
    "binary(use_01=1)",
    "ternary()",
    "ternary(alpha=0.5,threshold=0.25)",
    "stochastic_binary(alpha=1.0)",
    "stochastic_ternary(alpha=1.0)",
    "quantized_relu(6,1)",
    "quantized_relu(6,0,negative_slope=0.25)",
    "quantized_relu(6,1,1)",
    "quantized_relu(6,1,1,negative_slope=0.5)",
    "quantized_relu(6,2,is_quantized_clip=False,relu_upper_bound=1.5)",
    "quantized_tanh(6)",
    "quantized_tanh(6,symmetric=True,use_real_tanh=True)",
    "quantized_sigmoid(6)",
    "quantized_sigmoid(6,use_real_sigmoid=True)",
    "quantized_hswish(6,1,alpha=1)",
    "quantized_po2(4)",
    "quantized_po2(4,max_value=2)",
    "quantized_po2(4,quadratic_approximation=True)",
    "quantized_relu_po2(4)",
    "quantized_relu_po2(4,negative_slope=0.25)",
    "binary_sigmoid",
    "binary_tanh",
)
FUNCTIONS = ("hard_sigmoid", "hard_tanh", "smooth_sigmoid", "smooth_tanh", "relu")
LINEAR = (
    "quantized_linear(6,1)",
    "quantized_linear(6,1,keep_negative=False,alpha=.5)",
    "quantized_linear(1,0)",
)


def test_activations() -> None:
    def build(x: Any) -> Any:
        kinds = (*ACTIVATIONS, *(LINEAR if FORK else ()))
        return [qkeras.QActivation(kind, name=f"a{i}")(x) for i, kind in enumerate(kinds)]

    agrees(model_of(build, (6,)), events((6,)), grid=2.0**-12)


def test_functions_that_quantise_nothing() -> None:
    def build(x: Any) -> Any:
        return [qkeras.QActivation(kind, name=kind)(x) for kind in FUNCTIONS]

    agrees(model_of(build, (6,)), events((6,)))


KERNELS = (
    "quantized_bits(6,0,alpha=1)",
    "quantized_bits(6,1,alpha=1,symmetric=1)",
    "quantized_bits(6,2,keep_negative=0,alpha=1)",
    "quantized_bits(1,0,alpha=1)",
    "quantized_bits(4,0)",
    "quantized_bits(4,0,alpha='auto_po2')",
    "binary()",
    "binary(alpha=1)",
    "ternary()",
    "ternary(alpha=0.5,threshold=0.2)",
    "stochastic_binary()",
    "stochastic_ternary()",
    "quantized_po2(4)",
    "quantized_relu_po2(4)",
    "quantized_relu(4)",
    "quantized_tanh(5)",
    "quantized_sigmoid(5)",
)


def test_kernels() -> None:
    def build(x: Any) -> Any:
        kinds = (*KERNELS, *(("quantized_linear(4,0)", "quantized_linear(1,0)") if FORK else ()))
        y = qkeras.QActivation(FRONT)(x)
        return [
            qkeras.QDense(4, kernel_quantizer=kind, bias_quantizer=BITS, name=f"k{i}")(y)
            for i, kind in enumerate(kinds)
        ]

    agrees(model_of(build, (7,)), events((7,)))


def test_a_kernel_without_alpha_has_a_scale_for_each_channel() -> None:
    dense = qkeras.QDense(4, kernel_quantizer="quantized_bits(4,0)", use_bias=False)
    model = model_of(lambda x: dense(qkeras.QActivation(FRONT)(x)), (7,))
    weights = np.asarray(dense.kernel) * np.array([0.1, 1, 4, 16], np.float32)
    dense.kernel.assign(weights)
    agrees(model, events((7,)))
    dense.kernel_quantizer_internal(dense.kernel)
    scales = np.unique(np.asarray(dense.kernel_quantizer_internal.scale))
    assert len(scales) > 2
    np.testing.assert_array_equal(np.log2(scales), np.rint(np.log2(scales)))


def quantised(**more: Any) -> dict[str, Any]:
    return {"kernel_quantizer": BITS, "bias_quantizer": BITS, **more}


LAYERS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "dense": (lambda: qkeras.QDense(3, use_bias=False, kernel_quantizer=BITS), (5,)),
    "conv1d": (lambda: qkeras.QConv1D(4, 3, padding="same", strides=2, **quantised()), (9, 3)),
    "conv2d": (
        lambda: qkeras.QConv2D(4, 3, activation=qkeras.quantized_relu(6, 2), **quantised()),
        (6, 7, 2),
    ),
    "dilated conv2d": (
        lambda: qkeras.QConv2D(3, 2, dilation_rate=2, padding="same", **quantised()),
        (6, 7, 2),
    ),
    "depthwise": (
        lambda: qkeras.QDepthwiseConv2D(
            3, depth_multiplier=2, depthwise_quantizer=BITS, bias_quantizer=BITS
        ),
        (6, 7, 2),
    ),
    "separable conv1d": (
        lambda: qkeras.QSeparableConv1D(
            4, 3, depthwise_quantizer=BITS, pointwise_quantizer=BITS, bias_quantizer=BITS
        ),
        (8, 2),
    ),
    "separable conv2d": (
        lambda: qkeras.QSeparableConv2D(
            4,
            3,
            padding="same",
            depthwise_quantizer=BITS,
            pointwise_quantizer="quantized_bits(4)",
            bias_quantizer=BITS,
        ),
        (5, 6, 2),
    ),
    "folded conv2d": (lambda: qkeras.QConv2DBatchnorm(4, 3, **quantised()), (5, 6, 2)),
    "folded depthwise": (
        lambda: qkeras.QDepthwiseConv2DBatchnorm(3, depthwise_quantizer=BITS, bias_quantizer=BITS),
        (5, 6, 2),
    ),
    "average pool": (
        lambda: qkeras.QAveragePooling2D(
            3,
            average_quantizer=qkeras.quantized_bits(8, 0, alpha=1),
            activation=qkeras.quantized_bits(8, 2, alpha=1),
        ),
        (6, 6, 2),
    ),
    "global average": (
        lambda: qkeras.QGlobalAveragePooling2D(
            average_quantizer=qkeras.quantized_bits(8, 0, alpha=1),
            activation=qkeras.quantized_bits(8, 2, alpha=1),
        ),
        (5, 5, 2),
    ),
    "plain maximum pool": (lambda: layers.MaxPooling2D(2), (4, 5, 2)),
}
if FORK:
    LAYERS["folded dense"] = (lambda: qkeras.QDenseBatchnorm(4, **quantised()), (8,))
    LAYERS["normalisation by powers of two"] = (
        lambda: qkeras.QBatchNormalization(
            gamma_quantizer=None,
            variance_quantizer=None,
            inverse_quantizer=qkeras.quantized_bits(8, 2, alpha=1),
            mean_quantizer=BITS,
            beta_quantizer=BITS,
        ),
        (6,),
    )
    LAYERS["transposed conv2d"] = (
        lambda: qkeras.QConv2DTranspose(3, 3, strides=2, padding="same", **quantised()),
        (4, 5, 2),
    )
else:  # the fork's own layer fails
    LAYERS["causal conv1d"] = (
        lambda: qkeras.QConv1D(4, 3, padding="causal", **quantised()),
        (9, 3),
    )


@pytest.mark.parametrize("case", LAYERS)
def test_a_layer_keeps_its_bits(case: str) -> None:
    make, shape = LAYERS[case]
    model = model_of(lambda x: make()(qkeras.QActivation(FRONT)(x)), shape)
    agrees(model, events(shape))


def test_a_whole_network() -> None:
    def build(x: Any) -> Any:
        y = qkeras.QActivation("quantized_bits(8,2)", name="front")(x)
        y = qkeras.QConv2D(3, 2, kernel_quantizer="quantized_bits(4)", name="conv")(y)
        y = qkeras.QActivation("quantized_relu(6,2)", name="relu")(y)
        y = layers.Flatten(name="flat")(layers.MaxPooling2D(2, name="pool")(y))
        return qkeras.QDense(3, **quantised(), name="score")(y)

    model = model_of(build, (5, 6, 2))
    agrees(model, events((5, 6, 2)))
    graph = load_graph(model)
    assert graph.inputs == ("x",)
    assert graph.outputs == ("score",)
    assert {"front", "conv", "relu", "score"} <= {o.layer for o in graph.origins.values()}


# Scales that are no powers of two


def disagreements(model: Any, x: Array, step: float) -> tuple[int, Array]:
    """Return how many results differ, and how far their operands are from a boundary, in steps."""
    before = keras.Model(model.inputs, model.layers[-1].input)
    ((_, ours, theirs),) = both(model, x)
    graph = load_graph(before)
    operand = evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]].astype(np.float64) / step
    different = ours != theirs
    np.testing.assert_array_equal(np.abs(ours - theirs)[different], step)
    return int(different.sum()), np.abs(operand - np.floor(operand) - 0.5)[different]


@pytest.mark.parametrize("kind", ["quantized_bits(4,0,alpha='auto')", "binary(alpha='auto')"])
def test_a_scale_of_any_size(kind: str) -> None:
    def build(x: Any) -> Any:
        y = qkeras.QDense(4, kernel_quantizer=kind, bias_quantizer=BITS)
        return qkeras.QActivation("quantized_bits(10,5)")(y(qkeras.QActivation(FRONT)(x)))

    count, distances = disagreements(model_of(build, (7,)), events((7,)), 2.0**-4)
    # Eight sums of numbers below 32 in float32: each rounds by at most 2^-20, and the step is 2^-4.
    assert count < EVENTS * 4 / 1000
    assert np.all(distances < 8 * 2.0**-20 / 2.0**-4)


def test_a_batch_normalisation() -> None:
    def build(x: Any) -> Any:
        y = qkeras.QBatchNormalization()(qkeras.QActivation(FRONT)(x))
        return qkeras.QActivation("quantized_bits(10,5)")(y)

    count, distances = disagreements(model_of(build, (6,)), events((6,)), 2.0**-4)
    assert count < EVENTS * 6 / 1000
    # A product and a sum of numbers below 64, and the rounding of their constants.
    assert np.all(distances < 4 * 2.0**-19 / 2.0**-4)


def test_a_mean_over_windows_that_padding_cuts() -> None:
    def build(x: Any) -> Any:
        pool = qkeras.QAveragePooling2D(
            3, padding="same", average_quantizer=qkeras.quantized_bits(8, 0, alpha=1)
        )
        return qkeras.QActivation("quantized_bits(10,5)")(pool(qkeras.QActivation(FRONT)(x)))

    count, distances = disagreements(model_of(build, (5, 5, 1)), events((5, 5, 1)), 2.0**-4)
    assert count < EVENTS * 4 / 100  # sums are multiples of 1/32, so many means are ties
    assert np.all(distances < 4 * 2.0**-22 / 2.0**-4)


# Errors


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("bernoulli()", "bernoulli draws random numbers, after training too"),
        ("quantized_ulaw(6)", "quantized_ulaw rounds to levels that lie on no common grid"),
        ("quantized_bits(4,0,alpha='auto')", r"quantized_bits has alpha='auto': its scale would"),
        ("quantized_bits(4,0,qnoise_factor=0.5)", r"quantized_bits has qnoise_factor=0\.5, so it"),
        ("quantized_relu(2,0,negative_slope=0.25)", r"negative_slope=0\.25 is finer than the LSB"),
        ("quantized_po2(4,log2_rounding='floor')", "log2_rounding='floor' is not read"),
        ("quantized_po2(10)", r"its quantiser has \d+ exponents; 64 are read"),
    ],
)
def test_an_activation_is_refused_by_name(kind: str, words: str) -> None:
    model = model_of(qkeras.QActivation(kind, name="act"), (3,))
    with pytest.raises(UnsupportedOp, match=f"QActivation layer 'act': .*{words}"):
        load_graph(model)


def test_a_function_of_ones_own_is_refused() -> None:
    def own(x: Any) -> Any:
        return x * x

    model = model_of(qkeras.QActivation(own, name="act"), (3,))
    with pytest.raises(UnsupportedOp, match="'act': its activation 'own' is not one of Keras' own"):
        load_graph(model)


def test_a_kernel_of_random_numbers_is_refused() -> None:
    dense = qkeras.QDense(2, kernel_quantizer="bernoulli()", name="fc")
    with pytest.raises(UnsupportedOp, match="QDense layer 'fc': its kernel's quantiser bernoulli"):
        load_graph(model_of(dense, (3,)))


@pytest.mark.skipif(FORK, reason="Keras 3 normalises one axis at a time")
@pytest.mark.parametrize("kind", ["BatchNormalization", "QBatchNormalization"])
def test_a_normalisation_of_two_axes_is_refused(kind: str) -> None:
    layer = getattr(qkeras if kind[0] == "Q" else layers, kind)(axis=[1, 2], name="bn")
    with pytest.raises(UnsupportedOp, match=f"{kind} layer 'bn': it normalises 2 axes; one is"):
        load_graph(model_of(lambda x: layer(qkeras.QActivation(FRONT)(x)), (2, 3)))


def test_an_unread_layer_is_refused_by_name() -> None:
    adaptive = qkeras.QAdaptiveActivation("quantized_relu", 6, name="act")
    words = "QAdaptiveActivation layer 'act': layers of the class qkeras.qlayers.QAdaptiveActivati"
    with pytest.raises(UnsupportedOp, match=words):
        load_graph(model_of(adaptive, (4,)))


def test_a_model_without_an_input_layer() -> None:
    model = keras.Sequential([qkeras.QDense(2, kernel_quantizer=BITS)], name="loose")
    with pytest.raises(ModelError, match="'loose' has no graph of layers"):
        load_graph(model)
