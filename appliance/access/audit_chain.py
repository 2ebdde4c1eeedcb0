"""Lines of the audit log and their chain: how one is made, and what was done to them. Pure.

    line  {"seq":7,"time":…,"boot":…,"event":…,"actor":…,"facts":{…},"prev":SHA-256 of line 6,
           "mac":HMAC of all before it}
    head  {"first":1,"seq":7,"sha256":SHA-256 of line 7,"mac":…}

A line that was changed or made by anybody without the key has a wrong mac; one that was removed, moved or
doubled breaks the numbers and the chain; lines cut off at the end are those the head tells of. The head is
written after its line: a cut of power between them leaves a line that the head does not know yet, which its
own mac vouches for.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

GENESIS: Final = "0" * 64
MOST_LINE_BYTES: Final = 8192
_MAC: Final = re.compile(rb',"mac":"([0-9a-f]{64})"\}')
_MAC_BYTES: Final = len(b',"mac":"') + 64 + len(b'"}')
_HEAD_PURPOSE: Final = b"head\0"
_LINE_PURPOSE: Final = b"line\0"


class Damage(StrEnum):
    """What was found."""

    UNREADABLE = "unreadable"
    """No line of an audit log."""
    FORGED = "forged"
    """Changed, or not written with this device's key."""
    MISPLACED = "misplaced"
    """Removed before it, moved, or doubled: not the next in number or chain."""
    TRUNCATED = "truncated"
    """The head tells of lines that are not there."""
    HEAD_MISSING = "head_missing"
    HEAD_FORGED = "head_forged"
    """It is not this device's, or tells of another line than stands there."""
    BEGINNING_MISSING = "beginning_missing"
    """The oldest lines the head tells of are not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    damage: Damage
    seq: int | None = None
    place: str = ""
    """File and line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    first: int = 1
    """The oldest line that is kept."""
    seq: int = 0
    sha256: str = GENESIS


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    entries: int
    head: Head
    """As the lines themselves tell."""
    findings: tuple[Finding, ...]


def encoded(body: dict[str, Any], key: bytes) -> bytes:
    """A line without its end. `body` has `seq` and `prev`."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=True).encode()
    return text[:-1] + b',"mac":"' + _mac(key, _LINE_PURPOSE, text[:-1]).encode() + b'"}'


def authentic(line: bytes, key: bytes) -> bool:
    """Whether it was written with this key, byte by byte."""
    found = _MAC.fullmatch(line[-_MAC_BYTES:])
    if found is None:
        return False
    return hmac.compare_digest(found[1].decode(), _mac(key, _LINE_PURPOSE, line[:-_MAC_BYTES]))


def parsed(line: bytes) -> dict[str, Any] | None:
    """None: no line of ours."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_ours = isinstance(told, dict) and type(told.get("seq")) is int and isinstance(told.get("prev"), str)
    return told if is_ours else None


def digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def encoded_head(head: Head, key: bytes) -> bytes:
    body = {"first": head.first, "seq": head.seq, "sha256": head.sha256}
    mac = _mac(key, _HEAD_PURPOSE, json.dumps(body, separators=(",", ":")).encode())
    return json.dumps({**body, "mac": mac}, separators=(",", ":")).encode() + b"\n"


def parsed_head(text: bytes, key: bytes) -> Head | None:
    """None: forged, or of another device."""
    try:
        told = json.loads(text)
        head = Head(first=told["first"], seq=told["seq"], sha256=told["sha256"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return head if hmac.compare_digest(text, encoded_head(head, key)) else None


def check(lines: Iterable[tuple[str, bytes]], head_text: bytes | None, key: bytes) -> Checked:
    """`lines`: each with its place, in the order of the files. `head_text` None: there is none."""
    findings: list[Finding] = []
    head = None if head_text is None else parsed_head(head_text, key)
    walk = _Walk(key=key, head=head, findings=findings)
    for place, line in lines:
        walk.see(place, line)
    last = Head(first=walk.first or 1, seq=walk.seq, sha256=walk.sha256)
    if head is None and (walk.count or head_text is not None):
        findings.append(Finding(damage=Damage.HEAD_MISSING if head_text is None else Damage.HEAD_FORGED))
    if head is not None:
        if walk.seq < head.seq:
            findings.append(Finding(damage=Damage.TRUNCATED, seq=head.seq))
        elif not walk.has_met_head:
            findings.append(Finding(damage=Damage.HEAD_FORGED, seq=head.seq))
        if head.seq and (walk.first is None or walk.first > head.first):
            findings.append(Finding(damage=Damage.BEGINNING_MISSING, seq=head.first))
    return Checked(entries=walk.count, head=last, findings=tuple(findings))


@dataclass(slots=True)
class _Walk:
    """From line to line. Lives inside one check."""

    key: bytes
    head: Head | None
    findings: list[Finding]
    first: int | None = None
    seq: int = 0
    sha256: str = GENESIS
    count: int = 0
    has_met_head: bool = False

    def __post_init__(self) -> None:
        self.has_met_head = self.head is not None and self.head.seq == 0

    def see(self, place: str, line: bytes) -> None:
        self.count += 1
        told = parsed(line)
        if told is None:
            self.findings.append(Finding(damage=Damage.UNREADABLE, place=place))
            return
        seq, sha256 = told["seq"], digest(line)
        if not authentic(line, self.key):
            self.findings.append(Finding(damage=Damage.FORGED, seq=seq, place=place))
        is_next = seq == self.seq + 1 and told["prev"] == self.sha256
        if self.first is None:
            # What was before the oldest line that is kept is gone; the line's own mac vouches for its place.
            self.first = seq
            is_next = seq > 1 or told["prev"] == GENESIS
        if not is_next:
            self.findings.append(Finding(damage=Damage.MISPLACED, seq=seq, place=place))
        if self.head is not None and seq == self.head.seq:
            self.has_met_head = sha256 == self.head.sha256
        self.seq, self.sha256 = seq, sha256


def _mac(key: bytes, purpose: bytes, text: bytes) -> str:
    return hmac.new(key, purpose + text, hashlib.sha256).hexdigest()
