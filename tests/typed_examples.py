"""Small typed graphs, made by hand, that the tests of the writers share."""

from collections.abc import Sequence

import numpy as np

from synth.exact import Array
from synth.fixed import Fixed, FixedArray, Format, Overflow, Round, parse_format
from synth.ir import Builder, Codes, Graph, Origin, Stage
from synth.ir.ops import Cast, Dense, Relu

__all__ = ["dense_network", "random_codes", "start"]


def start(name: str = "net") -> Builder:
    return Builder(name, Stage.TYPED)


def dense_network(
    sizes: Sequence[int] = (16, 64, 32, 32, 5),
    *,
    inputs: str = "fixed<16,6>",
    weights: Fixed | None = None,
    activations: str = "fixed<16,6,RND,SAT>",
    seed: int = 0,
) -> Graph:
    rng = np.random.default_rng(seed)
    kind = weights or Fixed(signed=True, width=8, frac=7)
    build = start("jets")
    fmt = parse_format(inputs).type
    value = build.input("x", Codes.full((sizes[0],), fmt))
    for number, (n, m) in enumerate(zip(sizes, sizes[1:], strict=False), 1):
        layer = f"fc{number}"
        w = build.constant(rng.integers(kind.min, kind.max + 1, (n, m)), frac=kind.frac,
                           name=f"{layer}.weight", origin=Origin(layer, "weight"))
        b = build.constant(rng.integers(-200, 200, m), frac=7, name=f"{layer}.bias",
                           origin=Origin(layer, "bias"))
        value = build.add(Dense(), value, w, b, name=layer, origin=Origin(layer, "accumulator"))
        if number < len(sizes) - 1:
            value = build.add(Relu(), value, name=f"relu{number}", origin=Origin(f"relu{number}"))
        value = build.add(Cast(parse_format(activations)), value, name=f"{layer}.cast",
                          origin=Origin(layer))
    return build.graph([value])


def random_codes(graph: Graph, events: int = 50, seed: int = 1) -> dict[str, Array]:
    """Random codes of each input's own format, the extremes of every element included."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for name in graph.inputs:
        kind = graph.codes(name)
        lo = np.broadcast_to(np.asarray(kind.format.min, dtype=object), kind.shape)
        hi = np.broadcast_to(np.asarray(kind.format.max, dtype=object), kind.shape)
        draws = np.frompyfunc(lambda a, b: _draw(rng, int(a), int(b)), 2, 1)
        rows = [draws(lo, hi) for _ in range(max(events - 3, 1))]
        rows += [lo, hi, lo * 0]
        feeds[name] = np.stack([np.asarray(r, dtype=object).reshape(kind.shape) for r in rows])
        if max(abs(int(x)) for x in (lo.min(), hi.max())) < 1 << 63:
            feeds[name] = feeds[name].astype(np.int64)
    return feeds


def _draw(rng: np.random.Generator, lo: int, hi: int) -> int:
    span = hi - lo + 1
    bits = span.bit_length() + 8
    value = int.from_bytes(rng.bytes(-(-bits // 8)), "little")
    return lo + value % span


_ = (FixedArray, Format, Overflow, Round)
