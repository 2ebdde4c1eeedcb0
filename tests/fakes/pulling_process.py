"""A process that pulls one model into a store and may be killed at any moment: NAME STORE_DIRECTORY.

Says `ready`, and at its end by how many bytes its memory has grown at most.
"""

from __future__ import annotations

import sys
from pathlib import Path

from appliance.store.copy import copy
from appliance.store.files import Files
from appliance.store.http import Door
from appliance.store.layout import Layout
from appliance.store.outbound import HostSettings, Outbound
from appliance.store.reference import parse_reference
from appliance.store.registry import RegistrySource


def main(name: str, directory: str) -> None:
    reference = parse_reference(name)
    door = Door(Outbound(hosts={reference.host: HostSettings(insecure=True)}))
    layout = Layout(Path(directory), files=Files(), floor_fraction=0.0)
    before = peak_bytes()
    print("ready", flush=True)
    copy(RegistrySource(door, reference), reference, layout)
    layout.close()
    print(peak_bytes() - before, flush=True)


def peak_bytes() -> int:
    """Of this process alone: unlike `ru_maxrss`, nothing of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
