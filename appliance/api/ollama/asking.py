"""From a checked body to a running generation: what chat and generate share of flow 1."""

from __future__ import annotations

from typing import Any

from appliance.api.calls import Calls, Limits
from appliance.api.dialect import generation_request, stored_defaults
from appliance.api.exchange import Exchange
from appliance.api.ollama import options
from appliance.api.ollama.bodies import GenerationBody
from appliance.api.ollama.capabilities import Capabilities
from appliance.api.ollama.fitting import generate_fitting
from appliance.api.ollama.options import Options
from appliance.api.ollama.stamps import now
from appliance.errors import InvalidRequest
from appliance.supervisor.inference import Generation, ModelCard
from appliance.wire.messages import (
    ApplyTemplate,
    ChatPrompt,
    Constraint,
    ConstraintKind,
    Generate,
    Prompt,
)


class Asking:
    """Stateless but for what it remembers of capabilities; any thread."""

    def __init__(self, calls: Calls, limits: Limits, capabilities: Capabilities) -> None:
        self.calls = calls
        self.limits = limits
        self._capabilities = capabilities

    def is_unload(self, exchange: Exchange) -> bool:
        """Whether a request that asks nothing wants the model out of memory."""
        return exchange.keep_alive_s == 0

    def move(self, exchange: Exchange, model: str) -> dict[str, Any]:
        """A request that asks nothing: the model is loaded, or put out of memory."""
        if self.is_unload(exchange):
            self.calls.inference.unload(model)
            reason = "unload"
        else:
            self.calls.load(exchange, model)
            reason = "load"
        return {"model": model, "created_at": now(), "done": True, "done_reason": reason}

    def check_thinking(self, body: GenerationBody, model: str, card: ModelCard) -> None:
        """Raises InvalidRequest in Ollama's words where a model is told to think that does not."""
        if not body.think:
            return
        known = self._capabilities.of(card.name)
        if known is not None and "thinking" not in known:
            raise InvalidRequest(reason=f'"{model}" does not support thinking')

    def request(
        self, body: GenerationBody, prompt: Prompt, card: ModelCard, exchange: Exchange
    ) -> tuple[Generate, Options]:
        """Raises InvalidRequest, Unsupported."""
        told = options.options_of(body.options, model=card.name, defaults=card.defaults)
        for warning in (*told.warnings, *_warnings(body)):
            exchange.warn(warning)
        request = Generate(
            id=0,
            prompt=prompt,
            max_tokens=generation_request.limit_of(told.fields.max_tokens),
            constraint=_constraint(body.format),
            top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
            **generation_request.common_of(told.fields, scope=exchange.scope),
        )
        return stored_defaults.applied(request, told.fields, card), told

    def generation(
        self, body: GenerationBody, exchange: Exchange, model: str, request: Generate, told: Options
    ) -> Generation:
        """Blocks until it is accepted; the caller must close it."""
        if body.truncate:
            generation = generate_fitting(self.calls, exchange, model, request)
        else:
            generation = self.calls.generate(exchange, model, request)
        facts = self.calls.inference.find(model).facts
        warning = options.context_warning(told.n_ctx, facts.n_ctx_seq if facts else None)
        if warning is not None:
            exchange.warn(warning)
        return generation

    def rendered(self, exchange: Exchange, model: str, prompt: Prompt) -> dict[str, Any]:
        """What the model would be shown, for `_debug_render_only`."""
        text = prompt.text if not isinstance(prompt, ChatPrompt) and hasattr(prompt, "text") else ""
        if isinstance(prompt, ChatPrompt):
            text = self.calls.call(exchange, model, ApplyTemplate(id=0, prompt=prompt)).text
        return {
            "model": model,
            "created_at": now(),
            "done": False,
            "_debug_info": {"rendered_template": text, "image_count": 0},
        }


def thinking_kwargs(think: bool | str | None) -> dict[str, Any]:  # noqa: FBT001 - the field has three forms
    """Variables of the template. Absent: as the template does by itself."""
    if think is None:
        return {}
    if isinstance(think, bool):
        return {"enable_thinking": think, "thinking": think}
    return {"enable_thinking": True, "thinking": True, "reasoning_effort": think}


def format_told(told: str | dict[str, Any] | None) -> dict[str, Any] | None:
    """`format` as templates know it, in OpenAI's form."""
    if told is None:
        return None
    if isinstance(told, str):
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "format", "schema": told}}


def _constraint(told: str | dict[str, Any] | None) -> Constraint | None:
    if told is None:
        return None
    if isinstance(told, str):
        return Constraint(kind=ConstraintKind.JSON_OBJECT)
    return generation_request.schema_constraint(told, param="format")


def _warnings(body: GenerationBody) -> list[str]:
    told = []
    if body.shift:
        told.append(
            "'shift' is ignored: the middle of a conversation is never dropped; done_reason is 'length'"
        )
    if body.top_logprobs and not body.logprobs:
        told.append("'top_logprobs' is ignored: it needs 'logprobs'")
    return told
