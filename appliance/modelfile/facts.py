"""What a Modelfile says. Values only."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

ParameterValue = str | int | float | bool

_DIGEST: Final = re.compile(r"@?sha256[:-]([0-9a-f]{64})")
_PATH_STARTS: Final = ("/", "./", "../", "~")


class SourceForm(StrEnum):
    DIGEST = "digest"
    PATH = "path"
    """Cannot be a name."""
    OPEN = "open"
    """A path if there is such a file, else a name: only who sees the files can tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What FROM, ADAPTER or DRAFT points to, as written."""

    text: str
    line: int = field(default=0, compare=False)

    @property
    def form(self) -> SourceForm:
        if self.digest is not None:
            return SourceForm.DIGEST
        is_path = self.text in {".", ".."} or self.text.startswith(_PATH_STARTS)
        return SourceForm.PATH if is_path else SourceForm.OPEN

    @property
    def digest(self) -> str | None:
        """`sha256:` and 64 hex digits, however the Modelfile spelt it (`sha256-…`, `@sha256:…`)."""
        found = _DIGEST.fullmatch(self.text)
        return f"sha256:{found[1]}" if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    role: str
    """system | user | assistant"""
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Modelfile:
    """One Modelfile, made by `parse`. None: the instruction is not there; "" is a value of its own (it
    replaces what the base model has).
    """

    from_: tuple[Source, ...]
    """At least one. Paths are merged (a model and its projector); of several names the last counts."""
    adapters: tuple[Source, ...] = ()
    """All of them, in order, where Ollama keeps only the last."""
    parameters: tuple[tuple[str, ParameterValue], ...] = ()
    """Typed and within their bounds; `stop` as often as it was given, every other name once, its last
    value.
    """
    template: str | None = None
    """Go or Jinja: whoever stores it tells them apart."""
    system: str | None = None
    messages: tuple[Message, ...] = ()
    licences: tuple[str, ...] = ()
    requires: str | None = None
    """Minimum Ollama version, without `v`."""
    draft: Source | None = None
    renderer: str | None = None
    parser: str | None = None
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """What was accepted and has no effect here, a sentence each: show them to whoever creates the model."""

    @property
    def options(self) -> dict[str, ParameterValue | list[str]]:
        """The parameters as Ollama's params blob and API have them: `stop` is a list."""
        options: dict[str, ParameterValue | list[str]] = {
            name: value for name, value in self.parameters if name != "stop"
        }
        if stops := [str(value) for name, value in self.parameters if name == "stop"]:
            options["stop"] = stops
        return options
