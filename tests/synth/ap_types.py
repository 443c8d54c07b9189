"""Runs conversions through the real ap_types headers, which are the truth for `synth.fixed`."""

import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from synth.fixed import Fixed, Format

# Compiling a conversion takes some 15 ms and its memory stays until the unit's end.
CONVERSIONS_PER_UNIT = 600

_SOURCE = """\
#include "ap_fixed.h"
#include <cstdio>
#include <cstdint>

typedef ap_private<128, true> Wire;  // codes travel as 128 bits, the low word first

template <class V> bool receive(V& code) {
  uint64_t words[2];
  if (fread(words, 8, 2, stdin) != 2) return false;
  Wire wire(words[1]);
  wire <<= 64;
  wire |= Wire(words[0]);
  code = wire;
  return true;
}

template <class V> void send(const V& code) {
  Wire wire(code);
  uint64_t words[2] = {wire.to_uint64(), (wire >> 64).to_uint64()};
  fwrite(words, 8, 2, stdout);
}

// The whole of ap_fixed's semantics is ap_fixed_base::operator=; without the derived class it
// compiles twice as fast.
template <class S, class D> void convert(int count) {
  S s;
  D d;
  while (count-- && receive(s.V)) {
    d = s;
    send(d.V);
  }
}

int main() {
"""


@dataclass(frozen=True)
class Conversion:
    """Codes of one format on their way into another."""

    source: Fixed
    target: Format
    codes: Sequence[int]


def headers() -> Path:
    """Find the ap_types headers in the hls4ml distribution, without importing it."""
    spec = importlib.util.find_spec("hls4ml")
    assert spec is not None, "hls4ml is a base dependency"
    assert spec.origin is not None, "hls4ml is a package"
    return Path(spec.origin).parent / "templates" / "vivado" / "ap_types"


def _base(fixed: Fixed, modes: str) -> str:
    signed = str(fixed.signed).lower()
    return f"ap_fixed_base<{fixed.width},{fixed.integer},{signed},{modes},0>"


def _line(conversion: Conversion) -> str:
    target = conversion.target
    assert isinstance(target.type, Fixed)
    source = _base(conversion.source, "AP_TRN,AP_WRAP")
    reached = _base(target.type, f"AP_{target.rounding},AP_{target.overflow}")
    return f"  convert<{source}, {reached}>({len(conversion.codes)});\n"


def _run_unit(conversions: Sequence[Conversion], folder: Path) -> list[list[int]]:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.fail("A C++ compiler is needed for this test: install g++ or clang++")
    source, program = folder / "convert.cpp", folder / "convert"
    source.write_text(_SOURCE + "".join(map(_line, conversions)) + "}\n")
    # Unoptimised, because the time goes into the templates and not into the run. Rounding by
    # more bits than the source has makes the headers look at a bit that they then ignore; only
    # an assertion of theirs minds.
    flags = ["-std=c++14", "-O0", "-DNDEBUG", "-w", f"-I{headers()}"]
    subprocess.run([compiler, *flags, str(source), "-o", str(program)], check=True)
    sent = [code & ((1 << 128) - 1) for c in conversions for code in c.codes]
    data = b"".join(code.to_bytes(16, "little") for code in sent)
    back = subprocess.run([str(program)], input=data, capture_output=True, check=True).stdout
    assert len(back) == len(data)
    words = iter(range(0, len(back), 16))
    return [[_code(back, next(words), c.target) for _ in c.codes] for c in conversions]


def _code(data: bytes, start: int, target: Format) -> int:
    assert isinstance(target.type, Fixed)
    return int.from_bytes(data[start : start + 16], "little", signed=target.type.signed)


def run(conversions: Sequence[Conversion], folder: Path) -> list[list[int]]:
    """Convert every code by ap_types, and give back the codes of the targets."""
    results: list[list[int]] = []
    for start in range(0, len(conversions), CONVERSIONS_PER_UNIT):
        results += _run_unit(conversions[start : start + CONVERSIONS_PER_UNIT], folder)
    return results
