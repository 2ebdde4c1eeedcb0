"""The configuration: one TOML file, declared once, frozen for the life of the process.

`values` checks single values, `settings`, `access_settings` and `board_settings` declare every setting with
its default, unit, bounds and text, `reading` makes a `Config` of a file. Leaves run-time state to its owners.
Sources: one file, then the command line's own flags as dotted overrides (`{"server.listen": "127.0.0.1:0"}`);
there is no third. Reload is restart.
"""

from appliance.config.access_settings import AccessSettings, KeySettings
from appliance.config.board_settings import HeatSettings, MemorySettings
from appliance.config.reading import COMMAND_LINE, DEFAULT_PATH, load
from appliance.config.section import Section
from appliance.config.settings import (
    Config,
    DataSettings,
    EngineSettings,
    LogSettings,
    ModelSettings,
    QueueSettings,
    RemoteSettings,
    RunnerSettings,
    ServerSettings,
    StoreSettings,
)
from appliance.config.values import is_loopback, parse_listen

__all__ = [
    "COMMAND_LINE",
    "DEFAULT_PATH",
    "AccessSettings",
    "Config",
    "DataSettings",
    "EngineSettings",
    "HeatSettings",
    "KeySettings",
    "LogSettings",
    "MemorySettings",
    "ModelSettings",
    "QueueSettings",
    "RemoteSettings",
    "RunnerSettings",
    "Section",
    "ServerSettings",
    "StoreSettings",
    "is_loopback",
    "load",
    "parse_listen",
]
