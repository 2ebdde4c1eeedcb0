"""What the scenarios do, each through the store's own verbs, saying what it promises. An act that was cut off
can be done again from the start.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

from appliance.errors import ModelNotFound
from appliance.store.content import unreported
from appliance.store.exchange import export
from appliance.store.files import Files
from appliance.store.gc import LEFTOVER_S, collect
from appliance.store.layout import Layout
from appliance.store.rebuild import recover_index
from appliance.store.remote_file import download
from tests.crash.models import Model, SourceBroke, blob
from tests.crash.promises import say_gone, say_have, say_try
from tests.crash.url import URL, PageDoor

FIRST = Model(name="first:latest", layers=(1, 2))
SECOND = Model(name="second:latest", layers=(2, 3))
REPLACED = Model(name="first:latest", layers=(1, 4))
THIRD = Model(name="third:latest", layers=(2, 5, 6))
LARGE = Model(name="large:latest", layers=(1, 7, 8, 9, 10))

LATE_S = LEFTOVER_S + 3600.0

Act = Callable[[Path, Files], None]


class LateClock:
    """Monotonic time that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def collect_late(layout: Layout, clock: LateClock) -> None:
    """As gc runs more than a week later. `clock`: the one the layout was opened with."""
    clock.now_s += LATE_S
    collect(layout, now=time.time() + LATE_S)


def _bring(layout: Layout, model: Model) -> None:
    say_try(model.name, model.digest)
    model.arrive(layout)
    say_have(model.name, model.digest)


def _remove(layout: Layout, model: Model) -> None:
    say_try(model.name, None)
    with contextlib.suppress(ModelNotFound):
        layout.untag(model.reference)
    say_gone(model.name)


def bring(model: Model) -> Act:
    def act(root: Path, files: Files) -> None:
        with Layout(root, files=files) as layout:
            _bring(layout, model)

    return act


def remove(root: Path, files: Files) -> None:
    with Layout(root, files=files) as layout:
        _remove(layout, FIRST)
        collect(layout)


def leave_orphans(root: Path) -> None:
    """Blobs that no name leads to."""
    with Layout(root, files=Files()) as layout:
        for seed in range(20, 24):
            layout.put(blob(seed), "application/octet-stream")


def collect_beside(root: Path, files: Files) -> None:
    """A week later gc runs again and again while a model arrives: orphans go, what arrives stays."""
    clock = LateClock()
    with Layout(root, files=files, monotonic=clock) as layout:
        stop = threading.Event()
        clock.now_s += LATE_S

        def clean() -> None:
            while not stop.is_set():
                collect(layout, now=time.time() + LATE_S)
                stop.wait(0.001)

        cleaner = threading.Thread(target=clean, name="gc")
        cleaner.start()
        try:
            _bring(layout, SECOND)
        finally:
            stop.set()
            cleaner.join()


def resume(root: Path, files: Files) -> None:
    """The source breaks off twice; the third try finishes. The layout is opened anew each time."""
    say_try(FIRST.name, FIRST.digest)
    for pieces in (2, 3):
        with Layout(root, files=files) as layout, contextlib.suppress(SourceBroke):
            FIRST.arrive(layout, breaks_after=pieces)
    with Layout(root, files=files) as layout:
        FIRST.arrive(layout)
        say_have(FIRST.name, FIRST.digest)


def bring_at_once(*models: Model) -> Act:
    """Pulls of models that share layers."""

    def act(root: Path, files: Files) -> None:
        with Layout(root, files=files) as layout:
            threads = [threading.Thread(target=_bring, args=(layout, model)) for model in models]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    return act


def busy_day(root: Path, files: Files) -> None:
    """Everything after another, with a restart in the middle."""
    with Layout(root, files=files) as layout:
        _bring(layout, FIRST)
        _bring(layout, LARGE)
        _bring(layout, REPLACED)
        collect(layout)
    with Layout(root, files=files) as layout:
        _remove(layout, LARGE)
        collect(layout)
        _bring(layout, THIRD)
        _bring(layout, LARGE)


def adopt(root: Path, files: Files) -> None:
    """A local file becomes a layer, by copying and by a hard link."""
    for number, link in ((1, False), (2, True)):
        local = root.with_name(f"local-{number}.gguf")
        local.unlink(missing_ok=True)
        local.write_bytes(blob(number))
        with Layout(root, files=files) as layout:
            layout.adopt(local, link=link, report=unreported)
    bring(FIRST)(root, files)


def quarantine(root: Path, files: Files) -> None:
    """A layer is found broken, put away, and comes again."""
    with Layout(root, files=files) as layout:
        say_try(FIRST.name, FIRST.digest)
        layout.quarantine(FIRST.contents[1][0].digest, "the scrub found other bytes")
        FIRST.arrive(layout)
        say_have(FIRST.name, FIRST.digest)


def truncate_blob(root: Path) -> None:
    """The disk has lost the end of a layer."""
    with Layout(root, files=Files()) as layout:
        path = layout.places.blob(FIRST.contents[1][0].digest)
    content = path.read_bytes()[:5_000]
    path.unlink()
    path.write_bytes(content)


def collect_quarantine(root: Path, files: Files) -> None:
    """A broken layer's bytes go when they are old; its reason when no name needs it any more."""
    clock = LateClock()
    with Layout(root, files=files, monotonic=clock) as layout:
        layout.quarantine(FIRST.contents[1][0].digest, "the scrub found other bytes")
        collect_late(layout, clock)
        _remove(layout, FIRST)
        collect_late(layout, clock)


def download_url(root: Path, files: Files) -> None:
    """A file without a manifest: it breaks off, goes on, is adopted by a hard link, and gets a name."""
    say_try(FIRST.name, FIRST.digest)
    with Layout(root, files=files) as layout, contextlib.suppress(SourceBroke):
        download(PageDoor(blob(1), breaks_after=2), [URL], layout, unreported)
    with Layout(root, files=files) as layout:
        download(PageDoor(blob(1)), [URL], layout, unreported)
        FIRST.arrive(layout)
        say_have(FIRST.name, FIRST.digest)


def export_to(root: Path, files: Files) -> None:
    """Into a directory that holds another model already."""
    with Layout(root.with_name("own"), files=files) as layout:
        FIRST.arrive(layout)
        say_try(FIRST.name, FIRST.digest)
        export(layout, FIRST.reference, root, unreported)
        say_have(FIRST.name, FIRST.digest)


ARCHIVE = "models.tar"


def leave_archive(root: Path) -> None:
    """An earlier export."""
    with Layout(root.with_name("own"), files=Files()) as layout:
        FIRST.arrive(layout)
        export(layout, FIRST.reference, root / ARCHIVE, unreported)


def export_tar(root: Path, files: Files) -> None:
    """Over an archive that stands there: it is the old one or the new one."""
    say_have(FIRST.name, FIRST.digest)
    with Layout(root.with_name("own"), files=files) as layout:
        REPLACED.arrive(layout)
        say_try(REPLACED.name, REPLACED.digest)
        export(layout, REPLACED.reference, root / ARCHIVE, unreported)
        say_have(REPLACED.name, REPLACED.digest)


def lose_index(root: Path) -> None:
    """A second model's name was the last to be written, then the index was left as zeros. The copy has it."""
    with Layout(root, files=Files()) as layout:
        SECOND.arrive(layout)
        index = layout.places.index
    index.write_bytes(bytes(index.stat().st_size))


def rebuild(root: Path, files: Files) -> None:
    say_try(SECOND.name, SECOND.digest)
    recover_index(root, files=files)
    say_have(SECOND.name, SECOND.digest)
