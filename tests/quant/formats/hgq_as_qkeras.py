"""Reads a model made by the imitation of QKeras that HGQ2 ships, and counts mismatches.

In a process of its own, as that package changes HGQ2's layers where it is imported.
"""

from typing import Any

import keras
import numpy as np
from hgq.config import QuantizerConfig
from hgq.layers import Quantizer
from hgq.utils import trace_minmax

from synth.evaluate import evaluate
from synth.load import load_graph
from tests.quant.formats.hgq_models import edges, predicted


def main() -> None:
    front = Quantizer(QuantizerConfig("kif", "datalane"))
    from qkeras import qlayers  # noqa: PLC0415

    bits: Any = "quantized_bits(6,0,alpha=1)"
    dense = qlayers.QDense(3, kernel_quantizer=bits, bias_quantizer=bits, name="fc")
    x = keras.Input((4,), name="x0")
    model = keras.Model(x, dense(front(x)))
    data = edges((4,))
    trace_minmax(model, data)
    found = evaluate(load_graph(model), {"x0": data})["fc"]
    print(np.sum(found != predicted(model, data)[0]), "mismatches")


if __name__ == "__main__":
    main()
