"""Quantities as people write them, and how far they may go. Pure."""

from __future__ import annotations

import math
import re
from typing import Final

FOR_EVER: Final = math.inf

MOST_CONTEXT: Final = 1 << 24
LEAST_UBATCH: Final = 32
MOST_UBATCH: Final = 8192
MOST_PARALLEL: Final = 256
MOST_THREADS: Final = 512
"""What llama.cpp's thread pool takes (GGML_MAX_N_THREADS)."""

_SECONDS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_MOST_LETTERS: Final = 64
_MOST_S: Final = 100 * 365 * 86400.0
"""A century: what lasts longer is for ever, and no arithmetic with it overflows."""
EXPECTED: Final = "a number of seconds, or a duration like 30s, 10m or 1h30m; 0: at once, below 0: for ever"


def seconds_kept(value: float | str) -> float:
    """A keep-alive as Ollama's clients write it: seconds as a number, or a duration of Go as text ("1h30m",
    also a bare number); negative: for ever. Raises ValueError with what is expected.
    """
    seconds = _parsed(value) if isinstance(value, str) else float(value)
    if math.isnan(seconds):
        raise ValueError(EXPECTED)
    return FOR_EVER if seconds < 0 or seconds > _MOST_S else seconds


def _parsed(text: str) -> float:
    text = text.strip()
    if not 0 < len(text) <= _MOST_LETTERS:
        raise ValueError(EXPECTED)
    sign = -1.0 if text[0] == "-" else 1.0
    digits = text[1:] if text[0] in "+-" else text
    if re.fullmatch(r"\d+(\.\d*)?", digits, re.ASCII):
        return sign * float(digits)
    parts = _PART.findall(digits)
    if not parts or "".join(number + unit for number, unit in parts) != digits:
        raise ValueError(EXPECTED)
    return sign * sum(float(number) * _SECONDS[unit] for number, unit in parts)


def kept(seconds: float) -> str:
    """The shortest way to write it: `for ever`, `5m`, `1h30m`, `0.5s`."""
    if math.isinf(seconds):
        return "for ever"
    hours, rest = divmod(round(seconds, 3), 3600)
    minutes, left = divmod(rest, 60)
    shown = "".join(
        f"{round(value, 3):g}{unit}" for value, unit in ((hours, "h"), (minutes, "m"), (left, "s")) if value
    )
    return shown or "0s"
