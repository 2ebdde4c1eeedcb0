"""`X-Outpost-Placement`: how the model that answers is placed, in one header.

    cpu; ctx=3072; slots=4; kv=f16; kernels=avx512-vnni; conceded=context
    CUDA0; layers=29/29; ctx=4096; slots=4; kv=q8_0; variant=qwen-small; alarm

It is what the runner has told after its load, so the one place where a client that cares (for latency, for
reproducible answers) sees that today's answer came from elsewhere than yesterday's.
"""

from __future__ import annotations

import re
from typing import Final

from appliance.supervisor.inference import ModelCard
from appliance.wire.messages import ModelFacts

HEADER: Final = "X-Outpost-Placement"
_MOST_CHARS: Final = 256
_MOST_WORD: Final = 48
_STRANGE: Final = re.compile(r"[^A-Za-z0-9._:/+-]+")


def placement_of(card: ModelCard) -> str | None:
    """None: it was never loaded."""
    facts = card.facts
    if facts is None:
        return None
    parts = [_word(facts.device), *_layers(facts), f"ctx={facts.n_ctx_seq}", f"slots={facts.n_seq_max}"]
    if facts.generates:
        parts.append(f"kv={_word(_cache(facts))}")
    if facts.kernels:
        parts.append(f"kernels={_word(facts.kernels)}")
    if card.variant is not None:
        parts.append(f"variant={_word(card.variant)}")
    if card.conceded:
        parts.append("conceded=" + ",".join(dict.fromkeys(_word(one.what) for one in card.conceded)))
    if card.alarm is not None:
        parts.append("alarm")
    return "; ".join(parts)[:_MOST_CHARS]


def _layers(facts: ModelFacts) -> list[str]:
    return [] if facts.device == "cpu" else [f"layers={facts.n_gpu_layers}/{facts.n_layers}"]


def _cache(facts: ModelFacts) -> str:
    return facts.type_k if facts.type_k == facts.type_v else f"{facts.type_k}/{facts.type_v}"


def _word(text: str) -> str:
    """What a runner or a name says, as far as it may stand in a header."""
    return _STRANGE.sub("-", text)[:_MOST_WORD]
