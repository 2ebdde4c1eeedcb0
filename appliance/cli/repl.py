"""The conversation: read a message, show the answer, again. The prompt_toolkit door.

While the prompt is open prompt_toolkit has the terminal, and Ctrl-C drops the line. While an answer streams
the terminal is its normal self, Ctrl-C is SIGINT, and the KeyboardInterrupt closes the connection: the daemon
stops computing.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import HTML
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from appliance.cli.answer import Display, ask, cut_note, summary
from appliance.cli.chat import Json, Reply
from appliance.cli.client import Client
from appliance.cli.connect import context_of, model_of
from appliance.cli.exits import Exit, Failure
from appliance.cli.ps import listing
from appliance.cli.run import read_format
from appliance.cli.slash import Act, Outcome, Session, execute, unquoted, wants_more
from appliance.cli.terminal import printable

_WORDS: Final = (
    *(
        "/help",
        "/bye",
        "/clear",
        "/list",
        "/load",
        "/show info",
        "/show parameters",
        "/show system",
        "/show messages",
    ),
    *("/set parameter", "/set system", "/set format json", "/set noformat", "/set think", "/set nothink"),
    *("/set verbose", "/set quiet", "/set wordwrap", "/set nowordwrap", "/set history", "/set nohistory"),
)
_LONGER: Final = "/set parameter max_tokens N (-1: as many as fit)"
"""How a longer answer is asked for."""
MAX_HISTORY_BYTES: Final = 1024 * 1024


def converse(client: Client, session: Session, *, wait_s: float) -> int:
    """Until Ctrl-D or /bye."""
    return Conversation(client, session, wait_s=wait_s).run()


class Conversation:
    """Owned by the main thread."""

    def __init__(self, client: Client, session: Session, *, wait_s: float) -> None:
        self._client = client
        self._session = session
        self._wait_s = wait_s
        self._messages: list[Json] = []
        self._history = open_history(state_dir() / "history")
        self._prompt = prompt_session(self._history)

    def run(self) -> int:
        while True:
            try:
                line = self._prompt.prompt()
            except KeyboardInterrupt:
                print("Ctrl-D or /bye leaves.")
                continue
            except EOFError:
                return Exit.OK
            if not line.strip():
                continue
            if line.lstrip().startswith("/"):
                if not self._obey(line.strip()):
                    return Exit.OK
                continue
            self._ask(unquoted(line) if line.lstrip().startswith('"""') else line)

    def _obey(self, line: str) -> bool:
        """Carry out a command; False: leave."""
        outcome = execute(line, self._session, read_format)
        self._session = outcome.session
        if isinstance(self._history, SwitchedHistory):
            self._history.recording = self._session.history
        if outcome.text:
            print(printable(outcome.text))
        try:
            self._act(outcome)
        except Failure as failure:
            print(printable(f"outpost: {failure.message}"), file=sys.stderr)
        return outcome.act is not Act.LEAVE

    def _act(self, outcome: Outcome) -> None:
        match outcome.act:
            case Act.CLEAR:
                self._messages.clear()
            case Act.LIST:
                print(listing(self._client))
            case Act.LOAD:
                model = model_of(self._client, outcome.argument)
                self._session = replace(self._session, settings=replace(self._session.settings, model=model))
                print(f"Now talking with {printable(model)}.")
            case Act.SHOW_INFO:
                print(printable(info(self._client, self._session.settings.model)))
            case Act.SHOW_MESSAGES:
                print(printable(json.dumps(self._messages, ensure_ascii=False, indent=2)))

    def _ask(self, text: str) -> None:
        """One turn. An interrupted answer stays in the conversation as far as it came; a failed turn leaves
        no trace.
        """
        session = self._session
        turn = {"role": "user", "content": text}
        reply = Reply(session.settings.model)
        display = Display(sys.stdout, wrap=session.wordwrap, show_reasoning=session.show_thinking)
        try:
            ask(
                self._client,
                session.settings,
                [*self._messages, turn],
                reply=reply,
                display=display,
                wait_s=self._wait_s,
            )
        except KeyboardInterrupt:
            display.end()
            print("(stopped)")
        except Failure as failure:
            print(printable(f"outpost: {failure.message}"), file=sys.stderr)
            return
        if reply.text:
            self._messages += [turn, reply.message()]
        model = session.settings.model
        note = cut_note(reply, session.settings, lambda: context_of(self._client, model), remedy=_LONGER)
        if note:
            print(f"outpost: {note}", file=sys.stderr)
        if session.verbose and reply.timings is not None:
            print(f"\n{summary(reply)}", file=sys.stderr)
        print()


def info(client: Client, model: str) -> str:
    """What `/v1/models/{id}` says, one line per value."""
    lines: list[str] = []

    def walk(value: object, name: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f"{name}.{key}" if name else str(key))
        elif value is not None and value != []:
            lines.append(f"{name:<28}{value}")

    walk(client.get(f"/v1/models/{quote(model, safe=':')}").body, "")
    return "\n".join(lines)


# ── prompt_toolkit ──────────────────────────────────────────────────────────────────────────────────────────


class SwitchedHistory(FileHistory):
    """A history in a file that can be told to forget (`/set nohistory`)."""

    recording = True

    def append_string(self, string: str) -> None:
        if self.recording:
            super().append_string(string)


def prompt_session(history: History) -> PromptSession[str]:
    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    session: PromptSession[str] = PromptSession(
        message=">>> ",
        prompt_continuation="... ",
        placeholder=HTML("<ansibrightblack>Send a message (/? for help)</ansibrightblack>"),
        history=history,
        key_bindings=keys,
        completer=WordCompleter(_WORDS, sentence=True),
        complete_while_typing=False,
        enable_open_in_editor=True,
    )
    session.multiline = Condition(lambda: wants_more(session.default_buffer.text))
    return session


def state_dir() -> Path:
    """Where the XDG base directory specification puts what a program remembers."""
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".local" / "state") / "outpost"


def open_history(path: Path) -> History:
    """The history in `path`, readable by its owner alone and cut to its newer half when it grew too large.

    Where it cannot be written (a read-only home) the history lasts as long as the conversation.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        if path.stat().st_size > MAX_HISTORY_BYTES:
            _halve(path)
    except OSError:
        return InMemoryHistory()
    return SwitchedHistory(str(path))


def _halve(path: Path) -> None:
    """Keep the newer half; entries begin with an empty line."""
    data = path.read_bytes()[-MAX_HISTORY_BYTES // 2 :]
    aside = path.with_suffix(".new")
    aside.touch(mode=0o600)
    aside.write_bytes(data[max(data.find(b"\n\n"), 0) :])
    aside.replace(path)
