"""The header of a GGUF that is in the store, read through the store's own door to files, or that is still at
its source.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from appliance.gguf.header import DEFAULT_LIMITS, Header, read_opened, read_streamed
from appliance.store.content import Source, Wanted
from appliance.store.descriptor import Descriptor
from appliance.store.digest import Digest
from appliance.store.files import only_read
from appliance.store.layout import Layout
from appliance.store.retry import patiently


def blob_header(layout: Layout, digest: Digest, *, model: str) -> Header:
    """Of a blob that is to be admitted: nothing is held against one that cannot be read just now. Raises
    ModelInvalid, named `model`; FileUnreadable, ModelBroken, ModelNotFound.
    """
    path = layout.path(digest, to_admit=True)
    with only_read():
        descriptor = layout.files.open_existing(path)
        try:
            return read_opened(descriptor, model=model, pread=layout.files.pread)
        finally:
            os.close(descriptor)


def source_header(source: Source, blob: Descriptor, *, model: str, wanted: Wanted) -> Header:
    """Of a blob that has not come: as the source says, not verified. Little more than the header is asked
    for. Raises ModelInvalid, named `model`, and what the source and `wanted` raise.
    """
    end = min(blob.size, DEFAULT_LIMITS.header_bytes)

    def read() -> Header:
        with source.open(blob, start=0, end=end) as chunks:
            return read_streamed(_watched(chunks, wanted), blob.size, model=model)

    return patiently(read)


def _watched(chunks: Iterator[bytes], wanted: Wanted) -> Iterator[bytes]:
    for chunk in chunks:
        wanted()
        yield chunk
