"""The header that tells how the model that answers is placed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from appliance.api.placement import placement_of
from appliance.planner.facts import Conceded, Concession
from appliance.supervisor.inference import ModelCard
from tests.fakes.fake_inference import MODEL
from tests.unit.api.door import Door
from tests.unit.supervisor.desk_scene import FACTS

CPU = msgspec.structs.replace(FACTS, n_ctx_seq=4096, n_seq_max=64, kernels="avx512-vnni", n_layers=29)
GPU = msgspec.structs.replace(CPU, device="CUDA0", n_gpu_layers=29, kernels="", type_k="q8_0", type_v="f16")
CARD = ModelCard(name="m", created_s=0, size_bytes=1, state="ready", facts=CPU)
LESS = Conceded(what=Concession.CONTEXT, wanted="4096", got="3072", price=0.9)


def test_on_a_cpu() -> None:
    assert placement_of(CARD) == "cpu; ctx=4096; slots=64; kv=f16; kernels=avx512-vnni"


def test_on_a_gpu_with_what_was_given_up() -> None:
    card = replace(CARD, facts=GPU, conceded=(LESS, LESS), variant="small:q4", alarm="runs elsewhere")
    assert placement_of(card) == (
        "CUDA0; layers=29/29; ctx=4096; slots=64; kv=q8_0/f16; variant=small:q4; conceded=context; alarm"
    )


def test_a_model_that_was_never_loaded_has_none() -> None:
    assert placement_of(replace(CARD, facts=None)) is None


def test_nothing_of_a_hostile_runner_ends_the_line_or_fills_it() -> None:
    """Facts are a runner's word, and a name is anybody's."""
    hostile = msgspec.structs.replace(
        GPU, device="a\r\nSet-Cookie: x=1; \u2028" + "d" * 9999, kernels="k\0;" * 999
    )
    told = placement_of(replace(CARD, facts=hostile, variant="é; \n" * 999))
    assert told is not None
    assert told.isascii()
    assert told.isprintable()
    assert len(told) <= 256
    assert "Set-Cookie:-x-1-" in told


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "stream": True}),
        ("/v1/completions", {"prompt": "once"}),
        ("/v1/embeddings", {"input": "once"}),
    ],
)
def test_every_answer_of_a_model_has_it(path: str, body: dict[str, Any]) -> None:
    answer = Door().post(path, {"model": MODEL, **body})
    assert answer.status_code == 200
    assert answer.headers["X-Outpost-Placement"] == "cpu; ctx=2048; slots=64; kv=f16"


def test_what_is_not_of_a_model_has_none() -> None:
    assert "X-Outpost-Placement" not in Door().get("/v1/models").headers
    assert "X-Outpost-Placement" not in Door().post("/v1/completions", {"model": MODEL}).headers
