"""What this process took, or said to be there, and what its names have let go of: by these `gc_rules.py`
knows to which blobs a name is still on its way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from appliance.store.digest import Digest


class Touches:
    """Any thread. Who acts on an answer (removes a file) holds `lock` meanwhile."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.lock = threading.Lock()
        self._touched: dict[Digest, float] = {}
        self._released: set[Digest] = set()

    def note(self, digest: Digest) -> None:
        """From now on for an hour gc leaves it alone; what gc has removed a moment ago is then seen to be
        gone.
        """
        with self.lock:
            self._touched[digest] = self._monotonic()
            self._released.discard(digest)

    def release(self, digests: Collection[Digest]) -> None:
        """A name has let go of these: what no other name needs may be collected at once."""
        with self.lock:
            for digest in digests:
                self._touched.pop(digest, None)
                self._released.add(digest)

    def touched_s(self, digest: Digest) -> float | None:
        """When it was, on the monotonic clock."""
        return self._touched.get(digest)

    def is_released(self, digest: Digest) -> bool:
        return digest in self._released

    def gone(self, digest: Digest) -> None:
        """It was removed. The lock is held."""
        self._released.discard(digest)

    def forget_until(self, until_s: float) -> None:
        with self.lock:
            for digest in [digest for digest, at_s in self._touched.items() if at_s < until_s]:
                del self._touched[digest]
