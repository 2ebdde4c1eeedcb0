"""From a completion body to one `Generate` per prompt. Pure."""

from __future__ import annotations

from typing import Final

from appliance.api.openai import generation_request
from appliance.api.openai.fields import MAX_CHOICES
from appliance.api.openai.schema import CompletionBody
from appliance.errors import InvalidRequest, Unsupported
from appliance.wire.messages import Generate, TextPrompt, TokensPrompt

DEFAULT_MAX_TOKENS: Final = 16
"""OpenAI's."""


def requests_of(body: CompletionBody, *, scope: str, raw_grammar: bool) -> list[Generate]:
    """One request per prompt, in order. Raises InvalidRequest or Unsupported."""
    _check(body)
    constraint = generation_request.direct_constraint_of(body, raw_grammar=raw_grammar)
    common = generation_request.common_of(body, scope=scope)
    max_tokens = generation_request.limit_of(
        DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens
    )
    return [
        Generate(
            id=0,
            prompt=prompt,
            max_tokens=max_tokens,
            constraint=constraint,
            top_logprobs=body.logprobs,
            echo=bool(body.echo),
            **common,
        )
        for prompt in _prompts_of(body)
    ]


def _check(body: CompletionBody) -> None:
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise Unsupported(
            feature="'best_of' other than 'n'", reason="every choice made is returned", param="best_of"
        )
    if body.echo and body.logprobs is not None:
        raise Unsupported(
            feature="'echo' with 'logprobs'",
            reason="the prompt's own probabilities are not computed",
            param="logprobs",
        )
    if body.echo and body.suffix is not None:
        raise InvalidRequest(reason="excludes 'suffix'", param="echo")
    if (
        isinstance(body.prompt, list)
        and len(body.prompt) * (body.n or 1) > MAX_CHOICES * 8
        and _is_batch(body.prompt)
    ):
        raise InvalidRequest(reason=f"prompts times 'n' is at most {MAX_CHOICES * 8}", param="n")


def _prompts_of(body: CompletionBody) -> list[TextPrompt | TokensPrompt]:
    told = body.prompt
    if isinstance(told, str):
        return [TextPrompt(text=told, suffix=body.suffix)]
    if isinstance(told[0], int):
        return [_tokens_of([token for token in told if isinstance(token, int)], body)]
    return [
        TextPrompt(text=item, suffix=body.suffix) if isinstance(item, str) else _tokens_of(item, body)
        for item in told
        if not isinstance(item, int)
    ]


def _tokens_of(tokens: list[int], body: CompletionBody) -> TokensPrompt:
    if body.suffix is not None:
        raise Unsupported(feature="'suffix' with token ids", reason="send the prompt as text", param="suffix")
    return TokensPrompt(tokens=tokens)


def _is_batch(prompt: list[str] | list[int] | list[list[int]]) -> bool:
    return not isinstance(prompt[0], int)
