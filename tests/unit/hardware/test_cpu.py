from __future__ import annotations

from pathlib import Path

import pytest

from appliance.hardware import cpu
from appliance.hardware.cpu import Core, CoreTimes, CpuFacts


def tree(root: Path, **files: str) -> Path:
    """A file tree; `__` in a name stands for `/`."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    return root


def board(root: Path, capacities: list[int], allowed: str) -> Path:
    """A board with one core per capacity."""
    tree(root, proc__self__status=f"Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t{allowed}\n")
    for index, capacity in enumerate(capacities):
        folder = root / f"sys/devices/system/cpu/cpu{index}"
        folder.mkdir(parents=True)
        (folder / "cpu_capacity").write_text(f"{capacity}\n", encoding="ascii")
    (root / "sys/devices/system/cpu/online").write_text(f"0-{len(capacities) - 1}\n", encoding="ascii")
    return root


def facts(*capacities: int | None, quota: float | None = None) -> CpuFacts:
    cores = tuple(Core(index=index, capacity=capacity) for index, capacity in enumerate(capacities))
    return CpuFacts(cores=cores, quota_cores=quota)


@pytest.mark.parametrize(
    ("text", "found"),
    [("0-3,8\n", {0, 1, 2, 3, 8}), ("0", {0}), ("", set()), ("\n", set()), ("x,2", {2})],
)
def test_the_kernels_lists_are_parsed(text: str, found: set[int]) -> None:
    assert cpu.parse_cpu_list(text) == found


def test_on_an_rk3588_only_the_four_big_cores_count(tmp_path: Path) -> None:
    read = cpu.read(board(tmp_path, [395] * 4 + [1024] * 4, "0-7"))
    assert read.big_cores == (4, 5, 6, 7)
    assert read.usable_big_cores == 4


def test_only_cores_in_the_affinity_mask_count(tmp_path: Path) -> None:
    assert cpu.read(board(tmp_path, [395] * 4 + [1024] * 4, "2-5")).big_cores == (4, 5)


def test_where_only_little_cores_are_allowed_they_are_the_big_ones(tmp_path: Path) -> None:
    assert cpu.read(board(tmp_path, [395] * 4 + [1024] * 4, "0-1")).big_cores == (0, 1)


def test_without_capacities_all_cores_are_alike(tmp_path: Path) -> None:
    assert cpu.read(tree(tmp_path, sys__devices__system__cpu__online="0-2")).big_cores == (0, 1, 2)


def test_an_empty_tree_still_allows_one_thread(tmp_path: Path) -> None:
    read = cpu.read(tmp_path)
    assert (read.cores, read.quota_cores, read.usable_big_cores) == ((), None, 1)


@pytest.mark.parametrize(("quota", "count"), [(None, 4), (2.5, 2), (0.5, 1), (8.0, 4)])
def test_a_quota_bounds_the_threads(quota: float | None, count: int) -> None:
    assert facts(1024, 1024, 1024, 1024, quota=quota).usable_big_cores == count


def test_a_core_of_three_quarters_is_big() -> None:
    assert facts(1024, 768, 767).big_cores == (0, 1)


def test_the_tightest_bound_of_cgroup_2_and_its_parents_holds(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        proc__self__cgroup="0::/a/b\n",
        sys__fs__cgroup__a__b__cpumax="",
    )
    (root / "sys/fs/cgroup/a/b/cpu.max").write_text("max 100000\n", encoding="ascii")
    (root / "sys/fs/cgroup/a/cpu.max").write_text("150000 100000\n", encoding="ascii")
    assert cpu.read_quota(root) == 1.5


def test_a_container_that_sees_only_its_own_cgroup_finds_the_bound_at_the_root(tmp_path: Path) -> None:
    root = tree(tmp_path, proc__self__cgroup="0::/docker/deadbeef\n")
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "sys/fs/cgroup/cpu.max").write_text("200000 100000\n", encoding="ascii")
    assert cpu.read_quota(root) == 2.0


def test_the_bound_of_cgroup_1_is_read(tmp_path: Path) -> None:
    root = tree(tmp_path, proc__self__cgroup="5:cpu,cpuacct:/x\n4:memory:/y\nbroken\n")
    group = root / "sys/fs/cgroup/cpu,cpuacct/x"
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text("50000\n", encoding="ascii")
    (group / "cpu.cfs_period_us").write_text("100000\n", encoding="ascii")
    assert cpu.read_quota(root) == 0.5


def test_no_bound_in_cgroup_1_is_minus_one(tmp_path: Path) -> None:
    root = tree(tmp_path, proc__self__cgroup="5:cpu:/\n")
    group = root / "sys/fs/cgroup/cpu"
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text("-1\n", encoding="ascii")
    (group / "cpu.cfs_period_us").write_text("100000\n", encoding="ascii")
    assert cpu.read_quota(root) is None


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000", None), ("250000 100000", 2.5), ("", None), ("1 0", None)]
)
def test_cpu_max_is_parsed(text: str, cores: float | None) -> None:
    assert cpu.parse_cpu_max(text) == cores


STAT = """cpu  300 0 100 1000 50 0 10 20 0 0
cpu0 200 1 50 400 30 2 5 10 7 0
cpu1 100 0 50 600 20 0 5 10 0 0
intr 1 2 3
"""


def test_idle_and_waiting_for_io_are_not_busy_and_guests_count_once() -> None:
    assert cpu.parse_stat(STAT) == {
        0: CoreTimes(busy_ticks=268, total_ticks=698),
        1: CoreTimes(busy_ticks=165, total_ticks=785),
    }


def test_times_are_read_from_a_tree(tmp_path: Path) -> None:
    assert cpu.read_times(tree(tmp_path, proc__stat=STAT)) == cpu.parse_stat(STAT)
    assert cpu.read_times(tmp_path / "nothing") == {}


def times(busy: int, total: int) -> CoreTimes:
    return CoreTimes(busy_ticks=busy, total_ticks=total)


def test_busy_is_a_share_over_the_cores_asked_for() -> None:
    before = {0: times(0, 0), 1: times(50, 100), 2: times(0, 0)}
    after = {0: times(30, 100), 1: times(150, 200), 2: times(100, 100)}
    assert cpu.busy_fraction(before, after, [0, 1]) == 0.65


def test_between_equal_readings_busy_is_unknown() -> None:
    now = {0: times(5, 10)}
    assert cpu.busy_fraction(now, now, [0]) is None
    assert cpu.busy_fraction(now, {}, [0]) is None


def test_own_ticks_are_found_behind_a_name_with_spaces_and_brackets(tmp_path: Path) -> None:
    line = "4 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 70 5 0 0 20 0\n"
    assert cpu.read_own_ticks(tree(tmp_path, proc__self__stat=line)) == 75


def test_own_ticks_are_unknown_without_the_file(tmp_path: Path) -> None:
    assert cpu.read_own_ticks(tmp_path) is None


def test_the_machines_other_running_threads_are_counted(tmp_path: Path) -> None:
    assert cpu.read_others_running(tmp_path) is None
    (tmp_path / "proc").mkdir()
    stat = tmp_path / "proc/stat"
    for text, others in (
        ("cpu  1 2 3 4\nprocs_running 3\nprocs_blocked 0\n", 2),
        ("procs_running 0\n", 0),
        ("procs_running x\n", None),
        ("cpu0 1 1 1 1\n", None),
    ):
        stat.write_text(text)
        assert cpu.read_others_running(tmp_path) == others
