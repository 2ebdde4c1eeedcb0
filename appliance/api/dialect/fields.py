"""Fields that several endpoints share: sampling, stop strings, adapters. Ranges here are those of the docs
(`docs/api.md`).

The numbers are checked before they reach the runner: a request parameter once reached pointer arithmetic in
llama.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from appliance.units import EXPECTED, seconds_kept

MAX_MESSAGES: Final = 4096
MAX_TOOLS: Final = 128
MAX_INPUTS: Final = 2048
MAX_STOPS: Final = 16
MAX_STOP_BYTES: Final = 1024
MAX_CHOICES: Final = 16
MAX_LOGIT_BIAS: Final = 1024
MAX_TOKENS: Final = 1 << 24
MAX_TOKEN_ID: Final = (1 << 31) - 1

Text = Annotated[str, StringConstraints(max_length=16 * 1024 * 1024)]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
TokenId = Annotated[int, Field(ge=0, le=MAX_TOKEN_ID)]
Unit = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
LastN = Annotated[int, Field(ge=-1, le=MAX_TOKENS)]
MaxTokens = Annotated[int, Field(ge=-1, le=MAX_TOKENS)]


class Body(BaseModel):
    """Base of all request bodies: no conversion ("5" is not 5), no unknown field, no NaN."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)

    refused: ClassVar[Mapping[str, str]] = {}
    """Of this body alone, as `validation.REFUSED`."""
    ignored: ClassVar[Mapping[str, Sequence[object]]] = {}
    """Of this body alone, as `validation.IGNORED`."""


def _seconds_kept(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(EXPECTED)  # noqa: TRY004 - pydantic's own errors are ValueErrors
    return seconds_kept(value)


class ModelBody(Body):
    """What a request to a model may say of the model's life."""

    keep_alive: Annotated[
        Annotated[float, Field(allow_inf_nan=True)] | None,
        BeforeValidator(_seconds_kept, json_schema_input_type=float | str | None),
    ] = None
    """Seconds that it stays in memory afterwards; infinite: until memory is needed."""


class AdapterField(Body):
    """One entry of `lora`."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    scale: Annotated[float, Field(ge=-16, le=16)] = 1.0


class StreamOptions(Body):
    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class SamplingFields(ModelBody):
    """How tokens are chosen. None everywhere: the model's default, which is llama.cpp's."""

    temperature: Annotated[float, Field(ge=0, le=5)] | None = None
    dynatemp_range: Annotated[float, Field(ge=0, le=5)] | None = None
    dynatemp_exponent: Annotated[float, Field(ge=0, le=10)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    top_p: Unit | None = None
    min_p: Unit | None = None
    typical_p: Unit | None = None
    top_n_sigma: Annotated[float, Field(ge=-1, le=100)] | None = None
    xtc_probability: Unit | None = None
    xtc_threshold: Unit | None = None
    dry_multiplier: Annotated[float, Field(ge=0, le=100)] | None = None
    dry_base: Annotated[float, Field(ge=0, le=100)] | None = None
    dry_allowed_length: Annotated[int, Field(ge=0, le=MAX_TOKENS)] | None = None
    dry_penalty_last_n: LastN | None = None
    dry_sequence_breakers: (
        Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=64)]], Field(max_length=32)]
        | None
    ) = None
    mirostat: Annotated[int, Field(ge=0, le=2)] | None = None
    mirostat_tau: Annotated[float, Field(ge=0, le=100)] | None = None
    mirostat_eta: Unit | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    repeat_last_n: LastN | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    ignore_eos: bool | None = None

    @field_validator("logit_bias", mode="before")
    @classmethod
    def _few(cls, value: object) -> object:
        """Before the entries are looked at: a million wrong ones would be a million faults."""
        if isinstance(value, dict) and len(value) > MAX_LOGIT_BIAS:
            raise ValueError(f"at most {MAX_LOGIT_BIAS} entries")
        return value

    @field_validator("logit_bias")
    @classmethod
    def _token_ids(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        for token in value or {}:
            if not (token.isascii() and token.isdigit() and len(token) <= 10 and int(token) <= MAX_TOKEN_ID):
                raise ValueError("its keys are token ids")
        return value


class AnswerFields(SamplingFields):
    """What all that generate share beside sampling."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    max_tokens: MaxTokens | None = None
    stop: str | list[str] | None = None
    grammar: Annotated[str, StringConstraints(max_length=16 * 1024)] | None = None
    json_schema: dict[str, Any] | None = None
    lora: Annotated[list[AdapterField], Field(max_length=16)] | None = None
    cache_prompt: bool | None = None
    prefix_shared: bool | None = None
    speculation: bool | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    """See `api/turns.py`."""

    @field_validator("stop")
    @classmethod
    def _stops(cls, value: str | list[str] | None) -> str | list[str] | None:
        stops = [value] if isinstance(value, str) else value or []
        if len(stops) > MAX_STOPS:
            raise ValueError(f"at most {MAX_STOPS} stop strings")
        if any(not 0 < len(stop.encode()) <= MAX_STOP_BYTES for stop in stops):
            raise ValueError(f"each stop string has 1 to {MAX_STOP_BYTES} bytes")
        return value

    @field_validator("max_tokens", "max_completion_tokens", check_fields=False)
    @classmethod
    def _some_tokens(cls, value: int | None) -> int | None:
        if value == 0:
            raise ValueError("at least 1, or -1 for as many as fit")
        return value

    @model_validator(mode="after")
    def _stream_options_need_stream(self) -> AnswerFields:
        if self.stream_options is not None and not self.stream:
            raise ValueError("'stream_options' is only for 'stream': true")
        return self

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or [])

    @property
    def wants_usage_chunk(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class GenerationFields(AnswerFields):
    """What chat and completions share."""

    model: ModelName
