"""Whether trainings end on their budget: ten seeds of a jet tagger, with HGQ2 and with our layers.

A 16-16-16-5 network on 6,000 jets in batches of 100, 80 epochs, of which the second half lowers
the learning rate by a cosine; the target is a third of the EBOPs behind the first epoch. Wanted:
within 5% in 9 of 10 seeds. With "constant" the rate stays as it is, and bits keep flipping to the
end: some 3% of the EBOPs from epoch to epoch, in so small a network.

`python -m tests.benchmarks.budget_training [hgq|layers] [seeds] [constant]`
"""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import sys
import warnings
from typing import Any

import keras
import numpy as np
import torch
from hgq.config import LayerConfigScope, QuantizerConfigScope
from hgq.layers import QDense
from torch import nn
from torch.nn import functional

import quant.callbacks.keras as on_keras
import quant.callbacks.torch as on_torch
from projects.demo.jets import load_jets
from quant.layers.torch import EBOPs, Linear
from tests.benchmarks.annealing import annealed

JETS = load_jets()
X, Y = np.array(JETS.x_train[:6000]), np.array(JETS.y_train[:6000])
EPOCHS, BATCH, BETA, RATE = 80, 100, 1e-6, 3e-3
LIMITS = 1e-9, 1e-2


def rate(epoch: int, *_: Any) -> float:
    """Return the learning rate of an epoch."""
    return RATE if "constant" in sys.argv else annealed(RATE, epoch, EPOCHS)


def hgq(seed: int) -> float:
    """Return EBOPs over their target behind the last epoch."""
    keras.utils.set_random_seed(seed)
    scopes = (
        QuantizerConfigScope(place="all", default_q_type="kif", f0=4),
        LayerConfigScope(enable_ebops=True, beta0=BETA),
    )
    with scopes[0], scopes[1]:
        hidden = [QDense(16, activation="relu", name=name) for name in ("fc0", "fc1")]
        model = keras.Sequential([keras.layers.Input((16,)), *hidden, QDense(5, name="scores")])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(RATE), loss=loss)
    costs = on_keras.ResourceLogger()
    options: dict[str, Any] = {"batch_size": BATCH, "verbose": 0}
    target = model.fit(X, Y, callbacks=[costs], **options).history["ebops"][-1] / 3
    drive = on_keras.BudgetController({"ebops": target}, limits=LIMITS)
    anneal = keras.callbacks.LearningRateScheduler(rate)
    history = model.fit(X, Y, epochs=EPOCHS, callbacks=[costs, drive, anneal], **options).history
    return float(history["ebops"][-1] / target)


def layers(seed: int) -> float:
    """Return EBOPs over their target behind the last epoch."""
    torch.manual_seed(seed)
    hidden = [part for _ in range(2) for part in (Linear(16, 16, frac=4), nn.ReLU())]
    model = nn.Sequential(*hidden, Linear(16, 5, frac=4))
    penalty = EBOPs(model, BETA)
    optimiser = torch.optim.Adam(model.parameters(), RATE)
    inputs, targets = torch.from_numpy(X), torch.from_numpy(Y)

    def epoch(callbacks: on_torch.Callbacks, number: int = 0) -> float:
        optimiser.param_groups[0]["lr"] = rate(number)
        model.train()
        for rows in torch.randperm(len(X)).split(BATCH):
            optimiser.zero_grad()
            (functional.cross_entropy(model(inputs[rows]), targets[rows]) + penalty()).backward()
            optimiser.step()
        logs: dict[str, float] = {}
        callbacks.epoch(logs)
        return logs["ebops"]

    costs = on_torch.ResourceLogger()
    target = epoch(on_torch.Callbacks(model, [costs])) / 3
    drive = on_torch.BudgetController({"ebops": target}, "beta", limits=LIMITS)
    callbacks = on_torch.Callbacks(model, [costs, drive], penalty=penalty)
    return [epoch(callbacks, number) for number in range(EPOCHS)][-1] / target


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    trainings = {"hgq": hgq, "layers": layers}
    count = next((int(word) for word in sys.argv[1:] if word.isdigit()), 10)
    for name in [word for word in sys.argv[1:] if word in trainings] or list(trainings):
        found = []
        for seed in range(count):
            found.append(trainings[name](seed))
            print(f"{name}, seed {seed}: {found[-1]:.3f} of the target", flush=True)
        close = sum(abs(ratio - 1) <= 0.05 for ratio in found)
        print(f"{name}: {close} of {count} seeds end within 5% of the target")


if __name__ == "__main__":
    main()
