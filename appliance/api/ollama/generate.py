"""POST /api/generate: a prompt shown by the model's template, or raw, or with a suffix to fill in before.

raw               the text as it is; no `context` comes back
template          shows the conversation instead of the model's, in the same box
suffix            what stands between prompt and suffix, where the model has the tokens for it
otherwise         system, what `context` carries, prompt: a chat with one more question
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

import falcon

from appliance.api.exchange import exchange_of
from appliance.api.json_reply import reply
from appliance.api.ollama.answers import GenerateAnswer, GenerateLine
from appliance.api.ollama.asking import Asking, format_told, thinking_kwargs
from appliance.api.ollama.bodies import GenerateBody
from appliance.api.ollama.conversation import refuse_images
from appliance.api.ollama.conversation_context import packed, unpacked
from appliance.api.ollama.delivery import Delivery
from appliance.api.ollama.endpoint import body_of, required
from appliance.api.ollama.lines import NDJSON
from appliance.api.openapi.operation import Operation, Operations, Stream, Tag
from appliance.errors import InvalidRequest, TemplateInvalid
from appliance.store.amend import jinja_of
from appliance.wire.messages import ChatPrompt, Prompt, TextPrompt

_MAX_TEMPLATE_CHARS: Final = 32 * 1024
"""Several times the longest that models come with; it is read on the door's thread, in time linear to it."""


class GenerateForm:
    """A `lines.Form`."""

    before = b'"response":'
    after = b""

    def told(self, text: str, *, thinking: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
        told: dict[str, Any] = {"response": text}
        if thinking:
            told["thinking"] = thinking
        if calls:
            told["tool_calls"] = calls
        return told


class GenerateText:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="Continue a prompt",
            tag=Tag.OLLAMA,
            body=GenerateBody,
            answer=GenerateAnswer,
            stream=Stream(
                media_type=NDJSON,
                item=GenerateLine,
                about="A line for each token; with `stream` false, whole.",
            ),
            asks_model=True,
            about="Without a prompt, the model is only loaded, or with `keep_alive` 0 put out.",
            example={"model": "tiny", "prompt": "Why is the sky blue?"},
        )
    }

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange, asking = exchange_of(req), self._asking
        body = body_of(GenerateBody, req, exchange, asking.limits)
        model = required(body.model)
        card = asking.calls.find(exchange, model)
        if not body.prompt:
            reply(resp, asking.move(exchange, model) | {"response": ""})
            return
        check(body)
        asking.check_thinking(body, model, card)
        said = [] if body.raw else conversation_of(body)
        request, told = asking.request(body, prompt_of(body, said), card, exchange)
        if body.debug_render_only:
            reply(resp, asking.rendered(exchange, model, request.prompt))
            return
        generation = asking.generation(body, exchange, model, request, told)
        delivery = Delivery(
            model=model,
            form=GenerateForm(),
            exchange=exchange,
            limits=asking.limits,
            more=_context_after(said) if said else None,
        )
        (delivery.stream if body.is_stream else delivery.whole)(resp, generation)


def check(body: GenerateBody) -> None:
    """Raises InvalidRequest, Unsupported."""
    if body.raw and (body.template or body.system or body.context):
        raise InvalidRequest(reason="raw mode does not support template, system, or context")
    if body.suffix and (body.template or body.system or body.context):
        raise InvalidRequest(reason="excludes 'template', 'system' and 'context'", param="suffix")
    refuse_images(body.images, path="images")


def conversation_of(body: GenerateBody) -> list[tuple[str, str]]:
    """(role, text), the question last. Empty: there is none, the model continues a text."""
    if body.suffix:
        return []
    carried = unpacked(body.context or [])
    system = [("system", body.system)] if body.system else [one for one in carried if one[0] == "system"]
    return [*system, *(one for one in carried if one[0] != "system"), ("user", body.prompt or "")]


def prompt_of(body: GenerateBody, said: Sequence[tuple[str, str]]) -> Prompt:
    if not said:
        return TextPrompt(text=body.prompt or "", suffix=body.suffix or None)
    return ChatPrompt(
        messages=[{"role": role, "content": text} for role, text in said],
        response_format=format_told(body.format),
        template_kwargs=thinking_kwargs(body.think),
        template=template_of(body),
    )


def template_of(body: GenerateBody) -> str | None:
    """The caller's own, in Go's language or Jinja's, as Jinja. Raises InvalidRequest."""
    if not body.template:
        return None
    if len(body.template) > _MAX_TEMPLATE_CHARS:
        raise InvalidRequest(
            reason=f"{len(body.template)} characters, at most {_MAX_TEMPLATE_CHARS} are taken",
            param="template",
        )
    try:
        return jinja_of(body.template)[0]
    except TemplateInvalid as error:
        raise InvalidRequest(reason=str(error.fields["reason"]), param="template") from error


def _context_after(said: Sequence[tuple[str, str]]) -> Callable[[str], dict[str, Any]]:
    def told(answer: str) -> dict[str, Any]:
        context = packed([*said, ("assistant", answer)])
        return {} if context is None else {"context": context}

    return told
