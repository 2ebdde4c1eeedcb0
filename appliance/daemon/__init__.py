"""The daemon: all parts built from the configuration, started in order and stopped in reverse.

`composition` builds, starts and stops; `policies` turns the configuration into the parts' own policies;
`directory` is what it keeps on disk for itself; `stored_models` gives the store's models to the supervisor;
`upkeep` is the thread that looks after the store.
"""

from appliance.daemon.composition import Daemon, main
from appliance.daemon.policies import model_specs, queue_policy, runner_policy

__all__ = ["Daemon", "main", "model_specs", "queue_policy", "runner_policy"]
