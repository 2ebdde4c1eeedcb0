from __future__ import annotations

from pathlib import Path

from appliance.hardware import cpu_topology
from appliance.hardware.cpu_topology import FrequencyPolicy
from tests.unit.hardware.trees import tree

CPU = "sys/devices/system/cpu"


def test_clocks_are_in_hertz_and_policies_by_their_first_core(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            f"{CPU}/online": "0-7",
            f"{CPU}/possible": "0-7",
            f"{CPU}/cpufreq/policy4/related_cpus": "4 5 6 7",
            f"{CPU}/cpufreq/policy4/scaling_max_freq": 1_728_000,
            f"{CPU}/cpufreq/policy0/related_cpus": "0 1 2 3",
            f"{CPU}/cpufreq/policy0/scaling_governor": "schedutil",
            f"{CPU}/cpufreq/policy9/scaling_cur_freq": 1,
        },
    )
    assert cpu_topology.read(root).policies == (
        FrequencyPolicy(
            cores=(0, 1, 2, 3), governor="schedutil", current_hertz=None, limit_hertz=None, most_hertz=None
        ),
        FrequencyPolicy(
            cores=(4, 5, 6, 7), governor=None, current_hertz=None, limit_hertz=1_728_000_000, most_hertz=None
        ),
    )


def test_cores_of_a_list_that_is_none_are_unknown_with_the_reason(tmp_path: Path) -> None:
    read = cpu_topology.read(tree(tmp_path, {f"{CPU}/online": "x"}))
    assert (read.online, read.usable_big_cores) == ((), 1)
    assert read.reasons["online"] == f"/{CPU}/online: not a list of cores"
    assert read.reasons["possible"] == f"/{CPU}/possible: not there"
