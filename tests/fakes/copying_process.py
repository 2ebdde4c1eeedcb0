"""A process that carries one model somewhere, and says at its end by how many bytes its memory has grown.

push STORE_DIRECTORY NAME      to the registry that the name says
export STORE_DIRECTORY PATH    the model `big`, into a directory or a tar
import STORE_DIRECTORY PATH    from a directory or a tar
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

from appliance.store.archive import TarSource
from appliance.store.content import Source, unreported
from appliance.store.copy import copy
from appliance.store.files import Files
from appliance.store.layout import Layout
from appliance.store.outbound import HostSettings, Outbound
from appliance.store.reference import parse_reference
from appliance.store.settings import StorePolicy
from appliance.store.store import ModelStore
from tests.fakes.pulling_process import peak_bytes

BIG = "big"


def main(verb: str, directory: str, where: str) -> None:
    host = parse_reference(where).host if verb == "push" else "none.example"
    outbound = Outbound(hosts={host: HostSettings(insecure=True)})
    store = ModelStore(Path(directory), StorePolicy(outbound=outbound, hub=None, floor_fraction=0.0))
    before = peak_bytes()
    if verb == "push":
        store.push(BIG, unreported, target=where)
    elif verb == "export":
        store.export(BIG, Path(where), unreported)
    else:
        _import(store, Path(where))
    store.close()
    print(peak_bytes() - before, flush=True)


def _import(store: ModelStore, path: Path) -> None:
    """As `exchange` does, without the gate: the model is but bytes."""
    with ExitStack() as opened:
        source: Source
        if path.is_dir():
            source = opened.enter_context(Layout(path, files=Files(), read_only=True))
        else:
            source = opened.enter_context(TarSource(path, files=Files()))
        copy(source, parse_reference(BIG), store.layout)


if __name__ == "__main__":
    main(*sys.argv[1:])
