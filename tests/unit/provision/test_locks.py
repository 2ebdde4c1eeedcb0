from __future__ import annotations

import re
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from provision.bootstrap import places

_PINNED = re.compile(r"^([A-Za-z0-9._-]+(?:\[[a-z0-9,._-]+\])?)==", re.MULTILINE)


def _locked() -> dict[str, frozenset[str]]:
    """What requirements-dev.lock pins: names with their extras."""
    text = (places.ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
    pinned = [Requirement(one) for one in _PINNED.findall(text)]
    return {canonicalize_name(one.name): frozenset(one.extras) for one in pinned}


@pytest.mark.parametrize("name", sorted(_locked()))
def test_an_extra_that_a_locked_package_asks_for_is_pinned_by_that_name(name: str) -> None:
    """Debian 12's pip looks for the newest release of `name[extra]` if only `name` is pinned, and stops when
    there is one that the lock does not have.
    """
    locked = _locked()
    try:
        asked = [Requirement(line) for line in metadata.requires(name) or ()]
    except metadata.PackageNotFoundError:
        return  # of another Python, by its marker
    for one in asked:
        wanted = any(
            (one.marker is None or one.marker.evaluate({"extra": extra})) for extra in ("", *locked[name])
        )
        if one.extras and wanted:
            assert one.extras <= locked[canonicalize_name(one.name)], f"{name} asks for {one}"
