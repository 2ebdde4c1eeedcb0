"""What chat and completions share on the way from a body to a `Generate`: sampling, constraint, adapters.
Pure.
"""

from __future__ import annotations

from typing import Any, Final

from appliance.api.dialect import json_schema_limits
from appliance.api.dialect.fields import AnswerFields, SamplingFields
from appliance.errors import InvalidRequest, Unsupported
from appliance.wire.messages import AdapterScale, Constraint, ConstraintKind, LogitBias, SamplingParams

_COPIED: Final = tuple(
    name for name in SamplingFields.model_fields if name not in {"logit_bias", "seed", "keep_alive"}
)
_SEEDS: Final = 1 << 31
"""llama.cpp has 32-bit seeds and gives the last one a meaning of its own; choice k adds k."""


def sampling_of(body: SamplingFields) -> SamplingParams:
    told: dict[str, Any] = {name: value for name in _COPIED if (value := getattr(body, name)) is not None}
    if body.logit_bias:
        told["logit_bias"] = [LogitBias(int(token), float(bias)) for token, bias in body.logit_bias.items()]
    if body.seed is not None and body.seed != -1:
        told["seed"] = body.seed % _SEEDS
    return SamplingParams(**told)


def common_of(body: AnswerFields, *, scope: str) -> dict[str, Any]:
    """The keyword arguments of `Generate` that chat and completions fill alike."""
    told: dict[str, Any] = {
        "sampling": sampling_of(body),
        "n": body.n or 1,
        "stop": body.stops,
        "scope": scope,
        "shared_prefix": bool(body.prefix_shared),
        "cache_prompt": body.cache_prompt is not False,
        "speculation": body.speculation is not False,
    }
    if body.lora:
        told["adapters"] = [AdapterScale(entry.name, float(entry.scale)) for entry in body.lora]
    return told


def direct_constraint_of(body: AnswerFields, *, raw_grammar: bool) -> Constraint | None:
    """The constraint of llama-server's own fields `grammar` and `json_schema`."""
    if body.grammar is not None and body.json_schema is not None:
        raise InvalidRequest(reason="'grammar' and 'json_schema' exclude each other", param="grammar")
    if body.grammar is not None:
        if not raw_grammar:
            raise Unsupported(
                feature="'grammar'", reason="this Outpost takes JSON schemas only", param="grammar"
            )
        return Constraint(kind=ConstraintKind.GBNF, gbnf=body.grammar)
    if body.json_schema is not None:
        return schema_constraint(body.json_schema, param="json_schema")
    return None


def schema_constraint(schema: dict[str, Any], *, param: str) -> Constraint:
    json_schema_limits.check(schema, param=param)
    return Constraint(kind=ConstraintKind.JSON_SCHEMA, schema=schema)


def limit_of(max_tokens: int | None) -> int | None:
    """-1 is llama-server's "as many as fit"."""
    return None if max_tokens is None or max_tokens < 0 else max_tokens
