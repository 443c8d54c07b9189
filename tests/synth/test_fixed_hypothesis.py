"""Properties of casts up to 128 bits, against an oracle made of fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.errors import PrecisionError
from synth.fixed import (
    Fixed,
    FixedArray,
    Format,
    Overflow,
    Round,
    align,
    cast,
    decode,
    encode,
    parse_format,
)

ROUNDINGS = st.sampled_from(Round)
OVERFLOWS = st.sampled_from(Overflow)


def rounded(value: Fraction, rounding: Round) -> int:
    """Round to an integer by the words of the modes' definitions."""
    down = math.floor(value)
    if rounding is Round.TRN:
        return down
    if rounding is Round.TRN_ZERO:
        return math.trunc(value)
    rest = value - down
    if rest != Fraction(1, 2):
        return down + (rest > Fraction(1, 2))
    return {
        Round.RND: down + 1,
        Round.RND_MIN_INF: down,
        Round.RND_ZERO: min(down, down + 1, key=abs),
        Round.RND_INF: max(down, down + 1, key=abs),
        Round.RND_CONV: down + down % 2,
    }[rounding]


def limited(code: int, target: Fixed, overflow: Overflow) -> int:
    """Bring a code into the range of a format by the words of the modes' definitions."""
    top = (1 << target.width - target.signed) - 1
    bottom = -top - 1 if target.signed else 0
    if overflow is Overflow.WRAP:
        return (code - bottom) % (1 << target.width) + bottom
    # One signed bit has no symmetric range but {0}; ap_fixed gives it -1 all the same.
    symmetric = overflow is Overflow.SAT_SYM and target.signed and target.width > 1
    bottom = -top if symmetric else bottom
    if bottom <= code <= top:
        return code
    return 0 if overflow is Overflow.SAT_ZERO else min(max(code, bottom), top)


def oracle(code: int, frac: int, form: Format) -> int:
    assert isinstance(form.type, Fixed)
    value = Fraction(code) * Fraction(2) ** (form.type.frac - frac)
    return limited(rounded(value, form.rounding), form.type, form.overflow)


def fixeds(width: int = 128) -> st.SearchStrategy[Fixed]:
    return st.builds(
        Fixed, signed=st.booleans(), width=st.integers(1, width), frac=st.integers(-140, 140)
    )


def near(target: Fixed, frac: int) -> st.SearchStrategy[int]:
    """Codes of LSB ``2**-frac`` around the ties and bounds of a format."""
    shift = frac - target.frac
    anchor = st.sampled_from([2 * target.min, 2 * target.max, 0]) | st.integers(-9, 9)
    halves = st.builds(int.__add__, anchor, st.integers(-2, 2))
    scaled = halves.map(lambda half: half << shift - 1 if shift > 0 else half >> 1 - shift)
    return st.builds(int.__add__, scaled, st.integers(-1, 1))


@st.composite
def casts(draw: st.DrawFn, bits: int, width: int) -> tuple[list[int], int, Format]:
    """Codes of at most ``bits`` bits, their fraction, and a target of at most ``width``."""
    form = Format(draw(fixeds(width)), draw(ROUNDINGS), draw(OVERFLOWS))
    assert isinstance(form.type, Fixed)
    frac = form.type.frac + draw(st.integers(-bits - 8, bits + 8))
    bound = 1 << (bits - 1)
    some = st.integers(-bound, bound - 1) | st.sampled_from([-bound, bound - 1, -1, 0, 1])
    codes = draw(st.lists(some | near(form.type, frac), min_size=1, max_size=8))
    return [code for code in codes if -bound <= code < bound], frac, form


def check(codes: list[int], dtype: type, frac: int, form: Format) -> None:
    assert isinstance(form.type, Fixed)
    expected = [oracle(code, frac, form) for code in codes]
    result = cast(np.array(codes, dtype), frac, form.type, form.rounding, form.overflow)
    assert result.dtype == (np.int64 if form.type.width <= 63 else object)
    assert result.tolist() == expected


@settings(max_examples=300, deadline=None)
@given(casts(bits=64, width=63))
def test_cast_of_int64_is_the_oracle(case: tuple[list[int], int, Format]) -> None:
    codes, frac, form = case
    check(codes, np.int64, frac, form)
    check(codes, object, frac, form)


@pytest.mark.parametrize("rounding", Round)
@pytest.mark.parametrize("shift", range(61, 68))
def test_int64_is_shifted_past_its_end(shift: int, rounding: Round) -> None:
    codes = [code for tie in (-(2**63), -(2**62), 2**62) for code in range(tie, tie + 2)]
    form = Format(Fixed(signed=True, width=8, frac=0), rounding)
    check([*codes, -1, 1, 2**63 - 1], np.int64, shift, form)


