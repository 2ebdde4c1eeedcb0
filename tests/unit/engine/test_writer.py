"""How answers end, and what a delta carries beside its text."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from appliance.engine.chat_output import make_parser
from appliance.engine.output import OutputStream
from appliance.engine.sequence import ActiveRequest
from appliance.engine.template_format import ReasoningTags, ToolFormat
from appliance.errors import InvalidRequest
from appliance.wire.messages import FinishReason
from tests.fakes.engines import engine_over, request, run
from tests.fakes.fake_backend import END, FakeBackend, FakeClock, FakeSampler, FakeVocabulary, expected

PROMPT = [5, 6, 7]


class Scripted(FakeSampler):
    """Says what it is told, then ends as `after` says."""

    def __init__(self, tokens: list[int], *, after: int | InvalidRequest | None = END) -> None:
        super().__init__()
        self.tokens = list(tokens)
        self.after = after

    def sample(self, logits: NDArray[np.float32], candidates: Any) -> int | None:
        if self.tokens:
            return self.tokens.pop(0)
        if isinstance(self.after, InvalidRequest):
            raise self.after
        return self.after


NOWHERE = InvalidRequest(reason="the grammar leads nowhere", param="grammar")


class Words(FakeVocabulary):
    """A few tokens that are words."""

    def __init__(self, words: dict[int, str]) -> None:
        self.words = words

    def piece(self, token: int, *, special: bool = False) -> bytes:
        return self.words[token].encode() if token in self.words else super().piece(token, special=special)


def scripted(
    tokens: list[int], *, after: int | InvalidRequest | None = END, **asked: Any
) -> tuple[ActiveRequest, Scripted]:
    prepared = request(1, PROMPT, max_tokens=asked.pop("max_tokens", 20), **asked)
    sampler = Scripted(tokens, after=after)
    prepared.sequences[0].sampler = sampler
    return prepared, sampler


def test_an_end_token_ends_the_answer_and_says_nothing(backend: FakeBackend, clock: FakeClock) -> None:
    prepared, sampler = scripted([40, 41])
    heard = run(engine_over(backend, clock), prepared)
    assert heard.text(1) == "<40><41>"
    assert heard.last(1).finish_reason is FinishReason.STOP
    assert heard.usage(1).completion_tokens == 2
    assert sampler.closed


def test_a_completed_grammar_ends_the_answer(backend: FakeBackend, clock: FakeClock) -> None:
    prepared, _ = scripted([40, 41], after=None)
    heard = run(engine_over(backend, clock), prepared)
    assert heard.text(1) == "<40><41>"
    assert heard.last(1).finish_reason is FinishReason.STOP


def test_an_answer_that_cannot_go_on_fails_and_does_not_say_stop(
    backend: FakeBackend, clock: FakeClock
) -> None:
    prepared, sampler = scripted([40, 41], after=NOWHERE)
    heard = run(engine_over(backend, clock), prepared)
    assert [delta.finish_reason for delta in heard.deltas] == [None, None]
    assert [(one.id, one.error.name, one.error.fields["param"]) for one in heard.failed] == [
        (1, "InvalidRequest", "grammar")
    ]
    assert sampler.closed


def test_an_answer_that_cannot_go_on_takes_its_choices_with_it_and_no_other_request(
    backend: FakeBackend, clock: FakeClock
) -> None:
    prepared, _ = scripted([40, 41], after=NOWHERE, n=2)
    other = request(2, [8, 9], max_tokens=12)
    engine = engine_over(backend, clock)
    heard = run(engine, prepared, other)
    assert [one.id for one in heard.failed] == [1]
    assert all(sequence.sampler.closed for sequence in prepared.sequences)  # type: ignore[attr-defined]
    assert heard.text(2) == "".join(f"<{token}>" for token in expected([8, 9], 12))
    assert heard.last(2).finish_reason is FinishReason.LENGTH
    assert engine.stats().running == 0


def test_what_a_failed_answer_had_computed_is_a_sound_prefix(backend: FakeBackend, clock: FakeClock) -> None:
    """Also when drafts were being verified: `kv_cache.check` runs after each step."""
    prompt = [1, 2, 3, 4, 5, 6, 7, 8] * 3
    said = expected(prompt, 12)
    prepared = request(1, prompt, max_tokens=30)
    prepared.sequences[0].sampler = Scripted(said, after=NOWHERE)
    engine = engine_over(backend, clock)
    assert [one.id for one in run(engine, prepared).failed] == [1]
    heard = run(engine, request(2, [*prompt, *said], max_tokens=10))
    assert heard.text(2) == "".join(f"<{token}>" for token in expected([*prompt, *said], 10))
    assert heard.usage(2).cached_tokens > len(prompt)


def test_every_sampled_token_is_shown_to_the_sampler(backend: FakeBackend, clock: FakeClock) -> None:
    prepared, sampler = scripted([40, 41, 42])
    run(engine_over(backend, clock), prepared)
    assert sampler.accepted == [40, 41, 42, END]


def test_logprobs_come_for_every_token_and_none_for_the_end(backend: FakeBackend, clock: FakeClock) -> None:
    prepared, _ = scripted([40, 41])
    prepared.generate = msgspec.structs.replace(prepared.generate, top_logprobs=2)
    heard = run(engine_over(backend, clock), prepared)
    said = [one for delta in heard.deltas for one in delta.logprobs]
    assert [one.token for one in said] == [40, 41]
    assert [len(one.top) for one in said] == [2, 2]


def test_logprobs_come_for_drafted_tokens_as_well(clock: FakeClock) -> None:
    backend = FakeBackend(clock=clock, n_ctx_seq=256, per_pass_s=0.1, per_token_s=0.0001)
    engine = engine_over(backend, clock)
    prompt = [1, 2, 3, 4, 5, 6, 7, 8] * 4
    prepared = request(1, prompt, max_tokens=60, n_ctx_seq=256)
    prepared.generate = msgspec.structs.replace(prepared.generate, top_logprobs=0)
    heard = run(engine, prepared)
    said = [one.token for delta in heard.deltas for one in delta.logprobs]
    assert said == expected(prompt, 60)
    assert all(delta.tokens == len(delta.logprobs) for delta in heard.deltas)


def test_a_stop_string_ends_the_answer_and_is_named(backend: FakeBackend, clock: FakeClock) -> None:
    prepared, _ = scripted([40, 41, 42, 43], stop=["1><4"])
    heard = run(engine_over(backend, clock), prepared)
    assert heard.text(1) == "<40><4"
    assert (heard.last(1).finish_reason, heard.last(1).stop) == (FinishReason.STOP, "1><4")


def test_the_limit_ends_the_answer_with_what_was_held_back(backend: FakeBackend, clock: FakeClock) -> None:
    prepared, _ = scripted([40, 41, 42], stop=["2>!"], max_tokens=3)
    heard = run(engine_over(backend, clock), prepared)
    assert heard.text(1) == "<40><41><42>"
    assert heard.last(1).finish_reason is FinishReason.LENGTH


def test_reasoning_and_tool_calls_are_told_apart_and_counted(clock: FakeClock) -> None:
    words = {
        40: "<think>",
        41: "hm",
        42: "</think>",
        43: "<tool_call>\n",
        44: '{"name": "f", "arguments": {"x": 1}}',
        45: "\n</tool_call>",
    }
    engine = engine_over(FakeBackend(clock=clock), clock)
    engine._writer._vocabulary = Words(words)
    prepared, _ = scripted(list(words))
    prepared.sequences[0].output = OutputStream(
        stops=[],
        parser=make_parser(
            ToolFormat.HERMES,
            ReasoningTags("<think>", "</think>"),
            tools_active=True,
            tool_names=frozenset({"f"}),
        ),
    )
    heard = run(engine, prepared)
    assert "".join(delta.reasoning for delta in heard.deltas).strip() == "hm"
    assert heard.text(1).strip() == ""
    calls = [call for delta in heard.deltas for call in delta.tool_calls]
    assert [call.name for call in calls if call.name] == ["f"]
    assert heard.last(1).finish_reason is FinishReason.TOOL_CALLS
    assert heard.usage(1).reasoning_tokens >= 1


def test_an_echo_comes_first_and_once(backend: FakeBackend, clock: FakeClock) -> None:
    prepared, _ = scripted([40, 41])
    prepared.sequences[0].echo = "the prompt: "
    assert run(engine_over(backend, clock), prepared).text(1) == "the prompt: <40><41>"


def test_times_add_up(clock: FakeClock) -> None:
    backend = FakeBackend(clock=clock, n_slots=1, per_pass_s=0.01, per_token_s=0)
    engine = engine_over(backend, clock)
    heard = run(engine, request(1, PROMPT, max_tokens=5), request(2, [8, 9], max_tokens=5))
    first, second = heard.usage(1), heard.usage(2)
    assert first.queue_s == 0
    assert second.queue_s == pytest.approx(first.prefill_s + first.decode_s, abs=0.011)


def test_a_cancel_before_the_first_step_has_a_usage_of_nothing(
    backend: FakeBackend, clock: FakeClock
) -> None:
    engine = engine_over(backend, clock)
    engine.submit(request(1, PROMPT, n=2))
    (step,) = engine.cancel(1)
    assert not engine.has_work()
    usage = [delta.usage for delta in step.deltas if delta.usage]  # type: ignore[union-attr]
    assert len(usage) == 1 and usage[0].completion_tokens == 0
