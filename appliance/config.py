"""The configuration: one TOML file, declared once, frozen for the life of the process.

Owns every setting with its default, unit, bounds and text (`Field` metadata generates `docs/configuration.md`
and `configs/appliance.toml`; see `config_reference.py`). Leaves run-time state to its owners. Sources: one
file, then the command line's own flags as dotted overrides (`{"server.listen": "127.0.0.1:0"}`); there is no
third. Reload is restart.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from appliance.errors import ConfigError

DEFAULT_PATH: Final = Path("/etc/outpost/outpost.toml")
COMMAND_LINE: Final = "command line"

_MIB: Final = 1024 * 1024
_MODEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_KEY_ID: Final = re.compile(r"[a-z0-9]{8}")
_HOST_NAME: Final = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
)
_ORIGIN: Final = re.compile(r"https?://([a-z0-9.-]{1,253}|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
Pooling = Literal["none", "mean", "cls", "last", "rank"]
SandboxWish = Literal["auto", "strict", "off"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]


def parse_listen(text: str) -> tuple[str, int]:
    """Split `HOST:PORT` or `[V6]:PORT`. Port 0 means any free one. Raises ValueError."""
    host, separator, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (separator and host and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError("HOST:PORT, as in 127.0.0.1:11434 or [::1]:11434")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`. Names other than localhost count as public."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _checked_listen(text: str) -> str:
    parse_listen(text)
    return text


def _entry_from_path(value: object) -> object:
    """A bare path in `[models]` is short for `{ path = … }`."""
    return {"path": value} if isinstance(value, str | Path) else value


def _path(value: object) -> object:
    return Path(value).expanduser() if isinstance(value, str) and value else value


def _model_name(name: str) -> str:
    if not _MODEL_NAME.fullmatch(name):
        raise ValueError(
            "a name of at most 128 letters, digits and . _ : / - that starts with a letter or digit"
        )
    return name


def _host_name(text: str) -> str:
    """A wildcard would let a page that rebinds its DNS name in again."""
    if not _HOST_NAME.fullmatch(text):
        raise ValueError("a host name in lower case, without port or wildcard, as in outpost.example")
    return text


def _origin(text: str) -> str:
    """As browsers write it, or it would never match."""
    if not _ORIGIN.fullmatch(text):
        raise ValueError("an origin without path or wildcard, as in https://app.example:8443")
    return text


def _frozen(value: object) -> object:
    """TOML has lists; a configuration has nothing that can change."""
    if not isinstance(value, list | tuple):
        raise ValueError('a list of texts in quotes, as in ["outpost.example"]')  # noqa: TRY004 - pydantic's way
    return tuple(value)


def _key_id(text: str) -> str:
    if not _KEY_ID.fullmatch(text):
        raise ValueError("a key id of 8 lower-case letters and digits")
    return text


def _sha256(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise ValueError("a SHA-256 in 64 lower-case hex digits, never the key itself")
    return text


FilePath = Annotated[Path, BeforeValidator(_path)]
Listen = Annotated[str, AfterValidator(_checked_listen)]
ModelName = Annotated[str, AfterValidator(_model_name)]
HostName = Annotated[str, AfterValidator(_host_name)]
Origin = Annotated[str, AfterValidator(_origin)]
KeyId = Annotated[str, AfterValidator(_key_id)]
Sha256 = Annotated[str, AfterValidator(_sha256)]


def _setting(
    default: Any, text: str, *, unit: str | None = None, ge: float | None = None, le: float | None = None
) -> Any:
    """One setting: default, text, unit and bounds (both inclusive)."""
    return Field(default, description=text, json_schema_extra={"unit": unit} if unit else None, ge=ge, le=le)


class Section(BaseModel):
    """Base of all tables: frozen, no unknown key, no silent conversion ("5" is not 5)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ServerSettings(Section):
    """The HTTP door."""

    listen: Listen = _setting(
        "127.0.0.1:11434", "Address and port. Anything but loopback needs [access] keys."
    )
    max_body_bytes: int = _setting(16 * _MIB, "Largest request body.", unit="bytes", ge=1024, le=1024 * _MIB)
    heartbeat_s: float = _setting(
        10.0, "Longest silence on a stream before a comment line is sent.", unit="s", ge=0.05, le=300
    )
    request_timeout_s: float = _setting(
        3600.0, "Longest life of one request, from its first byte to its last.", unit="s", ge=1, le=86400
    )
    drain_s: float = _setting(
        8.0, "How long running answers may still take when the daemon is stopped.", unit="s", ge=0, le=3600
    )
    names: Annotated[tuple[HostName, ...], BeforeValidator(_frozen)] = _setting(
        (), "Names by which it is called, beside its addresses, localhost and *.local; others are refused."
    )
    origins: Annotated[tuple[Origin, ...], BeforeValidator(_frozen)] = _setting(
        (), "Web pages of other origins that may use it from a browser, as https://host[:port]."
    )

    @property
    def host(self) -> str:
        return parse_listen(self.listen)[0]

    @property
    def port(self) -> int:
        return parse_listen(self.listen)[1]


class QueueSettings(Section):
    """The bounded, fair queue in front of each model."""

    max_running: int = _setting(
        64, "Requests that one model works on at once.", unit="requests", ge=1, le=1024
    )
    max_waiting: int = _setting(
        256,
        "Requests that may wait for one model; the next is refused at once.",
        unit="requests",
        ge=0,
        le=65536,
    )
    patience_s: float = _setting(
        120.0, "Longest wait of a request for its model to load or for its turn.", unit="s", ge=0.05, le=3600
    )


