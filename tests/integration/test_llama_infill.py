"""Fill-in-the-middle over llama.cpp: with the tokens it is laid out as llama-server does, without it is
refused.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import ContextLengthExceeded, Unsupported
from appliance.wire.messages import FileText, Generate, TextPrompt, Tokenize, TokensPrompt
from tests.fakes.tiny_gguf import BOS, INFILL, N_VOCAB, write_generator
from tests.integration.llama_desk import GREEDY, Answer, Desk

pytestmark = pytest.mark.integration

BEFORE, AFTER, MIDDLE, REPOSITORY, FILE = range(N_VOCAB, N_VOCAB + len(INFILL))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("infill") / "m.gguf", infill=True)


def answer(desk: Desk, prompt: TextPrompt | TokensPrompt) -> Answer:
    key = desk.begin(
        Generate(id=desk.next_id(), prompt=prompt, sampling=GREEDY, max_tokens=8, top_logprobs=0)
    )
    desk.finish()
    return desk.answer(key)


def plain(desk: Desk, text: str) -> list[int]:
    return desk.call(Tokenize(id=desk.next_id(), text=text, parse_special=False)).tokens


def test_a_gap_is_laid_out_as_its_tokens_and_code_may_hold_their_names(model: Path) -> None:
    text, suffix = "def f(<|fim_middle|>", "): pass"
    with Desk(model) as desk:
        told = answer(desk, TextPrompt(text=text, suffix=suffix))
        tokens = [BOS, BEFORE, *plain(desk, text), AFTER, *plain(desk, suffix), MIDDLE]
        assert told.tokens == answer(desk, TokensPrompt(tokens=tokens)).tokens


def test_other_files_stand_in_front(model: Path) -> None:
    prompt = TextPrompt(text="a", suffix="b", files=[FileText("x.py", "code")])
    with Desk(model) as desk:
        told = answer(desk, prompt)
        tokens = [BOS, REPOSITORY, *plain(desk, "myproject\n"), FILE, *plain(desk, "x.py\n")]
        tokens += [*plain(desk, "code"), FILE, *plain(desk, "filename\n")]
        tokens += [BEFORE, *plain(desk, "a"), AFTER, *plain(desk, "b"), MIDDLE]
        assert told.tokens == answer(desk, TokensPrompt(tokens=tokens)).tokens


def test_what_does_not_fit_is_refused_and_not_cut(model: Path) -> None:
    files = [FileText("x.py", "the " * 100)] * 10
    with Desk(model, n_ctx_seq=256) as desk, pytest.raises(ContextLengthExceeded):
        answer(desk, TextPrompt(text="a", suffix="b", files=files))


def test_a_model_without_the_tokens_refuses(tmp_path: Path) -> None:
    with Desk(write_generator(tmp_path / "m.gguf")) as desk, pytest.raises(Unsupported) as refused:
        answer(desk, TextPrompt(text="a", suffix="b"))
    assert refused.value.param == "suffix"
