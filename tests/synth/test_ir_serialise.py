"""Graphs survive being saved; whatever else is read is refused in words."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from synth.errors import FormatError, GraphError, PrecisionError, SynthError
from synth.evaluate import evaluate
from synth.fixed import Format
from synth.ir import Builder, Graph, Origin, Stage, Tensor, Window
from synth.ir.fields import encode_op
from synth.ir.ops import (
    Add,
    Cast,
    Clip,
    Conv,
    Dense,
    Elu,
    Function,
    HardSigmoid,
    MaxPool,
    Pad,
    Relu,
    Reshape,
    Selu,
    Softmax,
)
from synth.ir.serialise import digest, dump, load
from synth.ir.verify import same_type, verify
from tests.synth.support import codes, fixed, imported, typed
from tests.typed_graphs import feeds, typed_graphs


def floats() -> Graph:
    """Return an imported graph with fields of every kind."""
    build, x = imported((6, 2))
    kernel = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 2, 2)
    y = build.add(Conv(Window((3,), (1,), (1,), ((1, 1),))), x, build.constant(kernel))
    y = build.add(Clip(-1, 6.5), y, origin=Origin('a "layer"\n\u00e9', "activation"))
    y = build.add(Function("scaled_expm1", (0.1,)), y)
    y = build.add(Function("reciprocal", (), (1.0, float("inf"))), y)
    for op in (Elu(1 / 3), Selu(), HardSigmoid(), Softmax((-2, -1))):
        y = build.add(op, y)
    flags = build.constant(np.array([[True], [False]] * 3), name="flags")
    ids = build.constant(np.arange(12, dtype=np.int64).reshape(6, 2), name="ids")
    return build.graph([y, flags, ids])


def small() -> Graph:
    build, x = typed((3,), "fixed<6,3>")
    w = build.constant(np.arange(6).reshape(3, 2), frac=2, name="w")
    y = build.add(Dense(), x, w, origin=Origin("first"))
    return build.graph([build.add(Cast(Format(fixed("fixed<4,2>"))), y)])


def assert_same(a: Graph, b: Graph) -> None:
    assert (a.name, a.stage, a.inputs, a.outputs) == (b.name, b.stage, b.inputs, b.outputs)
    assert a.nodes == b.nodes
    assert dict(a.origins) == dict(b.origins)
    assert set(a.types) == set(b.types)
    assert all(same_type(a.types[name], b.types[name]) for name in a.types)
    assert set(a.constants) == set(b.constants)
    for name, value in a.constants.items():
        assert value.dtype == b.constants[name].dtype
        np.testing.assert_array_equal(value, b.constants[name])


@settings(max_examples=150)
@given(graph=typed_graphs())
def test_typed_graphs_come_back(graph: Graph) -> None:
    text, weights = dump(graph)
    again = load(text, weights)
    assert_same(graph, again)
    assert dump(again) == (text, weights)
    batch = feeds(graph, 3)
    for name, array in evaluate(graph, batch).items():
        np.testing.assert_array_equal(evaluate(again, batch)[name], array)


def test_imported_graphs_come_back() -> None:
    graph = floats()
    text, weights = dump(graph)
    again = load(text, weights)
    assert dump(again) == (text, weights)
    assert digest(again) == digest(graph)
    assert {k: v.dtype for k, v in again.constants.items()} == {
        k: v.dtype for k, v in graph.constants.items()
    }
    verify(again)


@pytest.mark.parametrize("bits", [6, 7, 8, 15, 16, 31, 32, 62, 63, 64, 65, 127, 200])
def test_constants_of_any_width_come_back(bits: int) -> None:
    build, x = typed((3,), "fixed<6,3>")
    numbers = np.array([(1 << bits) - 1, -(1 << bits), 0], dtype=object)
    graph = build.graph([build.add(Add(), x, build.constant(numbers, frac=4))])
    assert_same(graph, load(*dump(graph)))


def test_small_codes_take_one_byte() -> None:
    assert len(dump(small())[1]) == 6


def test_the_digest_is_pinned() -> None:
    """A change of the layout needs a new schema version, and this line."""
    assert digest(small()) == DIGEST


DIGEST = "5dd7d19976325c381fdecc33157aaca9ad1e5f71ee04d1f2b8fab7de558990ef"


def test_the_digest_ignores_hash_seeds() -> None:
    program = (
        "from tests.synth.test_ir_serialise import *; print(digest(floats()), digest(small()))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {f"{digest(floats())} {digest(small())}\n"}


def test_the_digest_sees_weights_names_and_formats() -> None:
    def variant(value: int, name: str, text: str) -> str:
        build = Builder("v", Stage.TYPED)
        x = build.input(name, codes((1,), text))
        w = build.constant(np.array([[value]]), frac=0)
        return digest(build.graph([build.add(Dense(), x, w)]))

    variants = [(3, "x", "fixed<4,4>"), (4, "x", "fixed<4,4>"), (3, "y", "fixed<4,4>")]
    variants.append((3, "x", "fixed<4,3>"))
    assert len({variant(*v) for v in variants}) == 4


def test_constants_that_cannot_be_saved() -> None:
    for value, words in ((np.array([np.nan]), "NaN"), (np.array(["a"]), "of <U1")):
        build, x = imported()
        graph = build.graph([x, build.constant(value)])
        with pytest.raises(GraphError, match=words):
            dump(graph)


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    content = json.loads(dump(small())[0])
    change(content)
    return json.dumps(content)


def put(path: str, value: object) -> Callable[[dict[str, Any]], object]:
    def change(content: dict[str, Any]) -> None:
        *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
        place: Any = content
        for key in parents:
            place = place[key]
        place[last] = value

    return change


GRU = {
    "activations": ["sigmoid", "tanh"],
    "alphas": ["0.0"] * 2,
    "betas": ["0.0"] * 2,
    "extras": [],
    "clip": "inf",
}

BROKEN: list[tuple[str, object, type[SynthError], str]] = [
    ("schema", 99, FormatError, "schema 99, and this version reads 1: open it with"),
    ("schema", None, FormatError, "schema None"),
    ("stage", "half", FormatError, "stage is 'half'"),
    ("name", 3, FormatError, "name is 3: not a string"),
    ("extra", 1, FormatError, "the graph: unknown field 'extra'"),
    ("nodes", {}, FormatError, "nodes are not a list"),
    ("nodes.0", 1, FormatError, "a node: 1 is not an object"),
    ("nodes.0.op", 1, FormatError, "node '.*': 1 is not an operation"),
    ("nodes.0.op.op", "Evil", FormatError, "no operation is called 'Evil'"),
    ("nodes.0.op.op", [], FormatError, "no operation is called"),
    ("nodes.0.op.extra", 1, FormatError, r"\(Dense\): unknown field 'extra'"),
    ("nodes.0.op", {"op": "Reshape"}, FormatError, r"\(Reshape\): field 'to' is missing"),
    ("nodes.0.op", {"op": "Reshape", "to": 3}, FormatError, r"\.to: 3 is not a list"),
    ("nodes.0.op", {"op": "Reshape", "to": ["3"]}, FormatError, "'3' is not an integer"),
    ("nodes.0.op", {"op": "Reshape", "to": [True]}, FormatError, "True is not an integer"),
    ("nodes.0.op", {"op": "Reshape", "to": [1 << 70]}, FormatError, "of 64 bits"),
    ("nodes.0.op", {"op": "Pad", "pads": [[1]]}, FormatError, "does not have 2 entries"),
    ("nodes.0.op", {"op": "Compare", "relation": "!"}, FormatError, "'!' is none of <, <="),
    ("nodes.0.op", {"op": "Elu", "alpha": "nan"}, FormatError, "'nan' is not a number"),
    ("nodes.0.op", {"op": "Elu", "alpha": "x"}, FormatError, "'x' is not a number"),
    ("nodes.0.op", {"op": "Elu", "alpha": 1}, FormatError, "1 is not a number"),
    (
        "nodes.0.op",
        {"op": "Gru", **GRU, "linear_before_reset": 2},
        FormatError,
        "2 is neither 0 nor 1",
    ),
    ("nodes.0.op", {"op": "Elu", "alpha": "1.0"}, GraphError, "Elu has no place in the typed"),
    ("nodes.0.inputs", ["x"], GraphError, "Dense takes 2 to 3 operands"),
    ("nodes.0.inputs", "x", FormatError, "'x' is not a list of names"),
    ("nodes.0.inputs", ["x", "ghost"], GraphError, "'ghost', which nothing computes"),
    ("nodes.0.name", "x", FormatError, "two values are called 'x'"),
    ("nodes.0.name", "", FormatError, "'' is not the name of a value"),
    ("nodes.0.origin", ["a"], FormatError, "1 entries instead of 2"),
    ("nodes.0.type.format", "fixed<99,9>", GraphError, r"\(layer 'first'\) is recorded as fixed<9"),
    ("nodes.0.type.shape", [3], GraphError, "the file is corrupted, or of another version"),
    ("nodes.1.op.format.format", "fixed<0,1>", PrecisionError, "positive"),
    ("nodes.1.op.format.rounding", "UP", FormatError, "unknown modes 'UP'"),
    ("inputs.0.type.shape", [-1], FormatError, "-1 is negative"),
    ("inputs.0.type.shape", [1 << 40], FormatError, "beyond 268435456 elements"),
    ("inputs.0.type.shape", [1] * 17, FormatError, "or 16 axes"),
    ("inputs.0.type.shape", 3, FormatError, "3 is not a shape"),
    ("inputs.0.type.format", "float", PrecisionError, "'float' is not a number format"),
    ("constants.0.offset", 1, FormatError, "constant 'w' starts at byte 1 and not at 0"),
    ("constants.0.shape", [3, 3], FormatError, "ends at byte 9, beyond the weights' 6"),
    ("constants.0.shape", [2, 2], FormatError, "have 6 bytes, of which 4 are used"),
    ("constants.0.item_bytes", 3, FormatError, "codes of 3 bytes"),
    ("constants.0.item_bytes", True, FormatError, "codes of True bytes"),
    ("constants.0.frac", 1.5, FormatError, "holds the number 1.5, but only integers"),
    ("constants.0.frac", float("nan"), FormatError, "holds the number NaN"),
    ("constants.0.frac", 1 << 20, PrecisionError, "fractional bits must lie between"),
    ("constants.0.name", "x", FormatError, "two values are called 'x'"),
    ("outputs", ["ghost"], GraphError, "output 'ghost' is computed by nothing"),
    ("weights.bytes", 7, FormatError, "have 6 bytes instead of 7: the file is cut off"),
    ("weights.sha256", "0", FormatError, "do not have the recorded SHA-256"),
]


@pytest.mark.parametrize(("path", "value", "error", "words"), BROKEN)
def test_what_is_wrong_is_said(
    path: str, value: object, error: type[SynthError], words: str
) -> None:
    with pytest.raises(error, match=words):
        load(changed(put(path, value)), dump(small())[1])


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"schema": 1e5}', "1" * 5000])
def test_text_that_is_no_graph(text: str) -> None:
    with pytest.raises(FormatError):
        load(text, b"")


def test_every_cut_is_noticed() -> None:
    text, weights = dump(small())
    for end in range(len(text) - 1):
        with pytest.raises(FormatError):
            load(text[:end].rstrip() if text[:end].strip() else "", weights)
    with pytest.raises(FormatError, match="cut off"):
        load(text, weights[:-1])


def test_changed_weights_are_noticed() -> None:
    text, weights = dump(small())
    with pytest.raises(FormatError, match="SHA-256: changed, or of another graph"):
        load(text, bytes([weights[0] ^ 1]) + weights[1:])


@pytest.mark.parametrize(
    ("op", "words"),
    [
        (Pad(((1 << 30, 0),)), "beyond 268435456 elements"),
        (MaxPool(Window((1 << 21,), (1,), (1,), ((0, 0),))), "sizes beyond 1048576"),
        (
            MaxPool(Window((1 << 20,), (1,), (1,), ((1 << 19, (1 << 20) - 1),))),
            "the windows: a shape",
        ),
    ],
    ids=str,
)
def test_operations_too_large_are_refused_before_they_compute(op: object, words: str) -> None:
    build, x = typed((1, 1) if isinstance(op, MaxPool) else (1,), "fixed<2,2>")
    content = json.loads(dump(build.graph([build.add(Relu(), x)]))[0])
    content["nodes"][0]["op"] = encode_op(op)  # type: ignore[arg-type]
    with pytest.raises(FormatError, match=words):
        load(json.dumps(content), b"")


def test_floats_in_the_weights_must_be_numbers() -> None:
    build, x = imported((1,))
    text, weights = dump(build.graph([build.add(Add(), x, build.constant(np.ones(1)))]))
    bad = np.array([np.nan]).tobytes()
    text = text.replace(hashlib.sha256(weights).hexdigest(), hashlib.sha256(bad).hexdigest())
    with pytest.raises(FormatError, match="constant 'constant' holds NaN"):
        load(text, bad)


def test_element_types_are_those_we_know() -> None:
    build = Builder("t", Stage.IMPORTED)
    x = build.input("x", Tensor((2,), "float32"))
    text, weights = dump(build.graph([build.add(Reshape((1, 2)), x)]))
    with pytest.raises(FormatError, match="'object' is not an element type"):
        load(text.replace("float32", "object"), weights)
