from __future__ import annotations

import pytest

from appliance.engine.template_format import (
    ReasoningTags,
    ToolFormat,
    detect_reasoning,
    detect_tool_format,
    opens_reasoning,
)

TAGS = ReasoningTags("<think>", "</think>")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, ToolFormat.JSON),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", ToolFormat.JSON),
        ('{% if tools %}<tool_call>\\n{\\"name\\": x, \\"arguments\\": y}{% endif %}', ToolFormat.HERMES),
        ('{% if tools %}<tool_call>{name}\n<arg_key>"name" "arguments"{% endif %}', ToolFormat.JSON),
        ("{% if tools %}<tool_call>\n<function=x>{% endif %}", ToolFormat.JSON),
        ("{%- if tools is not none %}{{ '<|python_tag|>' }}{% endif %}", ToolFormat.LLAMA3),
        ('{% if tools %}<|start_header_id|>{"name": n, "parameters": p}{% endif %}', ToolFormat.LLAMA3),
        ("{% if tools %}[TOOL_CALLS][{% endif %}", ToolFormat.MISTRAL),
        ("{% if tools %}[TOOL_CALLS]name[ARGS]{% endif %}", ToolFormat.MISTRAL_ARGS),
        ("{% for tool in tools %}<function_call>{% endfor %}", ToolFormat.JSON),
    ],
)
def test_the_family_is_read_from_the_source(source: str | None, expected: ToolFormat) -> None:
    assert detect_tool_format(source) is expected


def test_reasoning_tags_are_read_from_the_source() -> None:
    assert detect_reasoning("{{ content.split('</think>')[-1] }}") == TAGS
    assert detect_reasoning("[THINK]{{ x }}[/THINK]") == ReasoningTags("[THINK]", "[/THINK]")
    assert detect_reasoning("{{ messages }}") is None
    assert detect_reasoning(None) is None


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("<|assistant|><think>\n", True),
        ("<|assistant|><think>", True),
        ("<|assistant|>", False),
        ("<|assistant|><think>\n\n</think>\n\n", False),
        ("what is <think>? <|assistant|>", False),
    ],
)
def test_a_prompt_that_ends_in_an_open_block_is_noticed(prompt: str, *, expected: bool) -> None:
    assert opens_reasoning(prompt, TAGS) is expected
    assert opens_reasoning(prompt, None) is False
