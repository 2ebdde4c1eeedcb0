"""`outpost show`: what is known of a stored model, whole or one part of it, as `ollama show` prints it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any, Final

from appliance.cli import terminal
from appliance.cli.exits import Exit
from appliance.cli.store_door import opened

Json = dict[str, Any]

_INDENT: Final = "  "
_TEXT_LINES: Final = 2
"""Of system message and licence; the selectors show all."""


def main(arguments: argparse.Namespace) -> int:
    with opened(arguments) as door:
        model = door.show(arguments.name)
    if arguments.json:
        print(json.dumps(model, ensure_ascii=False))
        return Exit.OK
    for selector, part in SELECTORS.items():
        if getattr(arguments, selector):
            print(terminal.printable(part(model)))
            return Exit.OK
    print(overview(model, verbose=arguments.verbose))
    return Exit.OK


def _parameters(model: Json) -> str:
    """Name padded to 30 columns, one value a line: Ollama's form, which a Modelfile can take back."""
    return "\n".join(f"{name:<30} {_value(value)}" for name, value in _flat(model.get("parameters")))


def _metadata(model: Json) -> str:
    return "\n".join(f"{key:<40} {_value(value)}" for key, value in _facts(model, "metadata"))


def _tensors(model: Json) -> str:
    return "\n".join(f"{name:<40} {type_:<8} {shape}" for name, type_, shape in _tensor_rows(model))


SELECTORS: Final[dict[str, Callable[[Json], str]]] = {
    "license": lambda model: "\n\n".join(str(text).rstrip("\n") for text in model.get("licences") or ()),
    "metadata": _metadata,
    "modelfile": lambda model: str(model.get("modelfile") or "").rstrip("\n"),
    "parameters": _parameters,
    "system": lambda model: str(model.get("system") or ""),
    "template": lambda model: str(model.get("template") or ""),
    "tensors": _tensors,
}
"""The options that print one part alone."""


def overview(model: Json, *, verbose: bool) -> str:
    """Sections with what there is."""
    sections = [
        _section("Model", _model_rows(model)),
        _section("Capabilities", [(str(name),) for name in model.get("capabilities") or ()]),
        _section("Notes", [(str(note),) for note in model.get("notes") or ()]),
        _section("Projector (stored, not served yet)", _pairs(model, "projector")),
        _section("Parameters", [(name, _value(value)) for name, value in _flat(model.get("parameters"))]),
    ]
    if verbose:
        sections += [
            _section("Metadata", _pairs(model, "metadata")),
            _section("Tensors", _tensor_rows(model)),
        ]
    sections += [
        _section("Template", [(str(model["template_note"]),)] if model.get("template_note") else []),
        _section("System", _excerpt(model.get("system"))),
        *(_section("License", _excerpt(text)) for text in model.get("licences") or ()),
    ]
    if model.get("broken"):
        sections.append(_section("Broken", [(str(model["broken"]),)]))
    return "\n\n".join(section for section in sections if section)


def _model_rows(model: Json) -> list[tuple[str, ...]]:
    rows = {
        "name": model.get("name"),
        "digest": model.get("id"),
        "architecture": model.get("architecture"),
        "parameters": model.get("parameter_count"),
        "context length": model.get("context_length"),
        "embedding length": model.get("embedding_length"),
        "quantization": model.get("quantization"),
        "size": terminal.size(int(model.get("size_bytes") or 0)),
        "renderer": model.get("renderer"),
        "parser": model.get("parser"),
        "requires": model.get("requires"),
        "variant": model.get("variant"),
        "served as": model.get("optimized"),
        "may be faster": _hint(model),
        "on this board": model.get("calibrated"),
    }
    return [(name, str(value)) for name, value in rows.items() if value]


def _hint(model: Json) -> str | None:
    hint = model.get("hint")
    return f"{hint}; outpost optimize {model.get('name')}" if hint else None


def _section(title: str, rows: list[tuple[str, ...]]) -> str:
    """Indented, columns aligned; empty without rows."""
    if not rows:
        return ""
    safe = [[terminal.printable(cell) for cell in row] for row in rows]
    widths = [
        max((terminal.width_of(row[column]) for row in safe if column < len(row)), default=0)
        for column in range(max(len(row) for row in safe))
    ]
    lines = [
        "    ".join(
            cell + " " * (width - terminal.width_of(cell)) for cell, width in zip(row, widths, strict=False)
        ).rstrip()
        for row in safe
    ]
    return "\n".join([_INDENT + title, *(_INDENT * 2 + line for line in lines)])


def _excerpt(text: object) -> list[tuple[str, ...]]:
    lines = [line.strip() for line in str(text or "").splitlines() if line.strip()]
    more = [("...",)] if len(lines) > _TEXT_LINES else []
    return [*((line,) for line in lines[:_TEXT_LINES]), *more]


def _flat(parameters: object) -> list[tuple[str, object]]:
    """A name that may repeat has a list: each value is a row."""
    named = parameters.items() if isinstance(parameters, dict) else ()
    return [
        (str(name), one) for name, value in named for one in (value if isinstance(value, list) else [value])
    ]


def _facts(model: Json, key: str) -> list[tuple[str, object]]:
    facts = model.get(key)
    return list(facts.items()) if isinstance(facts, dict) else []


def _pairs(model: Json, key: str) -> list[tuple[str, ...]]:
    return [(name, _value(value)) for name, value in _facts(model, key)]


def _tensor_rows(model: Json) -> list[tuple[str, ...]]:
    tensors = model.get("tensors") or ()
    return [
        (str(tensor["name"]), str(tensor["type"]), f"[{' '.join(str(size) for size in tensor['shape'])}]")
        for tensor in tensors
    ]


def _value(value: object) -> str:
    """Text in quotes, as a Modelfile needs it; the rest as JSON has it."""
    return json.dumps(value, ensure_ascii=False)
