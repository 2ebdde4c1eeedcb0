from __future__ import annotations

from appliance.runner.sandbox import _report, readable_paths
from appliance.runner.seccomp_filter import DENIED
from appliance.wire.messages import Adapter, Load, Placement

ALL = dict.fromkeys(("rlimits", "no_new_privs", "non_dumpable", "landlock", "seccomp", "one_thread"), True)


def test_all_of_it_is_full() -> None:
    report = _report(reached=ALL, landlock_abi=7)
    assert report.level == "full"
    assert report.missing == []


def test_an_old_landlock_is_full_and_names_the_fence_it_lacks() -> None:
    report = _report(reached=ALL, landlock_abi=2)
    assert report.level == "full"
    assert report.missing == ["landlock_net"]


def test_a_kernel_without_landlock_is_partial() -> None:
    report = _report(reached={**ALL, "landlock": False}, landlock_abi=0)
    assert report.level == "partial"
    assert report.missing == ["landlock"]


def test_threads_before_the_fence_make_it_partial() -> None:
    assert _report(reached={**ALL, "one_thread": False}, landlock_abi=7).level == "partial"


def test_nothing_is_none() -> None:
    assert _report(reached={}, landlock_abi=0).level == "none"


def test_the_models_files_are_readable_and_the_file_system_is_not() -> None:
    load = Load(
        protocol=1,
        model="m",
        path="/models/m.gguf",
        placement=Placement(n_ctx_seq=1, n_seq_max=1, kv_cells=1),
        draft_path="/models/d.gguf",
        adapters=[Adapter(name="a", path="/models/a.gguf")],
    )
    paths = readable_paths(load)
    assert {"/models/m.gguf", "/models/d.gguf", "/models/a.gguf"} <= set(paths)
    assert not {"/", "/etc", "/proc", "/home", "/root", "/tmp", "/models"} & set(paths)


def test_no_call_is_denied_twice() -> None:
    names = [name for group in DENIED.values() for name in group.split()]
    assert len(names) == len(set(names))
    assert {"execve", "fork", "socket", "ptrace", "kill", "io_uring_setup", "bpf", "unlink"} <= set(names)
