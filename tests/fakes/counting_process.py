"""Keeps accounts as the daemon does, and says after each request how many there were: to be killed.

python -m tests.fakes.counting_process DATA
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from appliance.access.grants import Bounds, Grant
from appliance.daemon.account_policy import AccountsPolicy
from appliance.daemon.accounts import Accounts

GRANT = Grant(key_id="k", bounds=Bounds(tokens_per_day=10**9))
PAUSE_S = 0.01


def main() -> None:
    accounts = Accounts(AccountsPolicy(data=Path(sys.argv[1])))
    accounts.start()
    number = 0
    while True:
        number += 1
        admission = accounts.quotas.admit(GRANT)
        admission.output(3)
        admission.close()
        accounts.computed("k", "m", prompt_tokens=0, cached_tokens=0, output_tokens=3)
        accounts.ended("k", "m", failed=False, served_s=0.0)
        print(number, time.monotonic(), flush=True)
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
