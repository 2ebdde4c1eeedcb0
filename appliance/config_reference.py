"""The written form of the configuration: `configs/appliance.toml` and `docs/configuration.md`, made from
`config/`.

Run as a program (`make docs`) it writes both; a test compares them with what it would write. Nothing at run
time needs this module.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from appliance.config import DEFAULT_PATH, Config, ModelSettings, Section

_WIDTH: Final = 110
_EXAMPLES: Final = {
    "models": (
        'tiny = "/srv/models/tiny.gguf"',
        'big = { path = "/srv/models/big.gguf", draft = "/srv/models/tiny.gguf", n_ctx_seq = 8192 }',
        'tuned = { path = "/srv/models/base.gguf", adapters = { legal = "/srv/models/legal-lora.gguf" } }',
    ),
    "store.hosts": (
        '"registry.example" = {}',
        '"mirror.example:5000" = { insecure = true }',
        '"hub.example" = { token = "secret", redirects_to = ["blobs.example"] }',
    ),
    "access.keys": (
        'k7f3q9xz = "64 hex digits"',
        'b2m8w0ya = { sha256 = "64 hex digits", scopes = ["models:read", "models:write"] }',
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting as the reference shows it."""

    key: str
    default: str | None
    """In TOML; None: there is none (it must be given, or is absent unless given)."""
    unit: str
    allowed: str
    text: str


def settings_of(section: type[Section]) -> Iterator[Setting]:
    """The settings of one table, in the order of their declaration."""
    for key, field in section.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        default = field.get_default(call_default_factory=True)
        yield Setting(
            key=key,
            default=None if default is None or default is PydanticUndefined else _toml(default),
            unit=str(extra.get("unit", "")),
            allowed=_allowed(field),
            text=field.description or "",
        )


def entries_of(section: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    """The settings of one table that are tables of their own, by names the operator gives, and what stands in
    each.
    """
    for key, field in section.model_fields.items():
        for kind in get_args(field.annotation):
            if isinstance(kind, type) and issubclass(kind, Section):
                yield key, kind


def toml() -> str:
    """`configs/appliance.toml`: complete, commented, and equal to the defaults."""
    lines = [
        "# Outpost: every setting with its default. Written by `make docs`.",
        f"# The daemon reads {DEFAULT_PATH}, or the file named with --config; unknown keys are errors.",
    ]
    for name, section in _tables():
        lines += ["", f"[{name}]", *_comment(_doc(section))]
        if section is ModelSettings:
            lines += [f"# {example}" for example in _EXAMPLES["models"]]
            continue
        for setting in settings_of(section):
            lines += ["", *_comment(_told(setting))]
            lines += _assignment(name, setting)
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """`docs/configuration.md`."""
    head = (
        "# Configuration\n\n"
        "<!-- written by `make docs` from appliance/config/; do not edit -->\n\n"
        f"One TOML file: `{DEFAULT_PATH}`, or the one named with `--config`. Flags of the command line\n"
        "win over it. Unknown keys, wrong types and values out of bounds are errors, with file, key, value\n"
        "and bounds, and exit code 78. Nothing changes after start: reload is restart. Relative paths in\n"
        "the file are relative to its folder. `configs/appliance.toml` has every setting with its default.\n"
    )
    parts = [head]
    for name, section in _tables():
        parts.append(f"\n## [{name}]\n\n{_doc(section)}\n")
        if section is ModelSettings:
            examples = "\n".join(_EXAMPLES["models"])
            parts.append(f"\n```toml\n[models]\n{examples}\n```\n")
        parts += _table(section)
        for key, entry in entries_of(section):
            examples = "\n".join(_EXAMPLES[f"{name}.{key}"])
            parts.append(f"\n### [{name}.{key}]\n\n{_doc(entry)}\n")
            parts.append(f"\n```toml\n[{name}.{key}]\n{examples}\n```\n")
            parts += _table(entry)
    return "".join(parts)


def write(root: Path) -> None:
    """Write both files below the clone `root`."""
    (root / "configs/appliance.toml").write_text(toml(), encoding="utf-8")
    (root / "docs/configuration.md").write_text(markdown(), encoding="utf-8")


def _tables() -> Iterator[tuple[str, type[Section]]]:
    for name, field in Config.model_fields.items():
        kind = field.annotation
        yield name, kind if isinstance(kind, type) and issubclass(kind, Section) else ModelSettings


def _doc(section: type[Section]) -> str:
    return " ".join((section.__doc__ or "").split())


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")


def _told(setting: Setting) -> str:
    facts = ", ".join(part for part in (setting.unit, setting.allowed) if part)
    return f"{setting.text} ({facts})" if facts else setting.text


def _assignment(table: str, setting: Setting) -> list[str]:
    examples = _EXAMPLES.get(f"{table}.{setting.key}")
    if examples is None:
        return [f"{setting.key} = {setting.default}"]
    return [f"[{table}.{setting.key}]", *(f"# {example}" for example in examples)]


def _table(section: type[Section]) -> list[str]:
    head = "\n| key | default | unit | allowed | what it does |\n|---|---|---|---|---|\n"
    return [head, *(_row(setting) for setting in settings_of(section))]


def _row(setting: Setting) -> str:
    default = f"`{setting.default}`" if setting.default is not None else "–"
    return f"| `{setting.key}` | {default} | {setting.unit} | {setting.allowed} | {setting.text} |\n"


def _allowed(field: FieldInfo) -> str:
    """Bounds or choices: `1 to 64`, `auto, strict, off`."""
    low = next((rule.ge for rule in field.metadata if hasattr(rule, "ge")), None)
    high = next((rule.le for rule in field.metadata if hasattr(rule, "le")), None)
    if low is not None or high is not None:
        return f"{low} to {high}"
    choices = get_args(field.annotation)
    nested = [choice for part in choices for choice in get_args(part)]
    return ", ".join(choice for choice in (*choices, *nested) if isinstance(choice, str))


def _toml(value: Any) -> str:
    """A default in TOML; what JSON writes for strings, numbers and truth values is TOML too."""
    return "{}" if value == {} else json.dumps(str(value) if isinstance(value, Path) else value)


if __name__ == "__main__":
    write(Path(__file__).parents[1])
