"""Which loads `tests.bench.memory_plan` measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from appliance.wire.messages import Placement


@dataclass(frozen=True, slots=True)
class Case:
    kind: str
    """The starter model itself (q4_1), what it is requantised to, or one of `tests.fakes.random_models`."""
    n_ctx_seq: int
    n_slots: int
    cache_type: str = "f16"
    n_ubatch: int = 512
    speculation: bool = True

    @property
    def placement(self) -> Placement:
        return Placement(
            n_ctx_seq=self.n_ctx_seq,
            n_seq_max=self.n_slots,
            kv_cells=self.n_ctx_seq * self.n_slots,
            n_ubatch=self.n_ubatch,
            type_k=self.cache_type,
            type_v=self.cache_type,
        )


CASES: Final = (
    Case("q4_1", 1024, 1),
    Case("q4_1", 1024, 2, speculation=False),
    Case("q4_1", 2048, 1, speculation=False),
    Case("q4_1", 512, 4, n_ubatch=256, speculation=False),
    Case("q4_1", 256, 8, n_ubatch=128, speculation=False),
    Case("q4_1", 512, 1, "q8_0", n_ubatch=128, speculation=False),
    Case("q4_1", 1024, 2, n_ubatch=128),
    Case("q4_0", 1024, 2, speculation=False),
    Case("q4_0", 1024, 1),
    Case("q4_0", 512, 1, "q8_0", n_ubatch=256, speculation=False),
    Case("q4_0", 2048, 1, speculation=False),
    Case("q8_0", 1024, 1, speculation=False),
    Case("q8_0", 1024, 1),
    Case("q8_0", 512, 2, "q8_0", n_ubatch=256, speculation=False),
    Case("q8_0", 512, 4, speculation=False),
    Case("f16", 1024, 1),
    Case("f16", 1024, 2, speculation=False),
    Case("f16", 512, 1, "q4_0", n_ubatch=256, speculation=False),
    Case("f16", 256, 8, n_ubatch=256, speculation=False),
    Case("f16", 4096, 1, speculation=False),
)
"""Twenty of the starter model and what our quantiser makes of it. The constants of `planner/footprint.py`
were set by the like of them.
"""
CHECK: Final = (
    Case("q4_1", 1536, 3, n_ubatch=64, speculation=False),
    Case("q4_1", 2048, 2),
    Case("q4_1", 768, 4, "q8_0", n_ubatch=256),
    Case("q4_0", 384, 6, n_ubatch=192, speculation=False),
    Case("q4_0", 3072, 1, "q8_0", n_ubatch=384),
    Case("q8_0", 2560, 1, n_ubatch=256, speculation=False),
    Case("q8_0", 640, 2, "q4_0", n_ubatch=96),
    Case("f16", 1280, 2, "q8_0", speculation=False),
    Case("f16", 512, 16, n_ubatch=128),
    Case("q4_K_M", 1024, 3, n_ubatch=256),
    Case("qwen3", 2048, 1, speculation=False),
    Case("qwen3", 768, 4, n_ubatch=256),
    Case("gemma3", 2048, 1, n_ubatch=256),
    Case("gemma3", 1024, 2, "q8_0", speculation=False),
    Case("qwen3moe", 1024, 2, n_ubatch=256, speculation=False),
    Case("qwen3moe", 768, 1, n_ubatch=128),
    Case("qwen2", 1024, 3, n_ubatch=96),
    Case("qwen2", 4096, 1, "q8_0", speculation=False),
)
"""An independent check: contexts, slots, cache types, ubatches, layouts and architectures that no constant
was set by. A miss here is a fault of the model of memory, and no reason to change this list.
"""
FAST: Final = (
    Case("q4_1", 512, 2, n_ubatch=256, speculation=False),
    Case("q4_0", 512, 1, n_ubatch=128, speculation=False),
    Case("q8_0", 512, 2, "q8_0", n_ubatch=128, speculation=False),
    Case("f16", 512, 2, n_ubatch=256, speculation=False),
)
"""For `make test`."""
