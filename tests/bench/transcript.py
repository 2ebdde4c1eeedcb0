"""Taking a recorded HTTP response apart: bytes with arrival times in, one `Answer` out. Pure."""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from tests.bench.load import Answer, BenchError


@dataclass(slots=True)
class Transcript:
    """Filled by the load generator while the stream runs."""

    chunks: list[tuple[float, bytes]] = field(default_factory=list)
    sent_s: float = 0.0
    end_s: float = 0.0
    cut: bool = False


@dataclass(slots=True)
class _Tally:
    """What the events of one stream add up to."""

    event_s: list[float] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    usage: dict[str, int] | None = None
    finish_reason: str | None = None
    done: bool = False

    def add(self, data: bytes, arrived_s: float) -> None:
        if data == b"[DONE]":
            self.done = True
            return
        event: dict[str, Any] = json.loads(data)
        if "error" in event:
            raise BenchError(f"error event: {data[:300].decode(errors='replace')}")
        self.usage = event.get("usage") or self.usage
        for choice in event.get("choices", []):
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
            content = choice.get("delta", {}).get("content")
            if content:
                self.text.append(content)
                self.event_s.append(arrived_s)


def read_answer(transcript: Transcript) -> Answer:
    """Raises BenchError unless it is a complete, successful stream with at least one event of text."""
    raw = b"".join(chunk for _, chunk in transcript.chunks)
    arrivals = _Arrivals(transcript.chunks)
    head, _, _ = raw.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].decode(errors="replace")
    if " 200" not in status:
        raise BenchError(f"answer {status or 'with no bytes'}: {raw[len(head) : len(head) + 500]!r}")
    chunked = b"transfer-encoding: chunked" in head.lower()
    body = _dechunked(raw, len(head) + 4) if chunked else [(len(head) + 4, raw[len(head) + 4 :])]
    tally = _Tally()
    for end_offset, data in _events(body):
        tally.add(data, arrivals.at(end_offset))
    if not (tally.done or transcript.cut) or not tally.event_s:
        raise BenchError(f"a stream ended early, after {len(tally.event_s)} events: {raw[-200:]!r}")
    counted = tally.usage is not None
    usage = tally.usage or {}
    return Answer(
        sent_s=transcript.sent_s,
        event_s=tally.event_s,
        end_s=transcript.end_s,
        prompt_tokens=usage.get("prompt_tokens", 0),
        completion_tokens=usage["completion_tokens"] if counted else len(tally.event_s),
        counted="usage" if counted else "events",
        text="".join(tally.text),
        finish_reason=tally.finish_reason,
        cut=transcript.cut,
    )


class _Arrivals:
    """When the byte before an offset arrived."""

    def __init__(self, chunks: list[tuple[float, bytes]]) -> None:
        self._ends = list(accumulate(len(chunk) for _, chunk in chunks))
        self._times = [at for at, _ in chunks]

    def at(self, end_offset: int) -> float:
        return self._times[min(bisect_left(self._ends, end_offset), len(self._times) - 1)]


def _dechunked(raw: bytes, start: int) -> list[tuple[int, bytes]]:
    """The pieces of a chunked body with the offset each starts at. A truncated last piece is dropped."""
    pieces = []
    while (line_end := raw.find(b"\r\n", start)) != -1:
        size = int(raw[start:line_end].split(b";")[0], 16)
        if size == 0:
            break
        pieces.append((line_end + 2, raw[line_end + 2 : line_end + 2 + size]))
        start = line_end + 2 + size + 2
    return pieces


def _events(pieces: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """SSE data lines with the raw offset just past each; a line may span pieces. Comments (heartbeats) are
    left out.
    """
    events = []
    rest = b""
    for offset, piece in pieces:
        lines = (rest + piece).split(b"\n")
        position = offset - len(rest)
        for line in lines[:-1]:
            position += len(line) + 1
            if line.startswith(b"data:"):
                events.append((position, line[5:].strip()))
        rest = lines[-1]
    return events
