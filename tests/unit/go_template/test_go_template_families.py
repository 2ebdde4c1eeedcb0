"""Families of chat templates, converted and rendered by the real renderer, against prompts written out by
hand; then against what Go itself gives for the same templates (`go_answers.json`, made by
`tests/fakes/go_oracle/main.go`).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from appliance.engine.prompt import ChatTemplate
from appliance.engine.template_format import ToolFormat
from appliance.go_template import recognise, to_jinja
from tests.fakes.go_templates import FAMILIES

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "Bye"},
]
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tells the weather",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Where"},
                    "days": {"type": ["integer", "null"], "description": "How far"},
                },
                "required": ["city"],
            },
        },
    }
]
TOOL_TEXT = json.dumps(TOOLS[0], separators=(",", ":"))
FUNCTION_TEXT = json.dumps(TOOLS[0]["function"], separators=(",", ":"))
CALLED: list[dict[str, Any]] = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "Rome?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "abcdef123",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city": "Rome", "days": 2}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "abcdef123", "content": "sunny"},
]

EXPECTED: Final = {
    "chatml": (
        "<|im_start|>system\n"
        "Be brief.<|im_end|>\n"
        "<|im_start|>user\n"
        "Hi<|im_end|>\n"
        "<|im_start|>assistant\n"
        "Hello!<|im_end|>\n"
        "<|im_start|>user\n"
        "Bye<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
    "chatml_messages": (
        "<|im_start|>system\n"
        "Be brief.<|im_end|>\n"
        "<|im_start|>user\n"
        "Hi<|im_end|>\n"
        "<|im_start|>assistant\n"
        "Hello!<|im_end|>\n"
        "<|im_start|>user\n"
        "Bye<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
    "llama2": ("[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello!</s><s>[INST] Bye [/INST] "),
    "llama3": (
        "<|start_header_id|>system<|end_header_id|>\n"
        "\n"
        "Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n"
        "\n"
        "Hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n"
        "\n"
        "Hello!<|eot_id|><|start_header_id|>user<|end_header_id|>\n"
        "\n"
        "Bye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n"
        "\n"
    ),
    "llama3_tools": (
        "<|start_header_id|>system<|end_header_id|>\n"
        "\n"
        "Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n"
        "\n"
        "Hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n"
        "\n"
        "Hello!<|eot_id|><|start_header_id|>user<|end_header_id|>\n"
        "\n"
        "Bye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n"
        "\n"
    ),
    "mistral": ("[INST] Be brief. Hi[/INST] Hello!</s>[INST] Bye[/INST] "),
    "mistral_tools": ("[INST] Hi[/INST] Hello!</s>[INST] Be brief.\n\nBye[/INST]"),
    "gemma": (
        "<start_of_turn>user\n"
        "Be brief. Hi<end_of_turn>\n"
        "<start_of_turn>model\n"
        "Hello!<end_of_turn>\n"
        "<start_of_turn>user\n"
        "Bye<end_of_turn>\n"
        "<start_of_turn>model\n"
    ),
    "gemma_messages": (
        "<start_of_turn>user\n"
        "Be brief.\n"
        "\n"
        "Hi<end_of_turn>\n"
        "<start_of_turn>model\n"
        "Hello!<end_of_turn>\n"
        "<start_of_turn>user\n"
        "Bye<end_of_turn>\n"
        "<start_of_turn>model\n"
    ),
    "phi3": (
        "<|system|>\n"
        "Be brief.<|end|>\n"
        "<|user|>\n"
        "Hi<|end|>\n"
        "<|assistant|>\n"
        "Hello!<|end|>\n"
        "<|user|>\n"
        "Bye<|end|>\n"
        "<|assistant|>\n"
    ),
    "phi4": (
        "<|im_start|>system<|im_sep|>Be brief.<|im_end|><|im_start|>user<|im_sep|>Hi<|im_"
        "end|><|im_start|>assistant<|im_sep|>Hello!<|im_end|><|im_start|>user<|im_sep|>By"
        "e<|im_end|><|im_start|>assistant<|im_sep|>"
    ),
    "vicuna": ("Be brief.\nUSER: Hi\nASSISTANT: Hello!</s>\n\nUSER: Bye\nASSISTANT: "),
    "alpaca": (
        "\n"
        "Be brief.\n"
        "\n"
        "### Instruction:\n"
        "Hi\n"
        "\n"
        "### Response:\n"
        "Hello!\n"
        "\n"
        "\n"
        "### Instruction:\n"
        "Bye\n"
        "\n"
        "### Response:\n"
    ),
    "zephyr": (
        "<|system|>\n"
        "Be brief.</s>\n"
        "<|user|>\n"
        "Hi</s>\n"
        "<|assistant|>\n"
        "Hello!</s>\n"
        "<|user|>\n"
        "Bye</s>\n"
        "<|assistant|>\n"
    ),
    "command_r": (
        "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|># About\n"
        "Be brief.<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi<|END_OF_TU"
        "RN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Hello!<|END_OF_TURN_TOKEN|><|S"
        "TART_OF_TURN_TOKEN|><|USER_TOKEN|>Bye<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|"
        "><|CHATBOT_TOKEN|>"
    ),
    "granite": (
        "<|start_of_role|>system<|end_of_role|>Be brief.<|end_of_text|>\n"
        "<|start_of_role|>user<|end_of_role|>Hi<|end_of_text|>\n"
        "<|start_of_role|>assistant<|end_of_role|>Hello!<|end_of_text|>\n"
        "<|start_of_role|>user<|end_of_role|>Bye<|end_of_text|>\n"
        "<|start_of_role|>assistant<|end_of_role|>"
    ),
    "qwen_tools": (
        "<|im_start|>system\n"
        "Be brief.<|im_end|>\n"
        "<|im_start|>user\n"
        "Hi<|im_end|>\n"
        "<|im_start|>assistant\n"
        "Hello!<|im_end|>\n"
        "<|im_start|>user\n"
        "Bye<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
    "qwen3_thinking": (
        "<|im_start|>system\n"
        "Be brief.<|im_end|>\n"
        "<|im_start|>user\n"
        "Hi<|im_end|>\n"
        "<|im_start|>assistant\n"
        "Hello!<|im_end|>\n"
        "<|im_start|>user\n"
        "Bye /think<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
    "deepseek": (
        "Be brief.<｜User｜>Hi<｜Assistant｜>Hello!<｜end▁of▁sentence｜><｜User｜>Bye<｜Assistant｜>"
    ),
    "openchat": (
        "GPT4 Correct System: Be brief.<|end_of_turn|>GPT4 Correct User: Hi<|end_of_turn|"
        ">GPT4 Correct Assistant: Hello!<|end_of_turn|>GPT4 Correct User: Bye<|end_of_tur"
        "n|>GPT4 Correct Assistant: "
    ),
    "falcon": ("System: Be brief.\nUser: Hi\nFalcon: Hello!\nUser: Bye\nFalcon: "),
    "starcoder_fim": (
        "Be brief.\n"
        "\n"
        "### Instruction\n"
        "Hi\n"
        "\n"
        "### Response\n"
        "Hello!<|endoftext|>\n"
        "### Instruction\n"
        "Bye\n"
        "\n"
        "### Response\n"
    ),
    "solar": (
        "### System:\n"
        "Be brief.\n"
        "\n"
        "### User:\n"
        "Hi\n"
        "\n"
        "### Assistant:\n"
        "Hello!</s>\n"
        "\n"
        "### User:\n"
        "Bye\n"
        "\n"
        "### Assistant:\n"
    ),
    "no_response": ("Be brief.|Hi|Hello!|Bye|"),
    "defined": (
        "<system>Be brief.</system><user>Hi</user><assistant>Hello!</assistant><user>Bye</user><assistant>"
    ),
    "dated": (
        "Cutting date: 2026-02-28. Today: 2026-03-01.\n"
        "[system says] Be brief.\n"
        "[user says] Hi\n"
        "[assistant says] Hello!\n"
        "[user says] Bye\n"
        "[assistant]"
    ),
}


def template(family: str) -> ChatTemplate:
    compiled = ChatTemplate(to_jinja(FAMILIES[family]), "<s>", "</s>")
    compiled.check(now=NOW)
    return compiled


@cache
def compiled_once(go: str) -> ChatTemplate:
    return ChatTemplate(to_jinja(go), "", "")


def test_at_least_twenty_families_are_written_out() -> None:
    assert EXPECTED.keys() == FAMILIES.keys()
    assert len(EXPECTED) >= 20


@pytest.mark.parametrize("family", FAMILIES)
def test_a_chat_becomes_the_familys_prompt(family: str) -> None:
    assert template(family).render(CHAT, now=NOW) == EXPECTED[family]


TOOL_PROMPTS: Final = {
    "llama3_tools": (
        ToolFormat.LLAMA3,
        (
            "<|start_header_id|>system<|end_header_id|>\n\nS\n\nAnswer a function's result in your own words."
            "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nRome?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n"
            '{"name": "weather", "parameters": {"city":"Rome","days":2}}<|eot_id|>'
            "<|start_header_id|>ipython<|end_header_id|>\n\nsunny<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n"
        ),
    ),
    "mistral_tools": (
        ToolFormat.MISTRAL,
        (
            "[INST] Rome?[/INST]"
            '[TOOL_CALLS] [{"name": "weather", "arguments": {"city":"Rome","days":2}}]</s>'
            '[TOOL_RESULTS] {"content": "sunny"}[/TOOL_RESULTS]'
        ),
    ),
    "qwen_tools": (
        ToolFormat.HERMES,
        "<|im_start|>system\nS\n\n# Tools\n\n"
        "You may call functions. Their signatures are within <tools></tools>:\n<tools>\n"
        '{"type": "function", "function": ' + FUNCTION_TEXT + "}\n</tools>\n\n"
        "A call is a json object within <tool_call></tool_call>:\n<tool_call>\n"
        '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\nRome?<|im_end|>\n<|im_start|>assistant\n<tool_call>\n"
        '{"name": "weather", "arguments": {"city":"Rome","days":2}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\nsunny\n</tool_response><|im_end|>\n<|im_start|>assistant\n",
    ),
}


@pytest.mark.parametrize("family", TOOL_PROMPTS)
def test_tools_calls_and_results_stand_where_the_family_wants_them(family: str) -> None:
    tool_format, prompt = TOOL_PROMPTS[family]
    compiled = template(family)
    assert compiled.tool_format is tool_format
    assert compiled.render(CALLED, TOOLS, now=NOW) == prompt


def test_tools_are_offered_in_the_last_question() -> None:
    assert template("llama3_tools").render(CALLED[:2], TOOLS, now=NOW) == (
        "<|start_header_id|>system<|end_header_id|>\n\nS\n\nAnswer a function's result in your own words."
        "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
        'To call a function reply {"name": function name, "parameters": {name: value}}.\n\n'
        + TOOL_TEXT
        + "\nRome?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert template("mistral_tools").render(CALLED[1:2], TOOLS, now=NOW) == (
        f"[AVAILABLE_TOOLS] [{TOOL_TEXT}][/AVAILABLE_TOOLS][INST] Rome?[/INST]"
    )


def test_an_unfinished_answer_is_continued() -> None:
    open_chat = [*CHAT[:-1][1:], {"role": "user", "content": "More"}, {"role": "assistant", "content": "So"}]
    for family, end in (("chatml", "<|im_start|>assistant\nSo"), ("qwen_tools", "<|im_start|>assistant\nSo")):
        prompt = template(family).render(open_chat, now=NOW, continue_final_message=True)
        assert prompt.endswith(f"More<|im_end|>\n{end}")


def test_thinking_is_on_until_it_is_switched_off() -> None:
    compiled = template("qwen3_thinking")
    hello = [{"role": "user", "content": "Hello"}]
    assert compiled.render(hello, now=NOW) == (
        "<|im_start|>user\nHello /think<|im_end|>\n<|im_start|>assistant\n"
    )
    assert compiled.render(hello, now=NOW, kwargs={"enable_thinking": False}) == (
        "<|im_start|>user\nHello /no_think<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


def test_capabilities_are_told_from_the_words_of_the_template() -> None:
    assert recognise(FAMILIES["qwen_tools"]).tools
    assert recognise(FAMILIES["qwen3_thinking"]).thinking
    assert recognise(FAMILIES["starcoder_fim"]).insert
    plain = recognise(FAMILIES["chatml"])
    assert not (plain.tools or plain.thinking or plain.insert)


ANSWERS: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "go_answers.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("index", range(0, len(ANSWERS), 20))
def test_go_itself_gives_the_same_prompt(index: int) -> None:
    for case in ANSWERS[index : index + 20]:
        compiled = compiled_once(case["template"])
        variables = {
            "messages": case["messages"],
            "tools": case["tools"],
            "enable_thinking": case["think"],
            "strftime_now": NOW.strftime,
        }
        assert compiled._render_bounded(variables) == case["answer"], case["template"]
