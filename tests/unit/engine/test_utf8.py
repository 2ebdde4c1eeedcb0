from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.utf8 import begun_after


@given(text=st.text(max_size=20), cut=st.integers(0, 80))
def test_text_cut_anywhere_goes_on(text: str, cut: int) -> None:
    whole = text.encode("utf-8")
    begun = begun_after(b"", whole[:cut])
    assert begun is not None and len(begun) < 4
    assert begun_after(begun, whole[cut:]) == b""


@pytest.mark.parametrize(
    "broken",
    [b"\x80", b"\xc3\x22", b"\xc0\x80", b"\xf5", b"\xe2\x82\x20", b"a\xff", b"\xf0\x82", b"\xed\xa0"],
)
def test_what_no_character_continues_is_broken(broken: bytes) -> None:
    assert begun_after(b"", broken) is None


def test_a_character_may_end_in_the_next_piece() -> None:
    assert begun_after(b"", b"x\xe2\x82") == b"\xe2\x82"
    assert begun_after(b"\xe2\x82", b"\xacx") == b""
