"""What a stored model says where a request says nothing: sampling, stop strings, length, system, history.
Pure.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pydantic

from appliance.api.dialect import generation_request
from appliance.api.dialect.fields import AnswerFields, SamplingFields
from appliance.errors import ModelInvalid
from appliance.supervisor.inference import ModelCard
from appliance.supervisor.policy import ModelDefaults
from appliance.wire.messages import ChatPrompt, Generate, SamplingParams

_SAMPLING: Final = tuple(SamplingFields.model_fields)
_SYSTEM_ROLES: Final = frozenset({"system", "developer"})


def applied(request: Generate, body: AnswerFields, card: ModelCard) -> Generate:
    """`request`, which was made of `body`, completed. What the body says, stays.

    Raises ModelInvalid when what was stored is out of the ranges of the API.
    """
    defaults = card.defaults
    if defaults == ModelDefaults():
        return request
    told: dict[str, Any] = {"sampling": _sampling(body, card)}
    if body.stop is None and defaults.stop:
        told["stop"] = list(defaults.stop)
    if defaults.max_tokens is not None and not _names_a_length(body):
        told["max_tokens"] = generation_request.limit_of(defaults.max_tokens)
    if body.lora is None and defaults.adapters:
        told["adapters"] = list(defaults.adapters)
    if isinstance(request.prompt, ChatPrompt):
        told["prompt"] = prompted(request.prompt, card)
    return msgspec.structs.replace(request, **told)


def prompted(prompt: ChatPrompt, card: ModelCard) -> ChatPrompt:
    """`prompt` with the system message and the history that the model has stored."""
    return msgspec.structs.replace(prompt, messages=_conversation(prompt.messages, card.defaults))


def _sampling(body: AnswerFields, card: ModelCard) -> SamplingParams:
    said = {name: value for name in _SAMPLING if (value := getattr(body, name)) is not None}
    try:
        return generation_request.sampling_of(SamplingFields(**{**card.defaults.sampling, **said}))
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ModelInvalid(
            model=card.name, reason=f"its stored parameter {name[:64]!r}: {first['msg'][:200]}"
        ) from error


def _names_a_length(body: AnswerFields) -> bool:
    return body.max_tokens is not None or getattr(body, "max_completion_tokens", None) is not None


def _conversation(asked: list[dict[str, Any]], defaults: ModelDefaults) -> list[dict[str, Any]]:
    """System messages in front, since many templates take them nowhere else; then the stored history; then
    the request.
    """
    first = next((at for at, one in enumerate(asked) if one["role"] not in _SYSTEM_ROLES), len(asked))
    system = asked[:first]
    if defaults.system is not None and not any(one["role"] in _SYSTEM_ROLES for one in asked):
        system = [{"role": "system", "content": defaults.system}]
    return [*system, *(dict(one) for one in defaults.messages), *asked[first:]]
