"""What a process holds of the board's memory, as the kernel counts it."""

from __future__ import annotations

from appliance.hardware.root import Root

_KIB = 1024
_OWN = ("RssAnon:", "RssShmem:")


def anonymous_bytes(pid: int, root: Root) -> int | None:
    """Its own resident pages, without those of mapped files, which the kernel can drop. None: no such
    process. Buffers of drivers (NvMap) are in no process's count.
    """
    text = root.text(f"proc/{pid}/status")
    return parse(text) if isinstance(text, str) else None


def parse(text: str) -> int | None:
    """From /proc/PID/status (proc(5)); a process that has ended has no such lines: None."""
    sizes = [
        int(words[1]) * _KIB
        for line in text.splitlines()
        if (words := line.split()) and words[0] in _OWN and len(words) == 3 and words[1].isdigit()
    ]
    return sum(sizes) if sizes else None
