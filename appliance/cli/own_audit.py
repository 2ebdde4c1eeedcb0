"""The audit log of a data directory where no daemon runs: what this command changes is written down, too."""

from __future__ import annotations

import getpass

from appliance.access.audit import Audit
from appliance.config import Config
from appliance.daemon.audit_log import audit_of


def own_audit(config: Config) -> Audit | None:
    """None: the configuration wants none."""
    return audit_of(config)


def own_name() -> str:
    """Who acts: the user of the machine."""
    try:
        return f"user {getpass.getuser()}"
    except (KeyError, OSError):  # no entry for our number
        return "user"
