"""Every message between the daemon and a runner, in one place.

A frame is a 4-byte little-endian length, then one msgpack value: a tagged `msgspec` struct. `channel.py`
carries it. The daemon sends `Load` once and first; then `Generate`, `Embed`, `Rerank`, `Tokenize`,
`Detokenize`, `ApplyTemplate`, `Cancel` and `SetLimits` in any number. The runner answers `Loading`* then
`Ready` or `LoadFailed`; then for each request id exactly one of

    Refused                                              nothing was computed
    Accepted, (Progress | Delta)*, Delta with `usage`    a generation that ended (the last Delta of the last
                                                         choice)
    Accepted, (Progress | Delta)*, Failed                a fault in mid-work
    Result                                               everything that is not a generation

`Step` gathers what one engine step has to say to all requests, so that a step costs one frame. `Cancel` has
no answer of its own: the request ends with `finish_reason` "cancelled". EOF either way ends the other side.

Untrusted both ways: the runner opens hostile files, so the daemon decodes strictly and never trusts lengths
or ids.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Union

import msgspec

PROTOCOL = 1
"""Raised by one with every incompatible change; `Load` carries it, and a runner of another number refuses."""

MAX_FRAME_BYTES = 64 * 1024 * 1024


class FinishReason(StrEnum):
    STOP = "stop"
    """An end-of-generation token or a stop string."""
    LENGTH = "length"
    """`max_tokens`, or the context is full."""
    TOOL_CALLS = "tool_calls"
    CANCELLED = "cancelled"


class _Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the values inside messages."""


# ── placement: how a model is put on the board ──────────────────────────────────────────────────


class Placement(_Struct):
    """Where and how large. llama.cpp's own names, because they go straight into its structs."""

    n_ctx_seq: int
    """Tokens one sequence may hold, prompt and answer together."""
    n_seq_max: int
    """Sequences that may run at once."""
    kv_cells: int
    """Tokens the KV cache holds over all sequences (shared prefixes count once)."""
    n_ubatch: int = 512
    n_gpu_layers: int = 0
    type_k: str = "f16"
    type_v: str = "f16"
    n_threads: int = 0
    """Compute threads; 0: chosen from the board's big cores."""
    use_mmap: bool = True
    pooling: str | None = None
    """none | mean | cls | last | rank; None: as the GGUF says. A model that pools serves embeddings and no
    text.
    """


class Adapter(_Struct):
    name: str
    path: str


class EngineSettings(_Struct):
    """Bounds of the engine loop that do not depend on the board."""

    step_bound_s: float = 0.25
    """A step is planned to stay under this, so that cancel, fairness and heartbeat act between steps."""
    heartbeat_s: float = 1.0
    speculation: bool = True
    prefix_reuse: bool = True
    adapt_threads: bool = True


# ── to the runner ───────────────────────────────────────────────────────────────────────────────


class ToRunner(_Struct, tag_field="t", tag=True):
    """Base of what the daemon says."""


class Load(ToRunner):
    protocol: int
    model: str
    """The name shown in logs and errors."""
    path: str
    placement: Placement
    settings: EngineSettings = EngineSettings()
    draft_path: str | None = None
    """GGUF of a draft model with the same vocabulary."""
    adapters: list[Adapter] = []


class LogitBias(_Struct, array_like=True):
    token: int
    bias: float


class SamplingParams(_Struct):
    """Sampling of one request. Defaults are llama.cpp's (`common/common.h`), which is what llama-server does
    without fields.

    `temperature` 0 is greedy. Ranges are checked at the door (`api/openai/`).
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


class Constraint(_Struct):
    """What the output must be. `schema` for JSON_SCHEMA, `gbnf` for GBNF."""

    kind: ConstraintKind
    schema: Any = None
    gbnf: str | None = None


class ToolChoice(StrEnum):
    NONE = "none"
    AUTO = "auto"
    REQUIRED = "required"
    NAMED = "named"


class ChatPrompt(_Struct, tag="chat"):
    """Rendered in the runner by the GGUF's own template."""

    messages: list[dict[str, Any]]
    """OpenAI's message objects; content already flattened to a string or null where it was text parts."""
    tools: list[dict[str, Any]] = []
    tool_choice: ToolChoice = ToolChoice.AUTO
    tool_name: str | None = None
    """The function that `tool_choice` NAMED means."""
    parallel_tool_calls: bool = True
    template_kwargs: dict[str, Any] = {}
    """Further variables of the template (`enable_thinking` …)."""
    parse_reasoning: bool = True
    """False: `<think>` stays in the text."""
    continue_final_message: bool = False
    """True: the last message is the assistant's and is continued, not answered."""


class TextPrompt(_Struct, tag="text"):
    text: str
    suffix: str | None = None
    """Fill-in-middle, where the model has the tokens."""


class TokensPrompt(_Struct, tag="tokens"):
    tokens: list[int]


Prompt = Union[ChatPrompt, TextPrompt, TokensPrompt]


class AdapterScale(_Struct, array_like=True):
    name: str
    scale: float


class Generate(ToRunner):
    id: int
    prompt: Prompt
    sampling: SamplingParams = SamplingParams()
    max_tokens: int | None = None
    """None: to the end of the context."""
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


