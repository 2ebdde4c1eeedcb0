"""What was found, by board and model: one small JSON file. Garbage in it is nothing, and never an exception.

    {"version": 1, "records": [{"model": …, "board": …, "chip": …, "build": …, "findings": {…}}, …]}

The record used last is at the end; of more than the most, the oldest go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from appliance.calibrating.values import Axis, AxisFound, Findings
from appliance.optimizing.standing import Standing

VERSION: Final = 1
MOST_RECORDS: Final = 64
MOST_BYTES: Final = 1024 * 1024
_CHOSEN: Final = {
    Axis.THREADS: "",
    Axis.UBATCH: "",
    Axis.FLASH_ATTENTION: "",
    Axis.LAYOUT: "weights ",
    Axis.LOAD: "file ",
}


class Record(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    """Of the files, whatever their name (`daemon.calibration.identity_of`)."""
    name: str
    """As it was asked for; for people."""
    board: str
    chip: str
    build: str
    measured_at: str
    """ISO 8601, UTC."""
    limit_s: float
    findings: Findings
    energy: str | None = None
    """Why there are no joules; None: there are."""

    @property
    def day(self) -> str:
        return self.measured_at[:10]

    @property
    def changed(self) -> str:
        """What is served otherwise than by default."""
        kept = [f"{_CHOSEN[axis.axis]}{axis.kept}" for axis in self.findings.axes if _is_changed(axis)]
        return ", ".join(kept)

    @property
    def sentence(self) -> str:
        """For `ps` and `show`."""
        cache = self.findings.cache
        prices = f"; q8_0 cache {cache.prefill:.1f}x prefill, {cache.decode:.1f}x decode" if cache else ""
        return f"calibrated {self.day}: {self.changed or 'the defaults are best'}{prices}"

    def stale(self, standing: Standing, board: str) -> str | None:
        """Why it says nothing here; None: it holds."""
        if self.board != board:
            return f"it was measured on another board ({self.board})"
        if self.chip != standing.chip.mark:
            return f"it was measured on another chip ({self.chip})"
        if self.build != standing.build:
            return f"it was measured with another build ({self.build})"
        return None


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """All records of a data directory."""

    version: int = VERSION
    records: tuple[Record, ...] = ()

    def find(self, model: str, board: str) -> Record | None:
        """Of this board; else the newest of another, which is stale."""
        found = [one for one in self.records if one.model == model]
        here = [one for one in found if one.board == board]
        newest = here or found
        return newest[-1] if newest else None

    def with_record(self, record: Record) -> Book:
        others = [one for one in self.records if (one.model, one.board) != (record.model, record.board)]
        return msgspec.structs.replace(self, records=tuple([*others, record][-MOST_RECORDS:]))

    def without(self, model: str) -> Book:
        """On whatever board."""
        return msgspec.structs.replace(self, records=tuple(one for one in self.records if one.model != model))

    def encoded(self) -> bytes:
        """At most `MOST_BYTES`: the oldest give way."""
        book = self
        while len(raw := msgspec.json.encode(book, order="sorted")) > MOST_BYTES and book.records:
            book = msgspec.structs.replace(book, records=book.records[1:])
        return raw


def decoded(raw: bytes) -> Book:
    """What is not a record as we write it is left out; what is no book at all is an empty one."""
    try:
        loose = msgspec.json.decode(raw, type=_Loose)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Book()
    if loose.version != VERSION:
        return Book()
    return Book(records=tuple(_sound(loose.records[-MOST_RECORDS:])))


class _Loose(msgspec.Struct, kw_only=True):
    version: int = 0
    records: list[msgspec.Raw] = []


def _sound(raws: Sequence[msgspec.Raw]) -> list[Record]:
    found = []
    for raw in raws:
        try:
            record = msgspec.json.decode(raw, type=Record)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        if _is_sane(record.findings):
            found.append(record)
    return found


def _is_sane(findings: Findings) -> bool:
    """A file may have been written by anybody: what it sets stays within what can be set."""
    choice, cache = findings.choice, findings.cache
    threads, ubatch = choice.n_threads, choice.n_ubatch
    return (
        (threads is None or 1 <= threads <= 512)
        and (ubatch is None or 32 <= ubatch <= 8192)
        and choice.flash_attention in {None, "auto", "on", "off"}
        and (cache is None or (1 <= cache.prefill <= 100 and 1 <= cache.decode <= 100))
        and all(size > 0 and 1 <= time <= 100 for size, time in findings.ubatch)
    )


def _is_changed(axis: AxisFound) -> bool:
    return axis.kept != axis.default and axis.axis in _CHOSEN
