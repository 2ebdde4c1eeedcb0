"""How fast models usually are on this board: known over restarts of the daemon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from appliance.config import Config
from appliance.daemon.calibrations import board_name
from appliance.daemon.memory import PLANS_FOLDER
from appliance.hardware.root import Root
from appliance.optimizing.standing import Standing
from appliance.supervisor.learned_speeds import LearnedSpeeds
from appliance.supervisor.speed_watch import SpeedWatch

_FILE: Final = "speeds.json"


class BoardSpeeds:
    """`keep` from one thread at a time: that of the upkeep, then the main thread when it has ended."""

    def __init__(self, config: Config, *, standing: Callable[[], Standing], sysroot: Path) -> None:
        def told() -> str:
            here = standing()
            return f"{board_name(Root(sysroot))}, {here.chip.mark}, {here.build}"

        self._learned = LearnedSpeeds(config.data.dir / PLANS_FOLDER / _FILE, standing=told)
        self.watch = SpeedWatch(self._learned.read)

    def keep(self) -> None:
        """What was learned since the last time; a crash in between forgets that."""
        known = self.watch.known()
        if known is not None:
            self._learned.write(known)
