"""One answer: ask, wait for a loading model, show what comes, measure. Used by `run` once and by the REPL in
turns.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import Final, TextIO

from appliance.cli import terminal
from appliance.cli.chat import Json, Notice, Piece, Place, Prefill, Reply, Settings, Timings
from appliance.cli.client import Client
from appliance.cli.exits import Failure
from appliance.cli.spinner import Spinner

FLAG: Final = "--max-tokens N (-1: as many as fit)"
"""How `outpost run` is asked for a longer answer."""
_RETRY_S: Final = (0.2, 5.0)
"""Bounds of the pause between two tries while a model loads."""


def _unknown() -> int | None:
    """For who cannot ask."""
    return None


class Display:
    """Where an answer goes. Owned by the thread that asks.

    On a terminal text is made safe, wrapped, and reasoning is dimmed. Elsewhere the answer is written as it
    is, and the reasoning is left out: what a pipe wants is the answer. `silent` shows nothing (for `--json`).
    """

    def __init__(self, stdout: TextIO, *, wrap: bool, show_reasoning: bool, silent: bool = False) -> None:
        self._stdout = stdout
        self._is_terminal = stdout.isatty()
        self._silent = silent
        self._show_reasoning = show_reasoning and self._is_terminal
        self._wrapper = terminal.Wrapper(terminal.columns()) if wrap and self._is_terminal else None
        self._reasoning = False
        self._at_line_start = True

    def show(self, piece: Piece) -> None:
        if self._silent:
            return
        if piece.reasoning and self._show_reasoning:
            if not self._reasoning:
                self._reasoning = True
                self._stdout.write(terminal.DIM)
            self._put(piece.reasoning)
        if piece.text:
            self._end_reasoning()
            self._put(piece.text)
        self._stdout.flush()

    def end(self) -> None:
        """Close the answer, also an interrupted one: colours off, the cursor at the start of a line."""
        self._end_reasoning()
        if not self._silent and not self._at_line_start:
            self._stdout.write("\n")
            self._at_line_start = True
        self._stdout.flush()

    def _end_reasoning(self) -> None:
        if self._reasoning:
            self._reasoning = False
            self._stdout.write(terminal.PLAIN)
            self._put("\n\n")

    def _put(self, text: str) -> None:
        text = terminal.printable(text) if self._is_terminal else text
        if text:
            self._stdout.write(self._wrapper.feed(text) if self._wrapper else text)
            self._at_line_start = text.endswith("\n")


def ask(
    client: Client, settings: Settings, messages: list[Json], *, reply: Reply, display: Display, wait_s: float
) -> None:
    """Fill `reply` and show it, trying again for up to `wait_s` while the model loads. On any exception, also
    KeyboardInterrupt, `reply` holds what came until then.
    """
    began_s = time.monotonic()
    body = settings.body(messages)
    first_s: float | None = None
    with Spinner(f"waiting for {settings.model}") as spinner:
        while True:
            asked_s = time.monotonic()
            try:
                first_s = _stream(client, body, reply=reply, display=display, spinner=spinner)
                break
            except Failure as failure:
                pause_s = _pause_s(failure, waited_s=time.monotonic() - began_s, wait_s=wait_s)
                if pause_s is None:
                    raise
                spinner.label = f"loading {settings.model}"
                time.sleep(pause_s)
    reply.timings = Timings(
        total_s=time.monotonic() - began_s,
        load_s=asked_s - began_s,
        first_token_s=None if first_s is None else first_s - asked_s,
    )


def _stream(client: Client, body: Json, *, reply: Reply, display: Display, spinner: Spinner) -> float | None:
    """One try. Returns when the first token came, on the monotonic clock; None: the answer is empty."""
    first_s: float | None = None
    try:
        with closing(client.chat(body, wants_progress=spinner.is_shown)) as stream:
            for part in stream:
                if isinstance(part, Notice):
                    spinner.stop()
                    print(f"outpost: warning: {terminal.printable(part.text)}", file=sys.stderr)
                elif isinstance(part, Prefill | Place):
                    spinner.label = str(part)
                else:
                    if first_s is None and part.has_output:
                        first_s = time.monotonic()
                        spinner.stop()
                    reply.add(part)
                    display.show(part)
    finally:
        display.end()
    return first_s


def _pause_s(failure: Failure, *, waited_s: float, wait_s: float) -> float | None:
    """How long to wait for a loading model before the next try; None: do not try again."""
    if failure.code != "model_loading" or waited_s >= wait_s:
        return None
    low, high = _RETRY_S
    wished_s = 1.0 if failure.retry_after_s is None else failure.retry_after_s
    return min(max(wished_s, low), high, max(wait_s - waited_s, low))


def summary(reply: Reply) -> str:
    """The lines of `--verbose`, labels as in Ollama."""
    timings, usage = reply.timings, reply.usage
    if timings is None:
        return ""
    rows = [
        ("total duration", terminal.duration(timings.total_s)),
        ("load duration", terminal.duration(timings.load_s)),
    ]
    if timings.first_token_s is not None:
        rows.append(("time to first token", terminal.duration(timings.first_token_s)))
    if usage is not None:
        cached = f" ({usage.cached_tokens} cached)" if usage.cached_tokens is not None else ""
        rows.append(("prompt eval count", f"{usage.prompt_tokens} token(s){cached}"))
        prompt_rate = timings.prompt_rate(usage.prompt_tokens - (usage.cached_tokens or 0))
        if prompt_rate is not None:
            rows.append(("prompt eval rate", f"{prompt_rate:.2f} tokens/s"))
        rows.append(("eval count", f"{usage.completion_tokens} token(s)"))
        rate = timings.decode_rate(usage.completion_tokens)
        if rate is not None:
            rows.append(("eval rate", f"{rate:.2f} tokens/s"))
    return "\n".join(f"{label + ':':<22}{value}" for label, value in rows)


def cut_note(
    reply: Reply, settings: Settings, context: Callable[[], int | None] = _unknown, *, remedy: str = FLAG
) -> str | None:
    """A sentence when the answer ended for lack of room and nobody asked for that: which limit it was, and
    what to do. `context`: the tokens of the model's context, asked for only then. `remedy`: how a longer
    answer is asked for.

    1. The limit that was asked for is reached: nobody is surprised.
    2. Prompt and answer fill the context.
    3. The context has room left: it was the length that is set for the model.
    4. The server does not tell enough.
    """
    if reply.finish_reason != "length":
        return None
    asked, usage = settings.parameters.get("max_tokens", -1), reply.usage
    if asked >= 0 and (usage is None or usage.completion_tokens >= asked):
        return None  # 1
    size = context() if usage else None
    if usage is None or size is None:
        return (
            "the answer was cut: the length set for it is reached, or the context is full; "
            f"ask for more with {remedy}, or serve the model with a larger --ctx"
        )  # 4
    cut, left = f"the answer was cut after {usage.completion_tokens} tokens", size - usage.total_tokens
    if left <= 0:
        return (
            f"{cut}: with the {usage.prompt_tokens} of the prompt the context is full ({size}); "
            "serve the model with a larger --ctx, or ask for less"
        )  # 2
    return (
        f"{cut}, the length set for the model (num_predict); the context holds {left} more: "
        f"ask for them with {remedy}"
    )  # 3