class Rerank(ToRunner):
    id: int
    query: str
    documents: list[str]


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
    """Sleep between steps (heat)."""


Request = Union[Generate, Embed, Rerank, Tokenize, Detokenize, ApplyTemplate]
DaemonMessage = Union[Load, Generate, Embed, Rerank, Tokenize, Detokenize, ApplyTemplate, Cancel, SetLimits]


# ── from the runner ─────────────────────────────────────────────────────────────────────────────


class FromRunner(_Struct, tag_field="t", tag=True):
    """Base of what a runner says."""


class WireError(_Struct):
    """An `errors.OutpostError` by name and fields (`errors.to_wire`)."""

    name: str
    fields: dict[str, Any]


class Loading(FromRunner):
    progress: float
    """0 to 1."""


class Sandbox(_Struct):
    """How far the runner is boxed in, as reached, not as wished (`runner/sandbox.py`)."""

    level: str
    """full | partial | none"""
    no_new_privs: bool
    non_dumpable: bool
    rlimits: bool
    landlock_abi: int
    """0: the kernel has none."""
    seccomp: bool
    missing: list[str] = []


class ModelFacts(_Struct):
    n_ctx_train: int
    n_ctx_seq: int
    n_seq_max: int
    n_vocab: int
    n_embd: int
    n_params: int
    size_bytes: int
    description: str
    has_chat_template: bool
    chat_template_error: str | None = None
    """Why the GGUF's template was refused at load; chat requests then fail with it."""
    tool_format: str | None = None
    """hermes | llama3 | mistral | json, from the template."""
    pooling: str = "none"
    """none | mean | cls | last | rank"""
    generates: bool = True
    device: str = "cpu"
    backend: str = ""
    """llama.cpp's own system info line."""


class Ready(FromRunner):
    facts: ModelFacts
    sandbox: Sandbox
    load_s: float
    measured_bytes: int
    """RSS after load and warm-up."""


class LoadFailed(FromRunner):
    error: WireError


class Refused(FromRunner):
    id: int
    error: WireError


class Accepted(FromRunner):
    id: int
    prompt_tokens: int
    cached_tokens: int
    """As known when accepted; a later arrival may still find more."""


class Progress(_Struct, array_like=True):
    """A prefill under way."""

    id: int
    done_tokens: int
    total_tokens: int


class TokenAlternative(_Struct, array_like=True):
    token: int
    piece: bytes
    logprob: float


class TokenLogprob(_Struct, array_like=True):
    token: int
    piece: bytes
    logprob: float
    top: list[TokenAlternative]


class ToolCallDelta(_Struct, array_like=True):
    index: int
    call_id: str | None
    """Set in the first delta of a call, with `name`."""
    name: str | None
    arguments: str


class Usage(_Struct):
    """Counts and times of a whole request (all choices), sent with its last delta."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0
    queue_s: float = 0.0
    """Waited inside the runner for a free sequence."""
    prefill_s: float = 0.0
    decode_s: float = 0.0
    draft_tokens: int = 0
    draft_accepted_tokens: int = 0


class Delta(_Struct, array_like=True):
    """What one choice gained in one step. Empty text with a `finish_reason` is normal."""

    id: int
    choice: int
    text: str
    tokens: int
    """Tokens generated in this step (more than one when a draft was accepted)."""
    reasoning: str = ""
    tool_calls: list[ToolCallDelta] = []
    logprobs: list[TokenLogprob] = []
    finish_reason: FinishReason | None = None
    stop: str | None = None
    """The stop string that matched."""
    usage: Usage | None = None
    """Only in the last delta of the request."""


class Failed(FromRunner):
    id: int
    error: WireError


class Step(FromRunner):
    deltas: list[Delta]
    progress: list[Progress] = []


class EngineStats(_Struct):
    """Counters since start and gauges of now; the runner's part of `/metrics`."""

    running: int = 0
    waiting: int = 0
    steps: int = 0
    prompt_tokens: int = 0
    """Computed, without those reused."""
    cached_tokens: int = 0
    generated_tokens: int = 0
    draft_tokens: int = 0
    draft_accepted_tokens: int = 0
    kv_cells_used: int = 0
    kv_cells: int = 0
    prefixes: int = 0
    n_threads: int = 0
    step_s_p50: float = 0.0
    step_s_max: float = 0.0
    rss_bytes: int = 0


class Heartbeat(FromRunner):
    """Sent every `heartbeat_s` between steps, busy or idle, by the thread that steps: it proves that thread
    alive.
    """

    stats: EngineStats


class Result(FromRunner):
    """Answer of Embed (`vectors`), Rerank (`scores`), Tokenize (`tokens`), Detokenize and ApplyTemplate
    (`text`).
    """

    id: int
    vectors: list[bytes] = []
    """Little-endian float32, one per input."""
    scores: list[float] = []
    tokens: list[int] = []
    pieces: list[bytes] = []
    text: str = ""
    prompt_tokens: int = 0


RunnerMessage = Union[Loading, Ready, LoadFailed, Refused, Accepted, Failed, Step, Heartbeat, Result]
