"""A program that stands for `jtop_probe` with a jetson-stats of every temper. Written from its protocol: no
code of that package is here.

`python -m tests.fakes.fake_jtop TEMPER` puts a module `jtop` in place and runs the probe as it is.
"""

from __future__ import annotations

import sys
import time
from types import ModuleType, TracebackType
from typing import Any, ClassVar, Self

from appliance.hardware import jtop_probe


class Client:
    """A client that is well."""

    board: ClassVar[dict[str, Any]] = {
        "hardware": {
            "Module": "NVIDIA Jetson Orin Nano (8GB ram)",
            "SoC": "tegra234",
            "L4T": "36.4.3",
            "Jetpack": "6.2",
            "Serial Number": "142",
        }
    }
    nvpmodel: Any = "25W"
    jetson_clocks: Any = False
    power: ClassVar[dict[str, Any]] = {"tot": {"power": 5588, "avg": 5400}, "rail": {}}
    memory: ClassVar[dict[str, Any]] = {"RAM": {"tot": 7802372, "lfb": 512}}

    def __init__(self, interval: float) -> None:
        self.interval = interval

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def ok(self) -> bool:
        return True


class Hanging(Client):
    """The service accepts, and never answers."""

    def __enter__(self) -> Self:
        time.sleep(600)
        raise AssertionError


class Absent(Client):
    def __enter__(self) -> Self:
        raise RuntimeError("The jtop.service is not active. Please run:\nsudo jtop --install-service")


class Silent(Client):
    def ok(self) -> bool:
        return False


class Odd(Client):
    """Everything has another type than it should."""

    board: ClassVar[dict[str, Any]] = {"hardware": {"Module": ["x"], "Jetpack": None}}
    nvpmodel = None
    jetson_clocks = 1
    power: ClassVar[dict[str, Any]] = {"tot": {"power": "much"}}
    memory: ClassVar[dict[str, Any]] = {"RAM": {"lfb": -5}}


class Dying(Client):
    def __enter__(self) -> Self:
        sys.exit(3)


CLIENTS = {"well": Client, "hangs": Hanging, "absent": Absent, "silent": Silent, "odd": Odd, "dies": Dying}


def main(temper: str) -> int:
    if temper == "garbage":
        sys.stdout.buffer.write(b"\xff\xfe not json\n")
        return 0
    if temper == "endless":
        while True:
            sys.stdout.write("y" * 65536)
    module = ModuleType("jtop")
    module.__dict__.update(jtop=CLIENTS[temper], __version__="7.2.2")
    sys.modules["jtop"] = module
    print("a line of the library's own")
    return jtop_probe.main()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
