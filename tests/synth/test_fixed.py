"""`synth.fixed` by example, and the words of its errors."""

import copy
from fractions import Fraction

import numpy as np
import pytest

from synth.errors import PrecisionError
from synth.fixed import (
    Fixed,
    FixedArray,
    Format,
    Overflow,
    Round,
    align,
    as_codes,
    cast,
    decode,
    encode,
    parse_format,
)

S8 = Fixed(signed=True, width=8, frac=0)
U8 = Fixed(signed=False, width=8, frac=0)


class TestFixed:
    def test_fields(self) -> None:
        made = Fixed(signed=True, width=16, frac=10)
        assert (made.integer, made.min, made.max) == (6, -32768, 32767)
        assert made.step == Fraction(1, 1024)
        assert (U8.min, U8.max, U8.step) == (0, 255, Fraction(1))
        assert Fixed(signed=True, width=4, frac=-3).step == 8

    def test_makers_agree(self) -> None:
        made = Fixed(signed=True, width=16, frac=10)
        assert Fixed.from_wi(16, 6) == made
        assert Fixed.from_kif(True, 5, 10) == made
        assert Fixed.from_kif(0, 8, 0) == U8
        assert Fixed.from_kif(1, -2, 5) == Fixed.from_wi(4, -1)

    @pytest.mark.parametrize(
        ("lo", "hi", "signed", "width"),
        [
            (0, 0, False, 1),
            (0, 255, False, 8),
            (5, 256, False, 9),
            (-1, 0, True, 1),
            (-1, -1, True, 1),
            (-4, -3, True, 3),
            (-128, 127, True, 8),
            (-129, 0, True, 9),
            (-1, 128, True, 9),
            (-(2**100), 2**100 - 1, True, 101),
        ],
    )
    def test_containing(self, lo: int, hi: int, signed: bool, width: int) -> None:
        assert Fixed.containing(lo, hi, 3) == Fixed(signed=signed, width=width, frac=3)

    def test_text(self) -> None:
        assert str(Fixed.from_wi(16, 6)) == "fixed<16,6>"
        assert str(Fixed.from_wi(8, -2, signed=False)) == "ufixed<8,-2>"

    @pytest.mark.parametrize("width", [0, -3, True, 8.0, "8", None])
    def test_width_must_be_a_positive_integer(self, width: int) -> None:
        with pytest.raises(
            PrecisionError, match=f"^Width must be a positive integer, not {width!r}"
        ):
            Fixed(signed=True, width=width, frac=0)

    def test_width_has_a_ceiling(self) -> None:
        with pytest.raises(PrecisionError, match=r"^Width must be at most 4096 bits, not 4097$"):
            Fixed(signed=True, width=4097, frac=0)

    @pytest.mark.parametrize("frac", [1.0, True, None])
    def test_frac_must_be_an_integer(self, frac: int) -> None:
        words = f"^Number of fractional bits must be an integer, not {frac!r}"
        with pytest.raises(PrecisionError, match=words):
            Fixed(signed=True, width=8, frac=frac)

    def test_frac_has_bounds(self) -> None:
        words = r"^Number of fractional bits must lie between -4096 and 4096, not -4097$"
        with pytest.raises(PrecisionError, match=words):
            Fixed(signed=True, width=8, frac=-4097)

    def test_signed_must_be_a_bool(self) -> None:
        with pytest.raises(PrecisionError, match=r"^Signed must be True or False, not 1$"):
            Fixed(signed=1, width=8, frac=0)  # type: ignore[arg-type]

    def test_integer_must_be_an_integer(self) -> None:
        words = r"^Number of integer bits must be an integer, not 2\.5$"
        with pytest.raises(PrecisionError, match=words):
            Fixed.from_wi(8, 2.5)  # type: ignore[arg-type]

    def test_kif_without_bits_is_refused(self) -> None:
        words = r"k=1, i=-3, f=2 has 0 bits: HGQ means the constant 0, .* replace the value"
        with pytest.raises(PrecisionError, match=words):
            Fixed.from_kif(True, -3, 2)

    def test_keep_negative_must_be_a_bit(self) -> None:
        with pytest.raises(PrecisionError, match=r"k \(keep negative\) must be 0 or 1, not 2"):
            Fixed.from_kif(2, 3, 2)

    def test_empty_interval(self) -> None:
        with pytest.raises(PrecisionError, match=r"^Interval \[3, 2\] is empty: its bounds are"):
            Fixed.containing(3, 2, 0)


