from pathlib import Path

import pytest

from projects.demo.jets import ACCURACY
from projects.demo.run import run_demo
from projects.project import open_project


def test_the_demonstration_shows_an_exact_tagger(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    result = run_demo(tmp_path / "jet_tagger")
    assert result.validation.exact
    assert result.on_jets.exact
    assert result.on_jets.overflows == {}
    real, exact = result.quality
    assert real.accuracy == pytest.approx(ACCURACY, abs=0.001)  # ACCURACY is rounded
    # A tenth of the statistical error of 10,000 jets.
    assert exact.accuracy == pytest.approx(real.accuracy, abs=0.0005)
    assert len(result.times) == 6
    text = capsys.readouterr().out
    for words in (
        "load simulated jets: Pythia 8 and FastJet, 13 TeV, particle level",
        "efficiency for t at FPR 0.001",
        "exact, every bit of every output",
        "jet_tagger: 10,000 events (held-out jets)",
        "the project is in",
    ):
        assert words in text
    assert open_project(tmp_path / "jet_tagger").name == "jet_tagger"
    again = run_demo(tmp_path / "jet_tagger", quiet=True)
    assert capsys.readouterr().out == ""
    assert again.as_dict()["quality"] == result.as_dict()["quality"]
