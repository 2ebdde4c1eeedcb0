"""Models, wishes and residents for the laws of the planner."""

from __future__ import annotations

from hypothesis import strategies as st

from appliance.planner.evictions import Resident
from appliance.planner.facts import Accelerator, Ladder
from appliance.planner.ladder import Contender, Terms, build
from appliance.planner.prices import default_prices
from appliance.planner.steps import Traits
from appliance.wire.messages import Placement
from tests.fakes.flat_size import flat_size

MODELS = st.builds(
    lambda weights, cell, ubatch, trained, quantizes, projector, layers, wish: Contender(
        name="model",
        wish=wish,
        traits=Traits(
            n_ctx_train=trained, n_layer=layers, has_projector=projector > 0, quantizes_cache=quantizes
        ),
        size=flat_size(weights=weights, cell=cell, ubatch=ubatch, projector=projector, layers=layers + 1),
    ),
    st.integers(1_000, 5_000_000),
    st.integers(1, 500),
    st.integers(0, 2_000),
    st.sampled_from([None, 2048, 8192]),
    st.booleans(),
    st.sampled_from([0, 100_000]),
    st.integers(1, 40),
    st.builds(
        Placement,
        n_ctx_seq=st.sampled_from([0, 1000, 2048, 5000, 8192]),
        n_seq_max=st.sampled_from([1, 3, 4, 7, 16]),
        kv_cells=st.sampled_from([0, 0, 4096]),
        n_ubatch=st.sampled_from([32, 128, 512]),
        n_gpu_layers=st.sampled_from([0, -1, 9]),
        type_k=st.sampled_from(["f16", "q8_0", "f32"]),
        type_v=st.sampled_from(["f16", "q4_0"]),
    ),
)
ACCELERATORS = st.sampled_from([Accelerator.NONE, Accelerator.UNIFIED, Accelerator.DISCRETE])
LEAST_CONTEXTS = st.sampled_from([1, 256, 1000, 2048])


def terms(accelerator: Accelerator, *, comfortable: int = 4) -> Terms:
    return Terms(accelerator=accelerator, prices=default_prices(accelerator), comfortable=comfortable)


LADDERS: st.SearchStrategy[Ladder] = st.builds(
    lambda model, accelerator, least: build(model, min_ctx=least, terms=terms(accelerator)),
    MODELS,
    ACCELERATORS,
    LEAST_CONTEXTS,
)

RESIDENTS = st.lists(
    st.builds(
        Resident,
        model=st.sampled_from([f"m{number}" for number in range(20)]),
        bytes=st.integers(0, 3_000_000),
        is_busy=st.booleans(),
        is_pinned=st.booleans(),
        idle_s=st.floats(0, 100_000),
        reload_s=st.floats(0, 300),
    ),
    max_size=5,
    unique_by=lambda one: one.model,
)
