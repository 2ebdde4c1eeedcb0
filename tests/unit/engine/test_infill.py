"""The layout of a prompt with a gap."""

from __future__ import annotations

import pytest

from appliance.engine.infill import CURRENT_FILE, REPOSITORY, SNIPPET, InfillMarkers, infill_tokens
from appliance.wire.messages import FileText, TextPrompt

BARE = InfillMarkers(before=-1, after=-2, middle=-3)
FULL = InfillMarkers(before=-1, after=-2, middle=-3, repository=-4, file=-5)
FILES = [FileText("a.py", "A"), FileText("b.py", "B")]


def told(prompt: TextPrompt, markers: InfillMarkers) -> list[int | str]:
    """Markers as numbers, with the text between them put together."""
    laid: list[int | str] = []
    for token in infill_tokens(prompt, markers, lambda text: [ord(letter) for letter in text]):
        if token < 0:
            laid.append(token)
        elif laid and isinstance(laid[-1], str):
            laid[-1] += chr(token)
        else:
            laid.append(chr(token))
    return laid


@pytest.mark.parametrize("markers", [BARE, FULL])
def test_a_gap_alone_is_three_markers_and_two_texts(markers: InfillMarkers) -> None:
    assert told(TextPrompt(text="ab", suffix="cd"), markers) == [-1, "ab", -2, "cd", -3]


def test_an_empty_suffix_is_a_gap_at_the_end() -> None:
    assert told(TextPrompt(text="ab", suffix=""), FULL) == [-1, "ab", -2, -3]


def test_other_files_stand_before_with_their_names() -> None:
    laid = told(TextPrompt(text="ab", suffix="cd", files=FILES), FULL)
    gap = [-1, "ab", -2, "cd", -3]
    assert laid == [-4, REPOSITORY, -5, "a.py\nA", -5, "b.py\nB", -5, CURRENT_FILE, *gap]


def test_without_tokens_for_files_a_line_sets_them_off() -> None:
    laid = told(TextPrompt(text="ab", suffix="cd", files=FILES), BARE)
    assert laid == [f"{SNIPPET}A{SNIPPET}B", -1, "ab", -2, "cd", -3]