class TestFixedArray:
    def test_broadcasts_to_one_shape(self) -> None:
        made = FixedArray(
            signed=np.array(True), width=np.array([[4], [6]]), frac=np.array([0, 1, 2])
        )
        assert made.shape == (2, 3)
        assert made.integer.tolist() == [[4, 3, 2], [6, 5, 4]]
        assert made.at((1, 2)) == Fixed(signed=True, width=6, frac=2)

    @pytest.mark.parametrize("width", [62, 63, 64, 100])
    def test_bounds_are_those_of_the_elements(self, width: int) -> None:
        formats = [Fixed(signed=s, width=w, frac=0) for s in (False, True) for w in (1, width)]
        made = FixedArray.stack(formats, (2, 2))
        assert made.min.ravel().tolist() == [t.min for t in formats]
        assert made.max.ravel().tolist() == [t.max for t in formats]
        assert made.min.dtype == (np.int64 if width <= 63 else object)

    def test_a_single_wide_format_without_dimensions(self) -> None:
        made = FixedArray.stack([Fixed(signed=True, width=70, frac=0)], ())
        assert made.shape == ()
        assert (made.min.shape, made.max.item()) == ((), 2**69 - 1)
        assert cast([2**69], 0, made).tolist() == [-(2**69)]

    def test_is_read_only_and_owns_its_arrays(self) -> None:
        width = np.array([4, 6])
        made = FixedArray(signed=np.array(True), width=width, frac=np.array(0))
        width[0] = 9
        assert made.width.tolist() == [4, 6]
        for array in (made.signed, made.width, made.frac, made.min, made.max):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1

    def test_equality_is_by_content(self) -> None:
        formats = [S8, U8]
        made = FixedArray.stack(formats)
        assert made == FixedArray.stack(formats)
        assert hash(made) == hash(FixedArray.stack(formats))
        assert made != FixedArray.stack(formats[::-1])
        assert made != FixedArray.stack(formats, (2, 1))
        assert made != S8
        assert copy.deepcopy(made) == made

    def test_formats_are_listed_once(self) -> None:
        assert FixedArray.stack([S8, U8, S8]).formats == (U8, S8)

    def test_container(self) -> None:
        made = FixedArray.stack([Fixed.from_wi(4, 4), Fixed.from_wi(4, 1, signed=False)])
        assert made.container() == Fixed.from_wi(7, 4)
        assert FixedArray.stack([U8, U8]).container() == U8

    def test_text(self) -> None:
        made = FixedArray.stack([S8, U8, S8])
        assert str(made) == "2 formats within fixed<9,9>"
        assert str(FixedArray.stack([S8, S8])) == "fixed<8,8>"
        assert str(Format(made, Round.RND)) == "2 formats within fixed<9,9,RND>"

    def test_shapes_must_broadcast(self) -> None:
        words = r"^Shapes \(\), \(2,\), \(3,\) of signed, width and frac do not broadcast together"
        with pytest.raises(PrecisionError, match=words):
            FixedArray(signed=np.array(True), width=np.array([4, 6]), frac=np.zeros(3, int))

    def test_must_have_elements(self) -> None:
        with pytest.raises(PrecisionError, match=r"formats of shape \(0,\) have no elements"):
            FixedArray.stack([])

    def test_formats_must_fill_the_shape(self) -> None:
        with pytest.raises(PrecisionError, match=r"^2 formats do not fill the shape \(3,\)"):
            FixedArray.stack([S8, U8], (3,))

    def test_every_width_is_checked(self) -> None:
        with pytest.raises(PrecisionError, match=r"^Width must be a positive integer, not 0"):
            FixedArray(signed=np.array(True), width=np.array([4, 0]), frac=np.array(0))

    def test_every_frac_is_checked(self) -> None:
        with pytest.raises(PrecisionError, match=r"must lie between -4096 and 4096, not 5000"):
            FixedArray(signed=np.array(True), width=np.array(4), frac=np.array([0, 5000]))

    def test_dtypes_are_checked(self) -> None:
        with pytest.raises(
            PrecisionError, match=r"^Width must be an array of integers, not of float"
        ):
            FixedArray(signed=np.array(True), width=np.array([4.0]), frac=np.array(0))
        with pytest.raises(PrecisionError, match=r"^Signed must be an array of bool, not of int64"):
            FixedArray(signed=np.array(1), width=np.array(4), frac=np.array(0))


