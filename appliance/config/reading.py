"""Reading the configuration: one file, the command line's flags over it, one check of the whole."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from appliance.config.access_settings import KeySettings
from appliance.config.section import Section
from appliance.config.settings import Config, ModelSettings, RemoteSettings
from appliance.errors import ConfigError

DEFAULT_PATH: Final = Path("/etc/outpost/outpost.toml")
COMMAND_LINE: Final = "command line"


def load(path: Path | None = None, *, overrides: Mapping[str, object] | None = None) -> Config:
    """Read the file, lay the command line's `overrides` over it, and check the whole.

    `path` None: `DEFAULT_PATH` if it exists, else the defaults alone. Relative paths in the file are relative
    to its directory, those in `overrides` to the working directory. An override of a whole table (`models`)
    adds to the table. Raises ConfigError with the source, key, value and bounds of the first fault.
    """
    source = path if path is not None else DEFAULT_PATH
    written = _read(source) if path is not None or source.exists() else {}
    _anchor(written, source.absolute().parent)
    told = _nested(overrides or {})
    _anchor(told, Path.cwd())
    try:
        config = Config.model_validate(_merged(written, told))
    except ValidationError as error:
        raise _config_error(error, source=str(source), told=told) from error
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            source=str(path), key="--config", value=str(path), expected=f"a readable file ({error.strerror})"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            source=str(path), key="(file)", value=path.name, expected=f"TOML ({error})"
        ) from error


def _anchor(table: dict[str, Any], base: Path) -> None:
    """Make every relative path in `table` absolute, in place; wrong types are left for the check."""
    data = table.get("data")
    if isinstance(data, dict) and "dir" in data:
        data["dir"] = _anchored(data["dir"], base)
    server = table.get("server")
    if isinstance(server, dict) and "proxy_socket" in server:
        anchored = _anchored(server["proxy_socket"], base)
        server["proxy_socket"] = str(anchored) if isinstance(anchored, Path) else anchored
    models = table.get("models")
    if not isinstance(models, dict):
        return
    for name, entry in models.items():
        if not isinstance(entry, dict):
            models[name] = _anchored(entry, base)
            continue
        for key in ("path", "draft"):
            if key in entry:
                entry[key] = _anchored(entry[key], base)
        adapters = entry.get("adapters")
        if isinstance(adapters, dict):
            entry["adapters"] = {adapter: _anchored(file, base) for adapter, file in adapters.items()}


def _anchored(value: object, base: Path) -> object:
    return base / Path(value).expanduser() if isinstance(value, str | Path) and str(value) else value


def _nested(overrides: Mapping[str, object]) -> dict[str, Any]:
    """`{"a.b": 1}` → `{"a": {"b": 1}}`. Only the first dot parts: model names may hold dots."""
    table: dict[str, Any] = {}
    for dotted, value in overrides.items():
        section, _, key = dotted.partition(".")
        inner = table.setdefault(section, {})
        if key:
            inner[key] = value
        elif isinstance(value, Mapping):
            inner.update(value)
        else:
            table[section] = value
    return table


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for section, value in above.items():
        under = merged.get(section)
        merged[section] = {**under, **value} if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def _config_error(error: ValidationError, *, source: str, told: dict[str, Any]) -> ConfigError:
    """The first fault as a ConfigError; it names the command line when that gave the value."""
    fault = error.errors(include_url=False)[0]
    where = [str(part) for part in fault["loc"] if part != "[key]"]
    section = told.get(where[0])
    by_flag = where[1] in section if isinstance(section, dict) and len(where) > 1 else where[0] in told
    return ConfigError(
        source=COMMAND_LINE if by_flag else source,
        key=".".join(where),
        value=_shown(fault["type"], fault["input"], where),
        expected=_expected(fault["type"], fault["msg"], where),
    )


def _shown(kind: str, value: object, where: list[str]) -> object:
    """A secret is told by its key alone: errors are logged."""
    if where[-1] == "token" or where[:2] == ["access", "keys"]:  # somebody may have written the key itself
        return "(not shown)"
    return "(a whole table)" if kind == "missing" or isinstance(value, dict) else value


def _expected(kind: str, message: str, where: list[str]) -> str:
    if kind == "extra_forbidden":
        return f"no such key; known: {', '.join(_table_at(where).model_fields)}"
    message = message.removeprefix("Value error, ").removeprefix("Input should be ")
    return message[:1].lower() + message[1:] if not message.startswith(("HOST", "SHA")) else message


def _table_at(where: list[str]) -> type[Section]:
    """The table in which the last key of `where` was looked for."""
    if len(where) == 1:
        return Config
    if where[0] == "models":
        return ModelSettings
    if where[:2] == ["store", "hosts"] and len(where) > 2:
        return RemoteSettings
    if where[:2] == ["access", "keys"] and len(where) > 3:
        return KeySettings
    section = Config.model_fields[where[0]].annotation
    return section if isinstance(section, type) and issubclass(section, Section) else Config
