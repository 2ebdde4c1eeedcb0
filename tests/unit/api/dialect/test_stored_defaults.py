"""What a stored model says where a request says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.supervisor.policy import ModelDefaults
from appliance.wire.messages import AdapterScale, ChatPrompt, Generate
from tests.fakes.fake_inference import FakeInference
from tests.unit.api.door import Door, refusal

HISTORY = ({"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"})
STORED = ModelDefaults(
    sampling={"temperature": 0.2, "top_k": 7, "seed": 3, "logit_bias": {"5": -1}},
    stop=("END",),
    max_tokens=50,
    system="Be brief.",
    messages=HISTORY,
)
HI = {"role": "user", "content": "hi"}


def door_of(defaults: ModelDefaults = STORED) -> Door:
    return Door(FakeInference(defaults=defaults))


def sent(**fields: Any) -> Generate:
    door = door_of()
    answer = door.chat(**fields)
    assert answer.status_code == 200, answer.text
    return door.inference.requests[0]


def conversation(*messages: dict[str, Any], defaults: ModelDefaults = STORED) -> list[dict[str, Any]]:
    door = door_of(defaults)
    assert door.chat(messages=list(messages)).status_code == 200
    prompt = door.inference.requests[0].prompt
    assert isinstance(prompt, ChatPrompt)
    return prompt.messages


def test_a_request_that_says_nothing_gets_what_was_stored() -> None:
    request = sent()
    assert (request.sampling.temperature, request.sampling.top_k, request.sampling.seed) == (0.2, 7, 3)
    assert [(bias.token, bias.bias) for bias in request.sampling.logit_bias] == [(5, -1.0)]
    assert request.stop == ["END"]
    assert request.max_tokens == 50
    assert request.sampling.top_p == 0.95, "what neither says stays the engine's"


def test_what_a_request_says_wins() -> None:
    request = sent(temperature=1.5, stop="NOW", max_completion_tokens=9)
    assert (request.sampling.temperature, request.sampling.top_k) == (1.5, 7)
    assert request.stop == ["NOW"]
    assert request.max_tokens == 9


def test_an_empty_list_of_stops_is_said_too() -> None:
    assert sent(stop=[]).stop == []


def test_a_stored_length_of_minus_one_is_to_the_end_of_the_context() -> None:
    door = door_of(ModelDefaults(max_tokens=-1))
    door.complete()
    assert door.inference.requests[0].max_tokens is None


def test_the_stored_system_prompt_and_history_come_before_the_chat() -> None:
    assert conversation(HI) == [{"role": "system", "content": "Be brief."}, *HISTORY, HI]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_system_message_of_the_request_replaces_the_stored_one_and_stays_in_front(role: str) -> None:
    mine = {"role": role, "content": "Rhyme."}
    assert conversation(mine, HI) == [{"role": "system", "content": "Rhyme."}, *HISTORY, HI]


def test_a_system_message_in_the_middle_counts_as_one() -> None:
    late = {"role": "system", "content": "Rhyme."}
    assert conversation(HI, late) == [*HISTORY, HI, late]


def test_a_model_without_words_of_its_own_changes_nothing() -> None:
    assert conversation(HI, defaults=ModelDefaults()) == [HI]


def test_a_completion_gets_sampling_and_stops_but_no_chat() -> None:
    door = door_of()
    assert door.complete(max_tokens=3).status_code == 200
    request = door.inference.requests[0]
    assert (request.sampling.temperature, request.stop, request.max_tokens) == (0.2, ["END"], 3)


def test_a_stored_length_replaces_the_sixteen_tokens_of_a_completion() -> None:
    door = door_of()
    door.complete()
    assert door.inference.requests[0].max_tokens == 50


def test_stored_adapters_are_on_unless_a_request_names_others() -> None:
    """One without adapters is asked for by an empty list."""
    door = door_of(ModelDefaults(adapters=(AdapterScale("adapter-1", 1.0),)))
    said: list[dict[str, Any]] = [{}, {"lora": []}, {"lora": [{"name": "x", "scale": 0.5}]}]
    for fields in said:
        assert door.chat(**fields).status_code == 200
    assert [request.adapters for request in door.inference.requests] == [
        [AdapterScale("adapter-1", 1.0)],
        [],
        [AdapterScale("x", 0.5)],
    ]


def test_a_stored_parameter_out_of_range_is_the_models_fault() -> None:
    door = door_of(ModelDefaults(sampling={"temperature": 1e9}))
    status, _, _ = refusal(answer := door.chat())
    assert status >= 422
    assert "temperature" in answer.json["error"]["message"]


def test_names_are_found_in_any_case_and_counted_as_one() -> None:
    door = Door()
    assert door.chat(model="FAKE/Model:Q4").status_code == 200
    assert door.get("/v1/models/FAKE/Model:Q4").json["id"] == "fake/model:q4"
