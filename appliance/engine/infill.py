"""The tokens of a prompt with a gap, as llama-server lays them out (tools/server, `format_prompt_infill`).

    BOS [repository] NAME [file] name text … [file] name   [before] text [after] suffix [middle]

The part about other files stands there only when there are any; without tokens for files they are set off by
a line of their own. Nothing is cut: what does not fit is refused, where llama-server leaves files out. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from appliance.wire.messages import TextPrompt

REPOSITORY: Final = "myproject\n"
CURRENT_FILE: Final = "filename\n"
"""llama-server's names of what has none."""
SNIPPET: Final = "\n\n--- snippet ---\n\n"

Tokens = Callable[[str], list[int]]
"""Of a text in which no token of control is seen: code may hold their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InfillMarkers:
    """Tokens of fill-in-the-middle in a vocabulary."""

    before: int
    after: int
    middle: int
    repository: int | None = None
    file: int | None = None


def infill_tokens(prompt: TextPrompt, markers: InfillMarkers, tokens: Tokens) -> list[int]:
    """Without the token that begins a text."""
    return [
        *(_files(prompt, markers, tokens) if prompt.files else ()),
        markers.before,
        *tokens(prompt.text),
        markers.after,
        *tokens(prompt.suffix or ""),
        markers.middle,
    ]


def _files(prompt: TextPrompt, markers: InfillMarkers, tokens: Tokens) -> list[int]:
    told: list[int] = []
    if markers.repository is not None:
        told += [markers.repository, *tokens(REPOSITORY)]
    for file in prompt.files:
        told += tokens(SNIPPET) if markers.file is None else [markers.file, *tokens(f"{file.name}\n")]
        told += tokens(file.text)
    if markers.file is not None:
        told += [markers.file, *tokens(CURRENT_FILE)]
    return told
