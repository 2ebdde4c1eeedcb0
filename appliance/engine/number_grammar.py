"""Numbers between bounds, as GBNF. Pure."""

from __future__ import annotations

MAX_DIGITS = 18
_FRACTION = '("." [0-9]{1,17})?'
_SOME_FRACTION = '"." "0"{0,8} [1-9] [0-9]{0,8}'
"""Never all zeros."""
_NO_FRACTION = '("." "0"{1,9})?'


def integer_body(low: int | None, high: int | None) -> str:
    """A body that matches the decimal integers in [low, high], without leading zeros or "-0". Needs low <=
    high.
    """
    parts = []
    if low is None or low < 0:
        smallest = 1 if high is None or high >= 0 else -high
        parts += [f'"-" ({body})' for body in [_natural(smallest, None if low is None else -low)]]
    if high is None or high >= 0:
        parts.append(_natural(max(0, low or 0), high))
    return " | ".join(parts)


def number_body(floor: int | None, ceiling: int | None, *, above: bool, below: bool) -> str | None:
    """A body for the decimal fractions between whole bounds; None: there are none.

    `above`, `below`: the bound itself is left out. Away from zero a fraction is added to a whole number that
    is inside; a bound may stand by itself. Not every number between is reached, but none outside is.
    """
    parts: list[str] = []
    start, end = max(0, floor or 0), None if ceiling is None else ceiling - 1
    if above and floor == start:
        if end is None or end >= start:
            parts.append(f'"{start}" {_SOME_FRACTION}')
        start += 1
    if end is None or end >= start:
        parts.append(f"({integer_body(start, end)}) {_FRACTION}")
    if floor is None or floor < 0:
        last = -1 if ceiling is None else min(-1, ceiling - 1)
        if floor is None or floor < last:
            parts.append(f"({integer_body(None if floor is None else floor + 1, last)}) {_FRACTION}")
        if ceiling is None or ceiling >= 0:
            parts.append(f'"-0" {_SOME_FRACTION}')
    exact = [floor] if floor is not None and not above else []
    exact += [ceiling] if ceiling is not None and not below and ceiling != floor else []
    inside = [
        value
        for value in exact
        if (floor is None or floor <= value) and (ceiling is None or value <= ceiling)
    ]
    if floor is not None and floor == ceiling and (above or below):
        inside = []
    parts += [f'"{value}" {_NO_FRACTION}' for value in inside]
    return " | ".join(parts) or None


def _natural(low: int, high: int | None) -> str:
    """The naturals in [low, high], one alternative per run of equal length."""
    top = 10**MAX_DIGITS - 1 if high is None else high
    parts = []
    for digits in range(len(str(low)), len(str(top)) + 1):
        start = max(low, 10 ** (digits - 1) if digits > 1 else 0)
        end = min(top, 10**digits - 1)
        parts += _same_length(str(start), str(end))
    return " | ".join(parts)


def _same_length(low: str, high: str) -> list[str]:
    """Alternatives for low..high, both of one length."""
    if not low:
        return [""]
    free = len(low) - 1
    if low[1:] == "0" * free and high[1:] == "9" * free:
        return [_digits(low[0], high[0]) + (f" [0-9]{{{free}}}" if free else "")]
    if low[0] == high[0]:
        return [f'"{low[0]}" ({" | ".join(_same_length(low[1:], high[1:]))})']
    parts = [f'"{low[0]}" ({" | ".join(_same_length(low[1:], "9" * free))})']
    if int(high[0]) - int(low[0]) > 1:
        parts.append(_digits(str(int(low[0]) + 1), str(int(high[0]) - 1)) + f" [0-9]{{{free}}}")
    return [*parts, f'"{high[0]}" ({" | ".join(_same_length("0" * free, high[1:]))})']


def _digits(low: str, high: str) -> str:
    return f"[{low}]" if low == high else f"[{low}-{high}]"
