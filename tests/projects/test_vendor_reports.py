from pathlib import Path

import pytest

from projects.reports import Figure, read_vendor_reports
from projects.reports.cosim import read_cosim
from projects.reports.csynth import read_csynth
from projects.reports.vivado import read_timing, read_utilisation
from synth.errors import FormatError

FOLDER = Path(__file__).parent / "reports"


def figures(version: str) -> dict[tuple[str, str], Figure]:
    found = read_vendor_reports(FOLDER / version, "jets")
    return {(figure.stage, figure.name): figure for figure in found}


def test_the_reports_of_2020_1() -> None:
    found = figures("vitis_2020_1")
    assert {key: figure.value for key, figure in found.items()} == {
        ("hls", "estimated clock period"): 4.361,
        ("hls", "latency, least"): 14,
        ("hls", "latency, most"): 15,
        ("hls", "interval, least"): 1,
        ("hls", "interval, most"): 1,
        ("hls", "BRAM18"): 4,
        ("hls", "DSP"): 1183,
        ("hls", "FF"): 23461,
        ("hls", "LUT"): 94372,
        ("hls", "URAM"): 0,
        ("cosim", "latency, least"): 14,
        ("cosim", "latency, mean"): 14,
        ("cosim", "latency, most"): 15,
        ("cosim", "interval, least"): 1,
        ("cosim", "interval, mean"): 1,
        ("cosim", "interval, most"): 1,
        ("logic synthesis", "LUT"): 41277,
        ("logic synthesis", "FF"): 10862,
        ("logic synthesis", "BRAM36"): 2.5,
        ("logic synthesis", "URAM"): 0,
        ("logic synthesis", "DSP"): 1172,
    }
    assert found["hls", "DSP"].available == 12288
    assert found["hls", "DSP"].source == "jets_prj/solution1/syn/report/csynth.xml"
    assert found["cosim", "latency, most"].source.endswith("sim/report/jets_cosim.rpt")


def test_the_reports_of_2023_2() -> None:
    found = figures("vitis_2023_2")
    assert {key: figure.value for key, figure in found.items()} == {
        ("hls", "estimated clock period"): 2.021,
        ("hls", "interval, least"): 1,
        ("hls", "interval, most"): 1,
        ("hls", "DSP"): 640,
        ("hls", "FF"): 18220,
        ("hls", "LUT"): 61007,
        ("hls", "BRAM18"): 2,
        ("cosim", "latency, least"): 18,
        ("cosim", "latency, mean"): 19,
        ("cosim", "latency, most"): 21,
        ("cosim", "interval, least"): 1,
        ("cosim", "interval, mean"): 2,
        ("cosim", "interval, most"): 3,
        ("logic synthesis", "LUT"): 30514,
        ("logic synthesis", "FF"): 9030,
        ("logic synthesis", "BRAM36"): 1,
        ("logic synthesis", "URAM"): 0,
        ("logic synthesis", "DSP"): 512,
        ("routed", "worst setup slack"): -0.114,
        ("routed", "worst hold slack"): 0.021,
    }
    # The column of prohibited sites does not shift the one of available ones.
    assert found["logic synthesis", "LUT"].available == 1726800
    assert found["routed", "worst hold slack"].unit == "ns"


def test_a_project_that_was_not_built_has_none(tmp_path: Path) -> None:
    assert read_vendor_reports(tmp_path, "jets") == []


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    report = tmp_path / "prj" / "syn" / "report" / "csynth.xml"
    report.parent.mkdir(parents=True)
    report.write_text("<profile>")
    with pytest.raises(FormatError, match=r"csynth\.xml: not XML .*was the synthesis interrupted"):
        read_vendor_reports(tmp_path, "jets")


def test_incomplete_reports_are_refused() -> None:
    with pytest.raises(FormatError, match="no AreaEstimates in it"):
        read_csynth("<profile></profile>")
    with pytest.raises(FormatError, match="declares no entities"):
        read_csynth('<!DOCTYPE profile [<!ENTITY a "b">]><profile/>')
    with pytest.raises(FormatError, match="no table of latencies"):
        read_cosim("== Cosimulation report")
    with pytest.raises(FormatError, match="no table of sites"):
        read_utilisation("")
    with pytest.raises(FormatError, match="no timing summary"):
        read_timing("")


def test_a_failed_simulation_is_an_error() -> None:
    path = next((FOLDER / "vitis_2020_1").rglob("jets_cosim.rpt"))
    with pytest.raises(FormatError, match="simulation of the Verilog failed"):
        read_cosim(path.read_text().replace("Pass", "Fail"))
