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
    """Seconds, or `10m`, in memory afterwards; below 0: until others need it. Default: as configured."""


class AdapterField(Body):
    """One entry of `lora`."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    """As the model was stored with it."""
    scale: Annotated[float, Field(ge=-16, le=16)] = 1.0
    """How strongly it works."""


class StreamOptions(Body):
    include_usage: bool | None = None
    """One more event with the usage before `[DONE]`. Default: false."""
    include_obfuscation: Literal[False] | None = None
    """Only false."""


class SamplingFields(ModelBody):
    """How tokens are chosen. None everywhere: the model's default, which is llama.cpp's."""

    temperature: Annotated[float, Field(ge=0, le=5)] | None = None
    """0: greedy, always the likeliest token. Default: the model's, else 0.8."""
    dynatemp_range: Annotated[float, Field(ge=0, le=5)] | None = None
    """The temperature moves by so much, with the entropy. Default: the model's, else 0.0."""
    dynatemp_exponent: Annotated[float, Field(ge=0, le=10)] | None = None
    """How entropy becomes temperature in that range. Default: the model's, else 1.0."""
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Only the so many likeliest tokens; 0: all. Default: the model's, else 40."""
    top_p: Unit | None = None
    """Only the likeliest tokens that together have this share; 1: all. Default: the model's, else 0.95."""
    min_p: Unit | None = None
    """Only tokens with this share of the likeliest's probability. Default: the model's, else 0.05."""
    typical_p: Unit | None = None
    """Only tokens of typical information, up to this share; 1: all. Default: the model's, else 1.0."""
    top_n_sigma: Annotated[float, Field(ge=-1, le=100)] | None = None
    """Only so many standard deviations below the best; 0 and -1: all. Default: the model's, else -1.0."""
    xtc_probability: Unit | None = None
    """Chance that the likeliest tokens are left out; 0: never. Default: the model's, else 0.0."""
    xtc_threshold: Unit | None = None
    """Probability from which a token may be left out so. Default: the model's, else 0.1."""
    dry_multiplier: Annotated[float, Field(ge=0, le=100)] | None = None
    """Strength of the penalty on repeated sequences (DRY); 0: none. Default: the model's, else 0.0."""
    dry_base: Annotated[float, Field(ge=0, le=100)] | None = None
    """Base by which that penalty grows with their length. Default: the model's, else 1.75."""
    dry_allowed_length: Annotated[int, Field(ge=0, le=MAX_TOKENS)] | None = None
    """In tokens: longer repetitions are penalised. Default: the model's, else 2."""
    dry_penalty_last_n: LastN | None = None
    """Tokens looked back on for them; 0: none, -1: the whole context. Default: the model's, else -1."""
    dry_sequence_breakers: (
        Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=64)]], Field(max_length=32)]
        | None
    ) = None
    """Texts that end a repeated sequence. Default: the model's, else newline, `:`, `"` and `*`."""
    mirostat: Annotated[int, Field(ge=0, le=2)] | None = None
    """0: off; 1, 2: Mirostat in place of top-k and the like. Default: the model's, else 0."""
    mirostat_tau: Annotated[float, Field(ge=0, le=100)] | None = None
    """Entropy that Mirostat aims at. Default: the model's, else 5.0."""
    mirostat_eta: Unit | None = None
    """How fast Mirostat learns. Default: the model's, else 0.1."""
    repeat_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    """Makes recent tokens less likely by this factor; 1: none. Default: the model's, else 1.0."""
    repeat_last_n: LastN | None = None
    """Tokens that count as recent; 0: none, -1: the whole context. Default: the model's, else 64."""
    presence_penalty: Penalty | None = None
    """Taken from the logits of recent tokens, once. Default: the model's, else 0.0."""
    frequency_penalty: Penalty | None = None
    """Taken from the logits of recent tokens, for each time. Default: the model's, else 0.0."""
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    """Token id → what is added to its logit, -100 to 100; at most 1024. Default: the model's, else none."""
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    """Choice k has `seed` + k; -1: a fresh one. Default: the model's, else a fresh one."""
    ignore_eos: bool | None = None
    """Go on where the model would end. Default: the model's, else false."""

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
    """The answer as events while it is made. Default: false."""
    stream_options: StreamOptions | None = None
    """Only with `stream`."""
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    """How many answers; `/infill` makes only 1. Default: 1."""
    max_tokens: MaxTokens | None = None
    """Tokens of the answer at most; -1: as many as fit. Default: the model's, else as many as fit."""
    stop: str | list[str] | None = None
    """Texts that end the answer, and are not in it: up to 16 of 1 to 1024 bytes. Default: the model's."""
    grammar: Annotated[str, StringConstraints(max_length=16 * 1024)] | None = None
    """GBNF that the answer keeps to; excludes the other constraints. Default: none."""
    json_schema: dict[str, Any] | None = None
    """A schema that the answer keeps to; excludes the other constraints. Default: none."""
    lora: Annotated[list[AdapterField], Field(max_length=16)] | None = None
    """Adapters of the model and their scales. Default: the model's."""
    cache_prompt: bool | None = None
    """Begin with what is computed already of the same prompt. Default: true."""
    prefix_shared: bool | None = None
    """What is computed of this prompt may serve other keys, too. Default: false."""
    speculation: bool | None = None
    """Tokens may be guessed ahead and verified. Default: true."""
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    """`flex`: in the background; the others are one. Default: realtime."""

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
    """Its name in the store or the configuration."""
