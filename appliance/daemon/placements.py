"""The placement that the configuration, a model and a calibration ask for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from appliance.calibrating.values import Choice
from appliance.config import Config
from appliance.daemon.own_wishes import placed
from appliance.wire.load import Placement

_UBATCH: Final = 512
_NOTHING_CHOSEN: Final = Choice()


def placement(
    config: Config, overrides: Mapping[str, object], *, chosen: Choice = _NOTHING_CHOSEN
) -> Placement:
    """That of `[engine]`, with what one model wants otherwise, as far as `[engine]` itself may. `chosen` by a
    calibration: it holds where both leave something open.
    """
    engine = config.engine
    flash_attention: str = engine.flash_attention
    if flash_attention == "auto":
        flash_attention = chosen.flash_attention or "auto"
    common = Placement(
        n_ctx_seq=engine.n_ctx_seq,
        n_seq_max=engine.n_seq_max,
        kv_cells=engine.kv_cells,
        n_ubatch=engine.n_ubatch or chosen.n_ubatch or _UBATCH,
        type_k=engine.type_k,
        type_v=engine.type_v,
        n_threads=engine.n_threads or chosen.n_threads or 0,
        flash_attention=flash_attention,
        repack=chosen.repack is not False,
        use_mmap=chosen.use_mmap is not False,
    )
    return placed(common, overrides)
