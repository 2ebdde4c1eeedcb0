"""What a message asks for and does not get, though it is no fault: said in `X-Outpost-Warning`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from appliance.api.anthropic.schema import (
    MessagesBody,
    PromptBody,
    RedactedThinkingBlock,
    Tool,
    ToolResultBlock,
)
from appliance.api.visible import shown

VERSIONS: Final = ("2023-06-01", "2026-10-21")
"""Here they are the same: the newer refuses `temperature`, `top_p` and `top_k`, which models here take."""
_MAX_SHOWN: Final = 128


def of_headers(version: str | None, beta: str | None) -> Iterator[str]:
    """Anthropic refuses a request without a version; here they are all the same, so nothing is lost."""
    if version is None:
        yield f"'anthropic-version' is missing: {VERSIONS[-1]} is taken"
    elif version not in VERSIONS:
        yield f"'anthropic-version' is ignored: this is {VERSIONS[-1]}"
    if beta is not None:
        yield f"'anthropic-beta' is ignored: {shown(beta, _MAX_SHOWN)}"


def of_prompt(body: PromptBody) -> Iterator[str]:
    """In the order of the body."""
    blocks = [block for one in body.messages if not isinstance(one.content, str) for block in one.content]
    if any(isinstance(block, RedactedThinkingBlock) for block in blocks):
        yield "'redacted_thinking' is left out: nobody but its server can read it"
    if any(isinstance(block, ToolResultBlock) and block.is_error for block in blocks):
        yield "'is_error' is ignored: chat templates cannot tell it, the content must"
    tools = [tool for tool in body.tools or () if isinstance(tool, Tool)]
    if any(tool.input_examples for tool in tools):
        yield "'input_examples' of tools are ignored"
    if body.output_config is not None and body.output_config.format is not None and _must_call(body):
        yield "'output_config.format' is ignored: 'tool_choice' wants a call"


def of_message(body: MessagesBody) -> Iterator[str]:
    yield from of_prompt(body)
    if body.thinking is not None and body.thinking.budget_tokens is not None:
        yield "'thinking.budget_tokens' is ignored: 'max_tokens' bounds thoughts and answer together"
    if body.metadata is not None and body.metadata.user_id is not None:
        yield "'metadata.user_id' is ignored"


def _must_call(body: PromptBody) -> bool:
    return body.tool_choice is not None and body.tool_choice.type in {"any", "tool"}


def headers_of(headers: Mapping[str, str]) -> Iterator[str]:
    """`headers`: as falcon gives them, with names in upper case."""
    return of_headers(headers.get("ANTHROPIC-VERSION"), headers.get("ANTHROPIC-BETA"))
