"""What `usage.db` tells: sums over a span of time, by key, model, day or hour. Reads only; a daemon may write
meanwhile.
"""

from __future__ import annotations

import csv
import io
import re
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from appliance.access.usage_file import NAME
from appliance.errors import InvalidRequest, StoreFault

BY: Final = ("key", "model", "day", "hour")
MOST_ROWS: Final = 10_000
_FORM: Final = re.compile(r"([0-9]{1,5})([hd])", re.ASCII)
_HOUR_S: Final = 3600
_SUMS: Final = (
    "sum(requests)",
    "sum(errors)",
    "sum(prompt_tokens)",
    "sum(cached_tokens)",
    "sum(output_tokens)",
    "sum(served_ms)",
    "sum(millijoules)",
)
_COLUMNS: Final = {
    "key": "key",
    "model": "model",
    "day": "hour / 24",
    "hour": "hour",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    by: tuple[str, ...] = ("key", "model")
    since_hours: int | None = None
    """None: from the beginning."""
    key: str | None = None
    """Of this key only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the answer; what it is not parted by is None."""

    key: str | None = None
    model: str | None = None
    time: str | None = None
    """`2026-11-29`, or with the hour `2026-11-29T09`, in UTC."""
    requests: int
    errors: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    served_s: float
    joules: float | None
    """Of what was measured; None: nothing was."""


def question(*, by: str | None, since: str | None, key: str | None) -> Question:
    """From the words of a client. Raises InvalidRequest, which names the word."""
    parts = tuple(part.strip() for part in (by or "key,model").split(","))
    if len(set(parts)) != len(parts) or not set(parts) <= set(BY) or {"day", "hour"} <= set(parts):
        raise InvalidRequest(reason=f"one or more of {', '.join(BY)}, with commas; day or hour", param="by")
    hours = None
    if since is not None:
        found = _FORM.fullmatch(since)
        if found is None:
            raise InvalidRequest(reason="a number of hours or days, as in 24h or 7d", param="since")
        hours = int(found[1]) * (24 if found[2] == "d" else 1)
    return Question(by=parts, since_hours=hours, key=key)


def report(data: Path, asked: Question, *, now_s: float) -> list[Line]:
    """From the file in `data`, which need not be there. Raises StoreFault."""
    path = data / NAME
    if not path.exists():
        return []
    columns = [_COLUMNS[part] for part in asked.by]
    hour = None if asked.since_hours is None else int(now_s // _HOUR_S) - asked.since_hours + 1
    wishes = [("hour >= ?", hour), ("key = ?", asked.key)]
    kept = [(text, value) for text, value in wishes if value is not None]
    where = f"WHERE {' AND '.join(text for text, _ in kept)}" if kept else ""
    told = f"SELECT {', '.join([*columns, *_SUMS])} FROM usage {where} "  # noqa: S608 - our own words only
    order = f"GROUP BY {', '.join(columns)} ORDER BY {', '.join(columns)} LIMIT {MOST_ROWS}"
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)
        try:
            rows = connection.execute(told + order, [value for _, value in kept]).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreFault(path=str(path), reason=str(error)) from error
    return [_line(asked.by, row) for row in rows]


def objects(lines: list[Line]) -> list[dict[str, Any]]:
    """As JSON tells them: without what they are not parted by."""
    return [
        {
            name: value
            for name in Line.__slots__
            if (value := getattr(line, name)) is not None or name not in ("key", "model", "time")
        }
        for line in lines
    ]


def as_csv(lines: list[Line]) -> str:
    """With a head, also where there is no line."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(Line.__slots__)
    for line in lines:
        values = (getattr(line, name) for name in Line.__slots__)
        writer.writerow(["" if value is None else value for value in values])
    return out.getvalue()


def _line(by: tuple[str, ...], row: tuple[Any, ...]) -> Line:
    parts = dict(zip(by, row, strict=False))
    requests, errors, prompt, cached, output, served_ms, millijoules = row[len(by) :]
    return Line(
        key=parts.get("key"),
        model=parts.get("model"),
        time=_time(parts.get("day"), parts.get("hour")),
        requests=requests,
        errors=errors,
        prompt_tokens=prompt,
        cached_tokens=cached,
        output_tokens=output,
        served_s=served_ms / 1000,
        joules=None if millijoules is None else millijoules / 1000,
    )


def _time(day: int | None, hour: int | None) -> str | None:
    """A clock that was far off made hours that no calendar has: they are told as they are."""
    try:
        if day is not None:
            return datetime.fromtimestamp(day * 24 * _HOUR_S, UTC).strftime("%Y-%m-%d")
        if hour is not None:
            return datetime.fromtimestamp(hour * _HOUR_S, UTC).strftime("%Y-%m-%dT%H")
    except (ValueError, OverflowError, OSError):
        return f"hour {hour}" if hour is not None else f"day {day}"
    return None
