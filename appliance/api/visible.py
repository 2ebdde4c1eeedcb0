"""What others named, as an error, a header or a log line can hold it: visible ASCII. Pure."""

from __future__ import annotations

import re
from typing import Final

_INVISIBLE: Final = re.compile(r"[^ -~]")
_MOST_CHARS: Final = 64


def visible(text: str) -> str:
    """`text` with every character that is not visible ASCII, or a blank, written as Python escapes it."""
    return _INVISIBLE.sub(_escaped, text)


def shown(name: str, most_chars: int = _MOST_CHARS) -> str:
    """A name from outside: the first of its characters that fit, once they are visible."""
    return visible(name[:most_chars])[:most_chars]


def _escaped(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode()
