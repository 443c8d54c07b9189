"""Golden data of a test bench: values as hls4ml writes them, and codes for ``$readmemh``."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from backends.vitis.design import Design, Port
from synth.exact import Array
from synth.fixed import Fixed

__all__ = ["decimal", "golden_data", "hexadecimal"]


def golden_data(
    design: Design, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
) -> dict[str, str]:
    """Format events for ``tb_data/``.

    Parameters
    ----------
    design
        Whose ports these are.
    inputs, outputs
        Integer codes by value of the graph, [events, *shape].

    Returns
    -------
    dict
        Text by path. ``tb_input_features.dat`` and ``tb_output_predictions.dat`` hold an event a
        line, the exact decimal values of all ports one after another; ``<port>.hex`` holds a code a
        line, as many digits as the port's widest element needs.
    """
    files = {
        "tb_data/tb_input_features.dat": _values(design.inputs, inputs),
        "tb_data/tb_output_predictions.dat": _values(design.outputs, outputs),
    }
    for ports, codes in ((design.inputs, inputs), (design.outputs, outputs)):
        for port in ports:
            files[f"tb_data/{port.identifier}.hex"] = _codes(port, codes[port.value])
    return files


def _values(ports: Sequence[Port], codes: Mapping[str, Array]) -> str:
    columns = [np.asarray(codes[port.value]).reshape(-1, port.size) for port in ports]
    lines = []
    for rows in zip(*columns, strict=True):
        words: list[str] = []
        for port, row in zip(ports, rows, strict=True):
            words += [decimal(int(c), f.frac) for c, f in zip(row, _formats(port), strict=True)]
        lines.append(" ".join(words) + "\n")
    return "".join(lines)


def _formats(port: Port) -> Iterable[Fixed]:
    return port.formats if port.by_element else port.formats * port.size


def _codes(port: Port, codes: Array) -> str:
    width = max(fmt.width for fmt in port.formats)
    return "".join(f"{hexadecimal(int(code), width)}\n" for code in np.ravel(codes))


def decimal(code: int, frac: int) -> str:
    """Return ``code * 2**-frac`` as a decimal number without rounding."""
    if frac <= 0:
        return str(code << -frac)
    sign, digits = "-" if code < 0 else "", str(abs(code) * 5**frac).rjust(frac + 1, "0")
    return f"{sign}{digits[:-frac]}.{digits[-frac:]}".rstrip("0").rstrip(".")


def hexadecimal(code: int, width: int) -> str:
    """Return a code in two's complement of `width` bits, as ``$readmemh`` reads it."""
    return f"{code & ((1 << width) - 1):0{-(-width // 4)}x}"
