"""Which lane a request takes, and what becomes of one that nobody waits for. The threads run in
`test_serve.py`.
"""

from __future__ import annotations

import pytest

from appliance.runner.preparers import LONG_CHARS, Requests, text_chars
from appliance.wire.messages import (
    ChatPrompt,
    Detokenize,
    Embed,
    Generate,
    Request,
    Rerank,
    TextPrompt,
    Tokenize,
    TokensPrompt,
)


@pytest.mark.parametrize(
    ("request_", "chars"),
    [
        (Generate(id=1, prompt=ChatPrompt(messages=[{"content": "abc"}, {"content": None}, {}])), 3),
        (Generate(id=1, prompt=TextPrompt(text="ab", suffix="c")), 3),
        (Generate(id=1, prompt=TokensPrompt(tokens=[1, 2])), 0),
        (Embed(id=1, inputs=["abc", "de"]), 5),
        (Rerank(id=1, query="ab", documents=["c", "d"]), 6),
        (Tokenize(id=1, text="abc"), 3),
        (Detokenize(id=1, tokens=[1]), 0),
    ],
)
def test_the_text_of_a_request_is_counted(request_: Request, chars: int) -> None:
    assert text_chars(request_) == chars


def test_a_long_text_takes_the_lane_of_the_long_ones() -> None:
    requests = Requests()
    requests.put(Tokenize(id=1, text="x" * (LONG_CHARS + 1)))
    requests.put(Tokenize(id=2, text="x" * LONG_CHARS))
    assert (requests.long.get_nowait(), requests.long.empty()) == (
        Tokenize(id=1, text="x" * (LONG_CHARS + 1)),
        True,
    )
    assert requests.short.get_nowait() == Tokenize(id=2, text="x" * LONG_CHARS)


def test_both_lanes_end_at_the_close() -> None:
    requests = Requests()
    requests.close()
    assert (requests.short.get_nowait(), requests.long.get_nowait()) == (None, None)
