"""REQUIRES, RENDERER and PARSER: what of Ollama's own code a model leans on, and whether ours will do.

A renderer writes prompts and a parser reads answers, in code that Ollama names. Here the model's own
template writes them, and the engine reads answers in the form that template asks for (`engine/chat_output/`).
So a name is accepted where the engine reads that form, and refused where it does not: a model whose calls
come out as plain text would look broken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from appliance.errors import ModelfileInvalid

OLLAMA_VERSION: Final = "0.32.7"
"""The Ollama whose formats and API we speak; a model that requires a newer one is refused."""

SPOKEN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "qwen3": "hermes",
        "qwen3-thinking": "hermes",
        "qwen3-vl-instruct": "hermes",
        "qwen3-vl-thinking": "hermes",
        "ministral": "mistral-args",
    }
)
"""RENDERER and PARSER names → the tool format of the engine that is the same thing."""

_IDENTIFIER: Final = r"(?:0|[1-9][0-9]{0,8}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION: Final = re.compile(
    r"v?(0|[1-9][0-9]{0,8})(?:\.(0|[1-9][0-9]{0,8})(?:\.(0|[1-9][0-9]{0,8})"
    rf"(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?(?:\+[0-9A-Za-z.-]+)?)?)?"
)
_MAX_CHARS: Final = 80

Precedence = tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]


def unmet(*, renderer: str | None, parser: str | None, requires: str | None) -> tuple[str, ...]:
    """What a stored model asks for and does not get, a sentence each. One that comes from elsewhere is served
    all the same: its own template may well do.
    """
    found = []
    if renderer is not None and not is_spoken(renderer):
        found.append(
            f"its RENDERER {renderer[:_MAX_CHARS]!r} is code of Ollama's own, which this engine lacks: its "
            "chat template writes the prompts"
        )
    if parser is not None and not is_spoken(parser):
        found.append(
            f"its PARSER {parser[:_MAX_CHARS]!r} is code of Ollama's own, which this engine lacks: tool "
            "calls and reasoning are read in the form of its chat template, and may come as plain text"
        )
    if requires is not None and not is_met(requires):
        found.append(
            f"it requires Ollama {requires[:_MAX_CHARS]}; Outpost speaks {OLLAMA_VERSION}: it may answer "
            "otherwise than there"
        )
    return tuple(found)


def is_spoken(name: str) -> bool:
    """Whether the engine has the like of this RENDERER or PARSER."""
    return name in SPOKEN


def is_met(requires: str) -> bool:
    """False also for what is no version."""
    wanted, spoken = precedence(requires), precedence(OLLAMA_VERSION)
    assert spoken is not None
    return wanted is not None and wanted <= spoken


def check_requires(text: str, *, line: int) -> str:
    """The version without `v`. Raises ModelfileInvalid."""
    if precedence(text) is None:
        raise ModelfileInvalid(line=line, reason="REQUIRES takes a version (e.g. 0.14.0)")
    if not is_met(text):
        raise ModelfileInvalid(
            line=line, reason=f"this model requires Ollama {text}; Outpost speaks {OLLAMA_VERSION}"
        )
    return text.removeprefix("v")


def check_spoken(instruction: str, name: str, *, line: int) -> str:
    if not is_spoken(name):
        shown = name[:_MAX_CHARS]
        raise ModelfileInvalid(
            line=line,
            reason=f"{instruction.upper()} {shown!r} is code of Ollama's own that this engine does not have; "
            f"it has: {', '.join(SPOKEN)}",
        )
    return name


def precedence(text: str) -> Precedence | None:
    """What semver compares, of a version with one to three numbers; None when it is none."""
    found = _VERSION.fullmatch(text) if len(text) <= _MAX_CHARS else None
    if found is None:
        return None
    numbers = [int(found[index] or 0) for index in (1, 2, 3)]
    parts = found[4].split(".") if found[4] else []
    # A release follows its pre-releases; of these, numbers come before words.
    marks = tuple((not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts)
    return numbers[0], numbers[1], numbers[2], not parts, marks
