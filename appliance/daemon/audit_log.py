"""The audit log of this device: its key, and what the daemon itself has to say in it."""

from __future__ import annotations

from appliance import __version__, log
from appliance.access import audit_files
from appliance.access.audit import Audit
from appliance.config import Config
from appliance.daemon.device_key import device_key

_log = log.logger("audit")

_STARTED = "daemon_started"
_LOOK_BACK = 1000
"""Entries among which the last start is sought."""


def audit_of(config: Config) -> Audit | None:
    """None: the configuration wants none. Where the device's key cannot be had nothing can be written."""
    if not config.audit.enabled:
        return None
    key: bytes | OSError
    try:
        key = device_key(config.data.dir)
    except OSError as error:
        _log.error("audit_impossible", reason=error.strerror or str(error))
        key = error
    return Audit(config.data.dir, key, max_bytes=config.audit.max_bytes)


def note_start(log_: Audit, config: Config) -> None:
    """With which configuration: a keyed digest, which tells whether it is the same as before and nothing of
    the secrets in it.
    """
    told = log_.keyed_digest(config.model_dump_json().encode())
    before = None
    try:
        found = audit_files.entries(config.data.dir, last=_LOOK_BACK)
        starts = [entry.get("facts") for entry in found if entry.get("event") == _STARTED]
        before = starts[-1].get("config") if starts and isinstance(starts[-1], dict) else None
    except OSError as error:
        _log.error("audit_unreadable", reason=error.strerror or str(error))
    log_.note(_STARTED, "daemon", version=__version__, config=told, config_changed=told != before)
