"""The format of a snapshot: one file, the state of one slot. Pure; `shelf.py` reads and writes it.

All numbers are little-endian.

      0  magic         8   "OUTPKV" 0 VERSION
      8  fingerprint  32   what must be equal for the state to mean anything (`Fingerprint`)
     40  scope        32   who may match it, as a keyed hash
     72  shared scope 32   who may match its first n_shared tokens
    104  n_tokens      4   at least 1
    108  n_shared      4
    112  state_bytes   8
    120  reserved      8   zero
    128  head seal    32   HMAC-SHA256(key, "head" 0, bytes 0 to 127, tokens)
    160  tokens        4 x n_tokens
         state         state_bytes, as llama.cpp gave it for one sequence (`streams.py`)
         state seal   32   HMAC-SHA256(key, "state" 0, head seal, state)

The head has a seal of its own, so that a directory is read in without reading the states. Both are checked
before a byte of the state reaches llama.cpp, which trusts what it is given. HMAC-SHA256 and no faster keyed
hash: processors with SHA instructions (all ARMv8 boards but the Pi 4, x86 since 2017) make it the fastest of
hashlib (here 1.3 GB/s against 0.8 of BLAKE2b), and it lets other threads run.

A file's name is a keyed hash of what it holds: it tells nobody anything, and a renamed file is noticed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

VERSION: Final = 1
MAGIC: Final = b"OUTPKV\0" + bytes([VERSION])
SEAL_BYTES: Final = 32
_FIELDS: Final = struct.Struct("<8s32s32s32sIIQ8s")
HEAD_BYTES: Final = _FIELDS.size + SEAL_BYTES
NAME_CHARACTERS: Final = 40
SUFFIX: Final = ".kv"
_TOKEN_BYTES: Final = 4
_ZEROS: Final = bytes(8)


class SnapshotInvalid(Exception):
    """Not a snapshot of ours, or not whole any more. Stays inside the package: a prompt is then computed."""


class SnapshotForeign(SnapshotInvalid):
    """Sound, and of another build or context: of no use here, and perhaps elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """All of a snapshot but its state."""

    fingerprint: bytes
    scope: bytes
    shared_scope: bytes
    tokens: bytes
    """As int32."""
    n_shared: int
    state_bytes: int

    @property
    def n_tokens(self) -> int:
        return len(self.tokens) // _TOKEN_BYTES

    @property
    def file_bytes(self) -> int:
        return HEAD_BYTES + len(self.tokens) + self.state_bytes + SEAL_BYTES


class Sealer:
    """Makes and checks the seals of one model. `key` is secret and nobody else's: with it one can forge
    snapshots of this model, and of no other. Any thread.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def name(self, head: Head) -> str:
        """The only name under which a snapshot counts."""
        shared = head.shared_scope + struct.pack("<I", head.n_shared)
        parts = (head.fingerprint, head.scope, shared, head.tokens)
        return self._seal(b"name\0", *parts).hex()[:NAME_CHARACTERS] + SUFFIX

    def scope(self, owner: str, adapters: Sequence[tuple[str, float]]) -> bytes:
        """Who may reuse a prefix, as it stands in a file."""
        return self._seal(b"scope\0", json.dumps([owner, list(adapters)]).encode())

    def write_head(self, head: Head) -> bytes:
        """Everything before the state."""
        fields = _FIELDS.pack(
            MAGIC,
            head.fingerprint,
            head.scope,
            head.shared_scope,
            head.n_tokens,
            head.n_shared,
            head.state_bytes,
            _ZEROS,
        )
        return fields + self._seal(b"head\0", fields, head.tokens) + head.tokens

    def read_head(self, name: str, content: bytes, *, fingerprint: bytes) -> Head:
        """From the start of a file, at least up to its last token. Raises SnapshotInvalid, and
        SnapshotForeign for one whose only fault is its fingerprint.
        """
        n_tokens = head_tokens(content)
        fields, seal = content[: _FIELDS.size], content[_FIELDS.size : HEAD_BYTES]
        tokens = content[HEAD_BYTES : HEAD_BYTES + _TOKEN_BYTES * n_tokens]
        if not hmac.compare_digest(seal, self._seal(b"head\0", fields, tokens)):
            raise SnapshotInvalid("the seal of its head is wrong")
        _, its_fingerprint, scope, shared_scope, _, n_shared, state_bytes, _ = _FIELDS.unpack(fields)
        head = Head(
            fingerprint=its_fingerprint,
            scope=scope,
            shared_scope=shared_scope,
            tokens=tokens,
            n_shared=n_shared,
            state_bytes=state_bytes,
        )
        if name != self.name(head):
            raise SnapshotInvalid("its name is another's")
        if its_fingerprint != fingerprint:
            raise SnapshotForeign("it is of another build or context")
        return head

    def begin_state(self, head: bytes) -> hmac.HMAC:
        """To be updated with the whole state; its digest ends the file. `head`: the file's first bytes."""
        return hmac.new(self._key, b"state\0" + head[_FIELDS.size : HEAD_BYTES], hashlib.sha256)

    def _seal(self, *parts: bytes) -> bytes:
        made = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in parts:
            made.update(part)
        return made.digest()


def head_tokens(content: bytes) -> int:
    """How many tokens the first `HEAD_BYTES` of a file promise. Nothing is proven by it. Raises
    SnapshotInvalid.
    """
    if len(content) < HEAD_BYTES or not content.startswith(MAGIC):
        raise SnapshotInvalid("it is no snapshot of this version")
    _, _, _, _, n_tokens, n_shared, _, _ = _FIELDS.unpack(content[: _FIELDS.size])
    if n_tokens == 0 or n_shared > n_tokens:
        raise SnapshotInvalid("its counts cannot be")
    return int(n_tokens)


def fingerprint_of(facts: Mapping[str, str | int]) -> bytes:
    """Of everything that decides what the bytes of a state mean."""
    told = {**facts, "format": VERSION}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).digest()


def pack_tokens(tokens: Sequence[int]) -> bytes:
    return array("i", tokens).tobytes()


def unpack_tokens(packed: bytes) -> list[int]:
    return array("i", packed).tolist()
