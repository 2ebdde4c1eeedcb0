"""Models from and to other machines, as far as the configuration lets this Outpost call them.

NAME, HOST/NAME     a registry: OCI's, or in Ollama's style; or a hub of files
http(s)://…/x.gguf  one file, or all parts of a split one of which any is named
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from appliance.modelfile import Modelfile, Source
from appliance.store import homes
from appliance.store.build import Builder, Order
from appliance.store.choosing import chooser, remember
from appliance.store.content import PUSHING, Report
from appliance.store.copy import Foresee, copy
from appliance.store.descriptor import Descriptor
from appliance.store.gate import Gate
from appliance.store.http import Door
from appliance.store.hub import remote_source
from appliance.store.layout import Layout
from appliance.store.local_files import name_for
from appliance.store.reference import Reference, parse_reference
from appliance.store.registry import RegistrySource
from appliance.store.registry_push import RegistryTarget
from appliance.store.remote_file import download, part_urls
from appliance.store.settings import StorePolicy
from appliance.store.shelf import Shelf

_FILE_URL: Final = re.compile(r"https?://[^?#]+\.gguf([?#].*)?", re.IGNORECASE)


class Remote:
    """Any thread. Connections are made per call and closed with it."""

    def __init__(
        self,
        layout: Layout,
        gate: Gate,
        shelf: Shelf,
        *,
        policy: StorePolicy,
        available_bytes: Callable[[], int | None],
    ) -> None:
        """`available_bytes`: memory a model may take now; None: unknown."""
        self._layout = layout
        self._gate = gate
        self._shelf = shelf
        self._policy = policy
        self._available_bytes = available_bytes

    def pull(
        self,
        name: str,
        builder: Builder,
        report: Report,
        *,
        as_name: str | None,
        foresee: Foresee | None = None,
    ) -> Reference:
        """Returns what it is stored as. `foresee`: not of a URL. Raises OutboundRefused, RemoteError,
        ContentError, InsufficientSpace, and what `foresee` raises.
        """
        target = parse_reference(as_name) if as_name is not None else None
        if _FILE_URL.fullmatch(name):
            return self._pull_file(name, builder, report, target)
        reference = parse_reference(name, allow_scheme=True)
        door = Door(self._policy.outbound)
        try:
            source = remote_source(door, reference, hub=self._policy.hub)
            stored_as = target or reference.with_digest(None)
            copied = copy(
                source,
                reference,
                self._shelf,
                as_reference=stored_as,
                report=report,
                choose=chooser(
                    model=reference.display,
                    available_bytes=self._available_bytes,
                    report=report,
                ),
                foresee=foresee,
                admit=lambda manifest: self._gate.admit(manifest, model=stored_as.display, report=report),
            )
        finally:
            door.close()
        remember(self._layout, stored_as, copied.descriptor)
        if isinstance(source, RegistrySource):
            homes.note(self._layout, stored_as, copied.descriptor.digest, source.home)
        return stored_as

    def push(self, reference: Reference, target: Reference, report: Report) -> None:
        """Blobs that the registry has in another repository, as far as we know of it, are not sent. Raises
        ModelNotFound, OutboundRefused, RemoteError.
        """
        door = Door(self._policy.outbound)
        try:
            with self._layout.hold(list(self._layout.closure(self._layout.lookup(reference)))):
                registry = RegistryTarget(door, target, mounts=homes.mounts(self._layout, target))
                copied = copy(
                    self._layout, reference, registry, as_reference=target, report=report, words=PUSHING
                )
        finally:
            door.close()
        homes.note(self._layout, reference, copied.descriptor.digest, registry.home)

    def _pull_file(self, url: str, builder: Builder, report: Report, target: Reference | None) -> Reference:
        reference = target or name_for(url.partition("?")[0].partition("#")[0].rpartition("/")[2])
        with ExitStack() as held:

            def hold(blob: Descriptor) -> None:
                held.enter_context(self._layout.hold([blob.digest]))

            door = Door(self._policy.outbound)
            try:
                blobs = download(door, part_urls(url), self._layout, report, hold=hold)
            finally:
                door.close()
            recipe = Modelfile(from_=tuple(Source(text=blob.digest) for blob in blobs))
            builder.build(Order(reference=reference, recipe=recipe), report)
        return reference