@settings(max_examples=300, deadline=None)
@given(casts(bits=130, width=128))
def test_cast_of_wide_codes_is_the_oracle(case: tuple[list[int], int, Format]) -> None:
    codes, frac, form = case
    check(codes, object, frac, form)


@settings(max_examples=200, deadline=None)
@given(st.data(), ROUNDINGS, OVERFLOWS)
def test_cast_to_formats_of_elements_is_that_of_each(
    data: st.DataObject, rounding: Round, overflow: Overflow
) -> None:
    width = data.draw(st.sampled_from([8, 63, 128]))
    formats = data.draw(st.lists(fixeds(width), min_size=1, max_size=5))
    size = len(formats)
    bound = 1 << data.draw(st.sampled_from([7, 63, 127]))
    codes = data.draw(st.lists(st.integers(-bound, bound - 1), min_size=size, max_size=size))
    fracs = data.draw(st.lists(st.integers(-150, 150), min_size=size, max_size=size))
    batch = np.array([codes, codes[::-1]], object)
    target = FixedArray.stack(formats)
    result = cast(batch, np.array(fracs), target, rounding, overflow)
    narrow = max(t.width for t in formats) <= 63
    assert result.dtype == (np.int64 if narrow else object)
    assert result.tolist() == [
        [
            oracle(c, f, Format(t, rounding, overflow))
            for c, f, t in zip(row, fracs, formats, strict=True)
        ]
        for row in batch.tolist()
    ]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), st.integers(0, 130))
def test_align_multiplies(codes: list[int], shift: int) -> None:
    result = align(np.array(codes, np.int64), shift)
    assert result.tolist() == [code * 2**shift for code in codes]
    fits = all(-(2**63) <= code * 2**shift < 2**63 for code in codes)
    assert (result.dtype == np.int64) == fits


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5),
    fixeds(),
    ROUNDINGS,
    OVERFLOWS,
)
def test_encode_is_the_oracle(
    values: list[float], target: Fixed, rounding: Round, overflow: Overflow
) -> None:
    result = encode(np.array(values), target, rounding, overflow)
    for value, code in zip(values, result.tolist(), strict=True):
        exact = Fraction(value) * Fraction(2) ** target.frac
        assert code == limited(rounded(exact, rounding), target, overflow)


@given(st.data(), st.integers(-1100, 1100), st.integers(1, 128))
def test_decode_gives_exact_values_or_refuses(data: st.DataObject, frac: int, width: int) -> None:
    target = Fixed(signed=True, width=width, frac=frac)
    code = data.draw(st.integers(target.min, target.max))
    exact = Fraction(code) * Fraction(2) ** -frac
    try:
        representable = Fraction(float(exact)) == exact
    except OverflowError:
        representable = False
    if representable:
        assert Fraction(decode(np.array([code]), target).item()) == exact
    else:
        with pytest.raises(PrecisionError, match="is not a float64"):
            decode(np.array([code]), target)


@given(st.data(), fixeds(53))
def test_codes_survive_decoding_and_encoding(data: st.DataObject, target: Fixed) -> None:
    codes = data.draw(st.lists(st.integers(target.min, target.max)))
    assert encode(decode(np.array(codes, np.int64), target), target).tolist() == codes


@given(fixeds(), ROUNDINGS, OVERFLOWS)
def test_text_survives_printing_and_parsing(
    target: Fixed, rounding: Round, overflow: Overflow
) -> None:
    form = Format(target, rounding, overflow)
    assert parse_format(str(form)) == form
    family = "ap_fixed" if target.signed else "ap_ufixed"
    spelt = f" {family} < {target.width} , {target.integer}, AP_{rounding}, ap_{overflow} , 0 >"
    assert parse_format(spelt) == form


@given(st.integers(), st.integers(), st.integers(-20, 20))
def test_containing_is_the_narrowest(a: int, b: int, frac: int) -> None:
    lo, hi = min(a, b), max(a, b)
    made = Fixed.containing(lo, hi, frac)
    assert made.min <= lo
    assert made.max >= hi
    assert made.signed == (lo < 0)
    if made.width > 1:
        less = Fixed(signed=made.signed, width=made.width - 1, frac=frac)
        assert lo < less.min or hi > less.max


@given(st.lists(fixeds(70), min_size=1, max_size=5))
def test_container_holds_every_element(formats: list[Fixed]) -> None:
    held = FixedArray.stack(formats).container()
    bounds = [code * t.step for t in formats for code in (t.min, t.max)]
    assert held.min * held.step <= min(bounds)
    assert held.max * held.step >= max(bounds)
    assert held.step == min(t.step for t in formats)
    assert held.signed == any(t.signed for t in formats)