class TestFormatText:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("fixed<16,6>", Format(Fixed.from_wi(16, 6))),
            ("ufixed<8,0,RND,SAT>", Format(Fixed.from_wi(8, 0, False), Round.RND, Overflow.SAT)),
            ("ap_fixed<16,6>", Format(Fixed.from_wi(16, 6))),
            ("AP_UFIXED< 8 , -3 >", Format(Fixed.from_wi(8, -3, False))),
            ("fixed<8,12,rnd_conv>", Format(Fixed.from_wi(8, 12), Round.RND_CONV)),
            (
                " ap_fixed<9, 4, AP_TRN_ZERO, AP_SAT_SYM, 0> ",
                Format(Fixed.from_wi(9, 4), Round.TRN_ZERO, Overflow.SAT_SYM),
            ),
            ("int<8>", Format(S8)),
            ("uint<8>", Format(U8)),
            ("ap_int<8>", Format(S8)),
            ("ap_uint< 8 >", Format(U8)),
        ],
    )
    def test_parse(self, text: str, expected: Format) -> None:
        assert parse_format(text) == expected

    @pytest.mark.parametrize(
        ("rounding", "overflow", "text"),
        [
            (Round.TRN, Overflow.WRAP, "fixed<16,6>"),
            (Round.RND, Overflow.WRAP, "fixed<16,6,RND>"),
            (Round.TRN, Overflow.SAT, "fixed<16,6,TRN,SAT>"),
            (Round.RND_CONV, Overflow.SAT_SYM, "fixed<16,6,RND_CONV,SAT_SYM>"),
        ],
    )
    def test_print(self, rounding: Round, overflow: Overflow, text: str) -> None:
        assert str(Format(Fixed.from_wi(16, 6), rounding, overflow)) == text

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", r"^'' is not a number format: write for example fixed<16,6>"),
            ("float", r"^'float' is not a number format: write for example fixed<16,6>"),
            ("fixed<16,6", r"^'fixed<16,6' is not a number format: write"),
            ("fixed<16,6>>", r"is not a number format: write"),
            (16, r"^16 is not a number format: write"),
            ("float<8,4>", r"^'float' in 'float<8,4>' is no family of number formats: write"),
            ("fixed<16>", r"^'fixed<16>' takes 2 to 4 parameters \(W, I, .*\), not 1 parameter: w"),
            ("fixed<1,2,RND,SAT,0,0>", r"takes 2 to 4 parameters .*, not 6 parameters: write"),
            ("fixed<a,6>", r"^'fixed<a,6>' has 'a' as its width, which must be an integer: write"),
            ("fixed<16,>", r"has '' as its number of integer bits, which must be an integer: w"),
            (
                "fixed<16,1.5>",
                r"has '1\.5' as its number of integer bits, which must be an integer",
            ),
            ("fixed<1_6,6>", r"has '1_6' as its width, which must be an integer"),
            ("fixed<\uff19,6>", "has '\uff19' as its width, which must be an integer"),
            ("fixed<9999999999,6>", r"has '9999999999' as its width, which must be an integer"),
            ("fixed<0,0>", r"^Width must be a positive integer, not 0, in 'fixed<0,0>': write"),
            ("fixed<5000,0>", r"^Width must be at most 4096 bits, not 5000, in 'fixed<5000,0>': w"),
            ("fixed<8,9999>", r"^Number of fractional bits must lie .*, not -9991, in 'fixed<8,99"),
            ("fixed<8,4,ROUND>", r"has 'ROUND' as its rounding mode, .* one of TRN, TRN_ZERO, RND"),
            ("fixed<8,4,SAT,RND>", r"has 'SAT' as its rounding mode, which must be one of TRN"),
            ("fixed<8,4,RND,CLIP>", r"has 'CLIP' as its overflow mode, .* one of WRAP, SAT, SAT_Z"),
            ("fixed<8,4,RND,WRAP_SM>", r"asks for WRAP_SM, which is not supported: use WRAP, SAT"),
            ("fixed<8,4,TRN,AP_WRAP_SM,0>", r"asks for WRAP_SM, which is not supported: use WRAP"),
            (
                "fixed<8,4,TRN,WRAP,2>",
                r"sets the number of saturated bits N to 2, which is not supported: leave the fif",
            ),
            ("fixed<8,4,TRN,WRAP,x>", r"has 'x' as its fifth parameter, which must be an integer"),
            ("int<8,4>", r"^'int<8,4>' takes the width alone, not 2 parameters: write .* int<8>"),
            ("uint<x>", r"has 'x' as its width, which must be an integer: write .* int<8> or uint"),
            ("int<0>", r"^Width must be a positive integer, not 0, in 'int<0>': write .* int<8>"),
        ],
    )
    def test_malformed(self, text: str, words: str) -> None:
        with pytest.raises(PrecisionError, match=words):
            parse_format(text)


