from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from appliance.engine.prompt import MAX_SOURCE_BYTES, ChatTemplate, InlineRenderer
from appliance.engine.template_format import TemplateSource, ToolFormat
from appliance.errors import InvalidRequest, ModelInvalid
from appliance.wire.messages import ChatPrompt, ToolChoice

NOW = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)
HELLO = [{"role": "user", "content": "Hello"}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
CALLED: list[dict[str, Any]] = [
    {"role": "user", "content": "Rome?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city": "Rome", "note": "é"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
]
HERMES = (
    "{% if tools %}{{ '<tools>' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}"
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}"
    "{% for call in m.tool_calls %}<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>'
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)


def rendered(source: str | None, messages: list[dict[str, Any]], **options: Any) -> str:
    template = ChatTemplate(source, "<s>", "</s>")
    template.check(now=NOW)
    return template.render(messages, now=NOW, **options)


def test_without_a_template_chatml_is_used() -> None:
    assert rendered(None, HELLO) == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"


def test_the_environment_is_the_one_templates_are_written_for() -> None:
    source = (
        "{{ bos_token }}\n"
        "{% for m in messages %}\n"
        "    {% if loop.index > 1 %}{% break %}{% endif %}\n"
        "{% generation %}{{ m.content }}{% endgeneration %}\n"
        "{% endfor %}\n"
        "{{ strftime_now('%d %b %Y') }} {{ {'b': '<é>', 'a': 1} | tojson }} {{ eos_token }}"
    )
    assert rendered(source, HELLO) == '<s>\nHello22 Nov 2026 {"b": "<é>", "a": 1} </s>'


def test_the_templates_own_refusal_is_told() -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'critic' %}{{ raise_exception('Roles must alternate') }}"
        "{% endif %}{{ m.content }}{% endfor %}"
    )
    with pytest.raises(InvalidRequest, match="Roles must alternate") as refused:
        rendered(source, [*HELLO, {"role": "critic", "content": "x"}])
    assert refused.value.param == "messages"


def test_a_template_that_fails_on_plain_talk_is_no_model_to_serve() -> None:
    with pytest.raises(ModelInvalid, match="never"):
        ChatTemplate("{{ raise_exception('never') }}").check(now=NOW)


@pytest.mark.parametrize("source", ["{% for %}", "{{ 'a' ", "{% include 'x' %}{% nonsense %}"])
def test_a_template_that_does_not_compile_is_no_model_to_serve(source: str) -> None:
    with pytest.raises(ModelInvalid, match="does not compile"):
        ChatTemplate(source, model="tiny")


def test_a_huge_template_is_not_compiled() -> None:
    with pytest.raises(ModelInvalid, match="larger than"):
        ChatTemplate("a" * (MAX_SOURCE_BYTES + 1))


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ lipsum(n=2) }}",
        "{{ cycler('a').next() }}",
        "{{ joiner() }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ '\\ud800' }}",
    ],
)
def test_the_sandbox_holds(source: str) -> None:
    with pytest.raises(ModelInvalid):
        rendered(source, HELLO)


def test_output_is_bounded() -> None:
    template = ChatTemplate("{% for i in range(1000) %}0123456789{% endfor %}", max_output_bytes=9_999)
    with pytest.raises(InvalidRequest, match="more than 9999 bytes"):
        template.render(HELLO, now=NOW)
    wide = ChatTemplate("é" * 6_000, max_output_bytes=9_999)
    with pytest.raises(InvalidRequest, match="more than 9999 bytes"):
        wide.render(HELLO, now=NOW)


def test_tools_reach_a_template_that_knows_them() -> None:
    text = rendered(HERMES, CALLED, tools=TOOLS)
    assert text == (
        '<tools>{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}'
        '[user]Rome?[assistant]<tool_call>\n{"name": "weather", "arguments": {"city": "Rome", "note": "é"}}\n'
        "</tool_call>[tool]sunny[assistant]"
    )


def test_a_template_sees_the_response_format_where_there_is_one() -> None:
    template = ChatTemplate("{% if response_format is defined %}{{ response_format | tojson }}{% endif %}")
    wish = {"type": "json_object"}
    assert template.render(HELLO, now=NOW, response_format=wish) == '{"type": "json_object"}'
    assert template.render(HELLO, now=NOW) == ""
    with pytest.raises(InvalidRequest, match="'response_format' cannot be set"):
        template.render(HELLO, now=NOW, kwargs={"response_format": wish})


def test_a_template_without_tools_is_given_their_description() -> None:
    text = rendered(None, CALLED, tools=TOOLS)
    assert text.startswith("<|im_start|>system\n# Tools\n")
    assert '{"type": "function", "function": {"name": "weather"' in text
    assert (
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome", "note": "é"}}\n</tool_call>' in text
    )
    assert "<|im_start|>user\n<tool_response>\nsunny\n</tool_response>" in text


