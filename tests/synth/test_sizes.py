"""Sizes that carry an expression: arithmetic at any value of the symbols, order, and JSON."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.errors import FormatError, ShapeError
from synth.ir.sizes import (
    Size,
    Symbol,
    broadcast,
    decode_size,
    encode_size,
    evaluated,
    least,
    most,
    symbols_in,
)

N, E = Symbol("n", 1, 20, 7), Symbol("e", 0, 30, 11)
n, e = (Size.of({(symbol,): 1}) for symbol in (N, E))


@st.composite
def programs(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    """Steps of arithmetic on a stack that begins with n, e and a number."""
    steps = st.tuples(st.sampled_from("+-*/%"), st.integers(0, 7), st.integers(-3, 9))
    return draw(st.lists(steps, min_size=1, max_size=6))


def run(program: list[tuple[str, int, int]], one: int, two: int) -> list[int]:
    stack = [one, two, one + 3]
    for symbol, place, number in program:
        x, y = stack[place % len(stack)], stack[-1]
        match symbol:
            case "+":
                stack.append(x + y + number)
            case "-":
                stack.append(x - y)
            case "*":
                stack.append(x * stack[number % 3])
            case "/":
                stack.append(x // (abs(number) + 1))
            case "%":
                stack.append(x % (abs(number) + 1))
    return stack


@given(programs(), st.integers(1, 20), st.integers(0, 30))
def test_arithmetic_holds_at_any_size(
    program: list[tuple[str, int, int]], one: int, two: int
) -> None:
    try:
        stack = run(program, n, e)
    except ShapeError:  # a quotient of what may be negative
        return
    for size, value, number in zip(stack, run(program, 7, 11), stack, strict=True):
        assert int(number) == value
        assert least(size) <= evaluated(size, {"n": one, "e": two}) <= most(size)
        assert decode_size(json.loads(json.dumps(encode_size(size))), "x") == size
    found = evaluated(stack[-1], {"n": 9, "e": 4})
    fresh = [Size.of({(Symbol(s.name, s.least, s.most, v),): 1}) for s, v in ((N, 9), (E, 4))]
    assert found == int(run(program, *fresh)[-1])


def test_sizes_print_as_expressions_of_c() -> None:
    assert f"{n} {n + 3} {n * e * 2 - n} {(n + 3) // 2}" == (
        "n (n + 3) (2 * e * n - n) (((n + 1) / 2) + 1)"
    )
    assert str(math.prod((n, 4, e))) == "(4 * e * n)"
    assert symbols_in([n * e, e + 1]) == [E, N]


def test_quotients_are_one_where_they_can_be() -> None:
    assert (4 * n + 8) // 4 == n + 2
    assert ((n + 1) // 2 + 1) // 2 == (n + 3) // 4
    assert -(-n // 16) == (n + 15) // 16
    assert (n * e * 6) // (2 * n) == 3 * e
    assert type(n - n) is int
    with pytest.raises(ShapeError, match=r"\(e - n\) // 2 may be negative: narrow the bounds"):
        _ = (e - n) // 2
    with pytest.raises(ShapeError, match=r"e // n is no polynomial of the dimensions"):
        _ = e // n


def test_order_is_proven_or_refused() -> None:
    assert n > 0
    assert n - 1 < n
    assert n * n >= n
    assert 2 * ((n + 1) // 2) - 3 < n
    assert n != 7
    assert 0 not in (n, e)
    assert bool(n)
    message = r"whether e is more than 0 depends on the sizes: .* dimensions e \(0 to 30\)"
    with pytest.raises(ShapeError, match=message):
        bool(e)


def test_shapes_broadcast() -> None:
    assert broadcast((n, 1), (1, 3), (n, 3)) == (n, 3)
    assert broadcast((3,), (n, 1)) == (n, 3)
    with pytest.raises(ValueError, match="do not broadcast"):
        broadcast((n,), (e,))


@pytest.mark.parametrize(
    "data",
    ["n", 1.5, [], [[1]], [[1.0, []]], [[1, [3]]], [[1, [{"name": "n", "least": 3, "most": 2}]]]],
)
def test_what_is_no_size_is_refused(data: object) -> None:
    with pytest.raises(FormatError, match="is no s"):
        decode_size(data, "x")
