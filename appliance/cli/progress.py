"""Progress of long work, as lines of `{"status", "digest"?, "total"?, "completed"?}` come in.

On a terminal every step has a line, and steps with a size a bar, rate and remaining time; the lines are drawn
again in place. In a pipe each step is told when it begins and when it is complete, and every few seconds in
between.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, TextIO

from appliance.cli import terminal

Json = dict[str, Any]

_WINDOW_S: Final = 5.0
"""The rate is that of the last seconds: what an earlier try has left is no speed of this one."""
_REDRAW_S: Final = 0.1
_PLAIN_S: Final = 10.0
_MAX_LIVE: Final = 16
"""Lines that are drawn again: fewer than the smallest terminal has rows."""
_BAR_COLUMNS: Final = (10, 40)
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


class Progress(Protocol):
    def show(self, told: Json) -> None:
        """One line of news."""

    def end(self) -> None:
        """The work is over, or broken off. Idempotent."""


def progress_on(stream: TextIO, *, as_json: bool) -> Progress:
    if as_json:
        return JsonLines(stream)
    return Bars(stream) if stream.isatty() else PlainLines(stream)


class Step:
    """One status, of one blob or none, and how fast it goes. Owned by the display."""

    def __init__(self, status: str) -> None:
        self.status = status
        self.total: int | None = None
        self.completed = 0
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, told: Json, now_s: float) -> None:
        total, completed = told.get("total"), told.get("completed")
        if isinstance(total, int) and total >= 0:
            self.total = total
        if isinstance(completed, int) and completed >= 0:
            self.completed = completed
        self._samples.append((now_s, self.completed))
        while len(self._samples) > 2 and now_s - self._samples[1][0] > _WINDOW_S:
            self._samples.popleft()

    @property
    def is_complete(self) -> bool:
        return self.total is not None and self.completed >= self.total

    @property
    def fraction(self) -> float:
        return min(1.0, self.completed / self.total) if self.total else 1.0

    @property
    def bytes_per_s(self) -> float | None:
        """None: too early to tell."""
        if len(self._samples) < 2:
            return None
        (first_s, first), (last_s, last) = self._samples[0], self._samples[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s and last > first else None

    @property
    def left_s(self) -> float | None:
        rate = self.bytes_per_s
        return (self.total - self.completed) / rate if rate and self.total is not None else None


class JsonLines:
    """What came, as it came."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, told: Json) -> None:
        print(json.dumps(told, ensure_ascii=False), file=self._stream, flush=True)

    def end(self) -> None:
        """Each line is complete."""


class _Steps:
    """The steps by status and blob, in the order they began. Owned by the thread that shows."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.steps: dict[tuple[str, object], Step] = {}

    def take(self, told: Json) -> tuple[Step, bool]:
        """The step of `told`, and whether it is new."""
        key = key_of(told)
        is_new = key not in self.steps
        step = self.steps.setdefault(key, Step(key[0]))
        step.add(told, self.clock())
        return step, is_new


def key_of(told: Json) -> tuple[str, object]:
    return terminal.printable(str(told.get("status", ""))), str(told.get("digest"))


class PlainLines:
    """For pipes and logs."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._steps = _Steps(clock)
        self._told_s: dict[int, float] = {}
        self._completed: set[int] = set()

    def show(self, told: Json) -> None:
        step, is_new = self._steps.take(told)
        now_s, is_first_end = self._steps.clock(), step.is_complete and id(step) not in self._completed
        if is_first_end:
            self._completed.add(id(step))
        if is_new or is_first_end or (not step.is_complete and now_s - self._told_s[id(step)] >= _PLAIN_S):
            self._told_s[id(step)] = now_s
            print(plain(step), file=self._stream, flush=True)

    def end(self) -> None:
        """Each line is complete."""


class Bars:
    """For eyes: all steps, drawn in place. Owned by the thread that shows."""

    def __init__(
        self,
        stream: TextIO,
        *,
        clock: Callable[[], float] = time.monotonic,
        columns: Callable[[], int] = terminal.columns,
    ) -> None:
        self._stream = stream
        self._steps = _Steps(clock)
        self._columns = columns
        self._shown = 0
        """Lines drawn that are drawn again."""
        self._settled: set[tuple[str, object]] = set()
        self._drawn_s = float("-inf")

    def show(self, told: Json) -> None:
        if key_of(told) in self._settled:
            return
        step, is_new = self._steps.take(told)
        if is_new or step.is_complete or self._steps.clock() - self._drawn_s >= _REDRAW_S:
            self._draw()

    def end(self) -> None:
        if self._steps.steps:
            self._draw()
            self._steps.steps.clear()
            self._shown = 0

    def _draw(self) -> None:
        self._drawn_s = self._steps.clock()
        up = f"\x1b[{self._shown}A" if self._shown else ""
        lines = [bar_line(step, self._columns()) for step in self._steps.steps.values()]
        self._stream.write(up + "".join(f"{terminal.CLEAR_LINE}{line}\n" for line in lines))
        self._stream.flush()
        self._settle()

    def _settle(self) -> None:
        """Finished steps at the top stay as they are: a terminal cannot redraw what has scrolled away."""
        steps = self._steps.steps
        for key in list(steps)[:-1]:
            is_live = steps[key].total is not None and not steps[key].is_complete
            if is_live and len(steps) <= _MAX_LIVE:
                break
            del steps[key]
            self._settled.add(key)
        self._shown = len(steps)


def plain(step: Step) -> str:
    if step.total is None:
        return step.status
    parts = [
        f"{step.status}: {step.fraction:.0%}",
        f"{terminal.size(step.completed)}/{terminal.size(step.total)}",
    ]
    return "  ".join([*parts, *_pace(step)])


def bar_line(step: Step, columns: int) -> str:
    """`pulling 6a0746a1ec1a:  42% ▕████      ▏ 1.9 GB/4.7 GB  12 MB/s  3m05s`, no wider than `columns`."""
    if step.total is None:
        return _cut(step.status, columns - 1)
    head = f"{step.status}: {step.fraction:4.0%} "
    size = terminal.size(step.total)
    amount = size if step.is_complete else f"{terminal.size(step.completed)}/{size}"
    tail = "  ".join([f" {amount}", *(() if step.is_complete else _pace(step))])
    low, high = _BAR_COLUMNS
    room = columns - 1 - terminal.width_of(head) - 2 - max(34, terminal.width_of(tail))
    if room < low:
        return _cut(head + tail.strip(), columns - 1)
    return f"{head}▕{_bar(step.fraction, min(room, high))}▏{tail}"


def _pace(step: Step) -> list[str]:
    """Rate and remaining time, as far as they are known."""
    if step.is_complete or step.bytes_per_s is None:
        return []
    rate = f"{terminal.size(round(step.bytes_per_s))}/s"
    return [rate] if step.left_s is None else [rate, _rounded(max(1, round(step.left_s)))]


def _rounded(seconds: int) -> str:
    return f"{seconds}s" if seconds < 60 else terminal.duration(seconds)


def _bar(fraction: float, columns: int) -> str:
    eighths = round(fraction * columns * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(columns)


def _cut(text: str, columns: int) -> str:
    return text if terminal.width_of(text) <= columns else text[: max(0, columns - 1)] + "…"
