"""Number formats as ap_fixed types."""

from synth.errors import PrecisionError
from synth.fixed import Fixed, Format, Overflow, Round

__all__ = ["MAX_WIDTH", "fixed_type", "format_type"]

MAX_WIDTH = 1024
"""ap_types end here unless AP_INT_MAX_W is raised."""


def fixed_type(fmt: Fixed, rounding: Round = Round.TRN, overflow: Overflow = Overflow.WRAP) -> str:
    """Return the type of a format, with the modes of what is assigned to it.

    Raises
    ------
    PrecisionError
        If it is wider than ap_fixed can be.
    """
    if fmt.width > MAX_WIDTH:
        raise PrecisionError(
            f"{fmt} is wider than the {MAX_WIDTH} bits of ap_fixed: "
            "cast to a narrower format before"
        )
    modes = ""
    if (rounding, overflow) != (Round.TRN, Overflow.WRAP):
        modes = f", AP_{rounding}, AP_{overflow}"
    return f"ap_{'' if fmt.signed else 'u'}fixed<{fmt.width}, {fmt.integer}{modes}>"


def format_type(target: Fixed, fmt: Format) -> str:
    """Return the type that rounds and overflows into `target` as `fmt` says."""
    return fixed_type(target, fmt.rounding, fmt.overflow)
