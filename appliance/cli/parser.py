"""The command line, declared: every command, option, example. Imports nothing heavy, so that `--help` is
instant, and declares no command but the one that is given.

`docs/cli.md` is generated from this (`manual.py`) and a test compares the two.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from appliance import __version__
from appliance.cli import (
    account_commands,
    device_commands,
    key_commands,
    memory_commands,
    request_commands,
    store_commands,
)
from appliance.cli.declaring import (
    Formatter,
    Parser,
    command,
    connection,
    epilog,
    seconds,
    store_connection,
)
from appliance.cli.exits import MEANING, Exit, Failure

if TYPE_CHECKING:
    from appliance.cli.parameters import Parameter

_EXIT_TABLE: Final = "exit codes:\n" + "\n".join(f"  {int(code):<4}{text}" for code, text in MEANING.items())
ALIASES: Final = {"ls": "list"}


def parse(argv: Sequence[str], into: argparse.Namespace) -> str:
    """Fill `into` and return the command's name. Raises Failure on wrong usage, SystemExit after --help and
    --version.
    """
    name = ALIASES.get(argv[0], argv[0]) if argv else ""
    if name not in _DECLARED:
        build()[0].parse_args([*argv[:1]], into)
        raise Failure(Exit.USAGE, "name a command; see: outpost --help", code="usage")
    _commands_of(Parser(formatter_class=Formatter), (name,))[name].take([*argv[1:]], into)
    return name


def build() -> tuple[argparse.ArgumentParser, dict[str, Parser]]:
    """The parser of `outpost` itself and those of its commands, by name."""
    parser = Parser(
        prog="outpost",
        usage="outpost COMMAND [options]",
        description="Outpost serves language models on this machine, with no internet.",
        epilog=epilog(
            "outpost serve --data ./outpost-data --model tiny=tiny.gguf",
            "outpost import tiny.gguf tiny",
            'outpost run tiny "Why is the sky blue?"',
            'cat report.txt | outpost run tiny "Sum this up in three lines."',
            "outpost COMMAND --help",
        )
        + "\n\n"
        + _EXIT_TABLE,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-V", "--version", action="version", version=f"outpost {__version__}", help="print the version"
    )
    return parser, _commands_of(parser, tuple(_DECLARED))


def _commands_of(parser: Parser, names: Sequence[str]) -> dict[str, Parser]:
    """Declared as commands of `parser`: to declare all takes longer than what most of them do."""
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", prog="outpost")
    for name in names:
        _DECLARED[name](commands)
    return dict(commands.choices)


def _serve(commands: Any) -> None:
    parser = command(
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
        "--device",
        choices=("require_gpu", "prefer_gpu", "cpu"),
        help="on what models run: on a GPU or not at all, on a GPU where there is one, or on the CPU",
    )
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), help="the least level to tell"
    )
    parser.add_argument("--log-format", choices=("auto", "json", "console"), help="form of the log")


def _run(commands: Any) -> None:
    parser = command(
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
        type=seconds,
        default=120.0,
        metavar="S",
        help="how long to wait for a loading model (default: 120)",
    )
    from appliance.cli.parameters import PARAMETERS  # noqa: PLC0415 - no other command has any

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
    connection(parser)


def _fit(commands: Any) -> None:
    parser = command(
        commands,
        "fit",
        "tell whether a model fits into memory, without loading it",
        usage="outpost fit MODEL [--ctx N] [--parallel N] [--min-ctx N] [--board BOARD] [options]",
        more="Ends with 0 when it fits, perhaps with fewer requests at once, a shorter context, a smaller KV "
        "cache or ubatch than wished for, or once others have gone: all of it is told. Ends with 69 when not "
        "even the least that is asked for fits, with the numbers.\n\n"
        "The daemon answers where one runs: it knows who is in memory and who would have to go, and it "
        "loads and evicts nothing for it. With --board or --config, and for a file, this command answers by "
        "itself; models that a daemon has in memory then count as memory that is taken.",
        examples=(
            "outpost fit smollm2",
            "outpost fit smollm2 --ctx 32768 --json | jq '{verdict, evicts}'",
            "outpost fit llama.gguf --ctx 32768 --min-ctx 8192 --board orin-nano-8gb",
            "outpost fit manifest.json --board pi-5-8gb --json | jq .plan.placement",
        ),
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a name of the store or of [models], a GGUF (its header is enough), or a manifest as JSON",
    )
    parser.add_argument(
        "--ctx", type=_count, metavar="N", help="tokens per request that are wished for; 0: the model's own"
    )
    parser.add_argument("--parallel", type=_positive, metavar="N", help="requests at once, wished for")
    parser.add_argument(
        "--min-ctx", type=_positive, metavar="N", help="tokens per request below which it is of no use"
    )
    parser.add_argument(
        "--board",
        metavar="BOARD",
        help="another board than this machine: a name (a wrong one lists all), or a TOML file with its facts",
    )
    store_connection(parser)


def _ps(commands: Any) -> None:
    parser = command(
        commands,
        "ps",
        "list the models of a daemon and what they do",
        usage="outpost ps [--json] [options]",
        examples=("outpost ps", "outpost ps --json | jq '.models[] | select(.state == \"ready\") | .name'"),
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    connection(parser)


def _queue(commands: Any) -> None:
    parser = command(
        commands,
        "queue",
        "list the requests that wait for a model",
        usage="outpost queue [--json] [options]",
        more="Model by model, in the order in which they will be served, with when that may be. A key sees "
        "its own requests, one with the scope system sees all; without keys, all are shown.",
        examples=("outpost queue", "outpost queue --json | jq '.waiting | length'"),
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    connection(parser)


def _bench(commands: Any) -> None:
    parser = command(
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
    connection(parser)


_DECLARED: Final[dict[str, Callable[[Any], None]]] = {
    "serve": _serve,
    "run": _run,
    **store_commands.DECLARED,
    **memory_commands.DECLARED,
    **key_commands.DECLARED,
    "fit": _fit,
    "ps": _ps,
    "queue": _queue,
    **account_commands.DECLARED,
    **request_commands.DECLARED,
    "bench": _bench,
    **device_commands.DECLARED,
}
"""In the order of the help."""


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


def _typed(parameter: Parameter) -> Any:
    def parse(text: str) -> Any:
        try:
            return parameter.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse
