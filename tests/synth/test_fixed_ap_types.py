"""`synth.fixed` against the headers of ap_types: small formats exhaustively, wide ones sampled."""

import itertools
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from synth.fixed import Fixed, Format, Overflow, Round, cast
from tests.synth.ap_types import Conversion, run

WIDTHS = range(1, 9)
SOURCE_WIDTH = 7
SOURCE_FRAC = 3
ALL_MODES = tuple(itertools.product(Round, Overflow))
# Where no bit is cut off, rounding only shows whether it leaves the code alone.
EXACT_MODES = tuple(itertools.product((Round.TRN, Round.RND_CONV), Overflow))


def compare(conversions: Sequence[Conversion], folder: Path) -> None:
    for conversion, expected in zip(conversions, run(conversions, folder), strict=True):
        source, target = conversion.source, conversion.target
        codes = np.array(conversion.codes, dtype=object)
        result = cast(codes, source.frac, target.type, target.rounding, target.overflow)
        assert isinstance(target.type, Fixed)
        assert result.dtype == (np.int64 if target.type.width <= 63 else object)
        message = f"{source} -> {target}, codes {conversion.codes}"
        np.testing.assert_array_equal(result, np.array(expected, dtype=object), message)
        if source.width <= 63:
            narrow = codes.astype(np.int64)
            again = cast(narrow, source.frac, target.type, target.rounding, target.overflow)
            np.testing.assert_array_equal(again, result, message)


def small(signed: bool, shift: int, width: int) -> Iterator[Conversion]:
    """All codes of the small source into one width, ``shift`` bits to the right, in every mode."""
    source = Fixed(signed=signed, width=SOURCE_WIDTH, frac=SOURCE_FRAC)
    codes = range(source.min, source.max + 1)
    for target_signed in (False, True):
        target = Fixed(signed=target_signed, width=width, frac=SOURCE_FRAC - shift)
        for rounding, overflow in ALL_MODES if shift > 0 else EXACT_MODES:
            yield Conversion(source, Format(target, rounding, overflow), codes)


@pytest.mark.parametrize("signed", [False, True])
def test_small_formats_are_those_of_ap_types(signed: bool, tmp_path: Path) -> None:
    # Every shift at every width takes minutes: see the slow test below.
    right = itertools.cycle((1, 4, SOURCE_WIDTH, SOURCE_WIDTH + 1, SOURCE_WIDTH + 2))
    left = itertools.cycle((0, -1, -2, -SOURCE_WIDTH, -SOURCE_WIDTH - 2))
    cells = [(shift, w) for w in WIDTHS for shift in (2, next(right), next(left), next(left))]
    compare([c for cell in cells for c in small(signed, *cell)], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_small_formats_at_every_shift_are_those_of_ap_types(
    signed: bool, width: int, tmp_path: Path
) -> None:
    shifts = range(-width - 2, SOURCE_WIDTH + 4)
    compare([c for shift in shifts for c in small(signed, shift, width)], tmp_path)


def random_fixed(source: random.Random) -> Fixed:
    width = source.randint(1, 128)
    return Fixed(signed=source.random() < 0.5, width=width, frac=source.randint(-8, width + 8))


def interesting_codes(source: Fixed, target: Fixed, seed: random.Random) -> list[int]:
    """Extremes, uniform codes, and the neighbours of the target's bounds, steps and ties."""
    codes = [source.min, source.min + 1, -1, 0, 1, source.max - 1, source.max]
    codes += [seed.randint(source.min, source.max) for _ in range(6)]
    shift = source.frac - target.frac
    for anchor in (target.min, target.max, 0, seed.randint(target.min, target.max)):
        # Twice the code, so that the tie beside it is an integer too.
        for half in (2 * anchor - 1, 2 * anchor, 2 * anchor + 1):
            code = half << (shift - 1) if shift > 0 else half >> (1 - shift)
            codes += [code - 1, code, code + 1]
    return [code for code in codes if source.min <= code <= source.max]


def wide(count: int, seed: int) -> list[Conversion]:
    generator = random.Random(seed)
    modes = itertools.cycle(ALL_MODES)
    conversions = []
    for _ in range(count):
        source, target = random_fixed(generator), random_fixed(generator)
        codes = interesting_codes(source, target, generator)
        conversions.append(Conversion(source, Format(target, *next(modes)), codes))
    return conversions


def test_wide_formats_are_those_of_ap_types(tmp_path: Path) -> None:
    compare(wide(56, seed=1), tmp_path)


@pytest.mark.slow
def test_many_wide_formats_are_those_of_ap_types(tmp_path: Path) -> None:
    compare(wide(560, seed=2), tmp_path)
