"""Doors with all routes, and a key for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance.access.claims import Claims
from appliance.access.key_store import KeyStore
from appliance.access.keys import KeyRing, StoredKey, generate
from appliance.access.scopes import Scope
from appliance.access.wishes import CreateKey
from appliance.daemon.snapshots import Snapshots
from appliance.hardware.report import sample
from appliance.hardware.root import Root
from tests.fakes.fake_layout import FakeLayout
from tests.fakes.fake_store_verbs import FakeStoreVerbs
from tests.unit.api.books import Books
from tests.unit.api.door import Door

KEY = generate()
BEARER = {"Authorization": f"Bearer {KEY.text}"}


class Doors:
    """Made before stores that the test ends."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stores: list[KeyStore] = []

    def opened(self, *scopes: Scope, keys: bool = True, subnets: tuple[str, ...] = (), **fields: Any) -> Door:
        """With one key of these scopes."""
        told = {"sha256": KEY.sha256, "scopes": frozenset(scopes), **fields}
        ring = KeyRing({KEY.key_id: StoredKey(**told)} if keys else {})
        directory = self._directory / str(len(self._stores))
        directory.mkdir()
        store = KeyStore(directory, configured={})
        self._stores.append(store)
        return Door(
            keys=ring,
            key_store=store,
            claims=Claims(store, directory),
            trusted_subnets=subnets,
            store=FakeStoreVerbs(),
            layout=FakeLayout(Path("/nowhere")),
            render_metrics=lambda: "",
            accounting=Books().accounting,
            board=lambda: sample(Root(Path("/nowhere"))),
            snapshots=Snapshots(Path("/nowhere")),
        )

    def made_key(self) -> str:
        """The id of a new key in the store of the last one."""
        return self._stores[-1].create(CreateKey(force=True)).shown.key_id

    def close(self) -> None:
        for store in self._stores:
            store.close()
