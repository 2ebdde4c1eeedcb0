"""Layers with a sliding window keep the window only (`swa_full` off): less memory, the same answers."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest

from appliance.engine.context_shape import ContextShape
from appliance.engine.llama.context import LlamaContext, context_params
from appliance.engine.llama.dry_run import buffers_of
from appliance.engine.llama.model import LlamaModel
from tests.fakes.tiny_gguf import write_windowed
from tests.integration.llama_desk import Desk

pytestmark = pytest.mark.integration

WINDOW = 64
TEXT = [40 + 7 * number % 200 for number in range(1400)]
"""Longer than the window and what a pass adds to it."""


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "windowed.gguf"
    # Quantised: how a prompt is cut changes no logits then.
    return write_windowed(path, window=WINDOW, weights=gguf.GGMLQuantizationType.Q8_0)


def alone(path: Path, prompt: list[int], *, speculation: bool = False) -> list[int]:
    with Desk(path, n_ctx_seq=2048, n_seq_max=1, prefix_reuse=False, speculation=speculation) as desk:
        return desk.ask(prompt).tokens


def test_a_context_is_told_all_that_makes_it_small() -> None:
    shape = ContextShape(
        n_ctx_seq=512, n_slots=3, n_batch=256, n_ubatch=128, n_outputs=5, type_k="q8_0", type_v="q4_0"
    )
    params = context_params(shape, n_threads=2)
    assert (params.n_ctx, params.n_seq_max) == (1536, 3)
    assert (params.n_batch, params.n_ubatch, params.n_outputs_max) == (256, 128, 5)
    assert (params.swa_full, params.kv_unified) == (False, False)
    assert (params.type_k, params.type_v) == (8, 2)


def test_a_real_context_keeps_windows(windowed: Path) -> None:
    model = LlamaModel(str(windowed), name="windowed")
    shape = ContextShape(n_ctx_seq=2048, n_slots=2, n_batch=128, n_ubatch=128, n_outputs=2)
    context = LlamaContext(model, shape, n_threads=1)
    try:
        cells_bytes = 2 * 16 * 2 * 2  # heads x size of a head x (keys and values) x 16 bits
        full, window = 2048, 256  # the window and a pass, rounded up to 256
        expected = 2 * cells_bytes * (1 * full + 5 * window)
        assert sum(one.cache_bytes for one in buffers_of(context)) == expected
    finally:
        context.close()
        model.close()


def test_a_prefix_is_reused_only_where_its_window_is_still_there(windowed: Path) -> None:
    longer, branched = [*TEXT, 50, 51, 52], [*TEXT[:200], 90, 91, 92]
    with Desk(windowed, n_ctx_seq=2048, n_seq_max=1) as desk:
        first = desk.ask(TEXT).tokens
        went_on = desk.generate(longer)
        desk.finish()
        turned_back = desk.generate(branched)
        desk.finish()
        assert first == alone(windowed, TEXT)
        assert desk.answer(went_on).tokens == alone(windowed, longer)
        assert desk.answer(turned_back).tokens == alone(windowed, branched)
        assert desk.usage(went_on).cached_tokens > 1200
        assert desk.usage(turned_back).cached_tokens == 0


def test_rejected_drafts_leave_the_window_whole(windowed: Path) -> None:
    repeated = (TEXT[:37] * 40)[:1400]
    assert alone(windowed, repeated, speculation=True) == alone(windowed, repeated)
