"""The Response object: what was asked, and what came of it. Pure."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from appliance.api.openai.chunks import tier_object
from appliance.api.openai.responses.items import Kept, new_id
from appliance.api.openai.responses.schema import ResponseBody
from appliance.api.openai.usage import timings_object
from appliance.wire.messages import FinishReason, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What is known of a response before it is answered."""

    body: ResponseBody
    id_: str
    created_s: int
    is_kept: bool

    def object_of(self, status: str, output: list[Kept], **more: Any) -> dict[str, Any]:
        """`more` in place of the nulls."""
        body = self.body
        told = {
            "id": self.id_,
            "object": "response",
            "created_at": self.created_s,
            "completed_at": None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": body.model,
            "output": output,
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": body.previous_response_id,
            "reasoning": _reasoning(body),
            "service_tier": tier_object(body.service_tier or "auto")["service_tier"],
            "store": self.is_kept,
            "temperature": body.temperature,
            "text": _text(body),
            "tool_choice": _choice(body),
            "tools": [_tool(tool) for tool in body.tools or ()],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": None,
        }
        return {**told, **more}

    def ended(self, output: list[Kept], usage: Usage, reason: FinishReason | None) -> dict[str, Any]:
        """Complete, or cut at its length."""
        more: dict[str, Any] = {"usage": usage_of(usage), "timings": timings_object(usage)}
        if reason is FinishReason.LENGTH:
            return self.object_of(
                "incomplete", output, incomplete_details={"reason": "max_output_tokens"}, **more
            )
        return self.object_of("completed", output, completed_at=int(time.time()), **more)


def head_of(body: ResponseBody, *, is_kept: bool) -> Head:
    """With a new id, created now."""
    return Head(body=body, id_=new_id("resp"), created_s=int(time.time()), is_kept=is_kept)


def usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _reasoning(body: ResponseBody) -> dict[str, Any]:
    effort = body.reasoning.effort if body.reasoning is not None else None
    return {"effort": effort, "summary": None}


def _text(body: ResponseBody) -> dict[str, Any]:
    told = body.text.format if body.text is not None else None
    if told is None:
        return {"format": {"type": "text"}}
    return {"format": told.model_dump(by_alias=True, exclude_none=True)}


def _choice(body: ResponseBody) -> str | dict[str, Any]:
    if body.tool_choice is None or isinstance(body.tool_choice, str):
        return body.tool_choice or "auto"
    return body.tool_choice.model_dump(exclude_none=True)


def _tool(tool: Any) -> dict[str, Any]:
    told: dict[str, Any] = tool.model_dump(include={"type", "name", "description", "parameters", "strict"})
    return told
