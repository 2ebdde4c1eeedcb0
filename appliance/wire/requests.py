"""What the daemon may ask of a runner that is ready."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Union

import msgspec

from appliance.wire.base import Struct, ToRunner


class LogitBias(Struct, array_like=True):
    token: int
    bias: float


class SamplingParams(Struct):
    """Sampling of one request. Defaults are llama.cpp's (`common/common.h`), which is what llama-server does
    without fields.

    `temperature` 0 is greedy. Ranges are checked at the door (`api/dialect/fields.py`).
    """

    temperature: float = 0.8
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    top_n_sigma: float = -1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: list[str] = msgspec.field(default_factory=lambda: ["\n", ":", '"', "*"])
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: list[LogitBias] = []
    seed: int | None = None
    """None: a fresh one per choice. Choice k of `n` uses seed + k."""
    ignore_eos: bool = False


class ConstraintKind(StrEnum):
    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"
    GBNF = "gbnf"


class Constraint(Struct):
    """What the output must be. `schema` for JSON_SCHEMA, `gbnf` for GBNF."""

    kind: ConstraintKind
    schema: Any = None
    gbnf: str | None = None


class ToolChoice(StrEnum):
    NONE = "none"
    AUTO = "auto"
    REQUIRED = "required"
    NAMED = "named"


class ChatPrompt(Struct, tag="chat"):
    """Rendered in the runner by the model's template, or by the one it brings along."""

    messages: list[dict[str, Any]]
    """OpenAI's message objects; content already flattened to a string or null where it was text parts."""
    tools: list[dict[str, Any]] = []
    tool_choice: ToolChoice = ToolChoice.AUTO
    tool_name: str | None = None
    """The function that `tool_choice` NAMED means."""
    parallel_tool_calls: bool = True
    """False: the answer ends with its first call."""
    response_format: dict[str, Any] | None = None
    """OpenAI's object, for templates that tell the model of it; the constraint enforces it."""
    template_kwargs: dict[str, Any] = {}
    """Further variables of the template (`enable_thinking` …)."""
    parse_reasoning: bool = True
    """False: `<think>` stays in the text."""
    continue_final_message: bool = False
    """True: the last message is the assistant's and is continued, not answered."""
    template: str | None = None
    """Jinja of the caller's own, for this request instead of the model's."""


class FileText(Struct, array_like=True):
    """Another file of the project in which a gap is to be filled."""

    name: str
    text: str


class TextPrompt(Struct, tag="text"):
    text: str
    suffix: str | None = None
    """Fill-in-middle, where the model has the tokens."""
    files: list[FileText] = []
    """Beside `suffix` only."""


class TokensPrompt(Struct, tag="tokens"):
    tokens: list[int]


Prompt = Union[ChatPrompt, TextPrompt, TokensPrompt]


class AdapterScale(Struct, array_like=True):
    name: str
    scale: float


class Generate(ToRunner):
    id: int
    prompt: Prompt
    sampling: SamplingParams = SamplingParams()
    max_tokens: int | None = None
    """None: to the end of the context."""
    max_context: int | None = None
    """Most tokens of prompt and answer together that the caller may use; None: as many as there are."""
    is_max_tokens_default: bool = False
    """Nobody asked for `max_tokens`: it gives way to `max_context` in the place of a refusal."""
    n: int = 1
    stop: list[str] = []
    constraint: Constraint | None = None
    top_logprobs: int | None = None
    """None: no logprobs. 0: those of the chosen tokens. k: also the k most likely."""
    echo: bool = False
    """Put the prompt's text in front of the answer (completions only)."""
    adapters: list[AdapterScale] = []
    scope: str = ""
    """Prefixes are reused only inside one scope (a hash of the API key); "" is shared by all."""
    shared_prefix: bool = False
    """The caller declares its prompt's prefix shareable with every scope."""
    cache_prompt: bool = True
    speculation: bool = True


class Embed(ToRunner):
    id: int
    inputs: list[str | list[int]]
    normalize: bool = True
    truncate: bool = False
    """True only when the caller asked in so many words: an over-long input is cut to the context."""
    max_context: int | None = None
    """Of each input; as for Generate."""


class Rerank(ToRunner):
    id: int
    query: str
    documents: list[str]
    max_context: int | None = None
    """Of each pair; as for Generate."""


class Tokenize(ToRunner):
    id: int
    text: str
    add_special: bool = False
    parse_special: bool = True


class Detokenize(ToRunner):
    id: int
    tokens: list[int]


class ApplyTemplate(ToRunner):
    id: int
    prompt: ChatPrompt


class Cancel(ToRunner):
    id: int


class SetLimits(ToRunner):
    """Taken at the next step. None: unlimited again."""

    max_running: int | None = None
    token_budget: int | None = None
    pause_s: float = 0.0
    """Sleep so long between steps."""
    duty: float = 1.0
    """Share of the time that steps may take (heat): after a step of s seconds, pause s (1 / duty - 1)."""
