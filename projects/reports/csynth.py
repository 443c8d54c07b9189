"""``csynth.xml``: what Vitis HLS estimates of its own design.

Tags differ by version (``DSP48E`` in 2020.1, ``DSP`` in 2023.2), so resources are read under
whatever names they have.
"""

from xml.etree import ElementTree as ET

from projects.reports.figure import Figure, count
from synth.errors import FormatError

__all__ = ["read_csynth"]

_STAGE = "hls"
_NAMES = {"DSP48E": "DSP", "BRAM_18K": "BRAM18"}
_PERFORMANCE = (
    ("EstimatedClockPeriod", "estimated clock period", "ns"),
    ("Best-caseLatency", "latency, least", "cycles"),
    ("Worst-caseLatency", "latency, most", "cycles"),
    ("Interval-min", "interval, least", "cycles"),
    ("Interval-max", "interval, most", "cycles"),
)


def read_csynth(text: str) -> list[Figure]:
    """Return the estimates of a csynth.xml; each resource with what the part has.

    Raises
    ------
    FormatError
        The text is no XML, declares entities, or has no estimates.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise FormatError("a csynth.xml declares no entities; this one is not Vitis HLS's")
    try:
        root = ET.fromstring(text)  # noqa: S314 - entities, the danger of XML, are refused above
    except ET.ParseError as error:
        raise FormatError(f"not XML ({error}); was the synthesis interrupted?") from None
    area = root.find(".//AreaEstimates/Resources")
    if area is None:
        raise FormatError("no AreaEstimates in it; was the synthesis interrupted?")
    return [*_performance(root), *_resources(root, area)]


def _performance(root: ET.Element) -> list[Figure]:
    figures = []
    summary = root.find(".//PerformanceEstimates")
    for tag, name, unit in _PERFORMANCE:
        value = count(summary.findtext(f".//{tag}")) if summary is not None else None
        if value is not None:
            figures.append(Figure(stage=_STAGE, name=name, value=value, unit=unit))
    return figures


def _resources(root: ET.Element, area: ET.Element) -> list[Figure]:
    available = root.find(".//AreaEstimates/AvailableResources")
    has = {} if available is None else {child.tag: count(child.text) for child in available}
    figures = []
    for child in area:
        value = count(child.text)
        if value is not None:
            name = _NAMES.get(child.tag, child.tag)
            figure = Figure(stage=_STAGE, name=name, value=value, available=has.get(child.tag))
            figures.append(figure)
    return figures
