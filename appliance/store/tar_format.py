"""Tar as far as an OCI layout needs it: headers of plain files and directories, in and out. Pure.

Nothing is ever unpacked: a member is an offset and a size, and its name is only compared. What could mean
something else than bytes under a name (links, devices, sparse files, unknown kinds) is refused, not passed
over.

    offset  length  field                 512 bytes, then the content, filled up to a multiple of 512
    0       100     name
    100     8       mode, octal
    124     12      size, octal, or base 256 where the first bit is set (8 GB and more)
    148     8       checksum, octal
    156     1       kind
    257     6       "ustar"
    345     155     prefix of the name (POSIX)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from appliance.errors import ManifestInvalid

BLOCK_BYTES: Final = 512
MAX_MEMBERS: Final = 20_000
MAX_EXTENSION_BYTES: Final = 64 << 10
"""Of a header that only holds a long name or a large size."""

_FILE_KINDS: Final = frozenset({b"0", b"\0"})
_REFUSED: Final = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a fifo",
    b"S": "a sparse file",
    b"K": "a long link",
}
_ZERO_BLOCK: Final = bytes(BLOCK_BYTES)
_MAX_OCTAL_SIZE: Final = 8**11 - 1

ReadAt = Callable[[int, int], bytes]
"""`read(offset, length)`; shorter only at the end of the file."""


@dataclass(frozen=True, slots=True)
class Member:
    """A plain file: where its bytes are."""

    offset: int
    size: int


@dataclass(slots=True)
class _Extension:
    """What a header before has said of the next one."""

    name: str | None = None
    size: int | None = None


def members(read: ReadAt, archive_bytes: int, *, what: str) -> dict[str, Member]:
    """Plain files by name, `./` dropped. Raises ManifestInvalid for anything that is not plainly a tar of
    files.
    """
    found: dict[str, Member] = {}
    extension = _Extension()
    at = count = 0
    while at < archive_bytes:
        header = read(at, BLOCK_BYTES)
        if header == _ZERO_BLOCK:
            break
        count += 1
        if count > MAX_MEMBERS:
            raise ManifestInvalid(what=what, reason=f"it has more than {MAX_MEMBERS} members")
        _check(header, what=what)
        kind = header[156:157]
        start = at + BLOCK_BYTES
        size = _size(header[124:136], what=what)
        if kind in {b"x", b"g", b"L"}:
            _extend(extension, kind, _extension_content(read, start, size, what=what), what=what)
        else:
            size = size if extension.size is None else extension.size
            _add(found, kind, extension.name or _name(header), Member(start, size), what=what)
            extension = _Extension()
        at = start + size + (-size % BLOCK_BYTES)
        if start + size > archive_bytes:
            raise ManifestInvalid(what=what, reason=f"it is cut off: {start + size} bytes are declared")
    return found


def render_header(name: str, size: int, *, mode: int = 0o644) -> bytes:
    """Of a plain file. The name is ours: ASCII and shorter than 100 characters. No time, no owner: two
    exports of one model are the same bytes.
    """
    raw_size = b"%011o\0" % size if size <= _MAX_OCTAL_SIZE else b"\x80" + size.to_bytes(11, "big")
    header = bytearray(BLOCK_BYTES)
    header[0 : len(name)] = name.encode("ascii")
    header[100:108] = b"%07o\0" % mode
    header[108:116] = header[116:124] = b"0000000\0"
    header[124:136] = raw_size
    header[136:148] = b"00000000000\0"
    header[148:156] = b" " * 8
    header[156:157] = b"0"
    header[257:265] = b"ustar\00000"
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def padding(size: int) -> bytes:
    return bytes(-size % BLOCK_BYTES)


TRAILER: Final = bytes(2 * BLOCK_BYTES)


def _add(found: dict[str, Member], kind: bytes, name: str, member: Member, *, what: str) -> None:
    clean = _clean(name, what=what)
    if kind == b"5":
        return
    if kind not in _FILE_KINDS:
        named = _REFUSED.get(kind, f"of the unknown kind {kind!r}")
        raise ManifestInvalid(what=what, reason=f"{name[:200]!r} is {named}; only plain files are read")
    if clean in found:
        raise ManifestInvalid(what=what, reason=f"{name[:200]!r} is in it twice")
    found[clean] = member


def _clean(name: str, *, what: str) -> str:
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if name.startswith("/") or ".." in parts or "\\" in name or not name.isprintable():
        raise ManifestInvalid(what=what, reason=f"{name[:200]!r} leads out of it")
    return "/".join(parts)


def _check(header: bytes, *, what: str) -> None:
    if len(header) < BLOCK_BYTES:
        raise ManifestInvalid(what=what, reason="it is cut off within a header")
    declared = header[148:156].strip(b" \0")
    unsigned = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    if not declared.isdigit() or not set(declared) <= set(b"01234567") or int(declared, 8) != unsigned:
        hint = (
            "; it is compressed, unpack it first"
            if header[:2] == b"\x1f\x8b" or header[:4] == b"\x28\xb5\x2f\xfd"
            else ""
        )
        raise ManifestInvalid(what=what, reason=f"it is no tar archive{hint}")


def _size(field: bytes, *, what: str) -> int:
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not digits:
        return 0
    if not set(digits) <= set(b"01234567"):
        raise ManifestInvalid(what=what, reason="a size in it is no number")
    return int(digits, 8)


def _name(header: bytes) -> str:
    name = _text(header[0:100])
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def _extension_content(read: ReadAt, start: int, size: int, *, what: str) -> bytes:
    if size > MAX_EXTENSION_BYTES:
        raise ManifestInvalid(what=what, reason=f"an extended header in it has {size} bytes")
    return read(start, size)


def _extend(extension: _Extension, kind: bytes, content: bytes, *, what: str) -> None:
    if kind == b"L":
        extension.name = _text(content)
    elif kind == b"x":
        for key, value in _records(content, what=what):
            if key == "path":
                extension.name = value
            elif key == "size":
                extension.size = _decimal(value, what=what)
            elif key.startswith("GNU.sparse"):
                raise ManifestInvalid(what=what, reason="a sparse file is in it; only plain files are read")
    # Global records (comments of git and the like) say nothing of names and sizes that we would believe.


def _records(content: bytes, *, what: str) -> list[tuple[str, str]]:
    records = []
    at = 0
    while at < len(content):
        length, space, _ = content[at : at + 20].partition(b" ")
        if not space or not length.isdigit() or not len(length) + 3 <= int(length) <= len(content) - at:
            raise ManifestInvalid(what=what, reason="an extended header in it is not well formed")
        key, _, value = content[at + len(length) + 1 : at + int(length) - 1].partition(b"=")
        records.append((key.decode("utf-8", "backslashreplace"), value.decode("utf-8", "backslashreplace")))
        at += int(length)
    return records


def _decimal(value: str, *, what: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > 18:
        raise ManifestInvalid(what=what, reason="a size in it is no number")
    return int(value)
