"""What a runner answers, and what it tells of itself."""

from __future__ import annotations

from enum import StrEnum

from appliance.wire.base import FromRunner, Struct, WireError


class FinishReason(StrEnum):
    STOP = "stop"
    """An end-of-generation token or a stop string."""
    LENGTH = "length"
    """`max_tokens`, or the context is full."""
    TOOL_CALLS = "tool_calls"
    CANCELLED = "cancelled"


class Refused(FromRunner):
    id: int
    error: WireError


class Accepted(FromRunner):
    id: int
    prompt_tokens: int
    cached_tokens: int
    """As known when accepted; a later arrival may still find more."""


class Progress(Struct, array_like=True):
    """A prefill under way."""

    id: int
    done_tokens: int
    total_tokens: int


class TokenAlternative(Struct, array_like=True):
    token: int
    piece: bytes
    logprob: float


class TokenLogprob(Struct, array_like=True):
    token: int
    piece: bytes
    logprob: float
    top: list[TokenAlternative]


class ToolCallDelta(Struct, array_like=True):
    index: int
    call_id: str | None
    """Set in the first delta of a call, with `name`."""
    name: str | None
    arguments: str


class Usage(Struct):
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


class Delta(Struct, array_like=True):
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


class EngineStats(Struct):
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
    computing_s: float = 0.0
    """Time inside of decodes; what is left of a busy time is sampling, and pauses for heat."""
    step_s_p50: float = 0.0
    step_s_max: float = 0.0
    rss_bytes: int = 0
    restored_tokens: int = 0
    """Prompt tokens that came back from disk; they are among `cached_tokens` as soon as they are reused."""
    snapshots: int = 0
    """On disk now, of this model."""
    snapshot_bytes: int = 0
    snapshots_written: int = 0
    snapshot_written_bytes: int = 0
    snapshots_refused: int = 0
    """Files that were damaged, forged, renamed or not taken by llama.cpp: never restored, and removed."""
    snapshots_failed: int = 0
    """Not written: no room, no time, or a disk that fails."""


class Heartbeat(FromRunner):
    """Sent every `heartbeat_s` between steps, busy or idle, by the thread that steps: it proves that thread
    alive.
    """

    stats: EngineStats
    quiet_s: float = 0.0
    """The next one may be this much later: a step that cannot be divided follows."""


class Result(FromRunner):
    """Answer of Embed (`vectors`), Rerank (`scores`), Tokenize (`tokens`), Detokenize (`text`) and
    ApplyTemplate (`text` and how many `prompt_tokens` it is).
    """

    id: int
    vectors: list[bytes] = []
    """Little-endian float32, one per input."""
    scores: list[float] = []
    tokens: list[int] = []
    pieces: list[bytes] = []
    text: str = ""
    prompt_tokens: int = 0
