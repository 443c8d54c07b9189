"""Small models for the tests of projects: quick to convert and to compile."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from projects.project import Project, open_project
from synth.exact import Array
from synth.ir import Builder, Graph, Origin, Stage, Tensor
from synth.ir.ops import Add, Dense, Relu, Softmax

PART = "xcvu13p-flga2577-2-e"


def mlp() -> Graph:
    """Return an imported network of 4-6-3 with a softmax, its layers fc1, relu1, fc2, softmax."""
    random = np.random.default_rng(7)
    build = Builder("mlp", Stage.IMPORTED)
    value = build.input("x", Tensor((4,)))
    for layer, width in (("fc1", 6), ("fc2", 3)):
        origin = Origin(layer)
        inputs = build.types[value].shape[0]
        weight, bias = (
            build.constant(
                random.normal(scale=0.7, size=shape).astype(np.float32),
                name=f"{layer}.{role}",
                origin=Origin(layer, role),
            )
            for role, shape in (("weight", (inputs, width)), ("bias", (width,)))
        )
        value = build.add(Dense(), value, weight, bias, name=layer, origin=origin)
        if layer == "fc1":
            value = build.add(Relu(), value, name="relu1", origin=Origin("relu1"))
    return build.graph([build.add(Softmax(), value, name="score", origin=Origin("softmax"))])


def two_ports() -> Graph:
    """Return an imported network of two inputs and two outputs: a + b, and its ReLU."""
    build = Builder("two", Stage.IMPORTED)
    a, b = build.input("a", Tensor((3,))), build.input("b", Tensor((3,)))
    total = build.add(Add(), a, b, name="total", origin=Origin("total"))
    return build.graph([total, build.add(Relu(), total, name="positive", origin=Origin("relu"))])


def events(graph: Graph, count: int = 200, seed: int = 3) -> dict[str, Array]:
    """Return normally distributed input."""
    random = np.random.default_rng(seed)
    return {
        name: random.normal(size=(count, *graph.types[name].shape)).astype(np.float32)
        for name in graph.inputs
    }


def onnx_mlp(batch: int | str = "batch") -> onnx.ModelProto:
    """Return a network of 4-3 with a ReLU as ONNX."""
    weight = np.random.default_rng(5).normal(size=(4, 3)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="fc1"),
        helper.make_node("Relu", ["h"], ["y"], name="relu1"),
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, size])
        for name, size in (("x", 4), ("y", 3))
    ]
    graph = helper.make_graph(
        nodes, "net", ports[:1], ports[1:], [numpy_helper.from_array(weight, "w")]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def broken(project: Project, folder: Path, path: str, change: Callable[[str], str]) -> Project:
    """Return a copy of a project in which a file of the firmware is changed."""
    shutil.copytree(project.folder, folder, ignore=shutil.ignore_patterns("build"))
    (target,) = folder.glob(path)
    before = target.read_text()
    after = change(before)
    assert after != before
    target.write_text(after)
    return open_project(folder)
