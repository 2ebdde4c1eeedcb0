"""`outpost run`: one question and its answer, or a conversation (`repl.py`)."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from appliance.cli.answer import Display, ask, cut_note, summary
from appliance.cli.chat import Json, Reply, Settings, compact, schema_format, user_message
from appliance.cli.client import Client
from appliance.cli.connect import client_of, context_of, model_of
from appliance.cli.exits import Exit, Failure
from appliance.cli.parameters import PARAMETERS
from appliance.cli.slash import Session

MAX_PIPED_BYTES: Final = 64 * 1024 * 1024


def main(arguments: argparse.Namespace) -> int:
    wanted, prompt = split_words(arguments.words, model=arguments.model)
    response_format = read_format(arguments.format)
    piped = None if sys.stdin is None or sys.stdin.isatty() else read_piped()
    client = client_of(arguments)
    if prompt or piped:
        # A named model needs no look-up: the daemon's own 404 lists what there is.
        model = wanted or model_of(client, None)
        settings = settings_of(arguments, model=model, response_format=response_format)
        return answer_once(client, settings, user_message(prompt, piped), arguments)
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()) or arguments.json:
        raise Failure(
            Exit.USAGE, 'no prompt; write one, as in: outpost run MODEL "Why is the sky blue?"', code="usage"
        )
    from appliance.cli.repl import converse  # noqa: PLC0415 - prompt_toolkit is for conversations only

    settings = settings_of(arguments, model=model_of(client, wanted), response_format=response_format)
    session = Session(
        settings=settings,
        verbose=arguments.verbose,
        wordwrap=not arguments.nowordwrap,
        show_thinking=not arguments.hidethinking,
    )
    return converse(client, session, wait_s=arguments.wait)


def answer_once(client: Client, settings: Settings, message: Json, arguments: argparse.Namespace) -> int:
    reply = Reply(settings.model)
    display = Display(
        sys.stdout,
        wrap=not arguments.nowordwrap,
        show_reasoning=not arguments.hidethinking,
        silent=arguments.json,
    )
    ask(client, settings, [message], reply=reply, display=display, wait_s=arguments.wait)
    if arguments.json:
        print(json.dumps(reply.as_json(), ensure_ascii=False))
    for call in () if arguments.json else reply.tool_calls:
        print(compact(call))
    sys.stdout.flush()
    note = cut_note(reply, settings, lambda: context_of(client, settings.model))
    if note:
        print(f"outpost: {note}", file=sys.stderr)
    if arguments.verbose:
        print(f"\n{summary(reply)}", file=sys.stderr)
    return Exit.OK


def split_words(words: list[str], *, model: str | None) -> tuple[str | None, str]:
    """The model (None: the server's only one) and the prompt. A first word with a space in it is a prompt."""
    if model is not None:
        return model, " ".join(words)
    if not words or any(char.isspace() for char in words[0]):
        return None, " ".join(words)
    return words[0], " ".join(words[1:])


def settings_of(arguments: argparse.Namespace, *, model: str, response_format: Json | None) -> Settings:
    given: dict[str, Any] = {name: getattr(arguments, f"parameter_{name}") for name in PARAMETERS}
    return Settings(
        model=model,
        system=arguments.system,
        parameters={name: value for name, value in given.items() if value is not None},
        response_format=response_format,
        think=arguments.think,
    )


def read_format(text: str | None) -> Json | None:
    """`json`, or the path of a JSON schema. Raises Failure when the file is missing or holds no schema."""
    if text is None:
        return None
    if text == "json":
        return {"type": "json_object"}
    path = Path(text)
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Failure(
            Exit.NO_INPUT, f"--format: cannot read {path}: {error.strerror}; give 'json' or a schema file"
        ) from error
    except ValueError as error:
        raise Failure(Exit.DATA, f"--format: {path} is not JSON: {error}") from error
    if not isinstance(schema, dict):
        raise Failure(Exit.DATA, f"--format: {path} holds no JSON schema; a schema is an object")
    return schema_format(path.stem or "schema", schema)


def read_piped() -> str:
    """All of stdin as text, without the last line end."""
    data = sys.stdin.buffer.read(MAX_PIPED_BYTES + 1)
    if len(data) > MAX_PIPED_BYTES:
        raise Failure(Exit.DATA, f"more than {MAX_PIPED_BYTES} bytes on standard input")
    try:
        return data.decode("utf-8").rstrip("\n")
    except UnicodeDecodeError as error:
        raise Failure(Exit.DATA, f"standard input is not UTF-8 text (byte {error.start})") from error
