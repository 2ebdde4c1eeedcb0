"""Values that a setting may have, each checked where it enters: addresses, names, origins, paths, hashes."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from appliance.units import EXPECTED, seconds_kept

_MODEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_KEY_ID: Final = re.compile(r"[a-z0-9]{8}")
_HOST_NAME: Final = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
)
_ORIGIN: Final = re.compile(r"https?://([a-z0-9.-]{1,253}|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_REMOTE: Final = re.compile(
    r"(?:(?=[^:]{1,253}(?::|$))[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]{2,45}\])"
    r"(:(?P<port>[0-9]{1,5}))?"
)
_BASE_URL: Final = re.compile(r"https?://(?P<host>[^/?#@\s\\]{1,300})(/[A-Za-z0-9._~/-]*)?")
_TOKEN: Final = re.compile(r"[!-~]{0,4096}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MOST_SOCKET_BYTES: Final = 107
"""Of `sun_path` (unix(7)), without its last NUL."""

FlashAttention = Literal["auto", "on", "off"]
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
Pooling = Literal["none", "mean", "cls", "last", "rank"]
DeviceWish = Literal["require_gpu", "prefer_gpu", "cpu"]
SandboxWish = Literal["auto", "strict", "off"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]
OptimizePolicy = Literal["off", "ask", "auto"]
KeyScope = Literal["infer", "models:read", "models:write", "keys:admin", "metrics", "system"]
"""`access.scopes.Scope` as the file writes it; a test compares the two."""


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


def _checked_keep_alive(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(EXPECTED)  # noqa: TRY004 - pydantic's own errors are ValueErrors
    return seconds_kept(value)


KeepAlive = Annotated[Annotated[float, Field(allow_inf_nan=True)], BeforeValidator(_checked_keep_alive)]
"""Seconds, from what people write: "10m", "1h30m", a number; below 0 is for ever (infinite)."""


def entry_from_path(value: object) -> object:
    """A bare path in `[models]` is short for `{ path = … }`."""
    return {"path": value} if isinstance(value, str | Path) else value


def key_from_sha256(value: object) -> object:
    """A bare SHA-256 in `[access.keys]` is short for `{ sha256 = … }`."""
    return {"sha256": value} if isinstance(value, str) else value


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


def _proxy(text: str) -> str:
    """Never a name: the socket's address is what it is compared with."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError("an IP address or a network, as in 127.0.0.2 or 10.1.0.0/16") from None
    return text


def _remote(text: str) -> str:
    """No scheme, user or path: it is compared with the host of a URL."""
    match = _REMOTE.fullmatch(text)
    if not match or (match["port"] and not 0 < int(match["port"]) <= 65535):
        raise ValueError(
            "a host in lower case with its port where it is no default, as in models.example:5000"
        )
    return text


def _redirect(text: str) -> str:
    """One host, or `*.DOMAIN` for those below it."""
    _remote(text.removeprefix("*."))
    return text


def _base_url(text: str) -> str:
    match = _BASE_URL.fullmatch(text)
    if text and not match:
        raise ValueError("an address without query, as in https://hub.example")
    if match:
        _remote(match["host"])
    return text.rstrip("/")


def _token(text: str) -> str:
    """It goes into a header as it is."""
    if not _TOKEN.fullmatch(text):
        raise ValueError("at most 4096 visible ASCII characters without blanks")
    return text


def frozen(value: object) -> object:
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


def _socket_path(text: str) -> str:
    if "\0" in text or len(os.fsencode(text)) > _MOST_SOCKET_BYTES:
        raise ValueError(f"a path of at most {_MOST_SOCKET_BYTES} bytes: longer ones are no sockets")
    return text


FilePath = Annotated[Path, BeforeValidator(_path)]
SocketPath = Annotated[str, AfterValidator(_socket_path)]
Listen = Annotated[str, AfterValidator(_checked_listen)]
ModelName = Annotated[str, AfterValidator(_model_name)]
HostName = Annotated[str, AfterValidator(_host_name)]
RemoteHost = Annotated[str, AfterValidator(_remote)]
RedirectHost = Annotated[str, AfterValidator(_redirect)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Token = Annotated[str, AfterValidator(_token)]
Origin = Annotated[str, AfterValidator(_origin)]
ProxyAddress = Annotated[str, AfterValidator(_proxy)]
NetworkAddress = ProxyAddress
KeyId = Annotated[str, AfterValidator(_key_id)]
Sha256 = Annotated[str, AfterValidator(_sha256)]
