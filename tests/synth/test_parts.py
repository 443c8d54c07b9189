import pytest

from synth.errors import PartError
from synth.parts import find, parts


def test_a_part_is_found_by_its_order_code() -> None:
    part = find("xcvu13p-flga2577-2-e")
    assert (part.lut, part.ff, part.dsp, part.dsp_kind) == (1728000, 3456000, 12288, "DSP48E2")


def test_case_and_spaces_do_not_matter() -> None:
    assert find(" XCVU13P-FLGA2577-2-E ").code == "xcvu13p-flga2577-2-e"
    assert find("5csebA6u23i7").code == "5CSEBA6U23I7"


def test_what_is_unknown_stays_empty() -> None:
    part = find("xcku115-flvb2104-2-i")
    assert part.ff is None
    assert part.slr is None


def test_every_row_says_where_it_was_read() -> None:
    assert len(parts()) > 25
    assert len({part.code.lower() for part in parts()}) == len(parts())
    assert all(part.source and part.confidence for part in parts())


@pytest.mark.parametrize(
    ("code", "near"),
    [
        ("xcvu13p", "did you mean 'xcvu13p-flga2577-2-e'"),
        ("xcvu13p-flga2577-1-e", "did you mean 'xcvu13p-flga2577-2-e'"),
        ("xcvu13p-fhgb2104-2-i", "did you mean 'xcvu13p-flga2577-2-e'"),
        ("xczu9eg-ffvb1165-2-e", "did you mean 'xczu9eg-ffvb1156-2-e'"),
    ],
)
def test_near_matches_are_offered(code: str, near: str) -> None:
    with pytest.raises(PartError, match=f"unknown part '{code}': {near}"):
        find(code)


@pytest.mark.parametrize("code", ["", "nothing like it at all"])
def test_without_a_near_match_the_form_is_explained(code: str) -> None:
    with pytest.raises(PartError, match="give the full order code with package and speed grade"):
        find(code)


def test_a_part_must_be_text() -> None:
    with pytest.raises(PartError, match=r"part must be an order code such as .*, not None"):
        find(None)  # type: ignore[arg-type]
