"""The den: keys, directories, the bound over all models, and what is left when it is switched off."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.config import Config
from appliance.daemon.device_key import device_key
from appliance.daemon.hibernation import (
    Den,
    HibernationPolicy,
    derive_key,
    hibernation_policy,
    identity_of,
)
from appliance.daemon.snapshots import clear, kept, prune
from appliance.supervisor.policy import ModelSpec
from appliance.wire.messages import Adapter, Placement

PLACEMENT = Placement(n_ctx_seq=64, n_seq_max=2, kv_cells=0)


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    model = tmp_path / "m.gguf"
    model.write_bytes(b"GGUF")
    return ModelSpec(name="m", path=str(model), placement=PLACEMENT)


def policy(data: Path, *, enabled: bool = True, max_bytes: int = 1 << 20) -> HibernationPolicy:
    return HibernationPolicy(
        enabled=enabled,
        data=data,
        max_bytes=max_bytes,
        max_fraction=0.5,
        min_tokens=256,
        write_bytes_per_min=1 << 20,
        stop_s=1.5,
        floor_fraction=0.05,
    )


def snapshot(directory: Path, name: str, size: int, *, used_s: int) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_bytes(bytes(size))
    os.utime(path, (used_s, used_s))
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_off_is_the_default_and_gives_a_runner_nothing(tmp_path: Path, spec: ModelSpec) -> None:
    assert Config().hibernation.enabled is False
    assert Den(policy(tmp_path, enabled=False)).of(spec) is None
    assert not (tmp_path / "device.key").exists()
    assert not (tmp_path / "hibernation").exists()


def test_switched_off_removes_what_it_left(tmp_path: Path) -> None:
    path = snapshot(tmp_path / "hibernation/a", "x.kv", 10, used_s=1)
    part = snapshot(tmp_path / "hibernation/a", "x.part", 10, used_s=1)
    den = Den(policy(tmp_path, enabled=False))
    den.start()
    den.stop()
    assert not path.exists()
    assert not part.exists()


def test_a_runner_gets_a_directory_a_key_and_bounds(tmp_path: Path, spec: ModelSpec) -> None:
    told = Den(policy(tmp_path)).of(spec)
    assert told is not None
    directory = Path(told.directory)
    assert directory.parent == tmp_path / "hibernation"
    assert (mode(directory), mode(directory.parent), mode(tmp_path / "device.key")) == (0o700, 0o700, 0o600)
    assert len(told.key) == 32
    assert told.limit_bytes == 1 << 20
    assert told.floor_bytes > 0
    assert told.key.hex() not in repr(told)
    assert repr(told.key) not in repr(told)


def test_the_same_model_gets_the_same_again_also_from_another_daemon(tmp_path: Path, spec: ModelSpec) -> None:
    first = Den(policy(tmp_path)).of(spec)
    assert first is not None
    assert Den(policy(tmp_path)).of(replace(spec, name="other name")) == first


def test_the_bound_is_a_part_of_the_disk_where_that_is_less(tmp_path: Path, spec: ModelSpec) -> None:
    told = Den(replace(policy(tmp_path, max_bytes=1 << 60), max_fraction=0.0)).of(spec)
    assert told is not None
    assert told.limit_bytes == 0


@pytest.mark.parametrize(
    "changed",
    [
        Placement(n_ctx_seq=65, n_seq_max=2, kv_cells=0),
        Placement(n_ctx_seq=64, n_seq_max=2, kv_cells=0, type_k="q8_0"),
        Placement(n_ctx_seq=64, n_seq_max=2, kv_cells=0, type_v="q8_0"),
        Placement(n_ctx_seq=64, n_seq_max=2, kv_cells=0, n_gpu_layers=9),
    ],
)
def test_another_placement_is_another_identity(tmp_path: Path, spec: ModelSpec, changed: Placement) -> None:
    assert identity_of(replace(spec, placement=changed), store=tmp_path / "s") != identity_of(
        spec, store=tmp_path / "s"
    )


def test_how_many_slots_there_are_does_not_matter(tmp_path: Path, spec: ModelSpec) -> None:
    more = Placement(n_ctx_seq=64, n_seq_max=9, kv_cells=0)
    assert identity_of(replace(spec, placement=more), store=tmp_path) == identity_of(spec, store=tmp_path)


def test_other_bytes_under_the_same_path_are_another_identity(tmp_path: Path, spec: ModelSpec) -> None:
    before = identity_of(spec, store=tmp_path / "store")
    status = Path(spec.path).stat()
    Path(spec.path).write_bytes(b"FUGG")
    os.utime(spec.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert identity_of(spec, store=tmp_path / "store") != before


def test_a_blob_of_the_store_is_known_by_its_digest_alone(tmp_path: Path, spec: ModelSpec) -> None:
    store = tmp_path / "store"
    blob = store / "blobs/sha256/abc"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"GGUF")
    stored = replace(spec, path=str(blob))
    before = identity_of(stored, store=store)
    os.utime(blob, (1, 1))
    assert identity_of(stored, store=store) == before


def test_an_adapter_is_part_of_the_identity(tmp_path: Path, spec: ModelSpec) -> None:
    lora = tmp_path / "lora.gguf"
    lora.write_bytes(b"GGUF")
    told = {
        identity_of(spec, store=tmp_path / "s"),
        identity_of(replace(spec, adapters=(Adapter(name="a", path=str(lora)),)), store=tmp_path / "s"),
        identity_of(replace(spec, adapters=(Adapter(name="b", path=str(lora)),)), store=tmp_path / "s"),
    }
    assert len(told) == 3


def test_keys_of_models_and_of_devices_differ() -> None:
    keys = {derive_key(device, identity) for device in (b"a" * 32, b"b" * 32) for identity in ("x", "y")}
    assert len(keys) == 4
    assert all(len(key) == 32 for key in keys)


def test_the_device_key_is_made_once(tmp_path: Path) -> None:
    key = device_key(tmp_path)
    assert device_key(tmp_path) == key
    assert [path.name for path in tmp_path.iterdir()] == ["device.key"]


def test_a_key_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    key = device_key(tmp_path)
    (tmp_path / "device.key").chmod(0o644)
    assert device_key(tmp_path) == key
    assert mode(tmp_path / "device.key") == 0o600


@pytest.mark.parametrize("content", [b"", b"short", bytes(33)])
def test_a_damaged_key_is_made_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "device.key").write_bytes(content)
    (tmp_path / "device.tmp").write_bytes(b"left by a power cut")
    key = device_key(tmp_path)
    assert len(key) == 32
    assert device_key(tmp_path) == key


def test_a_link_in_the_place_of_the_key_means_no_hibernation_and_service(
    tmp_path: Path, spec: ModelSpec
) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"t" * 32)
    (tmp_path / "device.key").symlink_to(target)
    assert Den(policy(tmp_path)).of(spec) is None
    (tmp_path / "device.key").unlink()
    os.mkfifo(tmp_path / "device.key")
    assert Den(policy(tmp_path)).of(spec) is None


def test_a_link_in_the_place_of_the_directory_is_not_followed(tmp_path: Path, spec: ModelSpec) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    (tmp_path / "hibernation").symlink_to(elsewhere)
    assert Den(policy(tmp_path)).of(spec) is None
    assert mode(elsewhere) == 0o755
    assert list(elsewhere.iterdir()) == []


def test_a_model_whose_file_is_gone_is_told_nothing(tmp_path: Path, spec: ModelSpec) -> None:
    assert Den(policy(tmp_path)).of(replace(spec, path=str(tmp_path / "gone.gguf"))) is None


def test_a_directory_open_to_others_is_closed(tmp_path: Path, spec: ModelSpec) -> None:
    (tmp_path / "hibernation").mkdir(mode=0o777)
    assert Den(policy(tmp_path)).of(spec) is not None
    assert mode(tmp_path / "hibernation") == 0o700


def test_what_was_used_longest_ago_goes_first_over_all_models(tmp_path: Path) -> None:
    old = snapshot(tmp_path / "a", "1.kv", 100, used_s=1)
    young = snapshot(tmp_path / "a", "2.kv", 100, used_s=9)
    middle = snapshot(tmp_path / "b", "3.kv", 100, used_s=5)
    assert prune(tmp_path, 200, aside_age_s=0) == 1
    assert [path.exists() for path in (old, middle, young)] == [False, True, True]
    assert prune(tmp_path, 199, aside_age_s=0) == 1
    assert [path.exists() for path in (old, middle, young)] == [False, False, True]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(sizes=st.lists(st.integers(0, 300), max_size=8), limit=st.integers(0, 1000))
def test_after_pruning_all_models_together_fit(tmp_path: Path, sizes: list[int], limit: int) -> None:
    for number, size in enumerate(sizes):
        snapshot(tmp_path / "hibernation" / f"m{number % 3}", f"{number}.kv", size, used_s=number)
    prune(tmp_path / "hibernation", limit, aside_age_s=0)
    assert kept(tmp_path).size_bytes <= limit
    clear(tmp_path)


def test_half_written_ones_go_when_nobody_can_be_writing_them(tmp_path: Path) -> None:
    part = snapshot(tmp_path / "a", "x.part", 10, used_s=1)
    fresh = tmp_path / "a" / "y.part"
    fresh.write_bytes(b"1")
    prune(tmp_path, 1000, aside_age_s=600)
    assert not part.exists()
    assert fresh.exists()


def test_only_snapshots_are_ever_removed(tmp_path: Path) -> None:
    root = tmp_path / "hibernation"
    target = tmp_path / "precious"
    target.mkdir()
    other = snapshot(target, "x.kv", 100, used_s=1)
    root.mkdir()
    (root / "link").symlink_to(target)
    note = snapshot(root / "a", "note.txt", 100, used_s=1)
    (root / "a" / "folder.kv").mkdir()
    link = root / "a" / "y.kv"
    link.symlink_to(other)
    clear(tmp_path)
    assert other.exists()
    assert note.exists()
    assert not link.is_symlink()


def test_clearing_says_what_there_was(tmp_path: Path) -> None:
    snapshot(tmp_path / "hibernation/a", "1.kv", 100, used_s=1)
    snapshot(tmp_path / "hibernation/b", "2.kv", 50, used_s=1)
    there = clear(tmp_path)
    assert (there.snapshots, there.size_bytes, there.models) == (2, 150, 2)
    assert kept(tmp_path).snapshots == 0
    assert clear(tmp_path / "nothing here").snapshots == 0


def test_a_model_that_stops_never_writes_up_to_the_kill() -> None:
    config = Config.model_validate(
        {"runner": {"stop_timeout_s": 1.0}, "hibernation": {"stop_s": 60.0}}, strict=False
    )
    assert hibernation_policy(config).stop_s == 0.8
    assert hibernation_policy(Config()).stop_s == 1.5
