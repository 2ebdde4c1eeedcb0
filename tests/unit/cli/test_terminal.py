from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cli.spinner import Spinner
from appliance.cli.terminal import Wrapper, duration, printable, size, table, width_of


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain\ntext\there", "plain\ntext\there"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("\x1b]0;title\x07", "]0;title"),
        ("\x9b6n", "6n"),
        ("over\rwrite\b\x7f", "overwrite"),
        ("abc\u202edcb", "abcdcb"),
        ("emoji 🦙 é 你", "emoji 🦙 é 你"),
    ],
)
def test_control_characters_are_taken_out(text: str, safe: str) -> None:
    assert printable(text) == safe


def test_width_counts_columns() -> None:
    assert width_of("abc") == 3
    assert width_of("你好") == 4
    assert width_of("e\u0301") == 1


def shown(written: str) -> str:
    """What a terminal shows of cursor-left-and-wipe and line ends."""
    lines = [""]
    for left, text in re.findall(r"\x1b\[(\d+)D\x1b\[K|([^\x1b])", written):
        if left:
            lines[-1] = lines[-1][: len(lines[-1]) - int(left)]
        elif text == "\n":
            lines.append("")
        else:
            lines[-1] += text
    return "\n".join(lines)


def test_a_word_that_does_not_fit_moves_to_the_next_line() -> None:
    assert shown(Wrapper(10).feed("alpha beta gamma")) == "alpha beta\ngamma"
    assert shown(Wrapper(12).feed("alpha beta gamma")) == "alpha beta \ngamma"


def test_a_word_that_comes_in_pieces_moves_whole() -> None:
    wrapper = Wrapper(12)
    written = "".join(wrapper.feed(piece) for piece in ("alpha ", "bet", "agamm", "a"))
    assert shown(written) == "alpha \nbetagamma"


def test_a_word_longer_than_the_line_is_cut() -> None:
    assert shown(Wrapper(4).feed("abcdefghij")) == "abcd\nefgh\nij"


def test_lines_of_the_answer_stay_lines() -> None:
    assert shown(Wrapper(10).feed("one\n\n- two\n")) == "one\n\n- two\n"


@given(st.text(alphabet="ab \n", max_size=80), st.integers(2, 12), st.integers(1, 7))
def test_wrapping_never_passes_the_width_and_loses_no_word(text: str, columns: int, step: int) -> None:
    wrapper = Wrapper(columns)
    result = shown("".join(wrapper.feed(text[index : index + step]) for index in range(0, len(text), step)))
    assert all(len(line) <= columns for line in result.split("\n"))
    assert "".join(result.split()) == "".join(text.split())


def test_a_table_is_aligned_and_safe() -> None:
    text = table(("NAME", "STATE"), [("tiny", "ready"), ("你", "x\x1b[2J")])
    assert text == "NAME   STATE\ntiny   ready\n你     x[2J"


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (980, "980 B"),
        (1_000, "1.0 kB"),
        (91_700_000, "92 MB"),
        (2_019_000_000, "2.0 GB"),
        (10**16, "10000 TB"),
    ],
)
def test_sizes_are_decimal(size_bytes: int, text: str) -> None:
    assert size(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12.3ms"), (1.25, "1.25s"), (185.0, "3m05s"), (7800.0, "2h10m"), (442_800.0, "5d3h")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_spinner_writes_nothing_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with Spinner("waiting", stream=stream) as spinner:
        spinner.stop()
    assert stream.getvalue() == ""
