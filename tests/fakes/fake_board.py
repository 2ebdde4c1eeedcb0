"""A simulated board: a fixture of tests/boards written as a tree of the kernel's files.

Numbers of zones, cooling devices and hwmon chips are drawn anew for each seed, as each boot may. Files change
by write-then-rename, so a reader sees the old text or the new, never half of it.
"""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import tarfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from appliance.hardware.root import ERRNO_TABLE, Root

BOARDS: Final = Path(__file__).parents[1] / "boards"
NAMES: Final = tuple(sorted(path.stem for path in BOARDS.glob("*.toml")))

_TREE: Final = "sys/firmware/devicetree/base"
_ZONES: Final = "sys/class/thermal/thermal_zone"
_COOLING: Final = "sys/class/thermal/cooling_device"
_CHIPS: Final = "sys/class/hwmon/hwmon"
_EMPTY: Final = "EMPTY"
"""The "error" of a file that is there and says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixture:
    """One board's facts."""

    name: str
    data: Mapping[str, Any] = field(repr=False)

    @property
    def expected(self) -> dict[str, Any]:
        return dict(self.data["expected"])


@functools.cache
def load(name: str) -> Fixture:
    """The fixture of this name in tests/boards."""
    data = tomllib.loads((BOARDS / f"{name}.toml").read_text(encoding="utf-8"))
    return Fixture(name=name, data=data)


class FakeBoard:
    """One board's tree below `top`. Owned by the test."""

    def __init__(self, top: Path, fixture: Fixture, *, seed: int = 0) -> None:
        self.top = top
        self._draw = random.Random(seed)
        self._places: dict[str, list[str]] = {}
        self._errors: dict[str, str] = {}
        self._folders: set[Path] = set()
        self._is_built = False
        data = fixture.data
        if "device_tree" in data:
            tree = data["device_tree"]
            self.write_bytes(f"{_TREE}/compatible", "".join(f"{x}\0" for x in tree["compatible"]).encode())
            self.write_bytes(f"{_TREE}/model", f"{tree['model']}\0".encode())
        self.set_memory(**data["memory"]["kib"])
        self._numbered(_ZONES, data.get("zones", ()), self._zone)
        self._numbered(_COOLING, data.get("cooling", ()), self._cooling)
        self._numbered(_CHIPS, data.get("chips", ()), self._chip)
        for fact in data["facts"]:
            for path, text in fact.get("files", {}).items():
                self.write(path, text)
            for path, name in fact.get("errors", {}).items():
                self.fail(path, name)
            for path, target in fact.get("links", {}).items():
                place = top / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(target)
        self._write_errors()
        self._is_built = True

    @property
    def root(self) -> Root:
        return Root(self.top)

    def place(self, kind: str, nth: int = 0) -> str:
        """Where the zone or cooling device of this type, or the chip of this name, is."""
        return self._places[kind][nth]

    def write(self, path: str, text: object) -> None:
        self.write_bytes(path, f"{str(text).rstrip()}\n".encode())

    def write_bytes(self, path: str, data: bytes) -> None:
        """Also ends an error that reading gave."""
        place = self.top / path
        if place.parent not in self._folders or self._is_built:
            place.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(place.parent)
        if not self._is_built:  # nobody reads it yet
            place.write_bytes(data)
            return
        aside = place.with_name(f".{place.name}.new")
        aside.write_bytes(data)
        aside.replace(place)
        if self._errors.pop(path, None) is not None:
            self._write_errors()

    def fail(self, path: str, name: str) -> None:
        """Reading gives this error from now on; the file stays in its listing."""
        if not (self.top / path).exists():
            self.write_bytes(path, b"")
        if name != _EMPTY:
            self._errors[path] = name
            if self._is_built:
                self._write_errors()
        else:
            self.write_bytes(path, b"")

    def remove(self, path: str) -> None:
        place = self.top / path
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink()

    def set_memory(self, **kib: int) -> None:
        """Lines of /proc/meminfo; those not named stay."""
        place = self.top / "proc/meminfo"
        lines = dict(line.split(":", 1) for line in place.read_text().splitlines()) if place.exists() else {}
        lines |= {name: f"{value:>16} kB" for name, value in kib.items()}
        self.write("proc/meminfo", "\n".join(f"{name}:{value}" for name, value in lines.items()))

    def set_temperature(self, kind: str, celsius: float) -> None:
        self.write(f"{self.place(kind)}/temp", round(celsius * 1000))

    def _numbered(self, prefix: str, entries: Any, write: Any) -> None:
        numbers = self._draw.sample(range(len(entries) * 2), len(entries))
        for number, entry in zip(numbers, entries, strict=True):
            place = f"{prefix}{number}"
            self._places.setdefault(entry.get("type") or entry["name"], []).append(place)
            write(place, entry)

    def _zone(self, place: str, zone: Mapping[str, Any]) -> None:
        self.write(f"{place}/type", zone["type"])
        self.write(f"{place}/mode", zone["mode"])
        if "error" in zone:
            self.fail(f"{place}/temp", zone["error"])
        else:
            self.write(f"{place}/temp", zone["temp"])
        trips = list(zone.get("trips", ()))
        self._draw.shuffle(trips)  # their order is the release's
        for number, (kind, temperature, hysteresis) in enumerate(trips):
            for name, value in (("type", kind), ("temp", temperature), ("hyst", hysteresis)):
                self.write(f"{place}/trip_point_{number}_{name}", value)

    def _cooling(self, place: str, device: Mapping[str, Any]) -> None:
        self.write(f"{place}/type", device["type"])
        self.write(f"{place}/max_state", device["max"])
        self.write(f"{place}/cur_state", device["cur"])

    def _chip(self, place: str, chip: Mapping[str, Any]) -> None:
        self.write(f"{place}/name", chip["name"])
        for name, value in chip["files"].items():
            self.write(f"{place}/{name}", value)

    def _write_errors(self) -> None:
        aside = self.top / f"{ERRNO_TABLE}.new"
        aside.write_text(json.dumps(self._errors, indent=1))
        aside.replace(self.top / ERRNO_TABLE)


def from_capture(capture: Path, top: Path) -> Root:
    """A tree that `outpost hardware capture` wrote, as a directory or a tar, brought to `top`."""
    if capture.is_dir():
        shutil.copytree(capture, top, symlinks=True)
    else:
        with tarfile.open(capture) as archive:
            archive.extractall(top, filter="data")
    assert all(not Path(folder, name).is_symlink() for folder, _, names in os.walk(top) for name in names)
    return Root(top)
