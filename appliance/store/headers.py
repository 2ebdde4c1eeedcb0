"""The header of a GGUF in the store, read through the store's own door to files."""

from __future__ import annotations

import os

from appliance.gguf.header import Header, read_opened
from appliance.store.digest import Digest
from appliance.store.files import only_read
from appliance.store.layout import Layout


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
