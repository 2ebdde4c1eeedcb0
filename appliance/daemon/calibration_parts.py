"""The parts of a calibration, put together: for the daemon, and for the command line where no daemon runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from appliance.calibrating.values import Axis, Choice
from appliance.config import Config
from appliance.daemon.calibration import Calibrator, Subject
from appliance.daemon.calibrations import FILE, Calibrations, board_name, choice_of
from appliance.daemon.power_modes import NOTE, PowerModes
from appliance.daemon.stored_models import Applied, all_specs, name_key
from appliance.errors import ModelNotFound
from appliance.hardware.root import Root
from appliance.optimizing.standing import Standing
from appliance.planner.prices import PriceTable
from appliance.store.serving import ServeSpec

_FOLDER: Final = "plans"
_PROBED: Final = Choice(n_threads=511, n_ubatch=33, flash_attention="off")
"""What nobody sets: where it is not taken, something else is set."""


class BoardCalibration:
    """Any thread; `close` once."""

    def __init__(
        self,
        config: Config,
        *,
        stored: Callable[[], Sequence[ServeSpec]],
        standing: Callable[[], Standing],
        busy: Callable[[], bool] = lambda: False,
        on_change: Callable[[], None] = lambda: None,
        sysroot: Path = Path("/"),
    ) -> None:
        """`stored`: the models of the store, asked when one is to be measured."""
        root = Root(sysroot)
        folder = config.data.dir / _FOLDER
        self._config = config
        self._stored = stored
        self._power_modes = PowerModes(root, folder / NOTE)
        self.calibrations = Calibrations(folder / FILE, standing=standing, board_name=board_name(root))
        self.calibrator = Calibrator(
            config,
            subject=self._subject,
            calibrations=self.calibrations,
            standing=standing,
            power_modes=self._power_modes,
            busy=busy,
            on_change=on_change,
            sysroot=sysroot,
        )

    def start(self) -> None:
        """What a crash has left is put back."""
        self._power_modes.restore()

    def close(self) -> None:
        self.calibrator.close()

    def applied(self, paths: Sequence[str]) -> Applied:
        """`stored_models.Calibrated`."""
        found = self.calibrations.find(paths)
        if found is None:
            return Applied()
        if not self._config.calibration.apply:
            return Applied(told=f"{found.sentence}; not applied: [calibration] apply is false")
        return Applied(choice=choice_of(found), told=found.sentence)

    def prices(self, paths: Sequence[str], common: PriceTable) -> PriceTable:
        """The planner's, with what was measured of the model in these files."""
        return self.calibrations.prices(paths, common) if self._config.calibration.apply else common

    def _subject(self, name: str) -> Subject:
        """Raises ModelNotFound."""
        stored = self._stored()
        key = name_key(name)
        specs = all_specs(self._config, stored)
        plain = next((one for one in specs if name_key(one.name) == key), None)
        if plain is None:
            raise ModelNotFound(model=name, available=[one.name for one in specs])
        probed = next(
            one
            for one in all_specs(self._config, stored, calibrated=lambda _: Applied(choice=_PROBED))
            if name_key(one.name) == key
        )
        placement = probed.placement
        taken = {
            Axis.THREADS: placement.n_threads == _PROBED.n_threads,
            Axis.UBATCH: placement.n_ubatch == _PROBED.n_ubatch,
            Axis.FLASH_ATTENTION: placement.flash_attention == _PROBED.flash_attention,
        }
        return Subject(spec=plain, settled=frozenset(axis for axis, is_open in taken.items() if not is_open))
