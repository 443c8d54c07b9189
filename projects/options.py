"""The options of a conversion, checked before anything is done. hls4ml's words and values count."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from synth.errors import SettingsError
from synth.ir import Graph
from synth.ir.graph import no_such_layer

__all__ = ["Options", "check_layers", "parse_options", "positive", "word"]

_CLOCK_PERIOD = 5.0  # ns, hls4ml's default
_SHORTEST, _LONGEST = 0.01, 1e5  # ns, beyond which no FPGA is clocked
_MOST = 2**31 - 1  # tools count in 32 bits
_CLOCK = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([kmg]?)hz\s*", re.IGNORECASE)
_PERIODS = {"": 1e9, "k": 1e6, "m": 1e3, "g": 1.0}  # ns at one unit
_WORDS = {
    "strategy": ("latency", "resource", "resource_unrolled", "distributed_arithmetic"),
    "io_type": ("io_parallel", "io_stream"),
    "control": ("hs", "none", "chain"),
    "output": ("prediction", "margin"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What `projects.convert.convert` was asked for, apart from model, formats and folder.

    Attributes
    ----------
    clock_period
        In ns.
    interval, latency
        Initiation interval in cycles, and an upper bound on cycles or None.
    reuse_factor
        For all layers, or by layer, "default" for the others.
    """

    clock_period: float
    interval: int
    latency: int | None
    reuse_factor: int | Mapping[str, int]
    strategy: str
    io_type: str
    control: str
    output: str


def parse_options(
    *,
    precision: Any,
    clock_period: Any,
    clock: Any,
    interval: Any,
    latency: Any,
    reuse_factor: Any,
    strategy: Any,
    io_type: Any,
    control: Any,
    output: Any,
) -> Options:
    """Check every option.

    A configuration of hls4ml's, given as ``precision``, says reuse factors and strategy too; they
    count where the options themselves are left at their defaults.

    Raises
    ------
    SettingsError
        Naming the option, its value and what it may be.
    """
    if isinstance(precision, Mapping) and ("Model" in precision or "LayerName" in precision):
        if reuse_factor == 1:
            reuse_factor = _hls4ml_reuse(precision)
        if strategy == "latency":
            strategy = _entry(precision, "Model").get("Strategy", strategy)
    return Options(
        clock_period=_period(clock_period, clock),
        interval=positive("interval", interval),
        latency=None if latency is None else positive("latency", latency),
        reuse_factor=_reuse(reuse_factor),
        strategy=word("strategy", strategy),
        io_type=word("io_type", io_type),
        control=word("control", control),
        output=word("output", output),
    )


def check_layers(options: Options, graph: Graph) -> None:
    """Raise SettingsError if a reuse factor is for a layer that the model does not have."""
    if not isinstance(options.reuse_factor, Mapping):
        return
    known = {origin.layer for origin in graph.origins.values()}
    for layer in options.reuse_factor:
        if layer != "default" and layer not in known:
            raise SettingsError(f"reuse_factor {no_such_layer(layer, known)}")


def _period(period: Any, clock: Any) -> float:
    if clock is not None:
        if period is not None:
            raise SettingsError(
                f"clock_period={period!r} and clock={clock!r} say the same thing: give one of them"
            )
        match = _CLOCK.fullmatch(clock) if isinstance(clock, str) else None
        if match is None or float(match[1]) == 0:
            raise SettingsError(f"clock must be a frequency such as '360 MHz', not {clock!r}")
        found = round(_PERIODS[match[2].lower()] / float(match[1]), 6)
        if not _SHORTEST <= found <= _LONGEST:
            raise SettingsError(
                f"clock={clock!r} is a period of {found:g} ns; between {_SHORTEST:g} and "
                f"{_LONGEST:g} ns can be asked for"
            )
        return found
    value = _CLOCK_PERIOD if period is None else period
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not _SHORTEST <= value <= _LONGEST:
        raise SettingsError(
            f"clock_period must be a positive number of ns, not {value!r}; from {_SHORTEST:g} to "
            f"{_LONGEST:g}"
        )
    return float(value)


def positive(what: str, value: Any) -> int:
    """Return a positive whole number of any kind; raise SettingsError for anything else."""
    number = isinstance(value, Integral) and not isinstance(value, bool)
    if not number or not 1 <= value <= _MOST:
        raise SettingsError(
            f"{what} must be a positive whole number, not {value!r}; at most {_MOST:,}"
        )
    return int(value)


def _reuse(value: Any) -> int | dict[str, int]:
    if not isinstance(value, Mapping):
        return positive("reuse_factor", value)
    checked = {}
    for layer, factor in value.items():
        if not isinstance(layer, str):
            raise SettingsError(f"reuse_factor: keys are names of layers, not {layer!r}")
        checked[layer] = positive(f"reuse_factor[{layer!r}]", factor)
    return checked


def word(what: str, value: Any) -> str:
    """Return one of an option's words, in lower case; raise SettingsError for anything else."""
    known = _WORDS[what]
    if not isinstance(value, str) or value.lower() not in known:
        raise SettingsError(f"{what} must be one of {', '.join(known)}, not {value!r}")
    return value.lower()


def _entry(config: Mapping[Any, Any], key: str) -> Mapping[Any, Any]:
    found = config.get(key) or {}
    if not isinstance(found, Mapping):
        raise SettingsError(f"precision[{key!r}] must be a mapping as hls4ml has it, not {found!r}")
    return found


def _hls4ml_reuse(config: Mapping[Any, Any]) -> Any:
    everywhere = _entry(config, "Model").get("ReuseFactor", 1)
    layers = {
        layer: entry["ReuseFactor"]
        for layer, entry in _entry(config, "LayerName").items()
        if isinstance(entry, Mapping) and "ReuseFactor" in entry
    }
    return {"default": everywhere, **layers} if layers else everywhere
