"""Trains the network of the demonstration, 16-64-32-32-5, and writes it as ONNX.

    python train.py jets.npz jet_tagger.onnx

The features are standardised already, so the network takes them as they are. The graph is written
node by node, so that its names are the field's own and the same weights give the same bytes.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIZES = (16, 64, 32, 32, 5)
SEED = 1
EPOCHS = 120
BATCH = 256
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-3
OPSET = 18
IR_VERSION = 10


def main() -> None:
    """Trains, writes the file, and prints what onnxruntime makes of it on the held-out jets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jets", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    with np.load(arguments.jets) as file:
        data = {name: file[name] for name in file.files}
    network = trained(data["x_train"], data["y_train"])
    onnx.save(as_onnx(network), arguments.output)
    session = onnxruntime.InferenceSession(arguments.output, providers=["CPUExecutionProvider"])
    for part in ("train", "test"):
        (score,) = session.run(None, {"x": data[f"x_{part}"]})
        summarise(part, score, data[f"y_{part}"], data["class_names"])


def trained(x: NDArray[np.float32], y: NDArray[np.uint8]) -> torch.nn.Sequential:
    """The network after `EPOCHS` of AdamW under a one-cycle learning rate."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    network = build()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y.astype(np.int64))
    steps = EPOCHS * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in range(EPOCHS):
        # The last, incomplete batch of an epoch is left out; the next epoch draws anew.
        for batch in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(inputs[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    return network


def build() -> torch.nn.Sequential:
    """Linear layers with ReLU between them; the softmax is part of the loss in training."""
    layers: list[torch.nn.Module] = []
    for fan_in, fan_out in pairwise(SIZES):
        layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def as_onnx(network: torch.nn.Sequential) -> onnx.ModelProto:
    """The network with a softmax at its end: x [batch, 16] -> score [batch, 5]."""
    linear = [layer for layer in network if isinstance(layer, torch.nn.Linear)]
    nodes, weights, value = [], [], "x"
    for number, layer in enumerate(linear, start=1):
        name = f"fc{number}"
        nodes.append(
            helper.make_node(
                "Gemm", [value, f"{name}.weight", f"{name}.bias"], [name], name=name, transB=1
            )
        )
        for role, tensor in (("weight", layer.weight), ("bias", layer.bias)):
            array = tensor.detach().numpy()
            weights.append(numpy_helper.from_array(array, f"{name}.{role}"))
        value = name
        if number < len(linear):
            value = f"relu{number}"
            nodes.append(helper.make_node("Relu", [name], [value], name=value))
    nodes.append(helper.make_node("Softmax", [value], ["score"], name="softmax", axis=-1))
    graph = helper.make_graph(
        nodes,
        "jet_tagger",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", SIZES[0]])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch", SIZES[-1]])],
        weights,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="synth",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def summarise(
    part: str, score: NDArray[np.float32], labels: NDArray[np.uint8], names: NDArray[np.str_]
) -> None:
    """Prints accuracy and, class against the rest, the area under the ROC curve."""
    accuracy = np.mean(score.argmax(axis=1) == labels)
    areas = [area(score[labels == k, k], score[labels != k, k]) for k in range(len(names))]
    listed = ", ".join(f"{name} {area:.4f}" for name, area in zip(names, areas, strict=True))
    print(f"{part}: {len(labels)} jets, accuracy {accuracy:.4f}, AUC {listed}")


def area(signal: NDArray[np.float32], background: NDArray[np.float32]) -> float:
    """Area under the ROC curve: how often a signal jet beats a background jet; ties count half."""
    ordered = np.sort(background)
    wins = np.searchsorted(ordered, signal, "left") + np.searchsorted(ordered, signal, "right")
    return float(np.mean(wins) / 2 / len(ordered))


if __name__ == "__main__":
    main()
