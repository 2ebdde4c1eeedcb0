"""Every message between the daemon and a runner, in one place to import from.

    base      bases, protocol number, errors
    load      the model: `Load`, `Ready`
    requests  what the daemon asks
    answers   what the runner says

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

from typing import Union

from appliance.wire.answers import (
    Accepted,
    Delta,
    EngineStats,
    Failed,
    FinishReason,
    Heartbeat,
    Progress,
    Refused,
    Result,
    Step,
    TokenAlternative,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from appliance.wire.base import (
    MAX_FRAME_BYTES,
    PROTOCOL,
    WireError,
)
from appliance.wire.load import (
    Adapter,
    EngineSettings,
    Hibernation,
    Load,
    LoadFailed,
    Loading,
    ModelFacts,
    Placement,
    Ready,
    Sandbox,
)
from appliance.wire.requests import (
    AdapterScale,
    ApplyTemplate,
    Cancel,
    ChatPrompt,
    Constraint,
    ConstraintKind,
    Detokenize,
    Embed,
    FileText,
    Generate,
    LogitBias,
    Prompt,
    Rerank,
    SamplingParams,
    SetLimits,
    TextPrompt,
    Tokenize,
    TokensPrompt,
    ToolChoice,
)

__all__ = [
    "MAX_FRAME_BYTES",
    "PROTOCOL",
    "Accepted",
    "Adapter",
    "AdapterScale",
    "ApplyTemplate",
    "Cancel",
    "ChatPrompt",
    "Constraint",
    "ConstraintKind",
    "DaemonMessage",
    "Delta",
    "Detokenize",
    "Embed",
    "EngineSettings",
    "EngineStats",
    "Failed",
    "FileText",
    "FinishReason",
    "Generate",
    "Heartbeat",
    "Hibernation",
    "Load",
    "LoadFailed",
    "Loading",
    "LogitBias",
    "ModelFacts",
    "Placement",
    "Progress",
    "Prompt",
    "Ready",
    "Refused",
    "Request",
    "Rerank",
    "Result",
    "RunnerMessage",
    "SamplingParams",
    "Sandbox",
    "SetLimits",
    "Step",
    "TextPrompt",
    "TokenAlternative",
    "TokenLogprob",
    "Tokenize",
    "TokensPrompt",
    "ToolCallDelta",
    "ToolChoice",
    "Usage",
    "WireError",
]

Request = Union[Generate, Embed, Rerank, Tokenize, Detokenize, ApplyTemplate]
DaemonMessage = Union[Load, Generate, Embed, Rerank, Tokenize, Detokenize, ApplyTemplate, Cancel, SetLimits]
RunnerMessage = Union[Loading, Ready, LoadFailed, Refused, Accepted, Failed, Step, Heartbeat, Result]
