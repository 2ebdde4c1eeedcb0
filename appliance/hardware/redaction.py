"""What a captured board must not tell: serial numbers, addresses, names of machine and people, random ids.

Values that this machine has are replaced wherever they stand; what has the form of an address or an id is
replaced by its form. The board's own names (device tree, types and labels of sensors) are kept as they are:
somebody may call a machine `orin`.
"""

from __future__ import annotations

import re
from typing import Final

from appliance.hardware.root import Absent, Root

REDACTED: Final = "redacted"
_SECRETS: Final = (
    "etc/hostname",
    "proc/sys/kernel/hostname",
    "etc/machine-id",
    "var/lib/dbus/machine-id",
    "proc/sys/kernel/random/boot_id",
    "sys/firmware/devicetree/base/serial-number",
    "sys/class/dmi/id/product_serial",
    "sys/class/dmi/id/product_uuid",
    "sys/class/dmi/id/board_serial",
    "sys/class/dmi/id/chassis_serial",
    "sys/class/dmi/id/board_asset_tag",
    "sys/class/dmi/id/chassis_asset_tag",
    "sys/class/net/*/address",
    "sys/block/*/device/serial",
    "sys/block/*/device/cid",
    "sys/block/*/device/wwid",
    "sys/block/*/wwid",
)
_LEAST_LENGTH: Final = 3
_HARMLESS: Final = frozenset(
    {"localhost", "default string", "not specified", "none", "to be filled by o.e.m."}
)
_FORMS: Final = (
    re.compile(r"\b(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\b"),
    re.compile(r"\b[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b"),
    re.compile(r"\b[0-9A-Fa-f]{24,}\b"),
    re.compile(r"(?<=/home/)[^/\s]+"),
    re.compile(r"(?im)(?<=serial)(\s*:\s*)\S.*$"),
)
"""MAC, UUID, id of a container, a person's directory, a line of /proc/cpuinfo."""
_KEPT: Final = re.compile(
    r"sys/firmware/devicetree/base/(?:compatible|model)|sys/class/dmi/id/(?:sys_vendor|product_name|board_name)"
    r"|etc/nv_tegra_release|etc/nvpmodel\.conf|.*/(?:type|name|governor|[a-z]+[0-9]+_label|rail_name_[0-9])"
)
_LINES: Final = {"proc/self/status": re.compile(r"^Cpus_allowed_list:.*$", re.MULTILINE)}
"""Of these files no other line is taken."""


class Redactor:
    """Knows the secrets of one root. `count`: how many values it has replaced."""

    def __init__(self, root: Root) -> None:
        self._secrets = _pattern(_secrets(root))
        self.count = 0

    def text(self, path: str, text: str) -> str:
        """What may be told of the file's text."""
        if path in _LINES:
            return "\n".join(_LINES[path].findall(text)) + "\n"
        if _KEPT.fullmatch(path):
            return text
        return self.words(text)

    def path(self, path: str) -> str:
        """A path without ids: it still fits the text that names it. Its other words are the kernel's."""
        for form in _FORMS:
            path = form.sub(_replacement, path)
        return path

    def words(self, text: str) -> str:
        """`text` without any secret."""
        for pattern in (*_FORMS, *([self._secrets] if self._secrets else [])):
            text, count = pattern.subn(_replacement, text)
            self.count += count
        return text


def _replacement(match: re.Match[str]) -> str:
    return f"{match[1] if match.re.groups else ''}{REDACTED}"


def _secrets(root: Root) -> list[str]:
    found = set()
    for pattern in _SECRETS:
        for path in root.glob(pattern):
            text = root.strings(path) if "devicetree" in path else root.text(path)
            value = "" if isinstance(text, Absent) else text if isinstance(text, str) else text[0]
            if len(value) >= _LEAST_LENGTH and value.lower() not in _HARMLESS and set(value) - set("0:-. "):
                found.add(value)
    return sorted(found, key=len, reverse=True)


def _pattern(secrets: list[str]) -> re.Pattern[str] | None:
    """Whole words only: a machine called `sda` must not take the name of a disk apart."""
    words = "|".join(re.escape(secret) for secret in secrets)
    return re.compile(rf"(?<![0-9A-Za-z])(?:{words})(?![0-9A-Za-z])") if secrets else None
