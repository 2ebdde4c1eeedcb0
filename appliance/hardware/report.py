"""Everything in one sample: at most 20 ms of CPU, so that it can be taken every few seconds.

The governor's loop needs less: `thermal_zones.read` and `power.read`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from appliance.hardware import (
    board,
    cpu_topology,
    fan,
    gpu,
    memory,
    nvpmodel,
    power,
    storage,
    thermal_zones,
)
from appliance.hardware.board import BoardIdentity
from appliance.hardware.boards import Family
from appliance.hardware.cpu_topology import CpuTopology
from appliance.hardware.fan import Fan
from appliance.hardware.gpu import Gpu
from appliance.hardware.memory import Memory
from appliance.hardware.nvpmodel import NvpModel
from appliance.hardware.power import PowerReading
from appliance.hardware.root import Root
from appliance.hardware.storage import Storage
from appliance.hardware.thermal_zones import ThermalReading


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareReport:
    """What a board tells of itself at one moment."""

    board: BoardIdentity
    cpu: CpuTopology
    memory: Memory
    thermal: ThermalReading
    power: PowerReading
    gpu: Gpu
    power_mode: NvpModel | None
    """None: the board is no Jetson."""
    fans: tuple[Fan, ...]
    """Empty: no chip drives or measures one."""
    storage: Storage

    @property
    def is_throttled(self) -> bool | None:
        """The board is held back now, by heat or by its supply; None: nothing on it would tell."""
        alerts = [bool(device.state) for device in self.thermal.cooling_devices if device.is_throttle_alert]
        flags = (
            self.power.under_voltage,
            self.power.frequency_capped,
            self.power.is_throttled,
            self.power.soft_limit,
            self.power.is_over_current,
        )
        known = [*alerts, *(flag for flag in flags if flag is not None)]
        return any(known) if known else None


def sample(root: Root, *, data_dir: Path | None = None) -> HardwareReport:
    """Read the whole board once. Never raises for what the board lacks or gives wrong."""
    identity = board.read(root)
    thermal = thermal_zones.read(root)
    return HardwareReport(
        board=identity,
        cpu=cpu_topology.read(root),
        memory=memory.read(root),
        thermal=thermal,
        power=power.read(root),
        gpu=gpu.read(root),
        power_mode=nvpmodel.read(root) if identity.family is Family.JETSON else None,
        fans=fan.read(root, thermal.cooling_devices),
        storage=storage.read(root, data_dir),
    )
