"""Names of a model never reach generated code as they are."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.cstyle import RESERVED, Names, comment, integer_literal, integer_type, is_identifier

HOSTILE = ['";}', "a\nb", "a\\", "??/", "*/", "é", "\u2028", "int", "Wire", "SIGNAL", "", "1x"]


@pytest.mark.parametrize("word", ["template", "always_ff", "PROCESS", "Signal", "proc", "errno"])
def test_reserved_words_are_no_identifiers(word: str) -> None:
    assert word.lower() in RESERVED
    assert not is_identifier(word)


@pytest.mark.parametrize("name", ["a b", "_a", "a_", "a__b", "1a", "é", "a\n", "", "a;b", "x" * 65])
def test_what_vhdl_refuses_is_no_identifier(name: str) -> None:
    assert not is_identifier(name)


@pytest.mark.parametrize("name", ["x", "jet_tagger", "fc1", "X9"])
def test_plain_names_are_identifiers(name: str) -> None:
    assert is_identifier(name)


@given(st.lists(st.one_of(st.text(), st.sampled_from([*HOSTILE, "x", "X", "x_t", "x_1"]))))
def test_names_are_legal_and_differ_in_more_than_case(names: list[str]) -> None:
    table = Names(frozenset({"top"}))
    found = [table.port(name) for name in names]
    found += [table.numbered(name, number) for number, name in enumerate(names)]
    assert all(is_identifier(identifier) for identifier in found)
    assert len({identifier.lower() for identifier in found}) == len(found)
    # The types of ports and arrays collide with no name either.
    derived = {f"{identifier}_t".lower() for identifier in found}
    assert not derived & {identifier.lower() for identifier in found}
    assert "top" not in {identifier.lower() for identifier in found}


def test_a_free_name_stays_and_a_taken_one_is_numbered() -> None:
    table = Names()
    assert [table.port("x"), table.port("X"), table.numbered("fc1/bias:0", 7)] == [
        "x",
        "X_0",
        "fc1_bias_0_7",
    ]


@given(st.one_of(st.text(), st.sampled_from(HOSTILE)))
def test_comments_stay_on_their_line(text: str) -> None:
    escaped = comment(text)
    assert set(escaped) <= set(string.printable) - set('\n\r\t\x0b\x0c\\?"')


def test_comments_show_what_they_escape() -> None:
    assert comment('a"\n') == "a<U+0022><U+000A>"


@pytest.mark.parametrize(
    ("width", "signed", "expected"),
    [(8, True, "signed char"), (9, True, "short"), (1, False, "unsigned char"),
     (32, True, "int"), (33, False, "unsigned long long")],
)  # fmt: skip
def test_integer_types_are_the_smallest(width: int, signed: bool, expected: str) -> None:
    assert integer_type(width, signed) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5, "5"), (-(1 << 31), "-2147483648LL"), (1 << 40, "1099511627776LL"),
     (1 << 63, "9223372036854775808ULL"), (-(1 << 63), "(-9223372036854775807LL - 1)")],
)  # fmt: skip
def test_integer_literals(value: int, expected: str) -> None:
    assert integer_literal(value) == expected
