"""The chat template of a model that is being loaded: which one, and whether it works."""

from __future__ import annotations

from typing import Final

from appliance.engine.llama.model import LlamaModel
from appliance.engine.preparation import ChatAbility
from appliance.engine.template_format import PromptRenderer, TemplateFacts, TemplateSource
from appliance.errors import InvalidRequest, ModelInvalid
from appliance.wire.messages import ChatPrompt, Load

_BYTES_PER_TOKEN: Final = 32
_LEAST_BYTES: Final = 1024 * 1024


def template_of(load: Load, model: LlamaModel) -> str | None:
    """The one it was stored with, before the GGUF's own. None: neither, and ChatML is taken."""
    return load.chat_template if load.chat_template is not None else model.chat_template


def chat_ability(
    model: LlamaModel, template: str | None, render: PromptRenderer, *, n_ctx_seq: int
) -> ChatAbility:
    """A bad template does not fail the load: completions still work, and chats say what is wrong."""
    source = TemplateSource(
        source=template,
        model=model.name,
        bos_text=model.bos_text,
        eos_text=model.eos_text,
        max_output_bytes=max(_LEAST_BYTES, _BYTES_PER_TOKEN * n_ctx_seq),
    )
    try:
        return ChatAbility(facts=render.set_template(source))
    except ModelInvalid as error:
        return ChatAbility(facts=None, error=str(error.fields["reason"]))


class NoTemplate:
    """A `PromptRenderer` for models that do not chat."""

    def __init__(self, model: str) -> None:
        self._model = model

    def set_template(self, template: TemplateSource) -> TemplateFacts:  # noqa: ARG002
        raise ModelInvalid(model=self._model, reason="it does not chat")

    def render(self, chat: ChatPrompt) -> str:  # noqa: ARG002
        raise InvalidRequest(reason=f"'{self._model}' does not chat", param="messages")
