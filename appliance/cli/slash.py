"""The commands of the REPL: a line that starts with `/` and the session before it give the session after it.
Pure, but for `/set format FILE`, which reads the schema.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from appliance.cli.chat import Json, Settings, compact
from appliance.cli.exits import Failure
from appliance.cli.parameters import PARAMETERS, changed

QUOTES: Final = '"""'

HELP: Final = """\
Commands:
  /set ...        change the session (/help set)
  /show ...       look at it (/help show)
  /load MODEL     talk with another model
  /list           the models of this server
  /clear          forget the conversation
  /bye, /exit     leave
  /help, /?       this text; /help set, /help show, /help keys

Lines between \"\"\" and \"\"\" are one message. Ctrl-C stops the answer, Ctrl-D leaves."""

HELP_SET: Final = """\
  /set parameter NAME VALUE   {names}
  /set system TEXT            the system message; without TEXT there is none
  /set format json|FILE       answer in JSON, or in JSON of the schema in FILE
  /set noformat               answer freely
  /set think, nothink         let the model reason first, or not
  /set verbose, quiet         show counts and timings after each answer, or not
  /set wordwrap, nowordwrap   wrap long lines at words, or not
  /set history, nohistory     remember what you type, or not"""

HELP_SHOW: Final = """\
  /show info         what the server tells about the model
  /show parameters   the parameters set here
  /show system       the system message
  /show messages     the conversation so far, as JSON"""

HELP_KEYS: Final = """\
  Ctrl-C             stop the answer; at the prompt: drop the line
  Ctrl-D             leave
  Alt-Enter          a new line in the message
  Up, Down, Ctrl-R   earlier messages; search them
  Ctrl-A, Ctrl-E     to the begin, to the end of the line
  Ctrl-K, Ctrl-U     delete to its end, to its begin
  Ctrl-W             delete a word
  Ctrl-L             clear the screen
  Ctrl-X Ctrl-E      write the message in $EDITOR"""


class Act(StrEnum):
    """What the loop must do after a command."""

    NONE = "none"
    CLEAR = "clear"
    LEAVE = "leave"
    LIST = "list"
    LOAD = "load"
    SHOW_INFO = "show_info"
    SHOW_MESSAGES = "show_messages"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    settings: Settings
    verbose: bool = False
    wordwrap: bool = True
    show_thinking: bool = True
    history: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    session: Session
    text: str = ""
    act: Act = Act.NONE
    argument: str = ""
    """The model of LOAD."""


ReadFormat = Callable[[str], Json | None]


def wants_more(text: str) -> bool:
    """Whether a message with an opening `\"\"\"` still lacks its closing one, so that Enter begins a new
    line.
    """
    begins = text.lstrip()
    return begins.startswith((QUOTES, "/set system")) and text.count(QUOTES) % 2 == 1


def unquoted(text: str) -> str:
    """The message without its `\"\"\"`, or text in plain quotes without those."""
    text = text.strip()
    if text.startswith(QUOTES):
        return text.removeprefix(QUOTES).removesuffix(QUOTES).strip("\n")
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    return text


_PLAIN: Final = {
    "/bye": (Act.LEAVE, ""),
    "/exit": (Act.LEAVE, ""),
    "/clear": (Act.CLEAR, "The conversation is forgotten."),
    "/list": (Act.LIST, ""),
}


def execute(line: str, session: Session, read_format: ReadFormat) -> Outcome:
    """Never raises: what is wrong becomes the text to show."""
    word, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    if word in _PLAIN:
        act, text = _PLAIN[word]
        return Outcome(session=session, act=act, text=text)
    if word == "/set":
        try:
            return _set(rest, session, read_format)
        except Failure as failure:
            return Outcome(session=session, text=failure.message)
    by_word = {"/load": _load, "/show": _show, "/help": _help, "/?": _help}
    if word in by_word:
        return by_word[word](rest, session)
    return Outcome(session=session, text=f"no command '{word}'; /help lists them all")


def _load(model: str, session: Session) -> Outcome:
    if not model:
        return Outcome(session=session, text="usage: /load MODEL")
    return Outcome(session=session, act=Act.LOAD, argument=model)


def _help(topic: str, session: Session) -> Outcome:
    texts = {
        "set": HELP_SET.format(names=", ".join(PARAMETERS)),
        "show": HELP_SHOW,
        "keys": HELP_KEYS,
        "shortcuts": HELP_KEYS,
    }
    return Outcome(session=session, text=texts.get(topic.removeprefix("/"), HELP))


def _show(what: str, session: Session) -> Outcome:
    match what:
        case "info":
            return Outcome(session=session, act=Act.SHOW_INFO)
        case "messages":
            return Outcome(session=session, act=Act.SHOW_MESSAGES)
        case "parameters":
            return Outcome(session=session, text=_parameters(session.settings))
        case "system":
            return Outcome(session=session, text=session.settings.system or "No system message is set.")
    return Outcome(session=session, text=HELP_SHOW)


def _parameters(settings: Settings) -> str:
    lines = [f"{name:<20}{compact(value)}" for name, value in settings.parameters.items()]
    if settings.response_format is not None:
        lines.append(f"{'format':<20}{compact(settings.response_format)}")
    if settings.think is not None:
        lines.append(f"{'think':<20}{compact(settings.think)}")
    return "\n".join(lines) or "No parameters are set: the daemon's defaults hold."


def _set(rest: str, session: Session, read_format: ReadFormat) -> Outcome:
    word, _, value = rest.partition(" ")
    value = value.strip()
    if word == "parameter":
        return _set_parameter(value, session)
    if word == "format" and not value:
        return Outcome(session=session, text="usage: /set format json|FILE")
    changes: dict[str, Any]
    match word:
        case "system":
            changes = {"system": unquoted(value) or None}
            text = "System message set." if changes["system"] else "No system message."
        case "format":
            text, changes = f"Format is {value}.", {"response_format": read_format(value)}
        case "noformat":
            text, changes = "The answer's form is free.", {"response_format": None}
        case "think":
            text, changes = "The model may reason first.", {"think": True}
        case "nothink":
            text, changes = "The model answers at once.", {"think": False}
        case _:
            return _set_switch(word, session)
    return _with_settings(session, text, changes)


def _set_parameter(text: str, session: Session) -> Outcome:
    name, *values = text.split() or [""]
    if name == "stop" and len(text.split(maxsplit=1)) > 1:
        values = [unquoted(text.split(maxsplit=1)[1])]  # a stop text may contain spaces
    parameters = changed(session.settings.parameters, name, values)
    return _with_settings(session, f"Parameter {name} is {' '.join(values)}.", {"parameters": parameters})


def _with_settings(session: Session, text: str, changes: dict[str, Any]) -> Outcome:
    return Outcome(session=replace(session, settings=replace(session.settings, **changes)), text=text)


def _set_switch(word: str, session: Session) -> Outcome:
    switches: dict[str, tuple[Session, str]] = {
        "verbose": (replace(session, verbose=True), "Counts and timings are shown."),
        "quiet": (replace(session, verbose=False), "Counts and timings are not shown."),
        "wordwrap": (replace(session, wordwrap=True), "Long lines are wrapped."),
        "nowordwrap": (replace(session, wordwrap=False), "Long lines are not wrapped."),
        "history": (replace(session, history=True), "What you type is remembered."),
        "nohistory": (replace(session, history=False), "What you type is not remembered."),
    }
    if word not in switches:
        return Outcome(session=session, text=HELP_SET.format(names=", ".join(PARAMETERS)))
    changed_session, text = switches[word]
    return Outcome(session=changed_session, text=text)