class TestCast:
    # -2.5 -1.5 -0.75 -0.5 -0.25 0.25 0.5 0.75 1.5 2.5, in quarters
    QUARTERS = (-10, -6, -3, -2, -1, 1, 2, 3, 6, 10)

    @pytest.mark.parametrize(
        ("rounding", "expected"),
        [
            (Round.TRN, [-3, -2, -1, -1, -1, 0, 0, 0, 1, 2]),
            (Round.TRN_ZERO, [-2, -1, 0, 0, 0, 0, 0, 0, 1, 2]),
            (Round.RND, [-2, -1, -1, 0, 0, 0, 1, 1, 2, 3]),
            (Round.RND_ZERO, [-2, -1, -1, 0, 0, 0, 0, 1, 1, 2]),
            (Round.RND_INF, [-3, -2, -1, -1, 0, 0, 1, 1, 2, 3]),
            (Round.RND_MIN_INF, [-3, -2, -1, -1, 0, 0, 0, 1, 1, 2]),
            (Round.RND_CONV, [-2, -2, -1, 0, 0, 0, 0, 1, 2, 2]),
        ],
    )
    def test_rounding(self, rounding: Round, expected: list[int]) -> None:
        assert cast(self.QUARTERS, 2, S8, rounding).tolist() == expected

    @pytest.mark.parametrize(
        ("overflow", "signed", "unsigned"),
        [
            (Overflow.WRAP, [127, -128, 127, -128], [127, 128, 127, 128]),
            (Overflow.SAT, [-128, -128, 127, 127], [0, 0, 127, 128]),
            (Overflow.SAT_ZERO, [0, -128, 127, 0], [0, 0, 127, 128]),
            (Overflow.SAT_SYM, [-127, -127, 127, 127], [0, 0, 127, 128]),
        ],
    )
    def test_overflow(self, overflow: Overflow, signed: list[int], unsigned: list[int]) -> None:
        codes = [-129, -128, 127, 128]
        assert cast(codes, 0, S8, Round.TRN, overflow).tolist() == signed
        assert cast(codes, 0, U8, Round.TRN, overflow).tolist() == unsigned

    def test_the_carry_of_rounding_overflows(self) -> None:
        assert cast([255], 1, S8, Round.RND, Overflow.WRAP).tolist() == [-128]
        assert cast([255], 1, S8, Round.RND, Overflow.SAT).tolist() == [127]
        assert cast([511], 1, U8, Round.RND, Overflow.WRAP).tolist() == [0]

    def test_one_signed_bit_is_never_symmetric(self) -> None:
        bit = Fixed(signed=True, width=1, frac=0)
        assert cast([-2, -1, 0, 1], 0, bit, overflow=Overflow.SAT_SYM).tolist() == [-1, -1, 0, 0]

    def test_channels(self) -> None:
        target = FixedArray.stack([Fixed.from_wi(8, 8), Fixed.from_wi(8, 4, signed=False)])
        result = cast([[5, 5], [-5, 300]], 2, target, Round.RND, Overflow.SAT)
        assert result.tolist() == [[1, 20], [-1, 255]]

    def test_input_is_left_alone(self) -> None:
        codes = np.array([1, 2, 3])
        for overflow in Overflow:
            result = cast(codes, 0, S8, overflow=overflow)
            assert not np.shares_memory(result, codes)
        aligned = align(codes, 0)
        assert not np.shares_memory(aligned, codes)

    @pytest.mark.parametrize("width", [63, 64])
    def test_shapes_and_dtypes(self, width: int) -> None:
        target = Fixed(signed=True, width=width, frac=0)
        dtype = np.int64 if width <= 63 else object
        for shape in ((), (0,), (3, 0), (2, 3)):
            for kind in (np.int8, np.uint16, np.int64, np.uint64, np.bool_, object):
                for frac in (-70, 0, 70):
                    result = cast(np.ones(shape, kind), frac, target, Round.RND)
                    assert isinstance(result, np.ndarray)
                    assert result.shape == shape
                    assert result.dtype == dtype

    def test_a_fraction_for_each_element(self) -> None:
        assert cast(12, np.array([0, 1, 2, 3]), S8).tolist() == [12, 6, 3, 1]

    def test_codes_beyond_64_bits(self) -> None:
        assert cast([2**64 - 1], 0, U8).tolist() == [255]
        assert cast(np.array([2**64 - 1], np.uint64), 0, U8, overflow=Overflow.SAT) == [255]
        assert cast([-(2**80)], 80, S8).tolist() == [-1]

    def test_numpy_integers_in_object_arrays_do_not_wrap(self) -> None:
        codes = np.array([np.int64(2**62)], object)
        wide = Fixed(signed=True, width=90, frac=8)
        assert cast(codes, 0, wide).tolist() == [2**70]
        assert type(as_codes(codes)[0]) is int

    @pytest.mark.parametrize("codes", [[1.0], np.array([1.5], object), ["1"], np.array([1j])])
    def test_codes_must_be_integers(self, codes: list[int]) -> None:
        with pytest.raises(PrecisionError, match=r"^Codes must be integers, not .*; encode\(\) t"):
            cast(codes, 0, S8)

    @pytest.mark.parametrize("shift", range(61, 67))
    def test_align_at_the_ends_of_int64(self, shift: int) -> None:
        for code in (-3, -2, -1, 0, 1, 2):
            result = align(np.array([code]), shift)
            assert result.tolist() == [code << shift]
            assert (result.dtype == np.int64) == (-(2**63) <= code << shift < 2**63)

    def test_shift_must_not_be_negative(self) -> None:
        with pytest.raises(PrecisionError, match=r"^Shift must not be negative, but is -2$"):
            align([1], np.array([3, -2]))


