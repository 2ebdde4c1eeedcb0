"""Where runners hibernate: the device's key, a directory for each model, and the bound over all of them.

    DATA/device.key               32 random bytes, 0600; every key of a model is derived from it
    DATA/hibernation/IDENTITY/    0700; of one model, its adapters, context and cache types
        NAME.kv                   a snapshot, written by the model's runner (`engine/hibernation/snapshot.py`)
        NAME.part                 one that is not whole

A runner keeps its own directory under the bound, and can reach no other. All together are brought under it
here: at every start of a runner, and every few seconds. What was used longest ago goes, whoever runs: to a
runner a snapshot that is gone is one that was never there. Between two looks the bound may be passed by what
runners wrote meanwhile, which their own bound, their rate and the floor of free space limit.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import stat
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance import log
from appliance.config import Config
from appliance.daemon.device_key import device_key
from appliance.daemon.snapshots import FOLDER, clear, prune
from appliance.supervisor.policy import ModelSpec
from appliance.wire.messages import Hibernation

_log = log.logger("hibernation")

_PURPOSE: Final = b"outpost hibernation 1\0"
_LOOK_S: Final = 10.0
_ASIDE_AGE_S: Final = 600.0
"""No snapshot takes longer to write."""
_STOP_SHARE: Final = 0.8
"""Of the time after which a runner that stops is killed, it may write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HibernationPolicy:
    """What `[hibernation]` says, and what of `[runner]` and `[store]` bounds it."""

    enabled: bool
    data: Path
    max_bytes: int
    max_fraction: float
    min_tokens: int
    write_bytes_per_min: int
    stop_s: float
    floor_fraction: float


def hibernation_policy(config: Config) -> HibernationPolicy:
    wish = config.hibernation
    return HibernationPolicy(
        enabled=wish.enabled,
        data=config.data.dir,
        max_bytes=wish.max_bytes,
        max_fraction=wish.max_fraction,
        min_tokens=wish.min_tokens,
        write_bytes_per_min=wish.write_bytes_per_min,
        stop_s=min(wish.stop_s, _STOP_SHARE * config.runner.stop_timeout_s),
        floor_fraction=config.store.floor_fraction,
    )


class Den:
    """The directories of all models. `of` is called on the main thread, the rest by any; nothing blocks on
    anything but the disk.
    """

    def __init__(self, policy: HibernationPolicy) -> None:
        self._policy = policy
        self._root = policy.data / FOLDER
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hibernation", daemon=True)

    def start(self) -> None:
        """Before the first runner. Where hibernation is off, what it left is removed: it holds prompts."""
        if not self._policy.enabled:
            if self._root.is_dir() and (cleared := clear(self._policy.data)).snapshots:
                _log.info("hibernation_cleared", snapshots=cleared.snapshots, size_bytes=cleared.size_bytes)
            return
        self._prune(aside_age_s=0.0)
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def of(self, spec: ModelSpec) -> Hibernation | None:
        """What a runner of this model is told. None: hibernation is off, or its directory or key cannot be
        had; the model is served all the same.
        """
        policy = self._policy
        if not policy.enabled:
            return None
        try:
            identity = identity_of(spec, store=policy.data / "store")
            directory = self._root / identity[:40]
            _make_private(self._root)
            _make_private(directory)
            key = derive_key(device_key(policy.data), identity)
            limit_bytes, floor_bytes = self._bounds()
            self._prune()
        except OSError as error:
            _log.error("hibernation_impossible", model=spec.name, reason=error.strerror or str(error))
            return None
        return Hibernation(
            directory=str(directory),
            key=key,
            identity=identity,
            limit_bytes=limit_bytes,
            floor_bytes=floor_bytes,
            min_tokens=policy.min_tokens,
            write_bytes_per_min=policy.write_bytes_per_min,
            stop_s=policy.stop_s,
        )

    def _run(self) -> None:
        while not self._is_over.wait(_LOOK_S):
            self._prune()

    def _prune(self, *, aside_age_s: float = _ASIDE_AGE_S) -> None:
        with suppress(OSError):
            limit_bytes, _ = self._bounds()
            gone = prune(self._root, limit_bytes, aside_age_s=aside_age_s)
            if gone:
                _log.info("hibernation_pruned", snapshots=gone, limit_bytes=limit_bytes)

    def _bounds(self) -> tuple[int, int]:
        """Of all snapshots, and of what stays free."""
        disk = os.statvfs(self._policy.data)
        size_bytes = disk.f_blocks * disk.f_frsize
        limit_bytes = min(self._policy.max_bytes, int(self._policy.max_fraction * size_bytes))
        return limit_bytes, int(self._policy.floor_fraction * size_bytes)


def identity_of(spec: ModelSpec, *, store: Path) -> str:
    """Of everything known before the load that decides what a state means. Raises OSError."""
    placement = spec.placement
    told = {
        "files": [_stamp(Path(path), store) for path in spec.paths or (spec.path,)],
        "adapters": [(one.name, _stamp(Path(one.path), store)) for one in spec.adapters],
        "placement": [placement.n_ctx_seq, placement.type_k, placement.type_v, placement.n_gpu_layers],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _stamp(path: Path, store: Path) -> Sequence[str | int]:
    """A blob of the store is its digest, which is its name; of another file, all that changes with it."""
    if path.is_relative_to(store):
        return [path.name]
    status = path.stat()
    return [str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def derive_key(device: bytes, identity: str) -> bytes:
    """A model's key: nobody who has it learns the device's, or another's (HMAC as a key derivation)."""
    return hmac.new(device, _PURPOSE + identity.encode(), hashlib.sha256).digest()


def _make_private(directory: Path) -> None:
    """A directory of ours alone. Raises OSError, also for a link in its place."""
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(f"{directory} is not a directory")
    if stat.S_IMODE(status.st_mode) != 0o700:
        directory.chmod(0o700)
