"""Instructions → `Modelfile`. Every instruction is honoured or refused with its line."""

from __future__ import annotations

from typing import Final

from appliance.errors import ModelfileInvalid
from appliance.modelfile.compatibility import check_requires, check_spoken
from appliance.modelfile.facts import Message, Modelfile, ParameterValue, Source
from appliance.modelfile.lexer import Instruction, decode, instructions
from appliance.modelfile.parameters import MAX_STOPS, PARAMETERS, Use, warning

_MAX_SOURCE_CHARS: Final = 4096
_MAX_SOURCES: Final = 64
_LAST_WINS: Final = frozenset({"template", "system", "requires", "renderer", "parser"})


def parse(text: str | bytes) -> Modelfile:
    """Raises ModelfileInvalid with the line; nothing else, whatever the text."""
    reader = _Reader()
    for instruction in instructions(decode(text) if isinstance(text, bytes) else text):
        reader.take(instruction)
    return reader.modelfile()


class _Reader:
    """Collects one Modelfile. Lives inside one call of `parse`."""

    def __init__(self) -> None:
        self._sources: dict[str, list[Source]] = {"from": [], "adapter": [], "draft": []}
        self._last: dict[str, str] = {}
        self._messages: list[Message] = []
        self._licences: list[str] = []
        self._stops: list[str] = []
        self._parameters: dict[str, ParameterValue] = {}
        self._warnings: dict[str, None] = {}

    def take(self, instruction: Instruction) -> None:
        name = instruction.name
        if name in self._sources:
            self._take_source(instruction)
        elif name == "parameter":
            self._take_parameter(instruction)
        elif name == "message":
            self._messages.append(Message(role=instruction.word, content=instruction.value))
        elif name == "license":
            self._licences.append(instruction.value)
        else:
            assert name in _LAST_WINS
            self._last[name] = self._checked(instruction)

    def modelfile(self) -> Modelfile:
        if not self._sources["from"]:
            raise ModelfileInvalid(line=0, reason="no FROM line")
        draft = next(iter(self._sources["draft"]), None)
        if draft and draft in self._sources["from"]:
            raise ModelfileInvalid(line=draft.line, reason="DRAFT is the same file as FROM")
        return Modelfile(
            from_=tuple(self._sources["from"]),
            adapters=tuple(self._sources["adapter"]),
            parameters=(*self._parameters.items(), *(("stop", stop) for stop in self._stops)),
            template=self._last.get("template"),
            system=self._last.get("system"),
            messages=tuple(self._messages),
            licences=tuple(self._licences),
            requires=self._last.get("requires"),
            draft=draft,
            renderer=self._last.get("renderer"),
            parser=self._last.get("parser"),
            warnings=tuple(self._warnings),
        )

    def _take_source(self, instruction: Instruction) -> None:
        name, text, line = instruction.name.upper(), instruction.value, instruction.line
        if not text:
            raise ModelfileInvalid(line=line, reason=f"{name} has no value")
        if len(text) > _MAX_SOURCE_CHARS or not text.isprintable():
            raise ModelfileInvalid(
                line=line,
                reason=f"{name} takes one line of at most {_MAX_SOURCE_CHARS} characters, all printable",
            )
        known = self._sources[instruction.name]
        if len(known) >= (1 if name == "DRAFT" else _MAX_SOURCES):
            raise ModelfileInvalid(line=line, reason=f"too many {name} lines")
        known.append(Source(text=text, line=line))

    def _take_parameter(self, instruction: Instruction) -> None:
        parameter = PARAMETERS.get(instruction.word)
        if parameter is None:
            raise ModelfileInvalid(
                line=instruction.line, reason=f"unknown parameter '{instruction.word[:80]}'"
            )
        try:
            value = parameter.parse(instruction.value)
        except ValueError as error:
            raise ModelfileInvalid(
                line=instruction.line, reason=f"parameter '{parameter.name}': {error}"
            ) from error
        if parameter.use is Use.NONE:
            self._warnings[warning(parameter)] = None
        elif isinstance(value, str):
            if len(self._stops) == MAX_STOPS:
                raise ModelfileInvalid(line=instruction.line, reason=f"at most {MAX_STOPS} stop strings")
            self._stops.append(value)
        else:
            self._parameters.pop(parameter.name, None)
            self._parameters[parameter.name] = value

    @staticmethod
    def _checked(instruction: Instruction) -> str:
        if instruction.name == "requires":
            return check_requires(instruction.value, line=instruction.line)
        if instruction.name in {"renderer", "parser"}:
            return check_spoken(instruction.name, instruction.value, line=instruction.line)
        return instruction.value
