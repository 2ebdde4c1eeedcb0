"""Whether bytes go on as UTF-8: what llama.cpp's grammars do not check as strictly as a reader does.

They let overlong forms through (€ in four bytes), which every reader refuses.
"""

from __future__ import annotations

import codecs


def begun_after(begun: bytes, piece: bytes) -> bytes | None:
    """The bytes of a character that is not complete after `piece`, when `begun` were there before; None:
    broken.
    """
    held = begun + piece
    try:
        _, consumed = codecs.utf_8_decode(held, "strict", False)
    except UnicodeDecodeError:
        return None
    rest = held[consumed:]
    # A surrogate: Python's decoder says so only at its third byte, when there is no way out any more.
    return None if rest[:1] == b"\xed" and rest[1:2] >= b"\xa0" else rest
