from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.api.visible import shown, visible


@given(st.text())
def test_whatever_was_named_becomes_visible_ascii(text: str) -> None:
    assert all(" " <= char <= "~" for char in visible(text))


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
def test_what_is_visible_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@given(st.text(), st.integers(0, 100))
def test_no_more_is_shown_than_there_is_room_for(text: str, most_chars: int) -> None:
    assert len(shown(text, most_chars)) <= most_chars


def test_a_line_break_a_letter_and_half_a_letter_are_escaped() -> None:
    assert visible("a\r\n\x7f\u20ac\ud800b") == r"a\r\n\x7f\u20ac\ud800b"
