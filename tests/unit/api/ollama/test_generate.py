"""POST /api/generate over a fake Inference."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.ollama.conversation_context import MARK, MAX_BYTES, packed, unpacked
from appliance.errors import InvalidRequest
from appliance.store.amend import jinja_of
from appliance.wire.messages import ChatPrompt, Delta, TextPrompt
from tests.fakes.fake_inference import text_of
from tests.unit.api.door import Door
from tests.unit.api.ollama.asked import generate, lines_of, refusal, warning


@pytest.fixture
def door() -> Door:
    return Door()


def messages(door: Door) -> list[dict[str, Any]]:
    prompt = door.inference.requests[-1].prompt
    assert isinstance(prompt, ChatPrompt)
    return prompt.messages


def test_a_prompt_is_a_chat_of_one_question(door: Door) -> None:
    told = generate(door, system="Be kind.").json
    assert (told["response"], told["done"], told["done_reason"]) == ("Hello", True, "stop")
    assert told["eval_duration"] == 500_000_000
    assert messages(door) == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}]


def test_a_stream_has_the_text_in_pieces(door: Door) -> None:
    first, *tokens, last = lines_of(generate(door, stream=True))
    assert (first["response"], first["done"]) == ("", False)
    assert [line["response"] for line in tokens] == ["Hel", "lo"]
    assert (last["response"], last["done"]) == ("", True)
    assert last["context"] == generate(door).json["context"]


def test_thinking_has_a_field_of_its_own(door: Door) -> None:
    thought = Delta(id=1, choice=0, text="", tokens=1, reasoning="hm")
    door.inference.script = lambda _: [thought, *text_of("yes")]
    told = generate(door, think=True).json
    assert (told["thinking"], told["response"]) == ("hm", "yes")


def test_the_context_of_an_answer_goes_on_with_it(door: Door) -> None:
    context = generate(door, system="Be kind.").json["context"]
    told = generate(door, prompt="more", context=context).json
    assert [(one["role"], one["content"]) for one in messages(door)] == [
        ("system", "Be kind."),
        ("user", "hi"),
        ("assistant", "Hello"),
        ("user", "more"),
    ]
    assert unpacked(told["context"])[-1] == ("assistant", "Hello")
    generate(door, prompt="more", context=context, system="Be short.")
    assert messages(door)[0]["content"] == "Be short."


@pytest.mark.parametrize("context", [[1, 2, 3], [MARK, 5, 5], [-1], [MARK], [MARK, 3, 0, 1 << 40]])
def test_a_context_that_is_not_ours_is_refused(door: Door, context: list[int]) -> None:
    status, text = refusal(generate(door, context=context))
    assert (status, text.startswith("context: it is not the context")) == (400, True)


def test_no_context_is_as_good_as_none(door: Door) -> None:
    absents: list[list[int] | None] = [[], None]
    for absent in absents:
        assert generate(door, context=absent).status_code == 200


@given(
    st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text(max_size=60)), max_size=8)
)
def test_what_is_packed_comes_back(said: list[tuple[str, str]]) -> None:
    numbers = packed(said)
    assert numbers is not None
    assert all(0 <= number < 1 << 31 for number in numbers)
    assert unpacked(numbers) == said


@given(st.lists(st.integers(min_value=-(1 << 63), max_value=(1 << 63) - 1), min_size=1, max_size=12))
def test_no_numbers_do_more_than_be_refused(numbers: list[int]) -> None:
    for context in (numbers, [MARK, *numbers]):
        with suppress(InvalidRequest):
            unpacked(context)


def test_a_conversation_that_is_too_long_is_not_packed() -> None:
    assert packed([("user", "x" * MAX_BYTES)]) is None


def test_raw_is_the_text_as_it_is_and_has_no_context(door: Door) -> None:
    told = generate(door, raw=True, prompt="<s>hi").json
    assert door.inference.requests[-1].prompt == TextPrompt(text="<s>hi")
    assert "context" not in told
    expected = (400, "raw mode does not support template, system, or context")
    for fields in ({"system": "x"}, {"template": "x"}, {"context": [1]}):
        assert refusal(generate(door, raw=True, **fields)) == expected


def test_a_suffix_is_filled_in_before(door: Door) -> None:
    generate(door, prompt="def f(", suffix="return 1")
    assert door.inference.requests[-1].prompt == TextPrompt(text="def f(", suffix="return 1")
    assert refusal(generate(door, suffix="x", system="y"))[0] == 400


@pytest.mark.parametrize("template", ["{{ .System }}>{{ .Prompt }}", "{{ messages[0]['content'] }}>"])
def test_a_template_of_either_language_reaches_the_runner_as_jinja(door: Door, template: str) -> None:
    told = generate(door, template=template, system="Be brief.").json
    prompt = door.inference.requests[-1].prompt
    assert isinstance(prompt, ChatPrompt)
    assert prompt.template == jinja_of(template)[0]
    assert "messages" in str(prompt.template)
    assert "context" in told


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ .Prompt", "line 1"),
        ("{{ exec .Prompt }}", "exec"),
        ("x" * 32_769, "32769 characters, at most 32768 are taken"),
    ],
)
def test_a_template_that_nobody_can_read_is_refused(door: Door, template: str, reason: str) -> None:
    status, text = refusal(generate(door, template=template))
    assert (status, reason in text, "template" in text) == (400, True, True)
    assert door.inference.requests == []


def test_a_template_excludes_a_suffix(door: Door) -> None:
    assert refusal(generate(door, template="{{ .Prompt }}", suffix="x"))[0] == 400


def test_images_are_refused_by_name(door: Door) -> None:
    status, text = refusal(generate(door, images=["aGk="]))
    assert (status, "'images'" in text) == (400, True)


def test_no_prompt_loads_the_model_and_a_keep_alive_of_0_puts_it_out(door: Door) -> None:
    told = generate(door, prompt="").json
    assert (told["done"], told["done_reason"], told["response"]) == (True, "load", "")
    assert generate(door, prompt=None, keep_alive="0s").json["done_reason"] == "unload"
    assert (door.inference.unloaded, door.inference.requests) == (1, [])
    assert refusal(generate(door, prompt="", model="nope")) == (404, "model 'nope' not found")


def test_the_rendered_prompt_is_shown_on_request(door: Door) -> None:
    assert generate(door, _debug_render_only=True).json["_debug_info"]["rendered_template"] == "rendered"
    raw = generate(door, raw=True, prompt="<s>", _debug_render_only=True).json
    assert raw["_debug_info"]["rendered_template"] == "<s>"


def test_what_is_unknown_is_named(door: Door) -> None:
    assert "'runner' is ignored" in warning(generate(door, runner="x"))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"temperature": "hot"}, "options.temperature"),
        ({"temperature": 99}, "options.temperature"),
        ({"num_predict": 0}, "options.num_predict"),
        ({"stop": [""]}, "options.stop"),
        ({"stop": 5}, "options.stop"),
        ({"top_k": 1.5}, "options.top_k"),
        ({"use_mmap": 1}, "options.use_mmap"),
    ],
)
def test_an_option_that_is_wrong_is_refused_by_name(door: Door, options: dict[str, Any], named: str) -> None:
    status, text = refusal(generate(door, options=options))
    assert (status, text.partition(":")[0]) == (400, named)