class RunnerSettings(Section):
    """Runner processes: how they start, stop and are judged."""

    heartbeat_timeout_s: float = _setting(
        20.0,
        "A runner silent for so long is killed; its engine beats between steps.",
        unit="s",
        ge=0.5,
        le=600,
    )
    load_timeout_s: float = _setting(300.0, "Longest load of a model.", unit="s", ge=1, le=3600)
    stop_timeout_s: float = _setting(
        5.0, "Grace between the wish to stop and SIGKILL.", unit="s", ge=0.05, le=300
    )
    max_crashes: int = _setting(
        3, "Crashes in a row before a model is quarantined.", unit="crashes", ge=1, le=100
    )
    backoff_s: float = _setting(
        0.5, "Wait before the first restart after a crash; doubles to 30 s.", unit="s", ge=0, le=30
    )
    quarantine_s: float = _setting(
        300.0, "How long a quarantined model is left alone.", unit="s", ge=0.05, le=86400
    )
    sandbox: SandboxWish = _setting(
        "auto",
        "auto: as far as the kernel goes; strict: refuse to run with less than all; off: for debugging only.",
    )


class EngineSettings(Section):
    """Placement and bounds of the engine in each runner."""

    n_ctx_seq: int = _setting(
        4096,
        "Tokens one request may hold, prompt and answer together; 0: the model's own.",
        unit="tokens",
        ge=0,
        le=1 << 24,
    )
    n_seq_max: int = _setting(64, "Sequences that run at once.", unit="sequences", ge=1, le=256)
    kv_cells: int = _setting(
        0, "Tokens that the KV cache holds over all sequences; 0: chosen.", unit="tokens", ge=0, le=1 << 26
    )
    n_ubatch: int = _setting(512, "Most tokens computed at once.", unit="tokens", ge=32, le=8192)
    n_threads: int = _setting(
        0, "Compute threads; 0: chosen from the big cores.", unit="threads", ge=0, le=512
    )
    type_k: CacheType = _setting("f16", "Type of the cached keys.")
    type_v: CacheType = _setting("f16", "Type of the cached values.")
    step_bound_s: float = _setting(
        0.25,
        "An engine step is planned to stay under this, whatever prompt is prefilled.",
        unit="s",
        ge=0.01,
        le=10,
    )
    speculation: bool = _setting(True, "Guess tokens ahead from the prompt or a draft model, where it pays.")
    prefix_reuse: bool = _setting(
        True, "Start a request from the longest prefix already computed in its scope."
    )
    raw_grammar: bool = _setting(True, "Take GBNF grammars from clients; JSON schemas are always taken.")


class ModelSettings(Section):
    """The models to serve: NAME = path of a GGUF, or NAME = { path = …, with any of these }."""

    path: FilePath = Field(description="The GGUF file.")
    draft: FilePath | None = _setting(None, "GGUF of a draft model with the same vocabulary.")
    adapters: dict[ModelName, FilePath] = Field(
        default_factory=dict, description="LoRA adapters: name = file."
    )
    n_ctx_seq: int | None = _setting(
        None, "As in [engine], for this model only.", unit="tokens", ge=0, le=1 << 24
    )
    pooling: Pooling | None = _setting(None, "Pooling of embeddings, where the file does not say.")


class AccessSettings(Section):
    """Who may ask. Without keys everybody on this machine may, and nobody else."""

    keys: dict[KeyId, Sha256] = Field(
        default_factory=dict,
        description="Key id = SHA-256 of the whole key, in hex. The key itself is stored nowhere.",
    )


class LogSettings(Section):
    """What is told to the journal."""

    level: LogLevel = _setting("info", "The least level told.")
    format: LogFormat = _setting("auto", "auto: console on a terminal, JSON lines elsewhere.")


class DataSettings(Section):
    """Where the daemon writes; everything it writes stays inside."""

    dir: FilePath = _setting(Path("/var/lib/outpost"), "Data directory.")


class Config(Section):
    """All settings. Made once by `load`; shared freely between threads, because nothing in it changes."""

    server: ServerSettings = ServerSettings()
    queue: QueueSettings = QueueSettings()
    runner: RunnerSettings = RunnerSettings()
    engine: EngineSettings = EngineSettings()
    models: dict[ModelName, Annotated[ModelSettings, BeforeValidator(_entry_from_path)]] = Field(
        default_factory=dict, description="Models to serve: name = path, or name = { path = …, … }."
    )
    access: AccessSettings = AccessSettings()
    log: LogSettings = LogSettings()
    data: DataSettings = DataSettings()


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


def require_keys_for_public_bind(config: Config, *, source: str = COMMAND_LINE) -> None:
    """Raise ConfigError when others than this machine could reach the door and no key guards it."""
    if not is_loopback(config.server.host) and not config.access.keys:
        raise ConfigError(
            source=source,
            key="server.listen",
            value=config.server.listen,
            expected="a loopback address as long as [access] has no keys; add a key before you open the door",
        )


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
        value="(a whole table)" if fault["type"] == "missing" else fault["input"],
        expected=_expected(fault["type"], fault["msg"], where),
    )


def _expected(kind: str, message: str, where: list[str]) -> str:
    if kind == "extra_forbidden":
        section = Config.model_fields.get(where[0])
        table = section.annotation if section and len(where) > 1 else Config
        known = (
            table.model_fields
            if isinstance(table, type) and issubclass(table, Section)
            else ModelSettings.model_fields
        )
        return f"no such key; known: {', '.join(known)}"
    message = message.removeprefix("Value error, ").removeprefix("Input should be ")
    return message[:1].lower() + message[1:] if not message.startswith(("HOST", "SHA")) else message
