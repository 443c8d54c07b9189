"""Short ways to small graphs."""

from synth.fixed import Fixed, parse_format
from synth.ir import Builder, Codes, Graph, Stage, Tensor
from synth.ir.op import Op

__all__ = ["codes", "fixed", "imported", "one_op", "typed"]


def fixed(text: str) -> Fixed:
    fmt = parse_format(text).type
    assert isinstance(fmt, Fixed)
    return fmt


def codes(shape: tuple[int, ...], text: str) -> Codes:
    return Codes.full(shape, fixed(text))


def typed(shape: tuple[int, ...] = (3,), text: str = "fixed<6,3>") -> tuple[Builder, str]:
    build = Builder("small", Stage.TYPED)
    return build, build.input("x", codes(shape, text))


def imported(shape: tuple[int, ...] = (3,)) -> tuple[Builder, str]:
    build = Builder("small", Stage.IMPORTED)
    return build, build.input("x", Tensor(shape))


def one_op(op: Op, *texts: str, shape: tuple[int, ...] = (1,)) -> Graph:
    """Return the typed graph of one operation on inputs a, b, ... of these formats."""
    build = Builder("one", Stage.TYPED)
    names = [build.input(n, codes(shape, t)) for n, t in zip("abc", texts, strict=False)]
    return build.graph([build.add(op, *names, name="y")])
