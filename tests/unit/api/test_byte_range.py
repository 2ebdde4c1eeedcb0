from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.byte_range import ByteRange, Unsatisfiable, parse_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", ByteRange(0, 1)),
        ("bytes=0-99", ByteRange(0, 100)),
        ("bytes=10-", ByteRange(10, 100)),
        ("bytes=99-1000000", ByteRange(99, 100)),
        ("bytes=-1", ByteRange(99, 100)),
        ("bytes=-1000", ByteRange(0, 100)),
        (" bytes=5-6 ", ByteRange(5, 7)),
    ],
)
def test_one_range_is_taken(header: str, expected: ByteRange) -> None:
    assert parse_range(header, 100) == expected


@pytest.mark.parametrize(
    "header",
    [
        *(
            None,
            "",
            "bytes=",
            "bytes=-",
            "bytes=6-5",
            "bytes=0-1,4-5",
            "lines=1-2",
            "bytes=a-b",
            "bytes=1-2x",
        ),
        *("bytes=٣-٤", "bytes=+1-2", "bytes=1.0-2", "bytes=0x1-2", f"bytes={'9' * 20}-"),
    ],
)
def test_what_is_no_single_range_means_the_whole(header: str | None) -> None:
    assert parse_range(header, 100) is None


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=100-", 100), ("bytes=100-200", 100), ("bytes=-0", 100), ("bytes=0-", 0)]
)
def test_a_range_behind_the_end_cannot_be_satisfied(header: str, size: int) -> None:
    with pytest.raises(Unsatisfiable):
        parse_range(header, size)


@given(
    st.text(max_size=40) | st.from_regex(r"bytes=[0-9]{0,3}-[0-9]{0,3}", fullmatch=True), st.integers(0, 500)
)
def test_a_range_is_never_empty_and_never_beyond_the_content(header: str, size: int) -> None:
    try:
        found = parse_range(header, size)
    except Unsatisfiable:
        return
    assert found is None or 0 <= found.start < found.end <= size
