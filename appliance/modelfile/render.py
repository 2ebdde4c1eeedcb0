"""`Modelfile` → text that `parse` reads back as the same. What `show --modelfile` prints."""

from __future__ import annotations

from collections.abc import Iterator

from appliance.errors import ModelfileInvalid
from appliance.modelfile.facts import Modelfile, ParameterValue


def render(modelfile: Modelfile) -> str:
    """Raises ModelfileInvalid for a text that the grammar cannot say: one that needs quotes and has a line
    ending in three of them (there are no escapes).
    """
    return "".join(f"{line}\n" for line in _lines(modelfile))


def _lines(modelfile: Modelfile) -> Iterator[str]:
    for source in modelfile.from_:
        yield f"FROM {quoted(source.text)}"
    for source in modelfile.adapters:
        yield f"ADAPTER {quoted(source.text)}"
    if modelfile.draft:
        yield f"DRAFT {quoted(modelfile.draft.text)}"
    if modelfile.template is not None:
        yield f"TEMPLATE {quoted(modelfile.template)}"
    if modelfile.system is not None:
        yield f"SYSTEM {quoted(modelfile.system)}"
    for name, value in modelfile.parameters:
        yield f"PARAMETER {name} {quoted(parameter_text(value))}"
    for message in modelfile.messages:
        yield f"MESSAGE {message.role} {quoted(message.content)}"
    for instruction in ("renderer", "parser", "requires"):
        if text := getattr(modelfile, instruction):
            yield f"{instruction.upper()} {text}"
    for licence in modelfile.licences:
        yield f"LICENSE {quoted(licence)}"


def parameter_text(value: ParameterValue) -> str:
    """As a Modelfile and `show` write a parameter's value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def quoted(text: str) -> str:
    """The value in the least quotes that bring it back."""
    plain = text and text == text.strip() and not text.startswith('"')
    if plain and "\n" not in text and "\r" not in text:
        return text
    # A quoted value ends with the first line that ends in its quote, so earlier lines must not.
    ends = [line.rstrip() for line in text.replace("\r", "\n").split("\n")[:-1]]
    if not any(end.endswith('"') for end in ends) and not f'"{text}"'.startswith('"""'):
        return f'"{text}"'
    if any(end.endswith('"""') for end in ends):
        raise ModelfileInvalid(
            line=0, reason='a Modelfile cannot hold this text: one of its lines ends with """'
        )
    return f'"""{text}"""'
