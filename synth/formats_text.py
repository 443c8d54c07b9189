"""Formats as people write them: ``fixed<16,6,RND,SAT>`` and the spellings of ap_types."""

import re
from enum import StrEnum
from typing import TypeVar

from synth.errors import PrecisionError
from synth.formats import Fixed, Format, Overflow, Round

__all__ = ["parse_fixed", "parse_format"]

_Mode = TypeVar("_Mode", bound=StrEnum)

_SHAPE = re.compile(r"\s*(\w+)\s*<([^<>]*)>\s*", re.ASCII)
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")
_FAMILIES = {"fixed": True, "ufixed": False, "int": True, "uint": False}
_FORM = "write for example fixed<16,6> or ufixed<8,0,RND,SAT>"
_INT_FORM = "write for example int<8> or uint<8>"


def parse_format(text: str) -> Format:
    """Read a format with its rounding and overflow modes.

    The spellings are ``fixed<W,I>``, ``fixed<W,I,Q>`` and ``fixed<W,I,Q,O>``, the same with
    ``ufixed``, and ``int<W>`` and ``uint<W>``; each with or without ``ap_`` in front, the modes
    with or without ``AP_``, in any case, with spaces. ``W`` is the width in bits and ``I`` the
    bits above the binary point, sign included, which may be negative or larger than ``W``.
    Modes left out are TRN and WRAP.

    Raises
    ------
    PrecisionError
        If the text is malformed, or asks for WRAP_SM or for ap_fixed's fifth parameter.
    """
    # Callers are users, who give numbers too, whatever the signature says.
    match = _SHAPE.fullmatch(text) if isinstance(text, str) else None  # type: ignore[redundant-expr]
    if match is None:
        raise PrecisionError(f"{text!r} is not a number format: {_FORM}")
    family = match[1].lower().removeprefix("ap_")
    if family not in _FAMILIES:
        raise PrecisionError(f"{match[1]!r} in {text!r} is no family of number formats: {_FORM}")
    parts = [part.strip() for part in match[2].split(",")]
    if family.endswith("int"):
        return Format(_integer_type(parts, text, _FAMILIES[family]))
    return _fixed_format(parts, text, _FAMILIES[family])


def parse_fixed(text: str) -> Fixed:
    """Read a format as `parse_format` does; its modes, if any, are dropped.

    Raises
    ------
    PrecisionError
        As `parse_format`.
    """
    fmt = parse_format(text).type
    assert isinstance(fmt, Fixed)
    return fmt


def _integer_type(parts: list[str], text: str, signed: bool) -> Fixed:
    if len(parts) != 1:
        raise _refusal(f"takes the width alone, not {len(parts)} parameters", text, _INT_FORM)
    width = _integer("width", parts[0], text, _INT_FORM)
    return _made(width, width, signed, text, _INT_FORM)


def _fixed_format(parts: list[str], text: str, signed: bool) -> Format:
    if not 2 <= len(parts) <= 5:
        count = f"{len(parts)} parameter" + "s" * (len(parts) != 1)
        raise _refusal(
            f"takes 2 to 4 parameters (W, I, rounding, overflow), not {count}", text, _FORM
        )
    width = _integer("width", parts[0], text, _FORM)
    integer = _integer("number of integer bits", parts[1], text, _FORM)
    made = _made(width, integer, signed, text, _FORM)
    rounding = _mode(Round, "rounding", parts[2], text) if len(parts) > 2 else Round.TRN
    overflow = _mode(Overflow, "overflow", parts[3], text) if len(parts) > 3 else Overflow.WRAP
    if len(parts) == 5 and _integer("fifth parameter", parts[4], text, _FORM) != 0:
        raise _refusal(
            f"sets the number of saturated bits N to {parts[4]}, which is not supported",
            text,
            "leave the fifth parameter out",
        )
    return Format(made, rounding, overflow)


def _made(width: int, integer: int, signed: bool, text: str, form: str) -> Fixed:
    try:
        return Fixed.from_wi(width, integer, signed)
    except PrecisionError as error:
        raise PrecisionError(f"{error}, in {text!r}: {form}") from error


def _integer(what: str, part: str, text: str, form: str) -> int:
    if not _INTEGER.fullmatch(part):
        raise _refusal(f"has {part!r} as its {what}, which must be an integer", text, form)
    return int(part)


def _mode(modes: type[_Mode], what: str, part: str, text: str) -> _Mode:
    name = part.upper().removeprefix("AP_")
    if name in modes.__members__:
        return modes[name]
    if name == "WRAP_SM":
        raise _refusal("asks for WRAP_SM, which is not supported", text, "use WRAP, SAT or SAT_SYM")
    names = ", ".join(modes.__members__)
    raise _refusal(f"has {part!r} as its {what} mode, which must be one of {names}", text, _FORM)


def _refusal(what: str, text: str, remedy: str) -> PrecisionError:
    return PrecisionError(f"{text!r} {what}: {remedy}")
