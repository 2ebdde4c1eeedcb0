from __future__ import annotations

import pytest

from appliance.errors import RunnerDied
from appliance.supervisor.mailbox import Mailbox
from appliance.wire.channel import ProtocolError
from appliance.wire.messages import (
    Accepted,
    Delta,
    Generate,
    Progress,
    Result,
    TextPrompt,
    TokenAlternative,
    Tokenize,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)

ACCEPTED = Accepted(id=1, prompt_tokens=1, cached_tokens=0)
USAGE = Usage(prompt_tokens=1, cached_tokens=0, completion_tokens=1)


def delta(text: str = "x", *, choice: int = 0, usage: Usage | None = None) -> Delta:
    return Delta(id=1, choice=choice, text=text, tokens=1, usage=usage)


@pytest.fixture
def mailbox() -> Mailbox:
    box = Mailbox(Generate(id=1, prompt=TextPrompt(text="x")), n_ctx_seq=10)
    box.put_accepted(ACCEPTED)
    assert box.take(0.0) == ACCEPTED
    return box


def test_deltas_come_out_whole_and_in_order(mailbox: Mailbox) -> None:
    assert not mailbox.put_delta(delta("a"))
    assert mailbox.put_delta(delta("b", usage=USAGE))
    assert mailbox.take_all(0.0) == [delta("a"), delta("b", usage=USAGE)]
    assert mailbox.take_all(0.0) == []
    assert mailbox.take(0.0) is None


def test_only_the_newest_progress_is_kept_for_a_reader_who_does_not_come(mailbox: Mailbox) -> None:
    for done in range(1000):
        mailbox.put_progress(Progress(id=1, done_tokens=done, total_tokens=1000))
    assert mailbox.take_all(0.0) == [Progress(id=1, done_tokens=999, total_tokens=1000)]
    mailbox.put_progress(Progress(id=1, done_tokens=1000, total_tokens=1000))
    assert mailbox.take(0.0) == Progress(id=1, done_tokens=1000, total_tokens=1000)


def test_an_error_is_raised_as_a_copy_when_it_comes_first_and_handed_out_last(mailbox: Mailbox) -> None:
    error = RunnerDied(model="m", cause="SIGSEGV")
    mailbox.put_delta(delta())
    mailbox.put_error(error)
    assert mailbox.take_all(0.0) == [delta(), error]
    mailbox.put_error(error)
    with pytest.raises(RunnerDied) as caught:
        mailbox.take(0.0)
    assert caught.value is not error
    assert error.__traceback__ is None


def test_a_closed_mailbox_keeps_nothing(mailbox: Mailbox) -> None:
    mailbox.is_closed = True
    mailbox.put_delta(delta())
    assert mailbox.take_all(0.0) == []


def test_accepted_comes_once_and_first(mailbox: Mailbox) -> None:
    with pytest.raises(ProtocolError):
        mailbox.put_accepted(ACCEPTED)
    fresh = Mailbox(Generate(id=1, prompt=TextPrompt(text="x")), n_ctx_seq=10)
    with pytest.raises(ProtocolError):
        fresh.put_delta(delta())
    with pytest.raises(ProtocolError):
        fresh.put_progress(Progress(id=1, done_tokens=0, total_tokens=1))


@pytest.mark.parametrize("choice", [-1, 1, 10**9])
def test_a_choice_that_was_not_asked_for_breaks_the_protocol(mailbox: Mailbox, choice: int) -> None:
    with pytest.raises(ProtocolError):
        mailbox.put_delta(delta(choice=choice))


def test_answers_of_the_wrong_kind_break_the_protocol(mailbox: Mailbox) -> None:
    with pytest.raises(ProtocolError):
        mailbox.put_result(Result(id=1))
    call = Mailbox(Tokenize(id=1, text="x"), n_ctx_seq=10)
    with pytest.raises(ProtocolError):
        call.put_accepted(ACCEPTED)
    call.put_result(Result(id=1))
    assert call.take(0.0) == Result(id=1)


def test_more_deltas_than_the_context_can_hold_break_the_protocol(mailbox: Mailbox) -> None:
    for _ in range(10 + 1024):
        mailbox.put_delta(delta(""))
    with pytest.raises(ProtocolError, match="more deltas"):
        mailbox.put_delta(delta(""))


def test_more_text_than_the_context_can_hold_breaks_the_protocol(mailbox: Mailbox) -> None:
    with pytest.raises(ProtocolError, match="more deltas"):
        mailbox.put_delta(delta("x" * (10 + 1024) * 257))


def test_tool_calls_and_logprobs_are_charged_too(mailbox: Mailbox) -> None:
    top = [TokenAlternative(token=1, piece=b"abc", logprob=0.0)]
    heavy = Delta(
        id=1,
        choice=0,
        text="",
        tokens=1,
        tool_calls=[ToolCallDelta(index=0, call_id=None, name=None, arguments="x" * 100_000)],
        logprobs=[TokenLogprob(token=1, piece=b"abc", logprob=0.0, top=top)],
    )
    for _ in range(2):
        mailbox.put_delta(heavy)
    with pytest.raises(ProtocolError, match="more deltas"):
        mailbox.put_delta(heavy)
