"""The command line, declared: every command, option, example. Imports nothing heavy, so that `--help` is
instant.

`docs/cli.md` is generated from this (`manual.py`) and a test compares the two.
"""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from appliance import __version__
from appliance.cli.exits import MEANING, Exit, Failure
from appliance.cli.parameters import PARAMETERS, Parameter

_EXIT_TABLE: Final = "exit codes:\n" + "\n".join(f"  {int(code):<4}{text}" for code, text in MEANING.items())

_TEXT_WIDTH: Final = 96


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """The same text on every Python: 3.13 changed how an option with two spellings is written, 3.14 adds
    colours.
    """

    def __init__(self, prog: str, **_: Any) -> None:
        super().__init__(prog, max_help_position=30, width=min(shutil.get_terminal_size().columns, 100) - 2)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        spellings = ", ".join(action.option_strings)
        return (
            spellings
            if action.nargs == 0
            else f"{spellings} {self._format_args(action, action.dest.upper())}"
        )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Failure(Exit.USAGE, f"{message}; see: {self.prog} --help", code="usage")


def parse(argv: Sequence[str], into: argparse.Namespace) -> str:
    """Fill `into` and return the command's name. Raises Failure on wrong usage, SystemExit after --help and
    --version.
    """
    parser, commands = build()
    if not argv or argv[0] not in commands:
        parser.parse_args([*argv[:1]], into)
        raise Failure(Exit.USAGE, "name a command; see: outpost --help", code="usage")
    # Only a command's own parser takes options between its words (`run tiny --json hello`).
    commands[argv[0]].parse_intermixed_args([*argv[1:]], into)
    return argv[0]


