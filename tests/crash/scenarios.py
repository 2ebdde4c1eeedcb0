"""What the store does while the power is cut.

Each scenario says on standard output what it promises:

TRY name        from here on, the name may be in its old or in its new state
HAVE name 1,2   acknowledged: it is there, with these layers
GONE name       acknowledged: it is not there
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance.store.content import unreported
from appliance.store.files import Files
from appliance.store.gc import collect
from appliance.store.layout import Layout
from tests.crash.models import Model, SourceBroke, blob

FIRST = Model(name="first:latest", layers=(1, 2))
SECOND = Model(name="second:latest", layers=(2, 3))
REPLACED = Model(name="first:latest", layers=(1, 4))
THIRD = Model(name="third:latest", layers=(2, 5, 6))
LARGE = Model(name="large:latest", layers=(1, 7, 8, 9, 10))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    before: tuple[Model, ...] = ()
    """Models that are there when it begins, long durable."""
    act: Callable[[Path, Files], None]
    breaks: Model | None = None
    """A model that it puts into quarantine: until it is acknowledged again it may be listed as broken."""


def say(line: str) -> None:
    """In one write, so that its place among the operations is known."""
    os.write(1, f"{line}\n".encode())


def prepare(root: Path, scenario: Scenario) -> None:
    with contextlib.closing(Layout(root, files=Files())) as layout:
        for model in scenario.before:
            model.arrive(layout)


def _bring(layout: Layout, model: Model) -> None:
    say(f"TRY {model.name}")
    model.arrive(layout)
    say(f"HAVE {model.name} {','.join(map(str, model.layers))}")


def _import(model: Model) -> Callable[[Path, Files], None]:
    def act(root: Path, files: Files) -> None:
        with contextlib.closing(Layout(root, files=files)) as layout:
            _bring(layout, model)

    return act


def _remove(root: Path, files: Files) -> None:
    with contextlib.closing(Layout(root, files=files)) as layout:
        say(f"TRY {FIRST.name}")
        layout.untag(FIRST.reference)
        say(f"GONE {FIRST.name}")
        collect(layout)


def _collect_beside(root: Path, files: Files) -> None:
    """Gc runs again and again while a model arrives."""
    with contextlib.closing(Layout(root, files=files)) as layout:
        stop = threading.Event()

        def clean() -> None:
            while not stop.is_set():
                collect(layout)
                stop.wait(0.001)

        cleaner = threading.Thread(target=clean, name="gc")
        cleaner.start()
        try:
            _bring(layout, SECOND)
        finally:
            stop.set()
            cleaner.join()


def _resume(root: Path, files: Files) -> None:
    """The source breaks off twice; the third try finishes. The layout is opened anew each time."""
    say(f"TRY {FIRST.name}")
    for pieces in (2, 3):
        with (
            contextlib.closing(Layout(root, files=files)) as layout,
            contextlib.suppress(SourceBroke),
        ):
            FIRST.arrive(layout, breaks_after=pieces)
    with contextlib.closing(Layout(root, files=files)) as layout:
        FIRST.arrive(layout)
        say(f"HAVE {FIRST.name} 1,2")


def _at_once(*models: Model) -> Callable[[Path, Files], None]:
    """Pulls of models that share layers."""

    def act(root: Path, files: Files) -> None:
        with contextlib.closing(Layout(root, files=files)) as layout:
            threads = [threading.Thread(target=_bring, args=(layout, model)) for model in models]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    return act


def _busy_day(root: Path, files: Files) -> None:
    """Everything after another, with a restart in the middle."""
    with contextlib.closing(Layout(root, files=files)) as layout:
        _bring(layout, FIRST)
        _bring(layout, LARGE)
        _bring(layout, REPLACED)
        collect(layout)
    with contextlib.closing(Layout(root, files=files)) as layout:
        say(f"TRY {LARGE.name}")
        layout.untag(LARGE.reference)
        say(f"GONE {LARGE.name}")
        collect(layout)
        _bring(layout, THIRD)
        _bring(layout, LARGE)


def _adopt(root: Path, files: Files) -> None:
    """A local file becomes a layer, by copying and by a hard link."""
    for number, link in ((1, False), (2, True)):
        local = root.with_name(f"local-{number}.gguf")
        local.write_bytes(blob(number))
        with contextlib.closing(Layout(root, files=files)) as layout:
            layout.adopt(local, link=link, report=unreported)
    _import(FIRST)(root, files)


def _quarantine(root: Path, files: Files) -> None:
    """A layer is found broken, put away, and comes again."""
    with contextlib.closing(Layout(root, files=files)) as layout:
        say(f"TRY {FIRST.name}")
        layout.quarantine(FIRST.contents[1][0].digest, "the scrub found other bytes")
        FIRST.arrive(layout)
        say(f"HAVE {FIRST.name} 1,2")


SCENARIOS: dict[str, Scenario] = {
    "first import": Scenario(act=_import(FIRST)),
    "second import sharing blobs": Scenario(before=(FIRST,), act=_import(SECOND)),
    "replace tag": Scenario(before=(FIRST, SECOND), act=_import(REPLACED)),
    "delete and collect": Scenario(before=(FIRST, SECOND), act=_remove),
    "collect while importing": Scenario(before=(FIRST,), act=_collect_beside),
    "resume of a half copy": Scenario(before=(SECOND,), act=_resume),
    "two imports at once": Scenario(act=_at_once(FIRST, SECOND)),
    "three imports at once": Scenario(before=(FIRST,), act=_at_once(SECOND, THIRD, LARGE)),
    "import of many layers": Scenario(before=(SECOND,), act=_import(LARGE)),
    "busy day": Scenario(before=(SECOND,), act=_busy_day),
    "local files": Scenario(before=(SECOND,), act=_adopt),
    "quarantine and repair": Scenario(before=(FIRST, SECOND), act=_quarantine, breaks=FIRST),
}
