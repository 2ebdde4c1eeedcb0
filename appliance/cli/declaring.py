"""What all commands are declared with: the parser's manners, a command with its examples, the connection."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from appliance.cli.exits import Exit, Failure
from appliance.cli.terminal import columns

_TEXT_WIDTH: Final = 96

MOST_GRACE_S: Final = 3600.0
MOST_KL: Final = 100.0
LEAST_LIMIT_S: Final = 5.0
MOST_LIMIT_S: Final = 3600.0
"""`store.kept.PROTECTED_S`, without loading the store for it; a test compares."""


class Formatter(argparse.RawDescriptionHelpFormatter):
    """The same text on every Python: 3.13 changed how an option with two spellings is written, 3.14 adds
    colours.
    """

    def __init__(self, prog: str, **_: Any) -> None:
        super().__init__(prog, max_help_position=30, width=min(columns(), 100) - 2)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        spellings = ", ".join(action.option_strings)
        return (
            spellings
            if action.nargs == 0
            else f"{spellings} {self._format_args(action, action.dest.upper())}"
        )


_BEHIND: Final = "\0behind --\0"
"""Put before a word that stands behind `--`; no system gives a program one with a NUL."""


class Parser(argparse.ArgumentParser):
    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.register("type", None, _bare)
        self.register("type", Path, lambda text: Path(_bare(text)))

    def take(self, words: Sequence[str], into: argparse.Namespace) -> None:
        """Fill `into`. Options may stand between the words (`run tiny --json hello`); behind `--` nothing is
        one. argparse forgets that when it comes to the words, so they are marked for it.
        """
        end = words.index("--") if "--" in words else len(words)
        for word in words[:end]:
            if word.startswith("-h") and word != "-h":  # some Pythons take it for -h, and call it well
                self.error(f"argument -h/--help: ignored explicit argument {word[2:]!r}")
        behind = [_BEHIND + word for word in words[end + 1 :]]
        self.parse_intermixed_args([*words[:end], *(["--", *behind] if behind else [])], into)

    def format_help(self) -> str:
        """What stands in paragraphs is wrapped here: a command that does its work shows none of it."""
        from textwrap import fill  # noqa: PLC0415 - nothing else wraps

        for told in (self, *self._action_groups):
            if told.description:
                paragraphs = told.description.split("\n\n")
                told.description = "\n\n".join(fill(paragraph, _TEXT_WIDTH) for paragraph in paragraphs)
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        told = message.replace(_BEHIND, "")
        raise Failure(Exit.USAGE, f"{told}; see: {self.prog} --help", code="usage")


def _bare(text: str) -> str:
    return text.removeprefix(_BEHIND)


def command(
    commands: Any, name: str, summary: str, *, usage: str, examples: Iterable[str], more: str = ""
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        usage=usage,
        description=summary[0].upper() + summary[1:] + "." + (f"\n\n{more}" if more else ""),
        epilog=epilog(*examples),
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    return parser


_ORDER: Final = (
    "Without --host: the daemon in --data DIR, else the variable OUTPOST_HOST, else the daemon in "
    "./.outpost or /var/lib/outpost, else 127.0.0.1:11434. "
)
_KEY: Final = "Without --key-file: the variable OUTPOST_API_KEY; without --ca-file: OUTPOST_CA_FILE."
_NO_DAEMON: Final = "Where no daemon runs in the directory, its store is opened by this command itself. "


def connection(parser: argparse.ArgumentParser) -> None:
    """How to reach the daemon."""
    _connection(parser, text=_ORDER + _KEY, data="ask the daemon that runs in DIR")


def store_connection(parser: argparse.ArgumentParser) -> None:
    """How to reach the daemon, or its store where none runs; and `--json`, which all of these have."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    group = _connection(
        parser, text=_ORDER + _NO_DAEMON + _KEY, data="the data directory, with a daemon or without"
    )
    group.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="configuration of a store without a daemon (default: /etc/outpost/outpost.toml)",
    )


def another(parser: argparse.ArgumentParser) -> None:
    """For commands that need no daemon on this machine: how to reach another's."""
    group = parser.add_argument_group("connection", f"With --host another machine is asked. {_KEY}")
    group.add_argument("--host", metavar="ADDRESS", help="the HOST:PORT or URL of its daemon")
    _credentials(group)


def key_connection(parser: argparse.ArgumentParser) -> None:
    """How to reach the daemon, or its data directory where none runs."""
    text = _ORDER + "Where no daemon runs in the directory, its keys are changed by this command itself. "
    group = _connection(parser, text=text + _KEY, data="the data directory, with a daemon or without")
    group.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="configuration where no daemon runs (default: /etc/outpost/outpost.toml)",
    )


def _connection(parser: argparse.ArgumentParser, *, text: str, data: str) -> Any:
    group = parser.add_argument_group("connection", text)
    group.add_argument("--host", metavar="ADDRESS", help="the daemon's HOST:PORT or URL")
    group.add_argument("--data", type=Path, metavar="DIR", help=data)
    _credentials(group)
    return group


def _credentials(group: Any) -> None:
    group.add_argument("--key-file", type=Path, metavar="FILE", help="file that holds the API key")
    group.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="authority that signed the daemon's certificate (https)"
    )
    group.add_argument(
        "--timeout",
        type=seconds,
        default=300.0,
        metavar="S",
        help="give up after so long a silence (default: 300)",
    )


def epilog(*examples: str) -> str:
    return "examples:\n" + "\n".join(f"  {example}" for example in examples)


def seconds(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 86400 seconds")
    return value


def grace(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= MOST_GRACE_S:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and {MOST_GRACE_S:.0f} seconds")
    return value


def divergence(text: str) -> float:
    value = _number(text, "a number of nats")
    if not 0 <= value <= MOST_KL:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and {MOST_KL:.0f} nats")
    return value


def limit(text: str) -> float:
    value = _number(text, "a number of seconds")
    if not LEAST_LIMIT_S <= value <= MOST_LIMIT_S:
        bounds = f"{LEAST_LIMIT_S:g} and {MOST_LIMIT_S:g} seconds"
        raise argparse.ArgumentTypeError(f"{text} is not between {bounds}")
    return value


def words(text: str) -> tuple[str, ...]:
    """Separated by commas."""
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    if not found:
        raise argparse.ArgumentTypeError("nothing is named")
    return found


def _number(text: str, meaning: str = "a number of seconds") -> float:
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not {meaning}") from error
