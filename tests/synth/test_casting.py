"""The fast kernel against the definition of a cast, in every mode and carrier."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.casting import CastKernel
from synth.exact import convert, integers
from synth.fixed import Fixed, FixedArray, Format, Overflow, Round, align, cast
from synth.ir import Codes
from synth.ir.ops import Cast

MODES = list(itertools.product(Round, Overflow))


def overflowed(codes: np.ndarray, frac: int, fmt: Format) -> int:
    """Count by definition: the code in a format that is wide enough differs from the result."""
    width = np.asarray(fmt.type.width) * 0 + 200
    wide = FixedArray(signed=width > 0, width=width, frac=np.asarray(fmt.type.frac))
    rounded = cast(codes, frac, wide, fmt.rounding)
    limited = cast(codes, frac, fmt.type, fmt.rounding, fmt.overflow)
    return int(np.count_nonzero(np.asarray(rounded != limited, dtype=bool)))


def run(codes: np.ndarray, source: Codes, fmt: Format, dtype: str, owned: bool) -> None:
    counts: list[int] = []
    kernel = CastKernel(Cast(fmt), source, counts.append)
    given_array = convert(codes, dtype)  # type: ignore[arg-type]
    before = given_array.copy()
    result = integers(kernel(given_array, owned))
    expected = cast(codes, source.frac, fmt.type, fmt.rounding, fmt.overflow)
    finest = int(np.max(fmt.type.frac))
    np.testing.assert_array_equal(result, align(expected, finest - np.asarray(fmt.type.frac)))
    assert sum(counts) == overflowed(codes, source.frac, fmt)
    if not owned:
        np.testing.assert_array_equal(given_array, before)


@pytest.mark.parametrize(("rounding", "overflow"), MODES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "object"])
def test_every_code_of_ten_bits(rounding: Round, overflow: Overflow, dtype: str) -> None:
    source = Codes.full((), Fixed(signed=True, width=10, frac=5))
    codes = np.arange(-512, 512)
    for signed, width, frac in itertools.product((False, True), (1, 2, 4, 9), (-6, 0, 2, 5, 7)):
        fmt = Format(Fixed(signed=signed, width=width, frac=frac), rounding, overflow)
        for owned in (False, True):
            run(codes, source, fmt, dtype, owned)


@pytest.mark.parametrize(("rounding", "overflow"), MODES)
def test_formats_by_element(rounding: Round, overflow: Overflow) -> None:
    source = Codes.full((6,), Fixed(signed=True, width=9, frac=4))
    codes = np.repeat(np.arange(-256, 256)[:, None], 6, axis=1)
    target = FixedArray(
        signed=np.array([True, True, False, True, False, True]),
        width=np.array([1, 4, 3, 12, 8, 6]),
        frac=np.array([0, 2, -3, 8, 4, 1]),
    )
    run(codes, source, Format(target, rounding, overflow), "float32", owned=False)


@given(
    width=st.integers(1, 100),
    shift=st.integers(-110, 110),
    target=st.builds(
        lambda s, w: Fixed(signed=s, width=w, frac=3), st.booleans(), st.integers(1, 100)
    ),
    modes=st.sampled_from(MODES),
    picks=st.lists(st.integers(0, (1 << 100) - 1), min_size=1, max_size=8),
)
def test_any_width(
    width: int, shift: int, target: Fixed, modes: tuple[Round, Overflow], picks: list[int]
) -> None:
    own = Fixed(signed=True, width=width, frac=3 + shift)
    half = 1 << max(shift - 1, 0)
    drawn = [own.min, own.max, 0, *(own.min + pick % (1 << width) for pick in picks)]
    drawn += [min(half, own.max), max(-half, own.min), min(3 * half, own.max)]
    codes = integers(np.array(drawn, dtype=object))
    kernel = CastKernel(Cast(Format(target, *modes)), Codes.full((), own))
    held = "object" if own.width > 63 else "int64"
    result = integers(kernel(convert(codes, held), owned=False))  # type: ignore[arg-type]
    np.testing.assert_array_equal(result, cast(codes, own.frac, target, *modes))


@pytest.mark.parametrize(("bits", "carrier"), [(20, "float32"), (40, "float64"), (61, "int64")])
def test_the_carrier_grows_with_the_operand(bits: int, carrier: str) -> None:
    source = Codes.full((), Fixed(signed=True, width=bits, frac=4))
    assert CastKernel(Cast(Format(Fixed(signed=True, width=8, frac=2))), source).carrier == carrier


def test_shifts_beyond_the_floats_take_python_integers() -> None:
    source = Codes.full((), Fixed(signed=True, width=8, frac=0))
    far = Format(Fixed(signed=True, width=8, frac=-2000), Round.RND_INF, Overflow.SAT)
    kernel = CastKernel(Cast(far), source)
    assert kernel.carrier == "object"
    assert kernel(np.array([-128, 0, 127]), owned=False).tolist() == [0, 0, 0]
