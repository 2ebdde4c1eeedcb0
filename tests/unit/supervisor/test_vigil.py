"""A runner that beats: when it is stuck all the same, and when it is asked whether it is."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from appliance.supervisor.mailbox import Mailbox
from appliance.supervisor.vigil import Vigil, canary
from appliance.wire.messages import (
    Accepted,
    Embed,
    EngineStats,
    Generate,
    Request,
    Rerank,
    TextPrompt,
    TokensPrompt,
)
from tests.unit.supervisor.desk_scene import FACTS

GENERATE = Generate(id=1, prompt=TextPrompt(text="hi"))


def vigil(*, canary_interval_s: float = 0.0) -> Vigil:
    return Vigil(stall_timeout_s=60.0, canary_interval_s=canary_interval_s, now_s=0.0)


def opened(at_s: float, *, request: Request = GENERATE, is_accepted: bool = True) -> Mailbox:
    mailbox = Mailbox(request, n_ctx_seq=10, now_s=at_s)
    if is_accepted and isinstance(request, Generate):
        mailbox.put_accepted(Accepted(id=1, prompt_tokens=1, cached_tokens=0))
    return mailbox


def test_a_request_without_a_token_stalls_from_its_arrival() -> None:
    watch = vigil()
    assert watch.stalled_s([opened(100.0)], 160.5) == 60.5
    assert watch.is_stalled(60.5)
    assert not watch.is_stalled(59.5)


def test_who_is_asked_nothing_is_not_stalled() -> None:
    assert vigil().stalled_s([], 1e6) == 0.0


def test_tokens_of_another_request_are_life() -> None:
    watch = vigil()
    watch.saw_token(150.0)
    assert watch.stalled_s([opened(100.0)], 160.0) == 10.0


@pytest.mark.parametrize("name", ["prompt_tokens", "generated_tokens", "restored_tokens"])
def test_counters_that_move_are_life_and_those_that_stand_are_not(name: str) -> None:
    watch = vigil()
    watch.observe(EngineStats(**{name: 512}), 150.0)
    watch.observe(EngineStats(**{name: 512}), 200.0)
    assert watch.stalled_s([opened(100.0)], 210.0) == 60.0


def test_steps_without_tokens_are_no_life() -> None:
    watch = vigil()
    watch.observe(EngineStats(steps=100, running=1), 150.0)
    assert watch.stalled_s([opened(100.0)], 161.0) == 61.0


def test_what_is_still_prepared_has_three_times_as_long() -> None:
    watch = vigil()
    assert watch.stalled_s([opened(0.0, is_accepted=False)], 150.0) == 50.0
    assert watch.stalled_s([opened(0.0, request=Embed(id=1, inputs=["a"]))], 150.0) == 50.0


def test_the_oldest_counts() -> None:
    assert vigil().stalled_s([opened(150.0), opened(90.0), opened(155.0)], 160.0) == 70.0


def test_time_that_it_asked_for_is_given() -> None:
    assert not vigil().is_stalled(100.0, quiet_s=50.0)
    assert vigil().is_stalled(31.0, share=0.5)


def test_a_canary_is_due_when_nothing_was_computed_for_so_long() -> None:
    watch = vigil(canary_interval_s=600.0)
    assert not watch.is_canary_due(is_idle=True, now_s=599.0)
    assert watch.is_canary_due(is_idle=True, now_s=600.0)
    assert not watch.is_canary_due(is_idle=False, now_s=600.0)
    watch.saw_token(600.0)
    assert not watch.is_canary_due(is_idle=True, now_s=1199.0)
    watch.end_canaries()
    assert not watch.is_canary_due(is_idle=True, now_s=1e9)
    assert not vigil().is_canary_due(is_idle=True, now_s=1e9)


def test_the_canary_is_what_the_model_can_compute() -> None:
    def facts(pooling: str, *, generates: bool) -> Request:
        told = replace(FACTS, pooling=pooling, generates=generates)
        return canary(told)

    chat = facts("none", generates=True)
    assert isinstance(chat, Generate)
    assert (chat.prompt, chat.max_tokens, chat.cache_prompt) == (TokensPrompt(tokens=[0]), 1, False)
    assert isinstance(facts("mean", generates=False), Embed)
    assert isinstance(facts("rank", generates=False), Rerank)