def test_a_template_that_concatenates_arguments_gets_them_as_text() -> None:
    source = "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls %}"
    source += "{{ '(' + c.function.arguments + ')' }}"
    text = rendered(
        source + "{% endfor %}{% endfor %}{# tools <tool_call> {% if tools %} 'name' 'arguments' #}", CALLED
    )
    assert text == 'Rome?({"city": "Rome", "note": "é"})sunny'


def test_a_template_that_iterates_absent_tools_gets_an_empty_list() -> None:
    assert rendered("{% for t in tools %}{{ t }}{% endfor %}{{ messages[0].content }}", HELLO) == "Hello"


def test_a_template_that_refuses_the_system_role_gets_it_in_the_user_turn() -> None:
    source = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    )
    assert (
        rendered(source, [{"role": "developer", "content": "Be brief."}, *HELLO])
        == "[user]Be brief.\n\nHello"
    )


def test_the_last_message_can_be_continued() -> None:
    messages = [*HELLO, {"role": "assistant", "content": "Once upon"}]
    assert rendered(None, messages, continue_final_message=True) == (
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nOnce upon"
    )


def test_only_the_assistants_text_can_be_continued() -> None:
    for messages in (HELLO, CALLED[:2], []):
        with pytest.raises(InvalidRequest):
            rendered(None, messages, continue_final_message=True)
    with pytest.raises(InvalidRequest, match="does not show"):
        rendered(
            "{{ messages[0].content }}",
            [*HELLO, {"role": "assistant", "content": "x"}],
            continue_final_message=True,
        )


def test_further_variables_reach_the_template_but_not_its_own() -> None:
    source = "{% if enable_thinking is defined and not enable_thinking %}off{% endif %}"
    assert rendered(source, HELLO, kwargs={"enable_thinking": False}) == "off"
    with pytest.raises(InvalidRequest) as refused:
        rendered(source, HELLO, kwargs={"messages": []})
    assert refused.value.param == "chat_template_kwargs"


def test_content_that_is_no_text_is_refused_by_place() -> None:
    with pytest.raises(InvalidRequest) as refused:
        rendered(None, [*HELLO, {"role": "user", "content": [{"type": "image_url"}]}])
    assert refused.value.param == "messages[1].content"


def test_mistral_ids_have_nine_characters() -> None:
    source = (
        "{% if tools %}{% endif %}{% for m in messages %}{{ m.content }}{% for c in m.tool_calls %}"
        "[TOOL_CALLS]{{ c.id }}{% endfor %}"
        "{% if m.role == 'tool' %}={{ m.tool_call_id }}{% endif %}{% endfor %}"
    )
    called, answered = rendered(source, CALLED).removeprefix("Rome?[TOOL_CALLS]").split("sunny=")
    assert called == answered
    assert len(called) == 9


def test_a_system_message_of_ones_own_keeps_its_place_before_the_tools() -> None:
    text = rendered(None, [{"role": "system", "content": "Be brief."}, *HELLO], tools=TOOLS)
    assert text.startswith("<|im_start|>system\nBe brief.\n\n# Tools\n")


def test_arguments_that_are_no_json_stay_as_they_are() -> None:
    call: dict[str, Any] = {"id": "1", "function": {"name": "f", "arguments": "{broken"}}
    messages: list[dict[str, Any]] = [
        *HELLO,
        {"role": "assistant", "content": "", "tool_calls": [call]},
    ]
    assert '"arguments": "{broken"' in rendered(HERMES, messages)


def test_tool_choice_none_hides_the_tools() -> None:
    room = InlineRenderer(lambda: NOW)
    facts = room.set_template(TemplateSource(source=HERMES))
    assert facts.tool_format is ToolFormat.HERMES
    chat = ChatPrompt(messages=HELLO, tools=TOOLS, tool_choice=ToolChoice.NONE)
    assert room.render(chat) == "[user]Hello[assistant]"


def test_a_chat_may_bring_its_own_template() -> None:
    room = InlineRenderer(lambda: NOW)
    room.set_template(TemplateSource(source=HERMES, bos_text="<s>"))
    assert room.render(ChatPrompt(messages=HELLO, template="{{ bos_token }}{{ messages[0].content }}")) == (
        "<s>Hello"
    )
    assert room.render(ChatPrompt(messages=HELLO)) == "[user]Hello[assistant]"


@pytest.mark.parametrize("template", ["{% if %}", "{{ raise_exception('no') }}", "{{ 1 / 0 }}"])
def test_what_is_wrong_with_the_callers_template_is_said_of_it(template: str) -> None:
    room = InlineRenderer(lambda: NOW)
    room.set_template(TemplateSource(source=HERMES))
    with pytest.raises(InvalidRequest, match="your template") as refused:
        room.render(ChatPrompt(messages=HELLO, template=template))
    assert refused.value.param == "template"


def test_without_a_template_set_every_chat_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no usable chat template"):
        InlineRenderer(lambda: NOW).render(ChatPrompt(messages=HELLO))
