"""The operator acts: the board lacks something."""

from __future__ import annotations

from typing import Final

from appliance.errors.base import OutpostError


class ResourceError(OutpostError):
    """The board lacks something; an operator must give it or ask for less."""


class InsufficientMemory(ResourceError):
    def __init__(
        self,
        *,
        model: str,
        needed_bytes: int,
        available_bytes: int,
        min_ctx: int | None = None,
        largest_ctx: int | None = None,
        pinned: list[str] | None = None,
        reason: str | None = None,
    ) -> None:
        """None: not known. `needed_bytes` and `available_bytes`: of the least placement that the caller
        takes, and of what can be freed for it. `largest_ctx`: tokens of context that would fit, fewer than
        `min_ctx`; 0: none would. `pinned`: models without whose pins it would fit.
        `reason`: why the driver refused what the plan allowed (one of `allocation.Shortage`).
        """
        told = {"min_ctx": min_ctx, "largest_ctx": largest_ctx, "pinned": pinned, "reason": reason}
        way_out = _REFUSED_WAYS.get(reason or "") or _way_out(min_ctx, largest_ctx, pinned)
        super().__init__(
            f"model '{model}' needs {_size(needed_bytes)}{_with_context(min_ctx)}, {_size(available_bytes)} "
            f"are available; {way_out}",
            model=model,
            needed_bytes=needed_bytes,
            available_bytes=available_bytes,
            **{name: value for name, value in told.items() if value is not None},
        )


_TRIED: Final = "also after memory was reclaimed, and for a smaller placement"
_REFUSED_WAYS: Final = {
    "nvmap_fragmented": "that would do, but the GPU's driver finds no room in one piece (NvMap error 12), "
    f"{_TRIED}; restart the board, or lower the context length",
    "nvmap_exhausted": f"the GPU's driver has no more (NvMap error 12), {_TRIED}; lower the context length, "
    "take a smaller quantisation, or end other programs",
    "gpu_memory_exhausted": f"the GPU has no more memory, {_TRIED}; lower the context length, take a smaller "
    "quantisation, or end other programs that use it",
}


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.2f} GB" if size_bytes >= 10**9 else f"{size_bytes / 1e6:.0f} MB"


def _with_context(min_ctx: int | None) -> str:
    return "" if min_ctx is None else f" with at least {min_ctx} tokens of context"


def _way_out(min_ctx: int | None, largest_ctx: int | None, pinned: list[str] | None) -> str:
    """What to change, from the numbers."""
    unpin = f"unpin {', '.join(pinned)}, or " if pinned else ""
    if min_ctx is None or largest_ctx is None:
        return f"{unpin}lower the context length, take a smaller quantisation, or unload another model"
    if largest_ctx:
        return (
            f"{unpin}ask for no more than {largest_ctx} tokens of context, which would fit, take a smaller "
            "quantisation, or end other programs"
        )
    return (
        f"no context, however short, would fit: {unpin}take a smaller quantisation or model, or end other "
        "programs"
    )


class GpuUnavailable(ResourceError):
    def __init__(self, *, model: str, reason: str) -> None:
        super().__init__(
            f"model '{model}' must run on a GPU, and would run on the CPU: {reason}; it is not served; "
            'repair the driver or the build, or set device = "prefer_gpu"',
            model=model,
            reason=reason,
        )


class AddressInUse(ResourceError):
    def __init__(self, *, address: str) -> None:
        super().__init__(
            f"{address} is in use; stop the other server or choose another with --listen", address=address
        )


class DataDirInUse(ResourceError):
    def __init__(self, *, directory: str) -> None:
        super().__init__(
            f"{directory} is used by another daemon; stop it or choose another directory with --data",
            directory=directory,
        )


class StoreInUse(ResourceError):
    def __init__(self, *, directory: str) -> None:
        super().__init__(
            f"the model store in {directory} is used by another process; ask the daemon that runs there, "
            "or stop it",
            directory=directory,
        )


class InsufficientSpace(ResourceError):
    def __init__(
        self,
        *,
        needed_bytes: int,
        available_bytes: int,
        floor_bytes: int,
        directory: str,
        arrivals_bytes: int = 0,
    ) -> None:
        """`arrivals_bytes`: what pulls that were cut off hold there."""
        arrivals = f"free the {arrivals_bytes} bytes of pulls that were cut off (outpost gc --arrivals), "
        super().__init__(
            f"{needed_bytes} bytes are needed in {directory}; {available_bytes} are free, of which "
            f"{floor_bytes} stay free; {arrivals if arrivals_bytes else ''}remove models (outpost rm) or "
            "attach a larger disk",
            needed_bytes=needed_bytes,
            available_bytes=available_bytes,
            floor_bytes=floor_bytes,
            directory=directory,
            arrivals_bytes=arrivals_bytes,
        )


class FileUnreadable(ResourceError):
    def __init__(self, *, path: str, reason: str, errno: int) -> None:
        super().__init__(
            f"{path} could not be read now: {reason} (errno {errno}); it is left as it is, try again",
            path=path,
            reason=reason,
            errno=errno,
        )


class StoreFault(ResourceError):
    def __init__(self, *, path: str, reason: str) -> None:
        super().__init__(f"the store failed at {path}: {reason}", path=path, reason=reason)


class KeysUnusable(ResourceError):
    def __init__(self, *, path: str, reason: str, remedy: str) -> None:
        super().__init__(
            f"the keys in {path} cannot be used: {reason}; {remedy}", path=path, reason=reason, remedy=remedy
        )


class AuditUnwritable(ResourceError):
    """What cannot be written down is not done. `free_bytes` None: the disk does not tell."""

    def __init__(self, *, event: str, reason: str, free_bytes: int | None, needed_bytes: int) -> None:
        free = "how much is free is not known" if free_bytes is None else f"{free_bytes} bytes are free"
        super().__init__(
            f"the audit log cannot take '{event}' ({reason}; {free}, and an entry takes up to "
            f"{needed_bytes}), so it was not done; free space on the disk of the data directory, or repair "
            "it. A key can be revoked all the same",
            event=event,
            reason=reason,
            free_bytes=free_bytes,
            needed_bytes=needed_bytes,
        )
