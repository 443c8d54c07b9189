"""Integer codes of any width as 64-bit words, least significant first, and back."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from synth.errors import ShapeError
from synth.exact import Array, integers
from synth.fixed import Fixed, parse_fixed

__all__ = ["Wire", "from_words", "to_words"]

_WORD = (1 << 64) - 1


@dataclass(frozen=True)
class Wire:
    """A port or value as the C interface carries it.

    Attributes
    ----------
    formats
        One for all elements, or one an element.
    shifts
        How many zeros an element's code has below its own LSB (values inside a design are counted
        in the array's finest LSB); one for all, or one an element.
    """

    value: str
    shape: tuple[int, ...]
    formats: tuple[Fixed, ...]
    words: int
    shifts: tuple[int, ...] = (0,)

    @property
    def size(self) -> int:
        """Number of elements of an event."""
        return math.prod(self.shape)

    @classmethod
    def of_port(cls, port: Mapping[str, Any]) -> "Wire":
        """Read a port of ``manifest.json``."""
        formats = tuple(parse_fixed(text) for text in port["formats"])
        return cls(port["value"], tuple(port["shape"]), formats, port["words"])

    @classmethod
    def of_value(cls, value: Mapping[str, Any]) -> "Wire":
        """Read a traced value of ``manifest.json``."""
        shape = tuple(value["shape"])
        shifts: tuple[int, ...] = (0,)
        if value["element_fracs"]:
            fracs = np.broadcast_to(np.asarray(value["element_fracs"]), shape).ravel()
            shifts = tuple((value["frac"] - fracs).tolist())
        return cls(value["value"], shape, (parse_fixed(value["format"]),), value["words"], shifts)


def to_words(codes: Array, wire: Wire) -> Array:
    """Return codes [events, *shape] as int64 words [events, size * words].

    Raises
    ------
    ShapeError
        If the shape is not the wire's.
    """
    codes = np.asarray(codes)
    if codes.ndim == 0 or codes.shape[1:] != wire.shape:
        raise ShapeError(
            f"input {wire.value!r} has shape {codes.shape}, not (events, *{wire.shape})"
        )
    flat = codes.reshape(len(codes), wire.size)
    if wire.words == 1 and flat.dtype.kind in "iu":
        return np.ascontiguousarray(flat.astype(np.int64, copy=False))
    whole = flat.astype(object)
    parts = [((whole >> (64 * i)) & _WORD).astype(np.uint64) for i in range(wire.words)]
    words = np.stack(parts, axis=-1).reshape(len(codes), -1)
    return np.ascontiguousarray(words).view(np.int64)


def from_words(words: Array, wire: Wire) -> Array:
    """Return int64 words [events, size * words] as codes [events, *shape]."""
    events = len(words)
    whole: Array = words.reshape(events, wire.size, wire.words)
    widest = max(fmt.width + (not fmt.signed) for fmt in wire.formats)
    if wire.words == 1 and widest <= 64:
        codes = whole[..., 0]
    else:
        # Two's complement: the upper words of unsigned codes are masked, not sign-extended.
        unsigned = whole.view(np.uint64).astype(object)
        codes = unsigned[..., 0]
        for i in range(1, wire.words):
            codes = codes | (unsigned[..., i] << (64 * i))
        formats = wire.formats * (wire.size if len(wire.formats) == 1 else 1)
        half = np.array([1 << (f.width - 1) if f.signed else 0 for f in formats], object)
        full = np.array([(1 << f.width) - 1 for f in formats], object)
        codes = integers(((codes & full) ^ half) - half)
    if any(wire.shifts):
        codes = codes >> np.array(wire.shifts)
    return codes.reshape(events, *wire.shape)