class TestValues:
    def test_encode_rounds_and_saturates(self) -> None:
        target = Fixed.from_wi(8, 4)
        values = [0.03125, -0.03125, 7.99, -8.1, 1e300, -5e-324]
        assert encode(values, target).tolist() == [1, 0, 127, -128, 127, 0]
        assert encode(values[-1:], target, Round.TRN).tolist() == [-1]

    def test_encode_takes_float32_as_it_is(self) -> None:
        target = Fixed.from_wi(40, 4)
        third = np.float32(1) / np.float32(3)
        assert encode(third, target) == round(Fraction(float(third)) * 2**36)

    def test_encode_takes_integers_exactly(self) -> None:
        wide = Fixed.from_wi(80, 70)
        assert encode(np.array([2**62 + 1]), wide).tolist() == [(2**62 + 1) << 10]
        assert encode([2**65 + 1], wide).tolist() == [(2**65 + 1) << 10]
        assert encode([True, False], S8).tolist() == [1, 0]

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_encode_refuses_what_is_not_finite(self, bad: float) -> None:
        words = r"^1 of 2 values are NaN or infinite, which no fixed<8,8> can hold"
        with pytest.raises(PrecisionError, match=words):
            encode([1.0, bad], S8)

    @pytest.mark.parametrize("values", [["1"], [1j], [None], np.ones(1, np.longdouble)])
    def test_encode_takes_numbers_only(self, values: list[float]) -> None:
        with pytest.raises(PrecisionError, match=r"^Values must be floats of at most 64 bits or"):
            encode(values, S8)

    def test_decode(self) -> None:
        np.testing.assert_array_equal(decode([-3, 5], Fixed.from_wi(8, 6)), [-0.75, 1.25])
        channels = FixedArray.stack([Fixed.from_wi(8, 6), Fixed.from_wi(8, 9)])
        np.testing.assert_array_equal(decode([[-3, 5]], channels), [[-0.75, 10.0]])

    def test_decode_of_wide_codes(self) -> None:
        wide = Fixed.from_wi(2000, 1000)
        assert decode([3 << 1000], wide).tolist() == [3.0]
        assert decode(2**1500, wide).item() == 2.0**500

    def test_decode_reaches_the_ends_of_float64(self) -> None:
        assert decode([1], Fixed(signed=True, width=8, frac=1074)).tolist() == [5e-324]
        assert decode([1], Fixed(signed=True, width=8, frac=-1023)).tolist() == [2.0**1023]

    @pytest.mark.parametrize(
        ("code", "frac", "bits"),
        [(2**53 + 1, 0, 54), (1, 1075, 1), (2, -1023, 1), (2**53, -971, 1)],
    )
    def test_decode_refuses_to_round(self, code: int, frac: int, bits: int) -> None:
        words = rf"^{code} \* 2\*\*{-frac} is not a float64 \({bits} significant bits\): work on c"
        with pytest.raises(PrecisionError, match=words):
            decode([code], Fixed(signed=True, width=64, frac=frac))
