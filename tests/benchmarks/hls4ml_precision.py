"""Agreement with the float model against bits spent: synth's search, hls4ml 1.3's two settings.

Every float ONNX model of a folder (``SYNTH_MODELS``, by default the ``shared/models`` beside the
checkout) that both tools convert; hls4ml at its default, ``fixed<16,6>`` throughout, and at its
``auto`` (result and accumulator types inferred layer by layer). Bits are those of all weights,
biases and values that layers hand on, softmax included. Data is normally distributed: 4,000 events
to calibrate, 1,000 others to compare. Models beyond three million multiplications are left out, as
a compiler takes minutes for their C++. Arguments are parts of names, by default all.
"""

import contextlib
import io
import logging
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hls4ml
import numpy as np
import onnx
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
from qonnx.transformation.gemm_to_matmul import GemmToMatMul
from qonnx.util.cleanup import cleanup_model

import quant
from quant.allocate.cost import COSTS, design_of
from quant.quantise import quantise
from synth.cost import cost, total
from synth.errors import SynthError
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.ir import Graph
from synth.load import load_graph
from synth.passes import prepare

FOLDER = Path(os.environ.get("SYNTH_MODELS", Path(__file__).parents[3] / "shared" / "models"))
LARGEST = 3_000_000
SHARES = (0.6, 0.9)
"""Of the bits of the narrower of hls4ml's two: the second is tried if the first is not better."""


@dataclass(frozen=True)
class Outcome:
    bits: int
    agreement: float
    error: float

    def __str__(self) -> str:
        return f"{self.bits:9,} bits, decisions {self.agreement:7.2%}, rms error {self.error:.1e}"


def compared(expected: Array, got: Array, bits: int) -> Outcome:
    """Compare decisions (the largest output, or one score against its median) and values."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (expected, got))
    middle = np.median(a, axis=0)
    same = (a > middle) == (b > middle) if a.shape[1] == 1 else a.argmax(1) == b.argmax(1)
    error = np.sqrt(((a - b) ** 2).mean()) / (np.ptp(a) or 1.0)
    return Outcome(bits, float(same.mean()), float(error))


def hls4ml_bits(model: Any) -> int:
    bits = 0
    for layer in model.get_layers():
        arrays = [*layer.weights.values(), *layer.variables.values()]
        for array in arrays:
            size = array.data_length if hasattr(array, "data_length") else np.prod(array.shape)
            bits += int(size) * array.type.precision.width
    return bits


def hls4ml_outcome(path: Path, x: Array, expected: Array, *, automatic: bool) -> Outcome:
    logging.disable(logging.WARNING)
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
        model = cleanup_model(ModelWrapper(str(path)))
        model = cleanup_model(model.transform(GemmToMatMul()))
        # It does not end on some perceptrons; those have no channels to move.
        spatial = x.ndim > 2
        if spatial:
            model = cleanup_model(model.transform(ConvertToChannelsLastAndClean()))
        config: dict[str, Any] = {"Model": {"Precision": "fixed<16,6>", "ReuseFactor": 1}}
        if automatic:
            config = hls4ml.utils.config_from_onnx_model(
                model, granularity="name", backend="Vitis", default_precision="fixed<16,6>"
            )
        made = hls4ml.converters.convert_from_onnx_model(
            model, hls_config=config, output_dir=folder, backend="Vitis", io_type="io_parallel"
        )
        made.compile()
        given = np.moveaxis(x, 1, -1) if spatial else x
        return compared(expected, made.predict(np.ascontiguousarray(given)), hls4ml_bits(made))


def synth_outcome(graph: Graph, data: Array, x: Array, expected: Array, bits: float) -> Outcome:
    front = quant.search(graph, data, budget={"bits": bits})
    typed = quantise(front.problem.full, front.wishes(front.chosen))
    got = Evaluator(typed)({typed.inputs[0]: x}, wires={})[typed.outputs[0]]
    return compared(expected, got, int(COSTS["bits"](design_of(typed))))


def compare(path: Path) -> bool | None:
    """Print one model's outcomes; return whether both aims are met, None if it is left out."""
    name = path.relative_to(FOLDER)
    try:
        graph = load_graph(path)
        small = total(cost(prepare(graph))).macs <= LARGEST
    except SynthError as error:
        print(f"{name}: left out, synth does not read it: {str(error)[:100]}")
        return None
    quantised = {"Quant", "QuantizeLinear", "BipolarQuant"}
    plain = quantised.isdisjoint(node.op_type for node in onnx.load(path).graph.node)
    if not small or not plain or len(graph.inputs) != 1 or len(graph.outputs) != 1:
        print(f"{name}: left out (too large, quantised, or of several inputs or outputs)")
        return None
    shape = graph.types[graph.inputs[0]].shape
    rng = np.random.default_rng(0)
    data, x = (rng.normal(size=(n, *shape)).astype(np.float32) for n in (4000, 1000))
    expected = Evaluator(graph)({graph.inputs[0]: x})[graph.outputs[0]]
    theirs: dict[str, Outcome] = {}
    for label, automatic in (("default", False), ("auto", True)):
        try:
            theirs[label] = hls4ml_outcome(path, x, expected, automatic=automatic)
        except Exception as error:  # noqa: BLE001 - whatever stops hls4ml leaves the model out
            print(f"{name}: hls4ml at {label} fails: {type(error).__name__} {str(error)[:80]!r}")
    if not theirs:
        return None
    print(f"{name}")
    for label, outcome in theirs.items():
        print(f"  hls4ml {label:8s} {outcome}", flush=True)
    fewest = min(outcome.bits for outcome in theirs.values())
    for share in SHARES:
        ours = synth_outcome(graph, data, x, expected, share * fewest)
        print(f"  synth           {ours}", flush=True)
        if ours.bits < fewest and better(ours, list(theirs.values())):
            return True
    return False


def better(ours: Outcome, theirs: list[Outcome]) -> bool:
    """Whether more decisions agree than in any other outcome, or as many and values are closer."""
    best = max(outcome.agreement for outcome in theirs)
    closest = min(outcome.error for outcome in theirs)
    return ours.agreement > best or (ours.agreement == best and ours.error <= closest)


def main() -> int:
    if not FOLDER.is_dir():
        print(f"no models: {FOLDER} is not there; set SYNTH_MODELS")
        return 0
    paths = sorted([*(FOLDER / "onnx").rglob("*.onnx"), *(FOLDER / "onnx-derived").rglob("*.onnx")])
    wanted = sys.argv[1:] or [""]
    paths = [path for path in paths if any(part in path.name for part in wanted)]
    found = {path.stem: compare(path) for path in paths}
    judged = {name: good for name, good in found.items() if good is not None}
    print(f"better at fewer bits: {sum(judged.values())} of {len(judged)}")
    print("not so:", ", ".join(name for name, good in judged.items() if not good) or "none")
    return 0


if __name__ == "__main__":
    sys.exit(main())
