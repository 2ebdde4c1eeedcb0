"""The conversation on a real pseudo terminal, against the fake daemon."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.fake_daemon import FakeDaemon, Script
from tests.fakes.fake_terminal import ALT_ENTER, CTRL_C, CTRL_D, ENTER, UP, FakeTerminal
from tests.integration.command_line import OUTPOST, environment

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]

PROMPT = "Send a message (/? for help)"
"""Only an open and empty prompt shows it: the echo of typed text does not look like the next prompt."""


@contextmanager
def terminal(daemon: FakeDaemon, home: Path, *arguments: str, columns: int = 80) -> Iterator[FakeTerminal]:
    env = environment(home, XDG_STATE_HOME=str(home / "state"), OUTPOST_HOST=daemon.address)
    command = [*OUTPOST, "run", *arguments]
    with FakeTerminal(command, env=env, columns=columns) as opened:
        opened.wait_for(PROMPT)
        yield opened


def say(typed: FakeTerminal, text: str, expect: str) -> None:
    typed.press(text + ENTER)
    typed.wait_for(expect)
    typed.wait_for(PROMPT)


def contents(daemon: FakeDaemon, index: int = -1) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in daemon.requests[index]["messages"]]


def test_a_conversation_keeps_its_turns_and_ends_with_ctrl_d(daemon: FakeDaemon, tmp_path: Path) -> None:
    with terminal(daemon, tmp_path) as typed:
        say(typed, "hi", "Hello there, friend.")
        say(typed, "echo: once more", "once more")
        typed.press(CTRL_D)
        assert typed.wait() == 0
    assert contents(daemon) == [
        ("user", "hi"),
        ("assistant", "Hello there, friend."),
        ("user", "echo: once more"),
    ]


def test_who_waits_at_a_terminal_sees_his_place_and_then_how_much_of_the_prompt_is_read(
    tmp_path: Path,
) -> None:
    script = Script(places=[3, 1], prefill=[(1024, 4096)], pause_s=0.6)
    with FakeDaemon(script) as daemon, terminal(daemon, tmp_path) as typed:
        typed.press("hi" + ENTER)
        typed.wait_for("place 3 in the queue, about 30 s")
        typed.wait_for("place 1 in the queue, about 10 s")
        typed.wait_for("reading the prompt, 1024 of 4096 tokens (25%)")
        typed.wait_for("Hello")


def test_clear_forgets_the_conversation(daemon: FakeDaemon, tmp_path: Path) -> None:
    with terminal(daemon, tmp_path, "tiny") as typed:
        say(typed, "hi", "friend.")
        say(typed, "/clear", "forgotten")
        say(typed, "again", "friend.")
        typed.press("/bye" + ENTER)
        assert typed.wait() == 0
    assert contents(daemon) == [("user", "again")]


def test_ctrl_c_stops_the_answer_and_not_the_program(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script = Script(words=[f"word{index} " for index in range(1000)], pause_s=0.02)
    with terminal(daemon, tmp_path) as typed:
        typed.press("count" + ENTER)
        typed.wait_for("word3")
        typed.press(CTRL_C)
        typed.wait_for("(stopped)")
        typed.wait_for(PROMPT)
        assert daemon.cancelled.wait(5.0), "the daemon must see the connection closed"
        daemon.script.pause_s = 0.0
        say(typed, "echo: alive", "alive")
        typed.press("/exit" + ENTER)
        assert typed.wait() == 0
    turns = contents(daemon)
    assert turns[1][0] == "assistant"
    assert turns[1][1].startswith("word0 word1 word2")


def test_ctrl_c_at_the_prompt_drops_the_line_only(daemon: FakeDaemon, tmp_path: Path) -> None:
    with terminal(daemon, tmp_path) as typed:
        typed.press("half a mess" + CTRL_C)
        typed.wait_for("Ctrl-D or /bye leaves.")
        typed.wait_for(PROMPT)
        say(typed, "hi", "friend.")
        typed.press(CTRL_D)
        assert typed.wait() == 0
    assert contents(daemon) == [("user", "hi")]


def test_triple_quotes_hold_a_message_of_many_lines(daemon: FakeDaemon, tmp_path: Path) -> None:
    with terminal(daemon, tmp_path) as typed:
        typed.press('"""first' + ENTER)
        typed.wait_for("...")
        typed.press("second" + ENTER)
        say(typed, 'third"""', "friend.")
    assert contents(daemon) == [("user", "first\nsecond\nthird")]


def test_alt_enter_begins_a_new_line(daemon: FakeDaemon, tmp_path: Path) -> None:
    with terminal(daemon, tmp_path) as typed:
        typed.press("one" + ALT_ENTER)
        typed.wait_for("...")
        say(typed, "two", "friend.")
    assert contents(daemon) == [("user", "one\ntwo")]


