"""From a completion body to one `Generate` per prompt. Pure."""

from __future__ import annotations

from typing import Final

from appliance.api.dialect import generation_request
from appliance.api.openai.schema import CompletionBody, inputs_of
from appliance.errors import InvalidRequest, Unsupported
from appliance.wire.messages import Generate, TextPrompt, TokensPrompt

DEFAULT_MAX_TOKENS: Final = 16
"""OpenAI's."""
MAX_ANSWERS: Final = 256


def requests_of(body: CompletionBody, *, scope: str, raw_grammar: bool) -> list[Generate]:
    """One request per prompt, in order. Raises InvalidRequest or Unsupported."""
    _check(body)
    constraint = generation_request.direct_constraint_of(body, raw_grammar=raw_grammar)
    common = generation_request.common_of(body, scope=scope)
    max_tokens = generation_request.limit_of(
        DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens
    )
    common["n"] = made_of(body)
    is_judged = made_of(body) > (body.n or 1)
    return [
        Generate(
            id=0,
            prompt=_prompt_of(told, body.suffix),
            max_tokens=max_tokens,
            constraint=constraint,
            top_logprobs=0 if is_judged and body.logprobs is None else body.logprobs,
            echo=bool(body.echo),
            **common,
        )
        for told in inputs_of(body.prompt)
    ]


def made_of(body: CompletionBody) -> int:
    """Choices that are made for each prompt; the best `n` of them are told."""
    return body.best_of or body.n or 1


def _check(body: CompletionBody) -> None:
    if made_of(body) < (body.n or 1):
        raise InvalidRequest(reason="at least 'n'", param="best_of")
    if body.stream and made_of(body) > (body.n or 1):
        raise Unsupported(
            feature="'best_of' in a stream", reason="the best is known at the end only", param="best_of"
        )
    if body.echo and body.logprobs is not None:
        raise Unsupported(
            feature="'echo' with 'logprobs'",
            reason="the prompt's own probabilities are not computed",
            param="logprobs",
        )
    if body.echo and body.suffix is not None:
        raise InvalidRequest(reason="excludes 'suffix'", param="echo")
    if len(inputs_of(body.prompt)) * made_of(body) > MAX_ANSWERS:
        name = "n" if body.best_of is None else "best_of"
        raise InvalidRequest(reason=f"prompts times '{name}' is at most {MAX_ANSWERS}", param=name)


def _prompt_of(told: str | list[int], suffix: str | None) -> TextPrompt | TokensPrompt:
    if isinstance(told, str):
        return TextPrompt(text=told, suffix=suffix)
    if suffix is not None:
        raise Unsupported(feature="'suffix' with token ids", reason="send the prompt as text", param="suffix")
    return TokensPrompt(tokens=told)
