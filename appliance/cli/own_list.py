"""What `outpost list` shows where no daemon runs: the names of a layout, with no more of the store than they
need.

Nothing of the configuration bears on a list, so none is read: its modules take longer than the list.
"""

from __future__ import annotations

from pathlib import Path

from appliance.cli.local_failures import failures
from appliance.cli.store_door import Json
from appliance.store.answers import listed_object
from appliance.store.derived_link import DERIVED_LINK
from appliance.store.files import Files
from appliance.store.listing_rows import Tell, rows
from appliance.store.places import FOLDER
from appliance.store.reader import ModelReader
from appliance.store.reading import Reading


def own_list(data: Path, prefix: str) -> list[Json]:
    """Raises Failure."""
    root = data.expanduser().absolute() / FOLDER
    with failures(), Reading(root, files=Files(), lenient=True) as layout:
        found = rows(layout, ModelReader(layout), prefix=prefix, tell=_tell(layout))
        return [listed_object(row) for row in found]


def _tell(layout: Reading) -> Tell | None:
    """Where nothing was optimised, nothing of it is loaded. On what it was measured is not compared here."""
    if not any(DERIVED_LINK in descriptor.annotations for _, descriptor in layout.references()):
        return None
    from appliance.store.derived import Derivations  # noqa: PLC0415 - with all that measuring is told in

    return Derivations(layout).told