def test_set_changes_what_is_sent(daemon: FakeDaemon, tmp_path: Path) -> None:
    with terminal(daemon, tmp_path) as typed:
        say(typed, "/set parameter temperature 0.25", "Parameter temperature is 0.25.")
        say(typed, "/set parameter seed 7", "Parameter seed is 7.")
        say(typed, '/set system "Be brief."', "System message set.")
        say(typed, "/set format json", "Format is json.")
        say(typed, "/set nothink", "at once")
        say(typed, "/show parameters", "temperature         0.25")
        say(typed, "/show system", "Be brief.")
        say(typed, "hi", "friend.")
    sent = daemon.requests[-1]
    assert sent["temperature"] == 0.25
    assert sent["seed"] == 7
    assert sent["response_format"] == {"type": "json_object"}
    assert sent["chat_template_kwargs"] == {"enable_thinking": False}
    assert contents(daemon)[0] == ("system", "Be brief.")


def test_set_verbose_shows_the_figures(daemon: FakeDaemon, tmp_path: Path) -> None:
    with terminal(daemon, tmp_path) as typed:
        say(typed, "/set verbose", "are shown")
        typed.press("hi" + ENTER)
        shown = typed.wait_for("eval rate:")
        assert "prompt eval count:    1 token(s) (1 cached)" in shown
        typed.wait_for(PROMPT)


def test_mistakes_are_told_and_the_conversation_goes_on(daemon: FakeDaemon, tmp_path: Path) -> None:
    with terminal(daemon, tmp_path) as typed:
        say(typed, "/set parameter heat 1", "no parameter 'heat'")
        say(typed, "/set parameter top_k many", "'many' is not a whole number")
        say(typed, "/dance", "no command '/dance'")
        say(typed, "/load nope", "model 'nope' not found; available: tiny")
        daemon.script.refusal = (503, "overloaded", "the queue is full: 9 of 9 requests wait; retry in 3 s")
        say(typed, "hi", "outpost: the queue is full")
        daemon.script.refusal = None
        say(typed, "hello", "friend.")
        typed.press(CTRL_D)
        assert typed.wait() == 0
    assert contents(daemon) == [("user", "hello")]


def test_history_is_kept_for_the_next_time_and_private(daemon: FakeDaemon, tmp_path: Path) -> None:
    with terminal(daemon, tmp_path) as typed:
        say(typed, "echo: remember me", "remember me")
        say(typed, "/set nohistory", "not remembered")
        say(typed, "echo: a secret", "a secret")
        typed.press(CTRL_D)
        typed.wait()
    history = tmp_path / "state" / "outpost" / "history"
    assert "a secret" not in history.read_text()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    with terminal(daemon, tmp_path) as typed:
        typed.press(UP)
        typed.wait_for("/set nohistory")
        # The renderer writes only what differs between the two lines, so the request is the proof.
        say(typed, UP, "remember me\n")
    assert contents(daemon) == [("user", "echo: remember me")]


def test_help_list_load_and_show_info_work(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script.models = ["tiny", "other"]
    with terminal(daemon, tmp_path, "tiny") as typed:
        say(typed, "/help", "/show ...")
        say(typed, "/help set", "/set parameter NAME VALUE")
        say(typed, "/list", "NAME")
        say(typed, "/show info", "meta.n_params               134515008")
        say(typed, "/load other", "Now talking with other.")
        say(typed, "hi", "friend.")
    assert daemon.requests[-1]["model"] == "other"


def test_reasoning_is_dim_and_hidethinking_leaves_it_out(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script.reasoning = ["Let me", " think."]
    with terminal(daemon, tmp_path) as typed:
        say(typed, "hi", "Let me think.\n\nHello")
        assert "\x1b[2mLet me" in typed.raw
    with terminal(daemon, tmp_path, "--hidethinking") as typed:
        say(typed, "hi", "Hello there")
        assert "Let me" not in typed.screen


def test_hostile_escape_sequences_do_not_reach_the_terminal(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script.words = ["a\x1b]0;owned\x07b", "\x1b[6n", "\x9b31m end."]
    with terminal(daemon, tmp_path) as typed:
        say(typed, "hi", "a]0;ownedb[6n31m end.")
        assert "\x1b]0;owned" not in typed.raw


def test_long_lines_break_at_words(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script.words = ["alpha ", "beta ", "gam", "ma ", "del", "ta"]
    with terminal(daemon, tmp_path, columns=20) as typed:
        typed.press("hi" + ENTER)
        shown = typed.wait_for("delta")
        assert "\ndelta" in shown
    with terminal(daemon, tmp_path, "--nowordwrap", columns=20) as typed:
        typed.press("hi" + ENTER)
        typed.wait_for("alpha beta gamma delta")


def test_a_loading_model_is_waited_for_with_a_word_on_the_terminal(
    daemon: FakeDaemon, tmp_path: Path
) -> None:
    daemon.script.loading_times = 3
    with terminal(daemon, tmp_path) as typed:
        typed.press("hi" + ENTER)
        typed.wait_for("loading tiny")
        typed.wait_for("friend.")
    assert len(daemon.requests) == 4
