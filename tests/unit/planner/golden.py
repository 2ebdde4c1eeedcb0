"""The golden table: models that people run x boards x wishes -> the rung that is taken.

    python -m tests.unit.planner.golden > tests/unit/planner/golden_rungs.txt

writes it anew. Who does so reads the difference: every row that changed is a model that some board loads
otherwise. Bytes are not in it: the formulas are tuned more often than rungs change.
"""

from __future__ import annotations

from pathlib import Path

from appliance.gguf.shape import read_shape
from appliance.planner import boards
from appliance.planner.budget import budget
from appliance.planner.fit import Machine, Policy, Subject, fit
from appliance.planner.fit_answer import FitAnswer
from appliance.planner.header_sizes import Model
from appliance.planner.speed import bytes_per_token
from appliance.wire.messages import Placement
from tests.fakes import ghost_headers as ghosts

TABLE = Path(__file__).with_name("golden_rungs.txt")
MODELS = {
    "smollm2-135m-q4_1": (ghosts.SMOLLM_135M, "Q4_1"),
    "llama-3.2-3b-q4_k_m": (ghosts.LLAMA_3B, "Q4_K_M"),
    "gemma-3-4b-q4_k_m": (ghosts.GEMMA_4B, "Q4_K_M"),
    "qwen2.5-7b-q4_k_m": (ghosts.QWEN_7B, "Q4_K_M"),
    "llama-3.1-8b-q4_k_m": (ghosts.LLAMA_8B, "Q4_K_M"),
    "mixtral-8x7b-q4_k_m": (ghosts.MIXTRAL, "Q4_K_M"),
}
WISHES = ((4096, 64), (32768, 4))
"""Tokens of context, sequences at once: what is configured unless told otherwise, and a long context."""
HEADER = f"{'board':<15}{'model':<22}{'wish':>9}  rung"


def subject(name: str, *, n_ctx: int, n_parallel: int) -> Subject:
    header = ghosts.ghost_header(*MODELS[name])
    shape = read_shape(header)
    return Subject(
        name=name,
        model=Model(header=header),
        read_bytes=bytes_per_token(header, n_expert=shape.n_expert, n_expert_used=shape.n_expert_used),
        wish=Placement(n_ctx_seq=n_ctx, n_seq_max=n_parallel, kv_cells=0),
        origin="a ghost",
    )


def machine(board: str) -> Machine:
    facts = boards.find(board)
    return Machine(
        name=board,
        budget=budget(facts.reading),
        accelerator=facts.accelerator,
        cpu=facts.cpu_features,
        bandwidth_bytes_per_s=facts.bandwidth_bytes_per_s,
    )


def answer(board: str, model: str, wish: tuple[int, int], *, min_ctx: int | None = None) -> FitAnswer:
    asked = subject(model, n_ctx=wish[0], n_parallel=wish[1])
    return fit(asked, machine(board), policy=Policy(), min_ctx=min_ctx)


def row(board: str, model: str, wish: tuple[int, int]) -> str:
    return f"{board:<15}{model:<22}{wish[0]:>5} x{wish[1]:>2}  {_outcome(answer(board, model, wish))}"


def _outcome(given: FitAnswer) -> str:
    if given.rung is None:
        needed = given.least.footprint.total_bytes
        return f"refused: needs {needed / 10**9:.0f} GB at {given.ladder.min_ctx} tokens"
    taken = given.rung.placement
    tokens = f"{taken.n_ctx_seq:>5} x{taken.n_seq_max:>2} {taken.type_k:<4}"
    return f"{tokens} ubatch {taken.n_ubatch}"


def rows() -> list[str]:
    return [row(board, model, wish) for board in boards.names() for model in MODELS for wish in WISHES]


if __name__ == "__main__":
    print("\n".join([HEADER, *rows()]))
