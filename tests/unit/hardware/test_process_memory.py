"""What a process holds, from the kernel's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.hardware.process_memory import anonymous_bytes, parse
from appliance.hardware.root import Root

STATUS = """Name:\tpython3
VmRSS:\t  204800 kB
RssAnon:\t  102400 kB
RssFile:\t  101376 kB
RssShmem:\t    1024 kB
Threads:\t8
"""


def test_its_own_pages_are_the_anonymous_and_the_shared_ones() -> None:
    assert parse(STATUS) == 103424 * 1024


@pytest.mark.parametrize(
    "text",
    ["", "Name:\tzombie\nState:\tZ\n", "RssAnon:\tmany kB\n", "RssAnon:\n", "\0\xff", "RssAnon: -5 kB"],
)
def test_a_process_that_has_ended_or_words_that_are_none_are_unknown(text: str) -> None:
    assert parse(text) is None


def test_it_is_read_from_the_tree_that_is_given(tmp_path: Path) -> None:
    (tmp_path / "proc/42").mkdir(parents=True)
    (tmp_path / "proc/42/status").write_text(STATUS)
    assert anonymous_bytes(42, Root(tmp_path)) == 103424 * 1024
    assert anonymous_bytes(43, Root(tmp_path)) is None