def build() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of `outpost` itself and those of its commands, by name."""
    parser = _Parser(
        prog="outpost",
        usage="outpost COMMAND [options]",
        description="Outpost serves language models on this machine, with no internet.",
        epilog=_epilog(
            "outpost serve --data ./outpost-data --model tiny=tiny.gguf",
            'outpost run tiny "Why is the sky blue?"',
            'cat report.txt | outpost run tiny "Sum this up in three lines."',
            "outpost COMMAND --help",
        )
        + "\n\n"
        + _EXIT_TABLE,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-V", "--version", action="version", version=f"outpost {__version__}", help="print the version"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", prog="outpost")
    for declare in (_serve, _run, _ps, _bench, _health, _version):
        declare(commands)
    return parser, dict(commands.choices)


def _serve(commands: Any) -> None:
    parser = _command(
        commands,
        "serve",
        "start the daemon and serve models",
        usage="outpost serve [--listen HOST:PORT] [--data DIR] [--model NAME=FILE]... [options]",
        more="It prints one line with its address when it is ready, and stops on SIGTERM or "
        "Ctrl-C. Everything it writes stays inside --data DIR, so several daemons can run side by side. "
        "What is not given here comes from the configuration file, else from its defaults.",
        examples=(
            "outpost serve --data ./outpost-data --model tiny=models/tiny.gguf",
            "outpost serve --data /tmp/a --listen 127.0.0.1:0 --model a=a.gguf --model b=b.gguf",
            "outpost serve --config /etc/outpost/outpost.toml",
        ),
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="configuration (default: /etc/outpost/outpost.toml)"
    )
    parser.add_argument("--listen", metavar="HOST:PORT", help="address to serve on; port 0 takes a free one")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="directory that holds everything the daemon writes"
    )
    parser.add_argument(
        "--model",
        type=_model_file,
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="serve this GGUF; may be repeated",
    )
    parser.add_argument(
        "--preload",
        action="append",
        default=[],
        metavar="NAME",
        help="load this model at start, not at its first request",
    )
    parser.add_argument(
        "--ctx", type=_count, metavar="N", help="tokens per request, prompt and answer together"
    )
    parser.add_argument(
        "--parallel", type=_count, metavar="N", help="requests that one model computes at once"
    )
    parser.add_argument(
        "--threads", type=_count, metavar="N", help="compute threads (default: chosen from the cores)"
    )
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), help="the least level to tell"
    )
    parser.add_argument("--log-format", choices=("auto", "json", "console"), help="form of the log")


def _run(commands: Any) -> None:
    parser = _command(
        commands,
        "run",
        "ask a model, or talk with it",
        usage="outpost run [MODEL] [PROMPT...] [options]",
        more="With a prompt or with piped text the answer is streamed and the command ends; piped text "
        "is put in front of the prompt. Without either, on a terminal, a conversation begins: /help lists "
        "what it understands, Ctrl-C stops an answer, Ctrl-D ends. The first word is the model unless it "
        "contains a space; a server with only one model needs no name.",
        examples=(
            'outpost run tiny "Why is the sky blue?"',
            'cat report.txt | outpost run tiny "Sum this up in three lines."',
            'outpost run tiny "Name and age as JSON: Ann is 42." --format json --temperature 0',
            "outpost run",
        ),
    )
    parser.add_argument("words", nargs="*", metavar="[MODEL] [PROMPT...]", help="the model, then what to ask")
    parser.add_argument("-m", "--model", metavar="NAME", help="the model; then all words are the prompt")
    parser.add_argument("--system", metavar="TEXT", help="the system message")
    parser.add_argument(
        "--format",
        metavar="json|FILE",
        help="json: any JSON object; FILE: JSON that follows the schema in this file",
    )
    parser.add_argument(
        "--think", action="store_true", default=None, help="let the model reason before it answers"
    )
    parser.add_argument("--no-think", dest="think", action="store_false", help="make it answer at once")
    parser.add_argument("--hidethinking", action="store_true", help="do not show its reasoning")
    parser.add_argument("--nowordwrap", action="store_true", help="do not wrap long lines at words")
    parser.add_argument(
        "--verbose", action="store_true", help="print counts and timings to stderr after the answer"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object when the answer is complete"
    )
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=120.0,
        metavar="S",
        help="how long to wait for a loading model (default: 120)",
    )
    sampling = parser.add_argument_group("sampling", "Without these the daemon's defaults hold.")
    for parameter in PARAMETERS.values():
        sampling.add_argument(
            parameter.flag,
            dest=f"parameter_{parameter.name}",
            type=_typed(parameter),
            action="append" if parameter.many else "store",
            metavar=parameter.metavar,
            help=parameter.text,
        )
    _connection(parser)


def _ps(commands: Any) -> None:
    parser = _command(
        commands,
        "ps",
        "list the models of a daemon and what they do",
        usage="outpost ps [--json] [options]",
        examples=("outpost ps", "outpost ps --json | jq '.models[] | select(.state == \"ready\") | .name'"),
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    _connection(parser)


def _bench(commands: Any) -> None:
    parser = _command(
        commands,
        "bench",
        "measure a running server",
        usage="outpost bench [MODEL] [--clients 1,8] [--tokens N] [options]",
        more="Streams answers to N clients at once, each with a prompt of its own, after one warm-up "
        "request. Shown are the medians over the repeats: tokens per second of all clients together, "
        "time to first token (TTFT), and the gap between tokens. Any server that speaks the OpenAI API "
        "can be measured with --url.",
        examples=(
            "outpost bench tiny",
            "outpost bench tiny --clients 1,8,32 --tokens 64 --prompt-words 300 --json",
            "outpost bench --url http://127.0.0.1:8080 --clients 8",
        ),
    )
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="the model; a server with only one needs no name"
    )
    parser.add_argument(
        "--clients",
        type=_counts,
        default=[1, 8],
        metavar="N,...",
        help="how many at once, one run each (default: 1,8)",
    )
    parser.add_argument(
        "--tokens", type=_positive, default=64, metavar="N", help="length of each answer (default: 64)"
    )
    parser.add_argument(
        "--prompt-words", type=_positive, default=24, metavar="N", help="words of each prompt (default: 24)"
    )
    parser.add_argument(
        "--repeats", type=_positive, default=3, metavar="N", help="runs per client count (default: 3)"
    )
    parser.add_argument("--url", dest="host", metavar="URL", help="another server (the same as --host)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    _connection(parser)


def _health(commands: Any) -> None:
    parser = _command(
        commands,
        "health",
        "ask a daemon whether it is well",
        usage="outpost health [--json] [options]",
        more="Ends with 0 when the daemon is ready to answer and with 69 when it is not.",
        examples=("outpost health", "until outpost health; do sleep 1; done"),
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    _connection(parser)


def _version(commands: Any) -> None:
    parser = _command(
        commands,
        "version",
        "print the version",
        usage="outpost version [--json]",
        examples=("outpost version", "outpost version --json"),
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _command(
    commands: Any, name: str, summary: str, *, usage: str, examples: Iterable[str], more: str = ""
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        usage=usage,
        description=summary[0].upper()
        + summary[1:]
        + "."
        + (f"\n\n{textwrap.fill(more, _TEXT_WIDTH)}" if more else ""),
        epilog=_epilog(*examples),
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    return parser


def _connection(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "connection",
        textwrap.fill(
            "Without --host: the daemon in --data DIR, else the variable OUTPOST_HOST, else the daemon in "
            "./.outpost or /var/lib/outpost, else 127.0.0.1:11434. Without --key-file: the variable "
            "OUTPOST_API_KEY.",
            width=_TEXT_WIDTH,
        ),
    )
    group.add_argument("--host", metavar="ADDRESS", help="the daemon's HOST:PORT or URL")
    group.add_argument("--data", type=Path, metavar="DIR", help="ask the daemon that runs in DIR")
    group.add_argument("--key-file", type=Path, metavar="FILE", help="file that holds the API key")
    group.add_argument(
        "--timeout",
        type=_seconds,
        default=300.0,
        metavar="S",
        help="give up after so long a silence (default: 300)",
    )


def _epilog(*examples: str) -> str:
    return "examples:\n" + "\n".join(f"  {example}" for example in examples)


# ── types of arguments ──────────────────────────────────────────────────────────────────────────────────────


def _model_file(text: str) -> tuple[str, Path]:
    name, separator, file = text.partition("=")
    if not (separator and name and file):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=FILE.gguf")
    return name, Path(file)


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number")
    return int(text)


def _positive(text: str) -> int:
    value = _count(text)
    if value == 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _counts(text: str) -> list[int]:
    return [_positive(part) for part in text.split(",")]


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds") from error
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 86400 seconds")
    return value


def _typed(parameter: Parameter) -> Any:
    def parse(text: str) -> Any:
        try:
            return parameter.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse
