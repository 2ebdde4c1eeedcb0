from __future__ import annotations

from pathlib import Path

from appliance.hardware import nvpmodel
from appliance.hardware.nvpmodel import PowerMode
from tests.unit.hardware.trees import tree


def test_a_mode_that_the_configuration_lacks_is_unknown(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "etc/nvpmodel.conf": "< POWER_MODEL ID=2 NAME=15W >\n<POWER_MODEL ID=0 NAME=MAXN>\n"
            "< PM_CONFIG DEFAULT=2 >",
            "var/lib/nvpmodel/status": "pmode:0007 fmode:quiet",
        },
    )
    found = nvpmodel.read(root)
    assert found.modes == (PowerMode(number=0, name="MAXN"), PowerMode(number=2, name="15W"))
    assert (found.mode, found.default_number) == (None, 2)
    assert found.reasons["mode"] == "/etc/nvpmodel.conf: has no mode 7"
